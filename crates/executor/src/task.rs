//! What does a payload ask for, and does it make sense?
//!
//! Syntax only: whether a program is allowed, or there is time to run it, is another question, asked on each host.

use crate::{
    COMMAND, EXECUTORS, MATMUL, PAYLOAD_BYTES_MAX, command, matmul,
    printable::{beginning, printable},
};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Parsed and within bounds.
#[derive(Debug)]
pub(crate) enum Task {
    /// Multiply matrices.
    Matmul {
        /// The seed of both.
        seed: u64,
        /// 1..=1024.
        n: usize,
    },
    /// Run a program.
    Command(command::Payload),
}

/// Why a task makes no sense anywhere.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// There is no such executor.
    #[error("there is no executor `{executor}`; there are: {}", EXECUTORS.join(", "))]
    UnknownExecutor {
        /// The name given, shortened to something printable.
        executor: String,
    },
    /// The payload is too long.
    #[error("the payload has {bytes} bytes, but at most {PAYLOAD_BYTES_MAX} are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The payload is no JSON at all.
    #[error("the payload is not JSON: {why}; write it like {example}")]
    NotJson {
        /// What the parser says, with line and column.
        why: String,
        /// A payload that would be taken.
        example: &'static str,
    },
    /// The payload is JSON, but not what this executor reads.
    #[error("the payload does not fit `{executor}`: {why}; write it like {example}")]
    Misfit {
        /// The executor.
        executor: &'static str,
        /// What does not fit, with line and column where there are any.
        why: String,
        /// A payload that would be taken.
        example: &'static str,
    },
}

/// Whether a task makes sense, whoever runs it. Nothing is run.
pub fn check(executor: &str, payload: &[u8]) -> Result<(), Unfit> {
    Task::parse(executor, payload).map(drop)
}

impl Task {
    pub(crate) fn parse(executor: &str, payload: &[u8]) -> Result<Self, Unfit> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Unfit::TooLong { bytes: payload.len() });
        }
        match executor {
            MATMUL => Self::matmul(&read(MATMUL, MATMUL_EXAMPLE, payload)?),
            COMMAND => Ok(Self::Command(read(COMMAND, COMMAND_EXAMPLE, payload)?)),
            unknown => Err(Unfit::UnknownExecutor { executor: excerpt(unknown) }),
        }
    }

    fn matmul(&matmul::Payload { seed, n }: &matmul::Payload) -> Result<Self, Unfit> {
        match usize::try_from(n) {
            Ok(n @ 1..=matmul::N_MAX) => Ok(Self::Matmul { seed, n }),
            Ok(_) | Err(_) => {
                let why = format!("n is {n}, but 1 to {} are possible", matmul::N_MAX);
                Err(Unfit::Misfit { executor: MATMUL, why, example: MATMUL_EXAMPLE })
            }
        }
    }
}

const MATMUL_EXAMPLE: &str = r#"{"seed": 7, "n": 256}"#;
const COMMAND_EXAMPLE: &str = r#"{"program": "sort", "input": "b\na\n"}"#;

/// A parser quotes what it does not know, however long that is.
const EXCERPT_BYTES_MAX: usize = 120;

fn read<T: DeserializeOwned>(executor: &'static str, example: &'static str, payload: &[u8]) -> Result<T, Unfit> {
    let parsed: T = serde_json::from_slice(payload).map_err(|error| {
        let why = excerpt(&error.to_string());
        match error.classify() {
            Category::Data => Unfit::Misfit { executor, why, example },
            Category::Io | Category::Syntax | Category::Eof => Unfit::NotJson { why, example },
        }
    })?;
    // The parser would take `[7, 256]` for the fields in order, and every such second spelling is one to keep for ever.
    if payload.trim_ascii_start().starts_with(b"[") {
        let why = "it is an array, not an object".to_string();
        return Err(Unfit::Misfit { executor, why, example });
    }
    Ok(parsed)
}

