//! Runs one program under limits, and leaves nothing of it behind.
//!
//! A validator could neither set limits for a program alone nor be sure to clean up after it: our crates forbid the
//! code between fork and exec, and a validator may be killed at any time. So it starts itself once more, as this
//! launcher, which sets the limits on itself, starts the program, which inherits them, and stays until everything is
//! over.
//!
//! **Limits.** Address space, open files (64), processes, CPU time and core files are limited by the kernel; wall
//! time and output by the launcher. No byte can be written to any file. The network is not closed. The program begins
//! in `/`, with an environment of `PATH` and `LANG=C` and nothing else, reads its input from its standard input, can
//! gain no rights (no setuid), and stands back where others need the processor. Under root it runs as a user of its
//! own, 2,000,000,000 + the launcher's process id, who owns nothing and whose processes are counted apart from all
//! others. Elsewhere it has the validator's own rights, apart from writing: it could read the validator's key and
//! kill the validator. So allow only programs that do not run what they read.
//!
//! **Nothing left behind.** Whatever the program starts descends from the launcher, for good: the launcher is a
//! subreaper, so a process whose parent ends becomes the launcher's child, whatever session or group it went into.
//! The launcher looks for its descendants in `/proc`, stops them, and when a look finds none that is live, kills
//! them. It wins the race against programs that start others faster than one can look: the number of processes is
//! limited, one that is stopped keeps its place, and so does a dead one as long as the launcher does not bury it,
//! which it does last. So each look that finds somebody live costs the program a place or two.
//!
//! **The end.** It is over when the program itself ends, not when those it left in the background do; when its time or
//! its output exceeds the limit; or when the launcher's standard input ends, which says that the validator has lost
//! interest or is dead. A launcher that is itself killed cannot clean up; then the validator does what it still can.
//!
//! Linux only. Needs `/proc`, and under root the capabilities that root has in a container: setuid, setgid, kill.

mod limits;
mod watch;

use crate::{
    SEARCH_PATH,
    job::{End, Job, Report},
};
use rustix::{
    process::{getpid, set_child_subreaper, setsid},
    thread::set_no_new_privs,
};
use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
};
use watch::Watch;

pub(crate) use limits::user_of;

/// Reads a job from standard input, runs it, writes what came out to standard output. What a hidden verb of the
/// product calls, first thing in a process of its own: before any thread is started.
pub fn launch() -> ExitCode {
    match Job::read(&mut io::stdin().lock()) {
        Ok((job, input)) => {
            if let Some((report, output)) = run(&job, &input) {
                // A validator that is gone does not read it.
                let _ = report.write(&output, &mut io::stdout().lock());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("launcher: {error}; only a validator can use this, it writes a job to standard input");
            ExitCode::FAILURE
        }
    }
}

/// Nothing if nobody waits for the result any more.
fn run(job: &Job, input: &[u8]) -> Option<(Report, Vec<u8>)> {
    match prepare(job).and_then(|user| start(job, user)) {
        Ok(program) => Watch::new(job, program, input).until_over(),
        Err(reason) => {
            Some((Report { end: End::NotStarted(reason), last_words: String::new(), output_bytes: 0 }, Vec::new()))
        }
    }
}

/// Everything the program is to inherit. Returns the user it is to run as, if not this one.
fn prepare(job: &Job) -> Result<Option<u32>, String> {
    // Away from the validator's terminal and its Ctrl-C. Fails only if a shell started us, and then does not matter.
    let _ = setsid();
    set_child_subreaper(Some(getpid())).map_err(|error| format!("the kernel refuses a subreaper: {error}"))?;
    set_no_new_privs(true).map_err(|error| format!("the kernel refuses no_new_privs: {error}"))?;
    let user = limits::own_user();
    limits::set(job, user)?;
    Ok(user)
}

fn start(job: &Job, user: Option<u32>) -> Result<Child, String> {
    let mut command = Command::new(&job.path);
    command.args(&job.args).env_clear().env("PATH", SEARCH_PATH).env("LANG", "C").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A program that signals its whole group is not to mean us.
    command.process_group(0);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let program = command.spawn().map_err(|error| error.to_string())?;
    limits::relax();
    limits::yield_to_others(&program);
    Ok(program)
}
