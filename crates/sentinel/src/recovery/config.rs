//! How often and how long may be tried?

use super::Step;

/// Bounds of recovery. All times in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// Attempts in any `window_ms`. Three are enough for a cause that passes by itself; a fourth has never mended one that
    /// does not.
    pub attempts_max: usize,
    /// How long an attempt counts against the next ones: a day, so that a node that falls over every few hours is seen by a
    /// person within one.
    pub window_ms: u64,
    /// Least time from the end of an attempt to the begin of the next that nobody ordered. Longer than it takes a network to
    /// notice a node, hand on its work and settle.
    pub cooldown_ms: u64,
    /// Up to so much is added to a cooldown: nodes that failed together come back spread over a tenth of it.
    pub jitter_ms: u64,
    /// Most passes from [`Step::VerifyIntegrity`] on within one attempt, for a process that ends again before it does its
    /// duty. More than the three equal failures at which a supervisor stops by itself.
    pub passes_max: usize,
    /// Validations that a node answers for before it counts as active.
    pub trial_validations: u64,
    /// For [`Step::VerifyIntegrity`]: hashing a model of many gigabytes from a slow disk.
    pub verify_max_ms: u64,
    /// For [`Step::Restart`], waits before a start included: reading the newest checkpoint and replaying from there.
    pub restart_max_ms: u64,
    /// For [`Step::CatchUp`], since it last came nearer. Not for the whole of it: who is far behind and moves is well.
    pub catch_up_max_ms: u64,
    /// For [`Step::VerifyResponsive`].
    pub responsive_max_ms: u64,
    /// For [`Step::Trial`], since the last validation.
    pub trial_max_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            window_ms: 24 * 3_600_000,
            cooldown_ms: 300_000,
            jitter_ms: 30_000,
            passes_max: 8,
            trial_validations: 100,
            verify_max_ms: 120_000,
            restart_max_ms: 300_000,
            catch_up_max_ms: 60_000,
            responsive_max_ms: 60_000,
            trial_max_ms: 60_000,
        }
    }
}

/// Why a [`Config`] cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A count is not within its bounds.
    #[error("{name} ({value}) must be from {least} to {most}")]
    Count {
        /// The field.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A time is not within its bounds.
    #[error("{name} ({value} ms) must be from {least} to {most} ms")]
    Time {
        /// The field.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// The window would end before the cooldown, so that the limit of attempts would never matter.
    #[error("window_ms ({window_ms} ms) must be more than cooldown_ms + jitter_ms ({cooldown_ms} ms)")]
    Window {
        /// The window.
        window_ms: u64,
        /// The longest cooldown.
        cooldown_ms: u64,
    },
}

/// No time in a [`Config`] is longer: ten years. Sums of two never overflow.
const TIME_MAX_MS: u64 = 10 * 366 * 24 * 3_600_000;

/// Attempts are remembered one by one, so their number is bounded.
const ATTEMPTS_LIMIT: u64 = 64;

impl Config {
    /// Whether the values are within bounds and fit each other.
    ///
    /// # Errors
    /// Names the first value that does not fit.
    pub fn check(&self) -> Result<(), ConfigError> {
        count("attempts_max", self.attempts_max as u64, 1, ATTEMPTS_LIMIT)?;
        count("passes_max", self.passes_max as u64, 1, ATTEMPTS_LIMIT)?;
        count("trial_validations", self.trial_validations, 1, 1_000_000)?;
        let positive = [
            ("window_ms", self.window_ms),
            ("verify_max_ms", self.verify_max_ms),
            ("restart_max_ms", self.restart_max_ms),
            ("catch_up_max_ms", self.catch_up_max_ms),
            ("responsive_max_ms", self.responsive_max_ms),
            ("trial_max_ms", self.trial_max_ms),
        ];
        positive.into_iter().try_for_each(|(name, value)| time(name, value, 1))?;
        time("cooldown_ms", self.cooldown_ms, 0)?;
        time("jitter_ms", self.jitter_ms, 0)?;
        let (window_ms, cooldown_ms) = (self.window_ms, self.cooldown_ms + self.jitter_ms);
        if window_ms <= cooldown_ms { Err(ConfigError::Window { window_ms, cooldown_ms }) } else { Ok(()) }
    }

    /// How long a step may take, or stand still if it can come nearer bit by bit.
    pub const fn step_max_ms(&self, step: Step) -> u64 {
        match step {
            Step::VerifyIntegrity => self.verify_max_ms,
            Step::Restart => self.restart_max_ms,
            Step::CatchUp => self.catch_up_max_ms,
            Step::VerifyResponsive => self.responsive_max_ms,
            Step::Trial => self.trial_max_ms,
        }
    }
}

const fn count(name: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if value < least || value > most { Err(ConfigError::Count { name, value, least, most }) } else { Ok(()) }
}

const fn time(name: &'static str, value: u64, least: u64) -> Result<(), ConfigError> {
    let most = TIME_MAX_MS;
    if value < least || value > most { Err(ConfigError::Time { name, value, least, most }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut Config), says: &str) {
        let mut config = Config::default();
        change(&mut config);
        let said = config.check().map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(said, says);
    }

    #[test]
    fn the_defaults_fit() {
        check(|_| {}, "");
    }

    #[test]
    fn each_bound_has_two_sides() {
        check(|config| config.attempts_max = 1, "");
        check(|config| config.attempts_max = 0, "attempts_max (0) must be from 1 to 64");
        check(|config| config.attempts_max = 65, "attempts_max (65) must be from 1 to 64");
        check(|config| config.passes_max = 0, "passes_max (0) must be from 1 to 64");
        check(|config| config.trial_validations = 0, "trial_validations (0) must be from 1 to 1000000");
        check(|config| config.trial_max_ms = 1, "");
        check(|config| config.trial_max_ms = 0, "trial_max_ms (0 ms) must be from 1 to 316224000000 ms");
        check(|config| config.cooldown_ms = 0, "");
        check(
            |config| config.jitter_ms = u64::MAX,
            "jitter_ms (18446744073709551615 ms) must be from 0 to 316224000000 ms",
        );
    }

    #[test]
    fn the_window_is_longer_than_a_cooldown() {
        check(|config| config.window_ms = 330_001, "");
        check(
            |config| config.window_ms = 330_000,
            "window_ms (330000 ms) must be more than cooldown_ms + jitter_ms (330000 ms)",
        );
    }
}
