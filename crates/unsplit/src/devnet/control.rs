//! How the command line speaks to the process that holds a devnet: one line of JSON each way.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use api::Affliction;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::record::Record;
use crate::failure::Failure;

/// No request or reply is longer.
const LINE_BYTES_MAX: u64 = 256 * 1024;

/// Ending a devnet takes longest: 5 s of patience, and then a kill.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// What a holder is asked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "verb", rename_all = "lowercase")]
pub(crate) enum Request {
    /// How is everyone?
    Status,
    /// End everything, then yourself.
    Down,
    /// Start these; those that run are ended first.
    Restart { nodes: Vec<String> },
    /// Start one more, which asks for a seat: for that of this one, or for one of its own.
    Add { replaces: Option<String>, sets: Vec<String> },
    /// Kill these, and start them again after a while if one is given.
    Crash { nodes: Vec<String>, for_ms: Option<u64> },
    /// Stop these in their tracks.
    Pause { nodes: Vec<String>, for_ms: u64 },
    /// Cut the links between groups.
    Partition { groups: String, one_way: bool, for_ms: u64 },
    /// Cut every link of one.
    Isolate { node: String, for_ms: u64 },
    /// Make these ill.
    Afflict { nodes: Vec<String>, affliction: Affliction },
    /// End a fault; all if absent.
    Heal { id: Option<u64> },
}

/// What it answers: what it did, and how things are after that.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Reply {
    pub(crate) done: String,
    pub(crate) record: Record,
}

/// A path by which a socket in `dir` can be reached. The system takes no more than about 100 bytes; a longer one goes
/// by way of the open folder, which the first part keeps open.
fn socket(dir: &Path) -> Result<(Option<File>, PathBuf), Failure> {
    const PATH_BYTES_MAX: usize = 100;
    let path = dir.join("devnet.sock");
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((None, path));
    }
    let folder = File::open(dir).map_err(Failure::file("open", dir))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/devnet.sock", folder.as_raw_fd()));
    Ok((Some(folder), path))
}

/// Only whoever has the folder's lock listens, so a socket that is there is a left-over.
pub(crate) fn listen(dir: &Path) -> Result<UnixListener, Failure> {
    let (_folder, path) = socket(dir)?;
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(Failure::file("listen at", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(Failure::file("protect", &path))?;
    Ok(listener)
}

/// Asks the holder of a folder.
pub(crate) async fn call(dir: &Path, request: &Request) -> Result<Reply, Failure> {
    let (_folder, path) = socket(dir)?;
    let Ok(stream) = UnixStream::connect(&path).await else { return Err(nobody(dir)) };
    match timeout(REPLY_TIMEOUT, exchange(stream, request)).await {
        Ok(Ok(Some(line))) => serde_json::from_str::<Result<Reply, Failure>>(&line)
            .unwrap_or_else(|error| Err(Failure::unexpected(format!("the devnet answers nonsense: {error}")))),
        Ok(Ok(None)) | Ok(Err(_)) => Err(nobody(dir)),
        Err(_) => Err(Failure::unreachable(
            format!("the devnet in {} does not answer within {REPLY_TIMEOUT:?}", dir.display()),
            "look at its log; `kill` its process if nothing else helps, its validators end with it",
        )),
    }
}

fn nobody(dir: &Path) -> Failure {
    Failure::unreachable(
        format!("no devnet runs in {}", dir.display()),
        format!("go on with it: unsplit devnet up --resume --dir {}", dir.display()),
    )
}

async fn exchange(mut stream: UnixStream, request: &Request) -> std::io::Result<Option<String>> {
    let line = serde_json::to_string(request).expect("strings and numbers");
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    read_line(&mut stream).await
}

/// Nothing if the other side hangs up or says too much.
pub(crate) async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line.ends_with('\n').then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_that_reads_back() {
        let request = Request::Partition { groups: "0-3/4-6".into(), one_way: true, for_ms: 60_000 };
        let line = serde_json::to_string(&request).expect("strings and numbers");
        assert_eq!(line, r#"{"verb":"partition","groups":"0-3/4-6","one_way":true,"for_ms":60000}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).expect("our own line"), request);
    }

    #[tokio::test]
    async fn a_line_has_an_end_and_a_limit() {
        let read = async |bytes: &[u8]| read_line(&mut &bytes[..]).await.expect("memory reads");
        assert_eq!(read(b"{}\n").await.as_deref(), Some("{}\n"));
        assert_eq!(read(b"{}").await, None);
        let full = |bytes: u64| [vec![b'x'; usize::try_from(bytes).expect("small") - 1], vec![b'\n']].concat();
        assert!(read(&full(LINE_BYTES_MAX)).await.is_some());
        assert!(read(&full(LINE_BYTES_MAX + 1)).await.is_none());
    }
}
