//! What does the validator say?
//!
//! Its last lines are kept in memory, as evidence. All of them go on to standard error or to a file of bounded size, by way
//! of a thread of its own: when nobody takes them, lines are dropped and counted, and the validator is never held up.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

use crate::failure::Failure;

/// Lines that are kept as evidence.
const KEPT_MAX: usize = 200;

/// A longer line is taken for several.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// Lines that may wait to be written.
const WAITING_MAX: usize = 4 * 1024;

/// How long the end of a supervisor may wait for its last lines.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// A log that is longer is moved aside; one that was moved aside before is dropped.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// The last lines of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Last(Arc<Mutex<VecDeque<String>>>);

impl Last {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line.to_owned());
        while lines.len() > KEPT_MAX {
            lines.pop_front();
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What the process died of, if it said so; otherwise the last that it said.
    pub(super) fn error(&self) -> String {
        let lines = self.lines();
        let is_error =
            |line: &&String| line.starts_with("error:") || line.contains("ERROR") || line.contains(" panicked at ");
        lines.iter().rev().find(is_error).or(lines.last()).cloned().unwrap_or_default()
    }
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(String),
    /// All before this is written; say so.
    Flush(SyncSender<()>),
}

impl Sink {
    /// To a file, or to standard error.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let mut target = match path {
            Some(path) => Target::Log(Log::open(path).map_err(Failure::file("write", path))?),
            None => Target::Error,
        };
        let (lines, inbox) = mpsc::sync_channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        std::thread::spawn(move || write_all(&inbox, &mut target, &counted));
        Ok(Self { lines, dropped })
    }

    /// Waits a moment until all lines so far are written.
    pub(super) fn flush(&self) {
        let (told, written) = mpsc::sync_channel(1);
        if self.lines.try_send(Message::Flush(told)).is_ok() {
            // Whoever does not take our lines does not keep us from ending.
            let _ = written.recv_timeout(FLUSH_MAX);
        }
    }

    fn write(&self, line: String) {
        match self.lines.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Ends when all that might write are gone.
fn write_all(inbox: &Receiver<Message>, target: &mut Target, dropped: &AtomicU64) {
    while let Ok(message) = inbox.recv() {
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            target.write(&format!("supervisor: {lost} lines are missing here, nobody took them"));
        }
        match message {
            Message::Line(line) => target.write(&line),
            // Who asked may have stopped waiting.
            Message::Flush(told) => drop(told.try_send(())),
        }
    }
}

enum Target {
    Error,
    Log(Log),
}

impl Target {
    fn write(&mut self, line: &str) {
        // A log that cannot be written must not end what is logged. The last lines are in the evidence in any case.
        let _ = match self {
            Self::Error => writeln!(io::stderr(), "{line}"),
            Self::Log(log) => log.write(line),
        };
    }
}

struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > LOG_BYTES_MAX {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
            *self = Self::open(&self.path)?;
        }
        self.bytes += line.len() as u64 + 1;
        writeln!(self.file, "{line}")
    }
}

/// Reads what a process says until it ends.
pub(super) async fn read(from: impl AsyncRead + Unpin, last: Last, sink: Sink) {
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                last.push(&line);
                sink.write(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_200_lines_are_kept_and_a_long_one_is_several() {
        let (last, sink) = (Last::default(), Sink { lines: mpsc::sync_channel(1).0, dropped: Arc::default() });
        let text: String = (0..300).map(|line| format!("line {line}\n")).collect();
        read(text.as_bytes(), last.clone(), sink.clone()).await;
        let lines = last.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[199].as_str()), (200, "line 100", "line 299"));
        assert_eq!(sink.dropped.load(Ordering::Relaxed), 300, "nobody took them, and nobody waited for it");
        read(vec![b'x'; 20_000].as_slice(), last.clone(), sink).await;
        let lengths: Vec<usize> = last.lines()[197..].iter().map(String::len).collect();
        assert_eq!(lengths, [8_192, 8_192, 3_616]);
    }

    #[test]
    fn the_error_is_found_among_what_came_after() {
        let check = |lines: &[&str], error: &str| {
            let last = Last::default();
            lines.iter().for_each(|line| last.push(line));
            assert_eq!(last.error(), error);
        };
        check(&[], "");
        check(&["starts", "runs"], "runs");
        check(&["error: no key", "help: make one"], "error: no key");
        check(
            &["thread 'main' panicked at a.rs:1:2:", "out of range", "note: …"],
            "thread 'main' panicked at a.rs:1:2:",
        );
    }

    #[test]
    fn a_log_is_moved_aside_when_it_is_full() {
        let path = std::env::temp_dir().join(format!("unsplit-lines-{}", std::process::id()));
        let mut log = Log::open(&path).expect("a temporary file");
        log.write("old").expect("our own file");
        log.bytes = LOG_BYTES_MAX + 1;
        log.write("new").expect("our own file");
        let aside = PathBuf::from(format!("{}.1", path.display()));
        let read = |path: &Path| fs::read_to_string(path).expect("it is there");
        assert_eq!((read(&aside).as_str(), read(&path).as_str(), log.bytes), ("old\n", "new\n", 4));
        fs::remove_file(path).and_then(|()| fs::remove_file(aside)).expect("our own files");
    }
}
