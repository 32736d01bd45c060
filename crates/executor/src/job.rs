//! What do a validator and its launcher say to each other?
//!
//! ```text
//! validator  ── one line of JSON: Job ── the input's bytes ── (the pipe stays open) ──> launcher
//! validator  <── one line of JSON: Report ── the output's bytes ── (end) ────────────── launcher
//! ```
//!
//! That the first pipe stays open says that the validator still wants the result.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, BufRead, Read as _, Write},
    path::PathBuf,
};

/// Most bytes of either first line; a path and the arguments an operator writes are far shorter.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 10;

/// Most characters of what a program said last on its standard error.
pub(crate) const LAST_WORDS_MAX: usize = 200;

/// A program to run and how much it may take.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) input_bytes: usize,
    pub(crate) output_bytes_max: usize,
    pub(crate) wall_ms: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u64,
}

/// How it went.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) end: End,
    /// What the program said last on its standard error: one printable line.
    pub(crate) last_words: String,
    pub(crate) output_bytes: usize,
}

/// How a program ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// By itself.
    Code(i32),
    /// By a signal, not one of the launcher's.
    Signal(i32),
    /// Killed: it took too long.
    OutOfTime,
    /// Killed: it printed too much.
    TooMuchOutput,
    /// It could not be started, and why.
    NotStarted(String),
    /// Something of it is still there, whatever was tried.
    NotKilled,
}

impl Job {
    pub(crate) fn write(&self) -> Vec<u8> {
        line(self)
    }

    /// The job and its input.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<(Self, Vec<u8>)> {
        let mut text = Vec::new();
        from.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut text)?;
        let job: Self = parse(&text)?;
        let mut input = Vec::new();
        from.take(job.input_bytes as u64).read_to_end(&mut input)?;
        if input.len() < job.input_bytes {
            return Err(invalid(format!("the input ends after {} of {} bytes", input.len(), job.input_bytes)));
        }
        Ok((job, input))
    }
}

impl Report {
    pub(crate) fn write(&self, output: &[u8], to: &mut impl Write) -> io::Result<()> {
        to.write_all(&line(self))?;
        to.write_all(output)?;
        to.flush()
    }

    /// The report and the output from everything a launcher wrote.
    pub(crate) fn parse(answer: &[u8]) -> io::Result<(Self, &[u8])> {
        let head = answer.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let (text, output) = answer.split_at(head);
        let report: Self = parse(text)?;
        if output.len() != report.output_bytes {
            return Err(invalid(format!("the output has {} bytes, not {}", output.len(), report.output_bytes)));
        }
        Ok((report, output))
    }
}

fn line(document: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(document).expect("plain fields, and paths that were checked to be UTF-8");
    line.push(b'\n');
    line
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    match line.strip_suffix(b"\n") {
        Some(text) => serde_json::from_slice(text).map_err(|error| invalid(error.to_string())),
        None => Err(invalid("there is no whole first line".to_string())),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            path: "/bin/sort".into(),
            args: vec!["-t\n".to_string()],
            input_bytes: 4,
            output_bytes_max: 64,
            wall_ms: 30_000,
            memory_bytes: 1 << 30,
            processes: 16,
        }
    }

    #[test]
    fn a_job_arrives_as_it_was_sent() {
        let message = [job().write(), b"b\na\n and more".to_vec()].concat();
        let read = Job::read(&mut &message[..]).expect("a whole job");
        assert_eq!(read, (job(), b"b\na\n".to_vec()));
    }

    #[test]
    fn half_a_job_is_none() {
        let message = [job().write(), b"b\na\n".to_vec()].concat();
        for end in 0..message.len() {
            assert!(Job::read(&mut &message[..end]).is_err(), "{end}");
        }
        assert!(Job::read(&mut &vec![b' '; 1 << 20][..]).is_err(), "a line without an end");
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        for end in [
            End::Code(0),
            End::Signal(11),
            End::OutOfTime,
            End::TooMuchOutput,
            End::NotStarted("no\nsuch".to_string()),
            End::NotKilled,
        ] {
            let report = Report { end, last_words: "ä\n".to_string(), output_bytes: 3 };
            let mut answer = Vec::new();
            report.write(b"\n\0\xff", &mut answer).expect("memory");
            assert_eq!(Report::parse(&answer).expect("a whole report"), (report, &b"\n\0\xff"[..]));
            for end in 0..answer.len() {
                assert!(Report::parse(&answer[..end]).is_err(), "{end}");
            }
            assert!(Report::parse(&[&answer[..], b"x"].concat()).is_err(), "more than announced");
        }
    }
}
