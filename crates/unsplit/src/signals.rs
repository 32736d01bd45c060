//! The signals that ask a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Exit;

/// SIGINT, SIGTERM and SIGHUP since this was made: also one that comes while nobody waits is told.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// # Panics
    ///
    /// Outside the runtime.
    pub(crate) fn listen() -> Self {
        let listen = |kind| signal(kind).expect("signals can be listened for");
        Self {
            interrupt: listen(SignalKind::interrupt()),
            terminate: listen(SignalKind::terminate()),
            hangup: listen(SignalKind::hangup()),
        }
    }

    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hangup.recv() => Exit::Terminated,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_signal_that_comes_while_nobody_waits_is_told() {
        let mut signals = Signals::listen();
        kill_process(getpid(), Signal::HUP).expect("a signal to ourselves");
        assert!(matches!(signals.next().await, Exit::Terminated));
    }
}
