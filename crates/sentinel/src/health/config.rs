//! What may be chosen about watching others, and what goes together.

/// Microseconds in a year.
const YEAR_US: u64 = 31_557_600_000_000;

/// See the module. Times are microseconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// How often rows are meant to come. Half a second leaves half of the second that detection may take for asking.
    pub heartbeat_us: u64,
    /// The budget of mistakes: how many thousandths of a false suspicion a year are acceptable for each node that is
    /// watched. One a year, so that a hundred nodes see one in four days from each observer, and hardly ever two at once.
    pub false_suspicions_per_node_year_milli: u64,
    /// Through how many others probes go, besides the direct one. The first wave, which ends most doubts, goes through one
    /// of them and costs six messages; later waves go through twice this number and one. With three, three waves are
    /// enough evidence at a loss of one in ten.
    pub helpers: u32,
    /// Time between waves of probes: longer than most bursts of losses on a local network, short against a heartbeat.
    pub wave_us: u64,
    /// The least a peer may be overdue before it is suspected: what the scheduler of a busy machine takes now and then.
    pub stall_us_min: u64,
    /// The longest pause that is waited for, and until anything was heard of a peer, what is waited.
    pub stall_us_max: u64,
    /// After so much silence a peer is suspected whatever else is known, unless we hear nobody.
    pub silence_us_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_us: 500_000,
            false_suspicions_per_node_year_milli: 1_000,
            helpers: 3,
            wave_us: 40_000,
            stall_us_min: 200_000,
            stall_us_max: 5_000_000,
            silence_us_max: 60_000_000,
        }
    }
}

/// What does not go together.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Rows closer together or further apart than this makes sense for.
    #[error("heartbeat_us ({0}) must be from 10000 (10 ms) to 60000000 (60 s)")]
    Heartbeat(u64),
    /// No mistakes at all cannot be promised, and too many are none.
    #[error("false_suspicions_per_node_year_milli ({0}) must be from 1 to 1000000000")]
    Budget(u64),
    /// More helpers than this are a flood.
    #[error("helpers ({0}) must be at most 16")]
    Helpers(u32),
    /// Waves must follow each other within a heartbeat.
    #[error("wave_us ({wave}) must be from 1000 to heartbeat_us ({heartbeat})")]
    Wave {
        /// `wave_us`.
        wave: u64,
        /// `heartbeat_us`.
        heartbeat: u64,
    },
    /// The waits must be in order, and the largest one below the silence that ends all waiting.
    #[error("stall_us_min ({min}) <= stall_us_max ({max}) <= silence_us_max ({silence}) <= 3600000000 (1 h) must hold")]
    Stalls {
        /// `stall_us_min`.
        min: u64,
        /// `stall_us_max`.
        max: u64,
        /// `silence_us_max`.
        silence: u64,
    },
}

impl Config {
    /// Whether it all goes together.
    ///
    /// # Errors
    /// Names the first thing that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { heartbeat_us: heartbeat, wave_us: wave, helpers, .. } = *self;
        let (min, max, silence) = (self.stall_us_min, self.stall_us_max, self.silence_us_max);
        let budget = self.false_suspicions_per_node_year_milli;
        if !(10_000..=60_000_000).contains(&heartbeat) {
            return Err(ConfigError::Heartbeat(heartbeat));
        }
        if !(1..=1_000_000_000).contains(&budget) {
            return Err(ConfigError::Budget(budget));
        }
        if helpers > 16 {
            return Err(ConfigError::Helpers(helpers));
        }
        if !(1_000..=heartbeat).contains(&wave) {
            return Err(ConfigError::Wave { wave, heartbeat });
        }
        if min > max || max > silence || silence > 3_600_000_000 {
            return Err(ConfigError::Stalls { min, max, silence });
        }
        Ok(())
    }

    /// Heartbeats for which one mistake is allowed; at least one.
    pub(super) const fn beats_per_mistake(&self) -> u64 {
        let beats_per_year = YEAR_US / self.heartbeat_us;
        let beats = beats_per_year.saturating_mul(1_000) / self.false_suspicions_per_node_year_milli;
        if beats == 0 { 1 } else { beats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut Config), words: &str) {
        let mut config = Config::default();
        change(&mut config);
        let said = config.check().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with(words) && said.is_empty() == words.is_empty(), "{said}");
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        check(|_| (), "");
        check(|config| config.heartbeat_us = 9_999, "heartbeat_us (9999)");
        check(|config| (config.heartbeat_us, config.wave_us) = (10_000, 10_000), "");
        check(|config| config.heartbeat_us = 60_000_001, "heartbeat_us");
        check(|config| config.false_suspicions_per_node_year_milli = 0, "false_suspicions");
        check(|config| config.false_suspicions_per_node_year_milli = 1, "");
        check(|config| config.helpers = 16, "");
        check(|config| config.helpers = 17, "helpers (17)");
        check(|config| config.wave_us = 500_000, "");
        check(|config| config.wave_us = 500_001, "wave_us (500001)");
        check(|config| config.wave_us = 999, "wave_us (999)");
        check(|config| config.stall_us_min = config.stall_us_max, "");
        check(|config| config.stall_us_min = config.stall_us_max + 1, "stall_us_min (5000001)");
        check(|config| config.stall_us_max = config.silence_us_max + 1, "stall_us_min");
        check(|config| config.silence_us_max = 3_600_000_001, "stall_us_min");
    }

    #[test]
    fn a_budget_of_one_a_year_is_one_in_63_million_heartbeats() {
        assert_eq!(Config::default().beats_per_mistake(), 63_115_200);
        let generous = Config { false_suspicions_per_node_year_milli: 1_000_000_000, ..Config::default() };
        assert_eq!(generous.beats_per_mistake(), 63);
    }
}
