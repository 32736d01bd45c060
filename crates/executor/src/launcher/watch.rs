//! Is it over, and how did it end?

use crate::{
    job::{End, Job, LAST_WORDS_MAX, Report},
    printable::printable,
    processes,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, ioctl_fionbio},
    process::{Pid, Signal, WaitOptions, getpid, kill_process_group, wait},
};
use std::{
    io::{self, Read, Write as _},
    os::{fd::AsFd, unix::process::ExitStatusExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

/// How often to look whether the program has ended; everything else wakes us at once.
const TICK: Duration = Duration::from_millis(5);

/// Most bytes taken from a pipe at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Most chunks taken from a pipe after everybody who could write is dead: a pipe holds at most 1 MiB.
const CHUNKS_LEFT_MAX: usize = (1 << 20) / CHUNK_BYTES;

/// Bytes of standard error kept; characters have up to four, and many may not be printable.
const LAST_BYTES_MAX: usize = 1024;

/// A program and the ends of its pipes. A pipe that has ended is gone.
pub(super) struct Watch<'a> {
    job: &'a Job,
    deadline: Instant,
    program: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What of the input is not written yet.
    input: &'a [u8],
    output: Vec<u8>,
    last_bytes: Vec<u8>,
}

impl<'a> Watch<'a> {
    /// The time of the program begins now.
    pub(super) fn new(job: &'a Job, mut program: Child, input: &'a [u8]) -> Self {
        Self {
            job,
            deadline: Instant::now() + Duration::from_millis(job.wall_ms),
            stdin: program.stdin.take().map(unblocked),
            stdout: program.stdout.take().map(unblocked),
            stderr: program.stderr.take().map(unblocked),
            program,
            input,
            output: Vec::new(),
            last_bytes: Vec::new(),
        }
    }

    /// Waits until it is over and kills what is left. Nothing if nobody waits for the result any more.
    pub(super) fn until_over(mut self) -> Option<(Report, Vec<u8>)> {
        let end = self.until_end();
        self.stop_group();
        if !kill_all_below() {
            return end.map(|_| self.report(End::NotKilled));
        }
        self.take_what_is_left();
        let end = if self.has_too_much() { end.map(|_| End::TooMuchOutput) } else { end };
        end.map(|end| self.report(end))
    }

    fn until_end(&mut self) -> Option<End> {
        loop {
            if self.has_too_much() {
                return Some(End::TooMuchOutput);
            }
            if let Some(status) = self.program.try_wait().expect("a child of our own that nobody else waits for") {
                let code = status.code().map(End::Code);
                return code.or_else(|| status.signal().map(End::Signal));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(End::OutOfTime);
            }
            if !self.is_wanted_after(left.min(TICK)) {
                return None;
            }
            self.write();
            self.read();
        }
    }

    /// Waits until a pipe is ready, but not longer than this. Whether the validator is still there.
    fn is_wanted_after(&self, longest: Duration) -> bool {
        let validator = io::stdin();
        // That a pipe has ended is always told, even to those who ask for nothing.
        let mut pipes = vec![PollFd::new(&validator, PollFlags::empty())];
        pipes.extend(self.stdin.iter().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        pipes.extend(self.stdout.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        pipes.extend(self.stderr.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let longest = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
        // An interrupted wait is only a shorter one.
        let _ = poll(&mut pipes, Some(&longest));
        !pipes[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Stops most of what is to be killed at one blow, as long as it has stayed together: a look at `/proc` takes its
    /// time while hundreds of processes fight for the processor. Once the program has ended, its id may be another's.
    fn stop_group(&mut self) {
        let is_over = self.program.try_wait().is_ok_and(|status| status.is_some());
        let group = i32::try_from(self.program.id()).ok().and_then(Pid::from_raw);
        if let (false, Some(group)) = (is_over, group) {
            let _ = kill_process_group(group, Signal::STOP);
        }
    }

    fn write(&mut self) {
        let Some(pipe) = &mut self.stdin else { return };
        match pipe.write(self.input) {
            Ok(written) => self.input = &self.input[written..],
            Err(error) if is_passing(&error) => {}
            // The program does not care for the rest.
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            self.stdin = None;
        }
    }

    /// Whether there was anything.
    fn read(&mut self) -> bool {
        let output = read(&mut self.stdout, &mut self.output);
        let words = read(&mut self.stderr, &mut self.last_bytes);
        self.last_bytes.drain(..self.last_bytes.len().saturating_sub(LAST_BYTES_MAX));
        output || words
    }

    /// What was still in the pipes when everybody who could write was dead.
    fn take_what_is_left(&mut self) {
        for _ in 0..CHUNKS_LEFT_MAX {
            if self.has_too_much() || !self.read() {
                break;
            }
        }
    }

    fn has_too_much(&self) -> bool {
        self.output.len() > self.job.output_bytes_max
    }

    /// Output beyond the limit is no output.
    fn report(&mut self, end: End) -> (Report, Vec<u8>) {
        let words = printable(&String::from_utf8_lossy(&self.last_bytes));
        let last_words = words.chars().skip(words.chars().count().saturating_sub(LAST_WORDS_MAX)).collect();
        let output = if self.has_too_much() { Vec::new() } else { std::mem::take(&mut self.output) };
        (Report { end, last_words, output_bytes: output.len() }, output)
    }
}

/// Kills everything that descends from this process. Whether nothing of it is left.
fn kill_all_below() -> bool {
    let me = getpid().as_raw_pid();
    // Most programs leave nobody behind; for the others, burying their dead this once gives back few places.
    has_no_children() || processes::kill(|all| processes::below(me, all), has_no_children)
}

/// Buries the dead, and says whether nobody is left. Not to be asked again and again while somebody lives: see
/// [`crate::launcher`].
fn has_no_children() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn unblocked<T: AsFd>(pipe: T) -> T {
    ioctl_fionbio(&pipe, true).expect("every pipe can do without blocking");
    pipe
}

/// Adds what is there now. Whether there was anything.
fn read(pipe: &mut Option<impl Read>, to: &mut Vec<u8>) -> bool {
    let Some(open) = pipe else { return false };
    let mut chunk = [0; CHUNK_BYTES];
    match open.read(&mut chunk) {
        Ok(0) => *pipe = None,
        Ok(bytes) => to.extend(&chunk[..bytes]),
        Err(error) if is_passing(&error) => return false,
        Err(_) => *pipe = None,
    }
    pipe.is_some()
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
