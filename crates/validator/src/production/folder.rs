//! One validator's data directory: whose is it, who uses it, is it safe to use?
//!
//! ```text
//! data_dir/
//!   node.key      the signing key, mode 0600
//!   api.token     what writes to the API need, mode 0600
//!   chain.toml    which chain the storage belongs to, and the format it is in
//!   first-start   present until the key is first used: its vote guard may be made anew
//!   lock          held by the running process
//!   storage/      blocks, certificates, checkpoints, the engine's journals, and the two copies of the vote guard
//!   quarantine/   files of the storage whose header was damaged
//! ```

use super::{StartError, headers, private_key};
use crate::config::Config;
use commonware_cryptography::ed25519::PrivateKey;
use ledger::Genesis;
use rustix::fs::{FlockOperation, flock, statvfs};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use tracing::warn;

/// The layout of the data directory.
const FORMAT: u32 = 2;

/// Below this much room a start is refused: journals that cannot grow stop a node at once.
pub const ROOM_MIN: u64 = 64 << 20;

#[derive(Deserialize, Serialize)]
struct Chain {
    format: u32,
    chain_id: String,
    genesis: String,
}

/// An open data directory. The lock goes with it.
pub(super) struct Folder {
    root: PathBuf,
    key_file: PathBuf,
    token_file: PathBuf,
    /// Held, not read: the lock ends when the file is closed.
    _lock: File,
}

impl Folder {
    /// Takes the lock and checks that the directory belongs to this chain and this program's format.
    pub(super) fn open(config: &Config, genesis: &Genesis) -> Result<Self, StartError> {
        let root = config.data_dir.clone();
        if !root.is_dir() {
            return Err(StartError::Config(format!(
                "data_dir {} does not exist; `unsplit node init` makes one, with a new key",
                root.display()
            )));
        }
        let lock = lock(&root)?;
        let folder =
            Self { root, key_file: config.key_file.clone(), token_file: config.api.token_file.clone(), _lock: lock };
        folder.check_chain(genesis)?;
        folder.check_room()?;
        Ok(folder)
    }

    /// Takes the lock of a directory that is to be looked at and not used.
    pub(super) fn look(root: &Path) -> Result<Self, StartError> {
        if !root.join("chain.toml").is_file() {
            return Err(StartError::Config(format!(
                "{} is no validator's data directory: there is no chain.toml; name the `data_dir` of its node.toml",
                root.display()
            )));
        }
        let (key_file, token_file) = (root.join("node.key"), root.join("api.token"));
        Ok(Self { root: root.to_owned(), key_file, token_file, _lock: lock(root)? })
    }

