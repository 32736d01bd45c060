//! Is it worth starting a process again that ended by itself?
//!
//! Yes, after a pause that doubles with each failure: what felled it may pass. But a process that ends in the same way
//! again and again without having done anything between will not be mended by one more start. After a few equal failures
//! in a row the answer is [`Answer::Stop`]: whatever is wrong, it needs a person, and the evidence should be kept before
//! more starts wash it away. Doing something useful resets both; merely having run for a while does not.

use super::{config::ConfigError, jitter::jitter};

/// Bounds of restarts. All times in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// The longest pause before the first start after something useful was done. Short: most crashes are lonely, and a
    /// validator that is back within seconds was hardly missed. Half of it is random.
    pub pause_first_ms: u64,
    /// No pause is longer. A minute is little against the time that people take to look, and much for a disk or a network
    /// that has to come back.
    pub pause_max_ms: u64,
    /// So many equal failures in a row, and it is given up. Two can be one cause that took a moment to go away.
    pub same_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { pause_first_ms: 200, pause_max_ms: 60_000, same_max: 3 }
    }
}

impl Config {
    /// Whether the values are within bounds and fit each other.
    ///
    /// # Errors
    /// Names the first value that does not fit.
    pub const fn check(&self) -> Result<(), ConfigError> {
        const HOUR_MS: u64 = 3_600_000;
        let Self { pause_first_ms, pause_max_ms, same_max } = *self;
        if pause_first_ms == 0 || pause_first_ms > pause_max_ms {
            return Err(ConfigError::Time {
                name: "pause_first_ms",
                value: pause_first_ms,
                least: 1,
                most: pause_max_ms,
            });
        }
        if pause_max_ms > HOUR_MS {
            return Err(ConfigError::Time { name: "pause_max_ms", value: pause_max_ms, least: 1, most: HOUR_MS });
        }
        if same_max < 2 || same_max > 100 {
            return Err(ConfigError::Count { name: "same_max", value: same_max as u64, least: 2, most: 100 });
        }
        Ok(())
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By a signal from outside or of its own making.
    Signal(i32),
    /// It was ended because it stood still.
    Stuck,
}

/// What makes two failures the same: how the process ended, and the last error it wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    ending: Ending,
    line: String,
}

impl Failure {
    /// Digits in the line do not matter: times, heights and process ids differ between equal failures. No more than the
    /// first 256 bytes are compared.
    pub fn new(ending: Ending, line: &str) -> Self {
        const LINE_BYTES_MAX: usize = 256;
        let mut masked = String::new();
        for character in line.trim().chars() {
            let shown = if character.is_ascii_digit() { '#' } else { character };
            if masked.len() + shown.len_utf8() > LINE_BYTES_MAX {
                break;
            }
            if shown != '#' || !masked.ends_with('#') {
                masked.push(shown);
            }
        }
        Self { ending, line: masked }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Start it again after this pause.
    Restart {
        /// In milliseconds.
        pause_ms: u64,
    },
    /// Do not start it again.
    Stop {
        /// How often it failed in this same way.
        same: u32,
    },
}

/// The failures of one process since it last did something useful.
#[derive(Clone, Debug)]
pub struct Crashes {
    config: Config,
    seed: u64,
    /// Failures ever, so that each pause is drawn anew.
    ever: u64,
    /// Failures since the last progress.
    streak: u32,
    last: Option<Failure>,
    /// How often the last one came in a row.
    same: u32,
}

impl Crashes {
    /// None yet. `seed` decides the jitter: every supervisor must have its own.
    ///
    /// # Errors
    /// When the configuration does not fit.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config, seed, ever: 0, streak: 0, last: None, same: 0 })
    }

    /// The process ended by itself, or had to be ended.
    pub fn failed(&mut self, failure: Failure) -> Answer {
        let is_same = self.last.as_ref() == Some(&failure);
        self.same = if is_same { self.same.saturating_add(1) } else { 1 };
        self.last = Some(failure);
        (self.ever, self.streak) = (self.ever.wrapping_add(1), self.streak.saturating_add(1));
        if self.same >= self.config.same_max {
            return Answer::Stop { same: self.same };
        }
        Answer::Restart { pause_ms: self.pause_ms() }
    }

    /// The process did what it is for: what failed before is over.
    pub fn progressed(&mut self) {
        (self.streak, self.same, self.last) = (0, 0, None);
    }

