//! Why is there no result, and whose fault is it?

use crate::printable::{beginning, ending, printable};

/// The longest reason, bytes: it goes into a transaction, and onto one line of a screen.
pub const REASON_BYTES_MAX: usize = 200;

/// Why a task has no result. Its words are for people: one line, at most [`REASON_BYTES_MAX`] bytes, nothing
/// invisible.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Failed {
    reason: String,
    fault: Fault,
}

/// Whose fault is it?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The task's: another host would most likely come to the same end.
    Task,
    /// This host's: another one may well succeed.
    Host,
}

impl Failed {
    /// The task is at fault.
    pub(crate) fn task(reason: &str) -> Self {
        Self { reason: beginning(&printable(reason), REASON_BYTES_MAX), fault: Fault::Task }
    }

    /// This host is at fault.
    pub(crate) fn host(reason: &str) -> Self {
        Self { fault: Fault::Host, ..Self::task(reason) }
    }

    /// The task is at fault, and these are its own last words. If there is no room for all of them, the last ones are
    /// kept: programs say the most important thing at the end.
    pub(crate) fn task_with_words(reason: &str, words: &str) -> Self {
        let (reason, words) = (printable(reason), printable(words));
        let room = REASON_BYTES_MAX.saturating_sub(reason.len() + ": ".len());
        if words.is_empty() || room < WORDS_BYTES_MIN {
            return Self::task(&reason);
        }
        Self::task(&format!("{reason}: {}", ending(&words, room)))
    }

    /// What happened.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

/// Fewer bytes of somebody's words would say nothing.
const WORDS_BYTES_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_printable_line() {
        let failed = Failed::host(&format!("no\nroom\u{7} {}", "ä".repeat(200)));
        assert!(failed.reason().starts_with("no room ä"), "{failed}");
        assert!((REASON_BYTES_MAX - 1..=REASON_BYTES_MAX).contains(&failed.reason().len()));
        assert_eq!(failed.fault(), Fault::Host);
    }

    #[test]
    fn the_end_of_long_last_words_is_kept() {
        assert_eq!(Failed::task_with_words("it ended", "\n").reason(), "it ended");
        assert_eq!(Failed::task_with_words("it ended", "no file\n").reason(), "it ended: no file");
        let failed = Failed::task_with_words("it ended", &format!("{} the cause", "trace ".repeat(99)));
        assert!(failed.reason().starts_with("it ended: …"), "{failed}");
        assert!(failed.reason().ends_with("the cause"), "{failed}");
        assert!(failed.reason().len() <= REASON_BYTES_MAX);
        assert_eq!(Failed::task_with_words(&"x".repeat(195), "words and more").reason(), "x".repeat(195));
    }
}
