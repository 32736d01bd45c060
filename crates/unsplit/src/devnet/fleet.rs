//! The validator processes of a devnet: started, stopped, killed and missed by process id.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::record::{NodeRecord, State};
use crate::{client, client::Client, failure::Failure};

/// How long a validator may take to end in good order.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a validator's API may take to answer its devnet.
const API_TIMEOUT: Duration = Duration::from_secs(2);

/// A log that is longer is moved aside; one that was moved aside before is dropped.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// The processes.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
}

/// One validator and its process.
pub(crate) struct Node {
    pub(crate) record: NodeRecord,
    pub(crate) client: Client,
    /// Its standard input is the thread it hangs by: when this process ends, however it does, that is closed, and the
    /// validator ends too.
    child: Option<Child>,
}

impl Fleet {
    pub(crate) fn new(records: Vec<NodeRecord>) -> Result<Self, Failure> {
        let nodes = records.into_iter().map(Node::new).collect::<Result<_, _>>()?;
        Ok(Self { nodes })
    }

    /// Ends these in good order, all at once, and kills those that take too long.
    pub(crate) async fn stop(&mut self, nodes: &[usize], state: State) {
        for &node in nodes {
            self.nodes[node].ask_to_stop();
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while nodes.iter().any(|&node| self.nodes[node].is_up()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for &node in nodes {
            self.nodes[node].kill(state);
        }
    }

    /// SIGKILL to all of these before any is waited for.
    pub(crate) fn kill(&mut self, nodes: &[usize], state: State) {
        nodes.iter().for_each(|&node| self.nodes[node].signal(Signal::KILL));
        nodes.iter().for_each(|&node| self.nodes[node].kill(state));
    }

    /// Who ended without being asked to, and how.
    pub(crate) fn reap(&mut self) -> Vec<(usize, ExitStatus)> {
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.filter_map(|(index, node)| node.reap().map(|status| (index, status))).collect()
    }
}

impl Drop for Fleet {
    /// Nobody is left behind, not even on a panic.
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill(State::Stopped);
        }
    }
}

impl Node {
    pub(crate) fn new(mut record: NodeRecord) -> Result<Self, Failure> {
        let token = client::read_token(&record.token_file)?;
        let client = Client::new(&record.api, Some(token), API_TIMEOUT)?;
        (record.pid, record.state, record.ended) = (None, State::Stopped, None);
        Ok(Self { record, client, child: None })
    }

    pub(crate) fn name(&self) -> &str {
        &self.record.name
    }

    pub(crate) fn is_up(&self) -> bool {
        self.child.is_some() && !self.has_ended()
    }

    /// Looks without reaping, so that `reap` still reports it.
    fn has_ended(&self) -> bool {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let Some(pid) = self.pid() else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_)) | Err(_))
    }

    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        assert!(self.child.is_none(), "{} is ended before it is started", self.name());
        let log = OpenOptions::new().create(true).append(true).open(&self.record.log);
        let log = log.map_err(Failure::file("write", &self.record.log))?;
        let child = command(&self.record.config, log).spawn();
        let child = child.map_err(|error| Failure::unexpected(format!("cannot start {}: {error}", self.name())))?;
        (self.record.pid, self.record.state, self.record.ended) = (Some(child.id()), State::Running, None);
        self.child = Some(child);
        Ok(())
    }

    /// Kills it if it still runs, and says so in its record. Waits until it is gone: its ports and files are free then.
    pub(crate) fn kill(&mut self, state: State) {
        let Some(mut child) = self.child.take() else { return };
        // An error means that it is gone already.
        let _ = child.kill();
        let _ = child.wait();
        (self.record.pid, self.record.state) = (None, state);
    }

    pub(crate) fn pause(&mut self) {
        if self.record.state == State::Running {
            self.signal(Signal::STOP);
            self.record.state = State::Paused;
        }
    }

    pub(crate) fn resume(&mut self) {
        if self.record.state == State::Paused {
            self.signal(Signal::CONT);
            self.record.state = State::Running;
        }
    }

    /// SIGTERM; one that is paused has to wake up to hear it.
    fn ask_to_stop(&mut self) {
        self.signal(Signal::TERM);
        self.resume();
    }

    fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        (self.record.pid, self.record.state, self.record.ended) = (None, State::Dead, Some(describe(status)));
        Some(status)
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?))
    }

    /// Until it is reaped, its id belongs to no one else.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// The log stays open in the validator, so it is copied and emptied; a line written in between is lost.
    pub(crate) fn bound_log(&self) {
        let log = &self.record.log;
        if fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            let emptied = fs::copy(log, log.with_extension("1"))
                .and_then(|_| OpenOptions::new().write(true).open(log)?.set_len(0));
            if let Err(error) = emptied {
                eprintln!("cannot bound {}: {error}", log.display());
            }
        }
    }
}

fn command(config: &Path, log: File) -> Command {
    let mut command = Command::new(program());
    command.arg0("unsplit").args(["node", "start", "--exit-with-stdin", "-c"]).arg(config);
    for name in overlays() {
        command.env_remove(name);
    }
    // A group of its own: Ctrl-C goes to the holder, which ends the validators in order. And if the holder is killed
    // while a validator is paused, the kernel wakes the orphaned group.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).process_group(0);
    command
}

/// This very program, even when its file was replaced meanwhile by a newer build.
pub(crate) fn program() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() { link } else { std::env::current_exe().unwrap_or_else(|_| PathBuf::from("unsplit")) }
}

/// Configuration in the environment is meant for one validator; a devnet's take theirs from their files.
pub(crate) fn overlays() -> Vec<std::ffi::OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with("UNSPLIT_") && name.contains("__"))).collect()
}

/// `killed by signal 9`, `exit code 3`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "ended".into(),
    }
}
