//! Who looks at the process, and how often?

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    Happening,
    child::Process,
    watch::{Seen, Watch},
};
use crate::client::Client;

/// Between two looks at the validator.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long one look may take.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(2);

/// A process and those who look at it.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) watch: Watch,
    pub(super) looks: mpsc::Receiver<Option<Seen>>,
    pub(super) looking: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// What happens to a process first; nothing ever if there is none.
pub(super) async fn next(running: Option<&mut Running>) -> Happening {
    let Some(running) = running else { return std::future::pending().await };
    tokio::select! {
        // Whoever has ended does not answer any more.
        biased;
        status = running.process.ended() => Happening::Ended(status),
        Some(look) = running.looks.recv() => Happening::Looked(look),
    }
}

/// Looks at the validator until nobody wants to know. Another process may listen at its address while ours does not, most of
/// all when ours ends because of that; its answers are nobody's.
pub(super) async fn look(client: Client, lock: PathBuf, pid: u32, told: mpsc::Sender<Option<Seen>>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let snapshot = client.snapshot().await.ok().filter(|_| is_held_by(&lock, pid));
        if told.send(snapshot.map(|snapshot| Seen::of(&snapshot))).await.is_err() {
            return;
        }
    }
}

/// Whether this process has the data directory. Only one can, and it writes its id into the file that it locks.
fn is_held_by(lock: &Path, pid: u32) -> bool {
    std::fs::read_to_string(lock).is_ok_and(|text| text.trim() == pid.to_string())
}