    /// The namespace of the chain that the directory belongs to.
    pub(super) fn namespace(&self) -> Result<Vec<u8>, StartError> {
        let path = self.root.join("chain.toml");
        let problem = |problem: &dyn std::fmt::Display| StartError::Config(format!("{}: {problem}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| problem(&error))?;
        let chain: Chain = toml::from_str(&text).map_err(|error| problem(&error))?;
        if chain.format != FORMAT {
            return Err(StartError::Refused(format!(
                "{} is in format {}, this program reads {FORMAT}",
                self.root.display(),
                chain.format
            )));
        }
        Ok(crate::validator::namespace_of(&chain.chain_id, &chain.genesis))
    }

    /// Moves files out of the storage that the runtime would refuse. Gives what was done, in words.
    pub(super) fn set_aside(&self) -> Result<Vec<String>, StartError> {
        let done = headers::set_aside(&self.storage(), &self.root.join("quarantine"));
        done.map_err(|problem| StartError::Failed(format!("{}: {problem}", self.storage().display())))
    }

    pub(super) fn storage(&self) -> PathBuf {
        self.root.join("storage")
    }

    /// Whether the key has never been used.
    pub(super) fn fresh(&self) -> bool {
        self.root.join(FIRST_START).exists()
    }

    /// The key is in use from now on; a guard that is missing later is a lost one.
    pub(super) fn used(&self) -> Result<(), StartError> {
        let marker = self.root.join(FIRST_START);
        let removed = std::fs::remove_file(&marker).and_then(|()| File::open(&self.root)?.sync_all());
        removed.map_err(|problem| StartError::Failed(format!("{} cannot be removed: {problem}", marker.display())))
    }

    pub(super) fn key(&self) -> Result<PrivateKey, StartError> {
        key(&self.key_file)
    }

    pub(super) fn token(&self) -> Result<String, StartError> {
        secret(&self.token_file)
    }

    fn check_chain(&self, genesis: &Genesis) -> Result<(), StartError> {
        let path = self.root.join("chain.toml");
        let expected =
            Chain { format: FORMAT, chain_id: genesis.chain_id.to_string(), genesis: genesis.hash().to_string() };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return self.claim(&path, &expected),
            Err(problem) => return Err(StartError::Config(format!("{}: {problem}", path.display()))),
        };
        let found: Chain =
            toml::from_str(&text).map_err(|problem| StartError::Config(format!("{}: {problem}", path.display())))?;
        if found.format > FORMAT {
            return Err(StartError::Refused(format!(
                "{} says that a newer version wrote this data directory (format {}, this program reads {FORMAT}); start it with that version or newer",
                path.display(),
                found.format
            )));
        }
        if found.format < FORMAT {
            return Err(StartError::Refused(format!(
                "{} says that an earlier version wrote this data directory (format {}, this program reads {FORMAT}); to keep the key, move everything in `storage` except `guard-a` and `guard-b` away, set `format = {FORMAT}` in that file, and start again: the blocks are fetched from the peers, of which more than f must still hold them",
                path.display(),
                found.format
            )));
        }
        if (&found.chain_id, &found.genesis) != (&expected.chain_id, &expected.genesis) {
            return Err(StartError::Refused(format!(
                "{} belongs to chain {} (genesis {}), the genesis file describes chain {} (genesis {}); use the data directory that was made for this chain",
                self.root.display(),
                found.chain_id,
                short(&found.genesis),
                expected.chain_id,
                short(&expected.genesis)
            )));
        }
        Ok(())
    }

    /// Notes whose the directory is; only one that holds nothing yet can be claimed.
    fn claim(&self, path: &Path, chain: &Chain) -> Result<(), StartError> {
        if self.storage().exists() {
            return Err(StartError::Refused(format!(
                "{} holds data but no chain.toml that says whose; restore that file, or move `storage` away to fetch everything from the peers (without its vote guard the node observes first)",
                self.root.display()
            )));
        }
        let text = toml::to_string(chain).expect("three plain fields");
        let written = std::fs::write(path, text).and_then(|()| File::open(path)?.sync_all());
        written.map_err(|problem| StartError::Failed(format!("{}: {problem}", path.display())))
    }

    fn check_room(&self) -> Result<(), StartError> {
        match statvfs(&self.root) {
            Ok(room) if room.f_bavail * room.f_frsize < ROOM_MIN => Err(StartError::Refused(format!(
                "{} has {} MiB left, less than the {} MiB that a start needs; free some",
                self.root.display(),
                (room.f_bavail * room.f_frsize) >> 20,
                ROOM_MIN >> 20
            ))),
            Ok(_) => Ok(()),
            Err(problem) => {
                warn!(%problem, "room on the disk is unknown");
                Ok(())
            }
        }
    }
}

const FIRST_START: &str = "first-start";

fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

fn lock(root: &Path) -> Result<File, StartError> {
    let path = root.join("lock");
    let opened = OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(|problem| StartError::Failed(format!("{}: {problem}", path.display())))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        return Err(StartError::Refused(format!(
            "{} is in use by process {}; one data directory serves one process, because two with one key would contradict each other: stop that one first",
            root.display(),
            holder.trim()
        )));
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|problem| StartError::Failed(format!("{}: {problem}", path.display())))?;
    Ok(file)
}

/// Reads a signing key.
pub(super) fn key(path: &Path) -> Result<PrivateKey, StartError> {
    secret(path)?.parse::<ledger::Hash>().ok().and_then(|bytes| private_key(bytes.0)).ok_or_else(|| {
        StartError::Config(format!(
            "{} must hold one line of 64 hex digits; restore it from your backup",
            path.display()
        ))
    })
}

/// Reads a one-line secret that nobody but its owner may read.
fn secret(path: &Path) -> Result<String, StartError> {
    let problem = |problem: std::io::Error| StartError::Config(format!("{}: {problem}", path.display()));
    let mode = std::fs::metadata(path).map_err(problem)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StartError::Refused(format!(
            "{} can be read by others (mode {mode:04o}); run `chmod 600 {}`, and replace the secret if others had access",
            path.display(),
            path.display()
        )));
    }
    Ok(std::fs::read_to_string(path).map_err(problem)?.trim().to_owned())
}

/// Makes the data directory of a validator whose key was never used: `key` and `token` are written with mode 0600.
///
/// # Errors
/// When any of the files exists already, or cannot be written.
pub fn initialize(root: &Path, key: &[u8; 32], token: &str) -> Result<(), StartError> {
    let failed = |path: &Path, problem: &std::io::Error| match problem.kind() {
        std::io::ErrorKind::AlreadyExists => StartError::Refused(format!(
            "{} exists; a key is never overwritten: choose another directory",
            path.display()
        )),
        _ => StartError::Failed(format!("{}: {problem}", path.display())),
    };
    std::fs::create_dir_all(root).map_err(|problem| failed(root, &problem))?;
    let key = ledger::Hash(*key).to_string();
    for (name, text) in [("node.key", key.as_str()), ("api.token", token), (FIRST_START, "")] {
        let path = root.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| writeln!(file, "{text}").and_then(|()| file.sync_all()));
        written.map_err(|problem| failed(&path, &problem))?;
    }
    Ok(())
}
