//! The validator's process: started, told to end, and missed by process id.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sentinel::recovery::crashes::Ending;
use tokio::{
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
    time::timeout,
};

use super::lines::{Last, Sink, read};
use crate::{cli::ConfigFile, devnet::program, failure::Failure};

/// How long a validator may take to end in good order.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What a process has written before it ended is read within this time; a child of its own may hold the pipe open.
const READ_MAX: Duration = Duration::from_secs(1);

/// A process that we own.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pub(super) pid: u32,
    pub(super) started: Instant,
    pub(super) last: Last,
    reading: JoinHandle<()>,
    /// The thread it hangs by: when we end, however we do, this is closed, and the validator ends too.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts the validator of this configuration from this very program.
    pub(super) fn start(file: &ConfigFile, verbose: u8, sink: Sink) -> Result<Self, Failure> {
        let mut child = command(file, verbose)
            .spawn()
            .map_err(|error| Failure::unexpected(format!("cannot start {}: {error}", program().display())))?;
        let pid = child.id().expect("it has not been waited for");
        let last = Last::default();
        let stderr = child.stderr.take().expect("it is piped");
        let reading = tokio::spawn(read(stderr, last.clone(), sink));
        // `wait` would close it first.
        let stdin = child.stdin.take();
        Ok(Self { child, pid, started: Instant::now(), last, reading, _stdin: stdin })
    }

    /// Waits until it ends by itself. May be called again if it was given up.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let status = self.child.wait().await;
        let status = status.map_err(|error| Failure::unexpected(format!("process {} is lost: {error}", self.pid)))?;
        let _ = timeout(READ_MAX, &mut self.reading).await;
        Ok(status)
    }

    /// Ends it: in good order if it can, with SIGKILL if it takes too long.
    pub(super) async fn stop(&mut self) -> Result<ExitStatus, Failure> {
        // One that is stopped in its tracks has to wake up to hear it.
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        if let Ok(ended) = timeout(STOP_MAX, self.ended()).await {
            return ended;
        }
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Until it is waited for, its id belongs to no one else; after that it has none.
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // An error means that it is gone already.
            let _ = kill_process(pid, signal);
        }
    }
}

fn command(file: &ConfigFile, verbose: u8) -> Command {
    let mut command = Command::new(program());
    command.arg0("unsplit").args(["node", "start", "--exit-with-stdin", "-c"]).arg(&file.config);
    file.sets.iter().for_each(|set| {
        command.args(["--set", set]);
    });
    (0..verbose).for_each(|_| {
        command.arg("-v");
    });
    // A group of its own: Ctrl-C goes to the supervisor, which ends the validator in order. And if the supervisor is killed
    // while the validator is stopped, the kernel wakes the orphaned group.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// How it ended, for telling crash loops.
pub(super) fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Code(code),
        (None, Some(signal)) => Ending::Signal(signal),
        (None, None) => Ending::Code(-1),
    }
}
