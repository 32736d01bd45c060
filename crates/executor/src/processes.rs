//! Which processes are there, and who started them?
//!
//! The system's own word for it, from `/proc`.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

/// One process as it was a moment ago.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) id: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) state: State,
}

/// What can be expected of a process?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// Anything: it runs, or waits for something.
    Live,
    /// Nothing until somebody continues it.
    Stopped,
    /// Nothing any more: it waits for its parent to take notice.
    Dead,
}

impl Process {
    /// The line of `/proc/<id>/stat`: `17 (name) S parent group session ...`. A name may contain anything, even `) S
    /// 1`; what follows it cannot contain a parenthesis.
    fn parse(stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        let id = number(stat.split(|&byte| byte == b' ').next()?)?;
        let mut fields = stat[name_end + 1..].trim_ascii_start().split(|&byte| byte == b' ');
        let state = match fields.next()? {
            b"Z" | b"X" => State::Dead,
            b"T" => State::Stopped,
            _ => State::Live,
        };
        let parent = number(fields.next()?)?;
        let session = number(fields.nth(1)?)?;
        Some(Self { id, parent, session, state })
    }

    /// That it is gone already, or not ours to signal, is no error.
    fn signal(self, signal: Signal) {
        if let Some(id) = Pid::from_raw(self.id) {
            let _ = kill_process(id, signal);
        }
    }
}

fn number(digits: &[u8]) -> Option<i32> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// All there are. Those that come or go meanwhile may be missing.
pub(crate) fn all() -> Vec<Process> {
    let stat = |id| Process::parse(&fs::read(format!("/proc/{id}/stat")).ok()?);
    ids().into_iter().filter_map(stat).collect()
}

/// Those of `all` that descend from `root`, which is not among them.
pub(crate) fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut family = BTreeSet::from([root]);
    loop {
        let known = family.len();
        let children = all.iter().filter(|process| family.contains(&process.parent));
        let children: Vec<i32> = children.map(|process| process.id).collect();
        family.extend(children);
        if family.len() == known {
            break;
        }
    }
    all.iter().filter(|process| process.id != root && family.contains(&process.id)).copied().collect()
}

/// How many processes and threads of this (real) user there are, as RLIMIT_NPROC counts them.
pub(crate) fn tasks_of(user: u32) -> u64 {
    let ids = ids().into_iter().map(|id| id.to_string());
    ids.filter(|id| status(id, "Uid") == Some(user.into())).filter_map(|id| status(&id, "Threads")).sum()
}

/// The first number behind this name in `/proc/<id>/status`.
pub(crate) fn status(id: &str, name: &str) -> Option<u64> {
    let text = fs::read(format!("/proc/{id}/status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Kills those that `of` picks from all there are, again and again, because they may start others meanwhile, until
/// all of them are dead and `done`. Whether that came about in time.
///
/// They are stopped first, until none is live: whoever is stopped starts nothing, frees no place for another, and
/// leaves the processor to us. Those that continue each other have only some time for that, and are killed all the
/// same.
pub(crate) fn kill(of: impl Fn(&[Process]) -> Vec<Process>, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < KILL_TIMEOUT {
        let picked = of(&all());
        let is_live = picked.iter().any(|process| process.state == State::Live);
        let signal = if is_live && start.elapsed() < STOP_TIMEOUT { Signal::STOP } else { Signal::KILL };
        picked.iter().for_each(|process| process.signal(signal));
        if picked.iter().all(|process| process.state == State::Dead) && done() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// How long killing may take. Only a process that the kernel itself holds, waiting for a disk, outlives SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to stop before killing.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Long enough for a signal to be heard, short enough for nobody to wait.
const PAUSE: Duration = Duration::from_micros(500);

fn ids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{getpid, getppid, getsid, getuid};

    #[test]
    fn a_name_cannot_lie_about_its_process() {
        let process = Process { id: 7, parent: 5, session: 3, state: State::Live };
        assert_eq!(Process::parse(b"7 (sleep) S 5 4 3 0 -1 4194304 1"), Some(process));
        assert_eq!(Process::parse(b"7 (a) Z 1 1 1 \xff\n(b) R 5 4 3 0"), Some(process));
        assert_eq!(Process::parse(b"7 (sleep) Z 5 4 3 0"), Some(Process { state: State::Dead, ..process }));
        assert_eq!(Process::parse(b"7 (sleep) T 5 4 3 0"), Some(Process { state: State::Stopped, ..process }));
        for broken in [&b""[..], b"7", b"7 (sleep", b"7 (sleep)", b"7 (sleep) S", b"7 (sleep) S 5 4", b"x (y) S 5 4 3"]
        {
            assert_eq!(Process::parse(broken), None, "{}", String::from_utf8_lossy(broken));
        }
    }

    #[test]
    fn this_process_is_found_as_it_is() {
        let me = all().into_iter().find(|process| process.id == getpid().as_raw_pid()).expect("it runs");
        assert_eq!(me.parent, Pid::as_raw(getppid()));
        assert_eq!(me.session, Pid::as_raw(getsid(None).ok()));
        assert_eq!(me.state, State::Live);
        assert_eq!(status("self", "Uid"), Some(getuid().as_raw().into()));
        assert!(tasks_of(getuid().as_raw()) >= status("self", "Threads").expect("it runs"));
        assert_eq!(status("self", "Nothing"), None);
        assert_eq!(status("0", "Uid"), None);
    }

    #[test]
    fn grandchildren_are_below_in_any_order() {
        let process = |id, parent| Process { id, parent, session: 0, state: State::Live };
        let all = [process(9, 12), process(10, 1), process(11, 10), process(12, 11), process(13, 1), process(1, 0)];
        let ids = |root| below(root, &all).iter().map(|process| process.id).collect::<Vec<_>>();
        assert_eq!(ids(10), [9, 11, 12]);
        assert_eq!(ids(12), [9]);
        assert_eq!(ids(13), [0; 0]);
    }
}