fn excerpt(text: &str) -> String {
    // Line and column stand at the end.
    let text = printable(text);
    match text.rsplit_once(" at line ") {
        Some((what, place)) => format!("{} at line {place}", beginning(what, EXCERPT_BYTES_MAX)),
        None => beginning(&text, EXCERPT_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(executor: &str, payload: &str) {
        assert_eq!(check(executor, payload.as_bytes()), Ok(()), "{payload}");
    }

    fn unfit(executor: &str, payload: impl AsRef<[u8]>, words: &[&str]) {
        let message = check(executor, payload.as_ref()).expect_err("unfit").to_string();
        for word in words {
            assert!(message.contains(word), "{word:?} is not in {message:?}");
        }
        assert!(message.len() < 300 && printable(&message) == message, "{message:?}");
    }

    #[test]
    fn what_makes_sense_is_taken() {
        fits("matmul", r#"{"seed": 0, "n": 1}"#);
        fits("matmul", r#"{"n":1024,"seed":18446744073709551615}"#);
        fits("command", r#"{"program": "sort"}"#);
        fits("command", "\n{\"program\": \"sort\", \"input\": \"b\\na\\u0000\\n\"}\n");
    }

    #[test]
    fn an_unknown_executor_is_told_the_known_ones() {
        unfit("shell", "{}", &["no executor `shell`", "there are: matmul, command"]);
        unfit("", "{}", &["no executor ``"]);
        unfit(&format!("\u{1b}[2J{}", "x".repeat(999)), "{}", &["no executor `[2Jx", "…`"]);
    }

    #[test]
    fn what_is_not_json_is_shown_with_its_place() {
        unfit("matmul", "", &["not JSON", "line 1 column 0", r#"like {"seed": 7, "n": 256}"#]);
        unfit("matmul", "seed=7", &["not JSON", "line 1 column 1"]);
        unfit("command", "{\"program\": \"sort\",\n \"input\": }", &["not JSON", "line 2 column 11"]);
        unfit("command", b"{\"program\": \"\xff\"}", &["not JSON", "line 1"]);
        unfit("command", r#"{"program": "sort"} and more"#, &["not JSON", "trailing characters", "column 21"]);
        unfit("command", "[".repeat(PAYLOAD_BYTES_MAX), &["line 1"]);
    }

    #[test]
    fn fields_that_do_not_fit_are_named() {
        unfit("matmul", r#"{"seed": 7}"#, &["does not fit `matmul`", "missing field `n`", "line 1 column 11"]);
        unfit("matmul", r#"{"seed": 7, "n": 3, "m": 3}"#, &["unknown field `m`, expected `seed` or `n`"]);
        unfit("matmul", r#"{"seed": 7, "seed": 8, "n": 3}"#, &["duplicate field `seed`"]);
        unfit("matmul", r#"{"seed": -1, "n": 3}"#, &["integer `-1`, expected u64"]);
        unfit("matmul", r#"{"seed": 18446744073709551616, "n": 3}"#, &["expected u64"]);
        unfit("matmul", r#"{"seed": 7, "n": 3.0}"#, &["floating point"]);
        unfit("matmul", "7", &["does not fit", "integer `7`"]);
        unfit("matmul", " [7, 3]", &["an array, not an object"]);
        unfit("command", r#"{"input": "x"}"#, &["does not fit `command`", "missing field `program`"]);
        unfit("command", r#"{"program": "sort", "args": ["-r"]}"#, &["unknown field `args`"]);
        unfit("command", r#"{"program": "sort", "input": null}"#, &["null, expected a string"]);
        let payload = format!(r#"{{"{}": 1}}"#, "x".repeat(60_000));
        unfit("command", payload, &["unknown field `xxx", "…", "at line 1 column 60003"]);
    }

    #[test]
    fn both_ends_of_the_range_of_n_are_kept() {
        unfit("matmul", r#"{"seed": 7, "n": 0}"#, &["n is 0, but 1 to 1024"]);
        unfit("matmul", r#"{"seed": 7, "n": 1025}"#, &["n is 1025, but 1 to 1024"]);
        unfit("matmul", r#"{"seed": 7, "n": 18446744073709551615}"#, &["n is 18446744073709551615, but"]);
    }

    #[test]
    fn a_payload_is_as_long_as_it_may_be_and_no_longer() {
        let payload = |bytes: usize| {
            let frame = r#"{"program":"wc","input":""}"#.len();
            format!(r#"{{"program":"wc","input":"{}"}}"#, "x".repeat(bytes - frame))
        };
        fits("command", &payload(PAYLOAD_BYTES_MAX));
        unfit("command", payload(PAYLOAD_BYTES_MAX + 1), &["has 65537 bytes, but at most 65536"]);
        unfit("matmul", vec![b' '; 1 << 20], &["has 1048576 bytes"]);
    }
}
