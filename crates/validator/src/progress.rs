//! A number that only grows, and whoever waits for it to get somewhere.
//!
//! Waiters wake in the order in which they began to wait (a watch channel would draw lots), so that simulated runs repeat.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// See the module. Clones share the number.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    shared: Arc<(AtomicU64, Notify)>,
}

impl Progress {
    /// Where it is.
    pub fn get(&self) -> u64 {
        self.shared.0.load(Ordering::Acquire)
    }

    /// Moves it to `to` unless it is beyond.
    pub fn raise(&self, to: u64) {
        if self.shared.0.fetch_max(to, Ordering::AcqRel) < to {
            self.shared.1.notify_waiters();
        }
    }

    /// Moves it one on.
    pub fn step(&self) {
        self.shared.0.fetch_add(1, Ordering::AcqRel);
        self.shared.1.notify_waiters();
    }

    /// Waits until it is at `at` or beyond.
    pub async fn reach(&self, at: u64) {
        loop {
            let mut moved = std::pin::pin!(self.shared.1.notified());
            // Registered before the look, so that a move in between is not missed.
            moved.as_mut().enable();
            if self.get() >= at {
                return;
            }
            moved.await;
        }
    }
}

/// The newest consensus round that was seen. Views begin anew in each epoch. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Progress);

/// The bits of a view in a number that orders rounds: no epoch has so many views.
const VIEW_BITS: u32 = 32;

impl Rounds {
    /// Moves it to this view of this epoch unless it is beyond.
    pub fn raise(&self, epoch: u64, view: u64) {
        self.0.raise(epoch << VIEW_BITS | view.min((1 << VIEW_BITS) - 1));
    }

    /// The epoch, and the view in it.
    pub fn get(&self) -> (u64, u64) {
        let round = self.0.get();
        (round >> VIEW_BITS, round & ((1 << VIEW_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    #[test]
    fn a_later_epoch_is_beyond_every_view_of_an_earlier_one() {
        let rounds = Rounds::default();
        rounds.raise(0, 900);
        rounds.raise(0, 3);
        assert_eq!(rounds.get(), (0, 900));
        rounds.raise(1, 2);
        rounds.raise(0, 901);
        assert_eq!(rounds.get(), (1, 2));
    }
}
