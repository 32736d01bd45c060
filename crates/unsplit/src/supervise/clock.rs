//! What time is it, if it must never be earlier than it was?
//!
//! Attempts count for a day by the clock on the wall, also across restarts of the supervisor and of the machine. Within one
//! run the wall's clock is read once and then only steps of the monotonic clock are added, so nobody's correction reaches
//! us. At a start, a wall that is behind what was written down last is not believed: a step back never gives fresh attempts.
//! What it costs is that they are forgiven later. A step forward while no supervisor runs cannot be told from waiting.

use std::time::{Duration, Instant};

/// Milliseconds that never go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    base_ms: u64,
    since: Instant,
}

impl Clock {
    /// Goes on from the wall's time, or from what was known last if that is later. Milliseconds since the Unix epoch.
    pub(super) fn after(known_ms: u64, wall_ms: u64) -> Self {
        Self { base_ms: known_ms.max(wall_ms), since: Instant::now() }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.base_ms.saturating_add(millis(self.since.elapsed()))
    }

    /// When it will be that late.
    pub(super) fn instant(&self, at_ms: u64) -> Instant {
        self.since + Duration::from_millis(at_ms.saturating_sub(self.base_ms))
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_not_believed_and_a_step_forward_is() {
        let at = |known, wall| {
            let clock = Clock::after(known, wall);
            (clock.base_ms, clock.now_ms() >= clock.base_ms)
        };
        assert_eq!(at(5_000, 4_999), (5_000, true));
        assert_eq!(at(5_000, 5_001), (5_001, true));
        assert_eq!(Clock::after(u64::MAX, 0).now_ms(), u64::MAX);
    }

    #[test]
    fn a_time_that_is_over_is_now_at_the_latest() {
        let clock = Clock::after(0, 5_000);
        assert_eq!(clock.instant(4_000), clock.since);
        assert_eq!(clock.instant(6_000), clock.since + Duration::from_secs(1));
    }
}
