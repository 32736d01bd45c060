//! What went wrong, how to mend it, and which code does the process end with?

use std::{fmt::Display, io, path::Path, process::ExitCode};

use serde::{Deserialize, Serialize};

/// Every code this program ends with, except those of the simulator's own verdicts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or healthy.
    Ok = 0,
    /// A bug.
    Unexpected = 1,
    /// The command line makes no sense. Clap's own code.
    Usage = 2,
    /// A configuration or a file of ours is invalid.
    Config = 3,
    /// A validator cannot be reached, or not in time.
    Unreachable = 4,
    /// A safety guard said no.
    Refused = 5,
    /// There is no such thing.
    NotFound = 6,
    /// The supervisor gave its validator up.
    GaveUp = 7,
    /// `--check`: one more failure stops finality, or somebody is missing.
    Degraded = 10,
    /// `--check`: not all hear each other, or this side is a minority.
    Partitioned = 11,
    /// `--check`: nothing becomes final.
    Halted = 12,
    /// `--check`: somebody was proved to have lied.
    UnderAttack = 13,
    /// Simulation or demo: an expectation was missed. `verify store`: something is damaged.
    Missed = 20,
    /// Simulation: a "sometimes" property never occurred.
    TooWeak = 21,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What the operator reads when something went wrong.
#[derive(Clone, Debug, Deserialize, Serialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What, and where.
    pub(crate) message: String,
    /// How to mend it; empty when nothing can be said.
    pub(crate) help: String,
    /// The code to end with.
    pub(crate) exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), exit }
    }

    pub(crate) fn unexpected(message: impl Into<String>) -> Self {
        Self::new(Exit::Unexpected, message, "")
    }

    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, help)
    }

    pub(crate) fn config(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Config, message, help)
    }

    pub(crate) fn unreachable(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message, help)
    }

    pub(crate) fn refused(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message, help)
    }

    pub(crate) fn not_found(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message, help)
    }

    /// For `map_err` after file operations: `cannot <act> <path>: <why>`.
    pub(crate) fn file(act: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("cannot {act} {}", path.display());
        move |error| {
            let help = match error.kind() {
                io::ErrorKind::StorageFull => "the disk is full: make room and try again",
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::PermissionDenied => "check who owns it and its mode",
                io::ErrorKind::ReadOnlyFilesystem => "choose a folder that can be written to",
                _ => "",
            };
            Self::config(format!("{what}: {error}"), help)
        }
    }
}

impl From<validator::ConfigError> for Failure {
    fn from(error: validator::ConfigError) -> Self {
        Self::config(error.to_string(), "`unsplit config print-default` shows every key with its default")
    }
}

/// The validator's own words and code.
impl From<validator::StartError> for Failure {
    fn from(error: validator::StartError) -> Self {
        let exit = match error.exit_code() {
            3 => Exit::Config,
            5 => Exit::Refused,
            _ => Exit::Unexpected,
        };
        Self::new(exit, error.to_string(), "")
    }
}

/// `n1, n2 and n3`.
pub(crate) fn listed<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        None => "none".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_manual() {
        let codes = [
            (Exit::Ok, 0),
            (Exit::Unexpected, 1),
            (Exit::Usage, 2),
            (Exit::Config, 3),
            (Exit::Unreachable, 4),
            (Exit::Refused, 5),
            (Exit::NotFound, 6),
            (Exit::GaveUp, 7),
            (Exit::Degraded, 10),
            (Exit::Partitioned, 11),
            (Exit::Halted, 12),
            (Exit::UnderAttack, 13),
            (Exit::Missed, 20),
            (Exit::TooWeak, 21),
            (Exit::Interrupted, 130),
            (Exit::Terminated, 143),
        ];
        for (exit, code) in codes {
            assert_eq!(exit as u8, code);
        }
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(listed::<&str>([]), "none");
        assert_eq!(listed(["n1"]), "n1");
        assert_eq!(listed(["n1", "n2", "n3"]), "n1, n2 and n3");
    }
}
