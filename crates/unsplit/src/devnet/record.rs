//! What a devnet writes down about itself, so that others find it, also when it is gone.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    files::{self, Lock},
};

/// `DIR/devnet.json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Record {
    /// `unsplit.devnet/1`.
    pub(crate) schema: String,
    pub(crate) chain_id: String,
    pub(crate) dir: PathBuf,
    /// The process that holds the devnet; it may be gone.
    pub(crate) holder: u32,
    pub(crate) nodes: Vec<NodeRecord>,
    pub(crate) faults: Vec<FaultRecord>,
}

/// One validator.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct NodeRecord {
    pub(crate) name: String,
    /// Absent when it does not run.
    pub(crate) pid: Option<u32>,
    /// Its API, as `--api` takes it.
    pub(crate) api: String,
    pub(crate) token_file: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
    /// Where peers connect to.
    pub(crate) listen: String,
    pub(crate) state: State,
    /// How it ended by itself, or was killed from outside; absent otherwise.
    #[serde(default)]
    pub(crate) ended: Option<String>,
}

impl NodeRecord {
    /// `dead (exit code 3)`.
    pub(crate) fn condition(&self) -> String {
        match &self.ended {
            Some(how) => format!("{} ({how})", self.state.word()),
            None => self.state.word().to_owned(),
        }
    }
}

/// How a validator's process is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It runs.
    Running,
    /// It is stopped in its tracks by a fault.
    Paused,
    /// It was killed by a fault.
    Crashed,
    /// It was ended in good order.
    Stopped,
    /// It ended by itself or was killed from outside. It stays dead until it is restarted by name.
    Dead,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
        }
    }
}

/// One fault in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct FaultRecord {
    pub(crate) id: u64,
    pub(crate) fault: String,
    /// When it ends by itself, milliseconds since the Unix epoch.
    pub(crate) ends_ms: u64,
}

impl Record {
    pub(crate) fn load(dir: &Path) -> Result<Self, Failure> {
        let path = path(dir);
        if !path.exists() {
            return Err(Failure::not_found(
                format!("there is no devnet in {}", dir.display()),
                "name its folder with --dir, or start one: unsplit devnet up",
            ));
        }
        serde_json::from_str(&files::read(&path)?).map_err(|error| {
            let help = "start a new chain: unsplit devnet up --reset";
            Failure::config(format!("{}: {error}", path.display()), help)
        })
    }

    pub(crate) fn save(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).expect("strings, numbers and lists");
        files::replace(&path(&self.dir), &text)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// What is still true of this when its holder is gone: the validators end with it.
    pub(crate) fn without_holder(mut self) -> Self {
        for node in &mut self.nodes {
            if node.pid.is_some_and(|pid| !runs(pid, &node.config)) {
                node.pid = None;
                node.state = State::Stopped;
            }
        }
        self.faults.clear();
        self
    }
}

/// Whether a process runs and is the validator of that configuration; a number alone may be someone else's by now.
pub(crate) fn runs(pid: u32, config: &Path) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    if test_kill_process(id).is_err() {
        return false;
    }
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes()),
        // Not every system has /proc.
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

/// Held by the one process that holds the devnet of a folder; nothing if another process does.
pub(crate) fn take_lock(dir: &Path) -> Result<Option<Lock>, Failure> {
    Lock::take(&dir.join("devnet.lock"))
}

fn path(dir: &Path) -> PathBuf {
    dir.join("devnet.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_process_counts_as_running() {
        assert!(!runs(std::process::id(), Path::new("/no/such/node.toml")));
        assert!(!runs(0, Path::new("x")));
        assert!(!runs(u32::MAX, Path::new("x")));
    }
}
