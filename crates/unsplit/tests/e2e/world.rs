//! A folder, ports and processes that end with the test, however it ends.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Ports of one test: its APIs count from the first, its peers from 1000 above.
const PORTS_EACH: u16 = 20;
const FIRST_PORT: u16 = 20_000;
/// Fifty ranges: peers of the last still stay below the ports that the system gives away by itself.
const RANGES: u16 = 50;

/// Whatever a single command of the program does is over by then, on however busy a machine.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// One test's part of the machine.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    commands: AtomicUsize,
    mounted: Option<PathBuf>,
    _ports: File,
    _turn: File,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A command that runs.
pub(crate) struct Process {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl World {
    /// For a test that other tests may run beside.
    pub(crate) fn shared(name: &str) -> Self {
        let turn = turn();
        turn.lock_shared().expect("files can be locked");
        Self::new(name, turn)
    }

    /// For a test that measures, or that needs all cores.
    pub(crate) fn alone(name: &str) -> Self {
        let turn = turn();
        turn.lock().expect("files can be locked");
        Self::new(name, turn)
    }

    fn new(name: &str, turn: File) -> Self {
        let dir = std::env::temp_dir().join(format!("unsplit-e2e-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a temporary folder");
        let dir = dir.canonicalize().expect("it was just made");
        let (port, ports) = ports();
        Self { dir, port, commands: AtomicUsize::new(0), mounted: None, _ports: ports, _turn: turn }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the program to its end.
    pub(crate) fn unsplit(&self, line: &str) -> Ran {
        self.unsplit_with(line, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn unsplit_with(&self, line: &str, variables: &[(&str, &str)]) -> Ran {
        let mut process = self.spawn_with(line, variables);
        let ended = process.wait(COMMAND_PATIENCE);
        let status = ended.unwrap_or_else(|| panic!("not over after {COMMAND_PATIENCE:?}: unsplit {line}"));
        Ran { code: status.code(), out: process.out(), err: process.err() }
    }

    /// Starts the program. The words of `line` are separated by spaces; none of ours holds one.
    pub(crate) fn spawn(&self, line: &str) -> Process {
        self.spawn_with(line, &[])
    }

    /// The same for words that hold spaces.
    pub(crate) fn spawn_words(&self, words: &[&str]) -> Process {
        self.start(words.iter().copied(), &[])
    }

    pub(crate) fn spawn_with(&self, line: &str, variables: &[(&str, &str)]) -> Process {
        self.start(line.split_whitespace(), variables)
    }

    /// The same in a network namespace.
    pub(crate) fn spawn_in(&self, space: &str, line: &str) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space, env!("CARGO_BIN_EXE_unsplit")]);
        self.start_as(command, line.split_whitespace(), &[])
    }

    fn start<'a>(&self, words: impl Iterator<Item = &'a str>, variables: &[(&str, &str)]) -> Process {
        self.start_as(Command::new(env!("CARGO_BIN_EXE_unsplit")), words, variables)
    }

    fn start_as<'a>(
        &self,
        mut command: Command,
        words: impl Iterator<Item = &'a str>,
        variables: &[(&str, &str)],
    ) -> Process {
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("{number}.out")), self.path(&format!("{number}.err")));
        let file = |path: &Path| File::create(path).expect("our own folder");
        // What the developer has set is not part of the test.
        for (name, _) in std::env::vars() {
            if name.starts_with("UNSPLIT_") || name.starts_with("RUST_") {
                command.env_remove(name);
            }
        }
        command.args(words).envs(variables.iter().copied()).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        Process { child: command.spawn().expect("the program is built"), out, err }
    }

    /// A small disk, if this machine lets us make one.
    pub(crate) fn small_disk(&mut self, megabytes: u32) -> Option<PathBuf> {
        let path = self.path("disk");
        fs::create_dir_all(&path).expect("our own folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => {
                self.mounted = Some(path.clone());
                Some(path)
            }
            Ok(output) => {
                println!("skipped: no small disk can be mounted: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("skipped: no small disk can be mounted: {error}");
                None
            }
        }
    }

    /// Everything that runs with a file of this world, by its command line: also what has outlived its parent.
    fn processes(&self) -> Vec<Pid> {
        let ours = self.dir.as_os_str().as_encoded_bytes();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(ours.len()).any(|part| part == ours)
        })
        .filter_map(Pid::from_raw)
        .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_logs(&self.dir);
        }
        // The holder of a devnet starts nobody again, but a command under way might. And who is killed while the disk is
        // busy keeps its ports until that is over: the next test needs them.
        let deadline = Instant::now() + COMMAND_PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > deadline {
                break;
            }
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            pause();
        }
        if let Some(disk) = &self.mounted {
            let _ = Command::new("umount").arg("-l").arg(disk).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What helps to understand a failure, before it is deleted.
fn show_logs(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            show_logs(&path);
        } else if path.extension().is_some_and(|end| end == "err") || path.ends_with("log") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            println!("--- {}\n{}", path.display(), lines[lines.len().saturating_sub(8)..].join("\n"));
        }
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or nothing if it has not in time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return Some(status);
            }
            pause();
        }
        None
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ran {
    /// Fails the test unless the program ended well; gives what it wrote.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// Fails the test unless the program ended with this code, wrote no data, and said all of these words.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.err);
        assert_eq!(self.out, "", "data although it failed");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("our own process");
}

/// Whether a process is there; one that has ended and was not waited for is not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Looks until there is something to see; fails the test if there is nothing in time.
#[track_caller]
pub(crate) fn until<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        pause();
    }
}

/// Between two looks at a condition.
fn pause() {
    std::thread::sleep(Duration::from_millis(25));
}

/// Tests that measure take turns with all others, also with those in other processes.
fn turn() -> File {
    open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e.turn"))
}

/// A range of ports that no other test uses, also in another process, for as long as the file is open.
fn ports() -> (u16, File) {
    let folder = std::env::temp_dir().join("unsplit-e2e-ports");
    fs::create_dir_all(&folder).expect("a temporary folder");
    let free = (0..RANGES).find_map(|range| {
        let file = open(&folder.join(range.to_string()));
        file.try_lock().is_ok().then(|| (FIRST_PORT + range * PORTS_EACH, file))
    });
    free.expect("fewer tests at a time than ranges of ports")
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("a file to lock")
}