    /// Doubles with each failure up to the cap; the upper half is random ("equal jitter").
    fn pause_ms(&self) -> u64 {
        let doublings = self.streak.saturating_sub(1).min(32);
        let whole = self.config.pause_first_ms.saturating_mul(1 << doublings).min(self.config.pause_max_ms);
        whole / 2 + jitter(self.seed, 0, self.ever, whole - whole / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crashes() -> Crashes {
        Crashes::new(Config::default(), 7).expect("the defaults fit")
    }

    /// Failures in order, `-` for progress: how often is it stopped, and after which?
    fn check(failures: &[(&str, Ending)], stops: &[usize]) {
        let mut crashes = crashes();
        let mut found = Vec::new();
        for (index, (line, ending)) in failures.iter().enumerate() {
            if *line == "-" {
                crashes.progressed();
            } else if matches!(crashes.failed(Failure::new(*ending, line)), Answer::Stop { .. }) {
                found.push(index);
            }
        }
        assert_eq!(found, stops);
    }

    const KILLED: Ending = Ending::Signal(9);
    const FAILED: Ending = Ending::Code(1);

    #[test]
    fn the_same_failure_three_times_in_a_row_is_the_end() {
        check(&[("a", FAILED), ("a", FAILED)], &[]);
        check(&[("a", FAILED), ("a", FAILED), ("a", FAILED)], &[2]);
    }

    #[test]
    fn another_code_another_line_or_progress_between_is_no_loop() {
        check(&[("a", FAILED), ("a", FAILED), ("a", KILLED), ("a", FAILED), ("a", FAILED)], &[]);
        check(&[("a", FAILED), ("a", FAILED), ("b", FAILED), ("a", FAILED), ("a", FAILED)], &[]);
        check(&[("a", FAILED), ("a", FAILED), ("-", FAILED), ("a", FAILED), ("a", FAILED)], &[]);
        check(&[("a", FAILED), ("a", Ending::Stuck), ("b", FAILED), ("b", FAILED), ("b", FAILED)], &[4]);
    }

    #[test]
    fn numbers_in_a_line_do_not_make_it_another_one() {
        let line = |text: &str| Failure::new(FAILED, text);
        assert_eq!(line("16:20:07 height 9 is gone"), line("  16:21:13 height 1042 is gone\n"));
        assert_ne!(line("height 9 is gone"), line("height 9 is lost"));
        let long = "ä".repeat(1_000);
        assert_eq!(line(&long), line(&long[..256]));
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_begin_anew_after_progress() {
        let mut crashes = crashes();
        let mut pause =
            |failure: u32| match crashes.failed(Failure::new(Ending::Code(1), ["a", "b"][failure as usize % 2])) {
                Answer::Restart { pause_ms } => pause_ms,
                Answer::Stop { .. } => panic!("no two are the same"),
            };
        let pauses: Vec<u64> = (0..12).map(&mut pause).collect();
        for (failure, pause) in pauses.iter().enumerate() {
            let whole = (200u64 << failure).min(60_000);
            assert!((whole / 2..=whole).contains(pause), "{failure}: {pause}");
        }
        crashes.progressed();
        assert!(matches!(crashes.failed(Failure::new(Ending::Code(1), "a")), Answer::Restart { pause_ms: 100..=200 }));
    }

    #[test]
    fn configurations_have_bounds() {
        let check = |change: &dyn Fn(&mut Config), fits: bool| {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.check().is_ok(), fits, "{config:?}");
        };
        check(&|config| config.pause_first_ms = 1, true);
        check(&|config| config.pause_first_ms = 0, false);
        check(&|config| config.pause_first_ms = 60_000, true);
        check(&|config| config.pause_first_ms = 60_001, false);
        check(&|config| config.pause_max_ms = 3_600_000, true);
        check(&|config| config.pause_max_ms = 3_600_001, false);
        check(&|config| config.same_max = 2, true);
        check(&|config| config.same_max = 1, false);
    }

    proptest! {
        #[test]
        fn no_run_of_failures_starts_the_same_thing_more_than_twice_again(kinds in prop::collection::vec(0u8..3, 1..200)) {
            let (mut crashes, mut run) = (crashes(), 0);
            let mut last = None;
            for kind in kinds {
                run = if last == Some(kind) { run + 1 } else { 1 };
                last = Some(kind);
                match crashes.failed(Failure::new(Ending::Code(i32::from(kind)), "x")) {
                    Answer::Restart { pause_ms } => {
                        prop_assert!(run < 3);
                        prop_assert!(pause_ms <= 60_000);
                    }
                    Answer::Stop { same } => prop_assert_eq!(same, run),
                }
            }
        }
    }
}
