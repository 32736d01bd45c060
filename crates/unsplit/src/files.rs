//! Files that only their owner may read, files that are never seen half written, and files that one process holds.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use ledger::Hash;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// Makes a folder that only its owner may look into; it may exist already.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(Failure::file("make the folder", path))
}

/// Writes a new file with mode 0600. One that exists is left alone and is an error.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(exists(path)),
        other => other.map_err(Failure::file("write", path))?,
    };
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Failure::file("write", path))
}

/// Writes a new file that others may read. One that exists is left alone and is an error.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    if path.exists() {
        return Err(exists(path));
    }
    replace(path, text)
}

/// Writes a file so that a reader sees the old text or the new, never a part.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text).and_then(|()| fs::rename(&beside, path)).map_err(Failure::file("write", path))
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::file("read", path))
}

/// The SHA-256 of a file's content.
pub(crate) fn sha256(path: &Path) -> io::Result<Hash> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Hash(hash.finalize().into())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Reads a file that holds a secret; refuses one that others can read, because then it is none.
pub(crate) fn read_secret(path: &Path) -> Result<String, Failure> {
    let mode = fs::metadata(path).map_err(Failure::file("read", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::refused(
            format!("{} has mode {mode:04o}: others can read it", path.display()),
            format!("chmod 600 {}", path.display()),
        ));
    }
    read(path)
}

/// A file that one process at a time holds. The system lets go of it however that process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Nothing if another process has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, Failure> {
        let file = File::options().create(true).append(true).open(path).map_err(Failure::file("open", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Failure::file("lock", path)(error.into())),
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::refused(
        format!("{} exists and is not overwritten", path.display()),
        "choose another folder, or move it away if you are sure that nothing needs it",
    )
}

/// The last lines of a file, as far as the last 64 KiB reach.
pub(crate) fn tail(path: &Path, lines: usize) -> Vec<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const REACH: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(REACH)))?;
        let mut bytes = Vec::new();
        file.take(REACH).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("unsplit-files-{name}-{}", std::process::id()));
        make_folder(&folder).expect("a temporary folder");
        folder
    }

    #[test]
    fn a_secret_is_never_overwritten_and_never_shared() {
        let folder = folder("secret");
        let path = folder.join("node.key");
        write_secret(&path, "one").expect("a new file");
        assert!(write_secret(&path, "two").expect_err("exists").message.contains("not overwritten"));
        assert_eq!(read_secret(&path).expect("mode 0600"), "one");
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
            assert_eq!(read_secret(&path).is_err(), refused, "{mode:o}");
        }
        fs::remove_dir_all(folder).expect("our own folder");
    }

    #[test]
    fn a_tail_has_the_last_lines() {
        let folder = folder("tail");
        let path = folder.join("log");
        assert!(tail(&path, 3).is_empty());
        fs::write(&path, "a\nb\nc\n").expect("our own folder");
        assert_eq!(tail(&path, 2), ["b", "c"]);
        assert_eq!(tail(&path, 9), ["a", "b", "c"]);
        fs::remove_dir_all(folder).expect("our own folder");
    }

    #[test]
    fn a_lock_is_held_once_and_let_go() {
        let folder = folder("lock");
        let path = folder.join("any.lock");
        let first = Lock::take(&path).expect("a lock file");
        assert!(first.is_some());
        assert!(Lock::take(&path).expect("a lock file").is_none());
        drop(first);
        assert!(Lock::take(&path).expect("a lock file").is_some());
        fs::remove_dir_all(folder).expect("our own folder");
    }
}
