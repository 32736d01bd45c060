//! What may a program take, and as whom?

use crate::{job::Job, processes};
use rustix::process::{Pid, Resource, Rlimit, geteuid, getpid, getrlimit, getuid, setpriority_process, setrlimit};
use std::{fs, process::Child, time::Duration};

/// Files, pipes and sockets at once: enough for any filter.
const FILES_MAX: u64 = 64;

/// Far above the ids that systems give to people, services and containers, and below 2^31, where some tools overflow.
const USERS_START: u32 = 2_000_000_000;

/// What a user may start for other reasons after we counted, if the program runs as that same user: without it,
/// threads of the validator could keep a program from starting a process.
const NEIGHBOURS_MAX: u64 = 32;

/// What the launcher needs to watch: the output and a look at `/proc`.
const OWN_BYTES_MAX: u64 = 16 << 20;

/// More CPU time than the program, so that the kernel does not kill the one who cleans up.
const OWN_CPU: Duration = Duration::from_secs(30);

/// The user that the program of this launcher runs as under root. No two launchers have the same id at once.
pub(crate) fn user_of(launcher: i32) -> u32 {
    USERS_START + launcher.unsigned_abs()
}

/// A user of the program's own, if we may choose. Inside a user namespace root has only some users to choose from; if
/// ours is not among them the program runs as that root, who has no power outside.
pub(super) fn own_user() -> Option<u32> {
    let user = user_of(getpid().as_raw_pid());
    let possible = |map| fs::read_to_string(map).is_ok_and(|map| contains(&map, user.into()));
    (geteuid().is_root() && possible("/proc/self/uid_map") && possible("/proc/self/gid_map")).then_some(user)
}

/// Whether one line of a map (`inside outside length`) holds this id.
fn contains(map: &str, id: u64) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [inside, _, length] if (inside..inside.saturating_add(length)).contains(&id))
    })
}

/// Limits this process and with it what it starts.
pub(super) fn set(job: &Job, user: Option<u32>) -> Result<(), String> {
    let own_kibibytes = processes::status("self", "VmSize").ok_or("/proc shows no processes; mount it")?;
    let own_bytes = own_kibibytes * 1024 + OWN_BYTES_MAX;
    if job.memory_bytes < own_bytes {
        let mebibytes = own_bytes.div_ceil(1 << 20);
        return Err(format!("the launcher itself needs {mebibytes} MiB; raise the memory limit"));
    }
    let processes = match user {
        // Nobody else is this user.
        Some(_) => job.processes,
        None => processes::tasks_of(getuid().as_raw()) + job.processes + NEIGHBOURS_MAX,
    };
    let cpu = Duration::from_millis(job.wall_ms).as_millis().div_ceil(1000) as u64;
    for (resource, soft, hard) in [
        (Resource::As, job.memory_bytes, job.memory_bytes),
        (Resource::Core, 0, 0),
        (Resource::Cpu, cpu, cpu.saturating_add(OWN_CPU.as_secs())),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, FILES_MAX, FILES_MAX),
        (Resource::Nproc, processes, processes),
    ] {
        limit(resource, soft, hard).map_err(|error| format!("the limit {resource:?} cannot be set: {error}"))?;
    }
    Ok(())
}

/// Takes for the launcher what it kept from the program: CPU time.
pub(super) fn relax() {
    let limit = getrlimit(Resource::Cpu);
    setrlimit(Resource::Cpu, Rlimit { current: limit.maximum, ..limit })
        .expect("a soft limit may rise to the hard one");
}

/// Gives the program a tenth of what the validator and we get of a busy processor, so that votes are in time and the
/// killer is faster than what it kills. Its very first moments are not covered: a process without special rights
/// could not take its own lower priority back, so it has to be given from outside. In a container root may lack even
/// that one.
pub(super) fn yield_to_others(program: &Child) {
    let id = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
    let _ = setpriority_process(id, 10);
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: Resource, soft: u64, hard: u64) -> rustix::io::Result<()> {
    let maximum = getrlimit(resource).maximum.map_or(hard, |maximum| maximum.min(hard));
    setrlimit(resource, Rlimit { current: Some(soft.min(maximum)), maximum: Some(maximum) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_possible_if_a_line_of_the_map_holds_it() {
        let user = user_of(4_194_304).into();
        assert!(contains("         0          0 4294967295\n", user));
        assert!(!contains("         0       1000          1\n         1     100000      65536\n", user));
        assert!(contains("0 1000 1\n2000000000 5 4194305\n", user));
        assert!(!contains("0 1000 1\n2000000000 5 4194304\n", user));
        assert!(!contains("", user));
    }
}
