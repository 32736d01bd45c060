//! Who looks at the process, and how often?

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use api::Releases;
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

/// Every so many looks the part that decides is asked too, for what the chain certifies.
const DECIDES_EVERY: u64 = 20;

/// How long one look may take.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(2);

/// What one look found.
#[derive(Debug)]
pub(super) struct Look {
    /// Nothing if the validator did not answer.
    pub(super) seen: Option<Seen>,
    /// What the chain certifies, where that was asked for.
    pub(super) certified: Option<Releases>,
}

/// A process and those who look at it.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) watch: Watch,
    pub(super) looks: mpsc::Receiver<Look>,
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
pub(super) async fn look(client: Client, lock: PathBuf, pid: u32, told: mpsc::Sender<Look>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut decides = true;
    for count in 0_u64.. {
        looks.tick().await;
        let snapshot = client.snapshot().await.ok().filter(|_| is_held_by(&lock, pid));
        let is_ready = snapshot.as_ref().is_some_and(|snapshot| snapshot.status.validators != 0);
        let mut certified = None;
        // The snapshot is shown by another part than the one that decides, which may hang.
        if is_ready && (!decides || count.is_multiple_of(DECIDES_EVERY)) {
            certified = client.certified().await.ok().map(|view| view.certified);
            decides = certified.is_some();
        }
        let seen = snapshot.map(|snapshot| Seen::of(&snapshot, decides));
        if told.send(Look { seen, certified }).await.is_err() {
            return;
        }
    }
}

/// Whether this process has the data directory. Only one can, and it writes its id into the file that it locks.
fn is_held_by(lock: &Path, pid: u32) -> bool {
    std::fs::read_to_string(lock).is_ok_and(|text| text.trim() == pid.to_string())
}
