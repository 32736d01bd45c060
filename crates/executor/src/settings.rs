//! What does an operator allow?

use rustix::{
    fs::{Access, access},
    process::geteuid,
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a program without a slash in its path is looked for, and the `PATH` that programs are given.
pub const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The least memory limit: with less, the launcher and most interpreters would not even start.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;

/// What an operator allows. [`crate::Executors::new`] checks it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How to start a process that calls [`crate::launcher::launch`]: a program and its arguments. May be empty as
    /// long as there are no commands.
    pub launcher: Vec<OsString>,
    /// The programs that tasks may name.
    pub commands: BTreeMap<String, Program>,
    /// How much each run of a program may take.
    pub limits: Limits,
}

/// A program and its arguments; tasks bring nothing but what it reads from its standard input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// An absolute path, or a name to look for in [`SEARCH_PATH`].
    pub path: PathBuf,
    /// In order.
    pub args: Vec<String>,
}

/// How much one run of a program may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// From start to end. No process gets more CPU time than that either.
    pub wall: Duration,
    /// Address space of each of its processes, bytes.
    pub memory_bytes: u64,
    /// Processes and threads at once, the program itself included. Where the validator is not root these are counted
    /// together with all others of its user, so there they are only approximate.
    pub processes: u64,
}

impl Default for Limits {
    /// A short job of a small machine: it must not be missed when it has gone wrong.
    fn default() -> Self {
        Self { wall: Duration::from_secs(30), memory_bytes: 512 << 20, processes: 16 }
    }
}

/// What an operator has to mend.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A program that cannot be run.
    #[error("worker.commands.{name}: {problem}")]
    Program {
        /// What tasks call it.
        name: String,
        /// What is wrong with it, and how to mend it.
        problem: String,
    },
    /// A limit that nothing could keep.
    #[error("worker.limits.{limit}: {problem}")]
    Limit {
        /// Which.
        limit: &'static str,
        /// What is wrong with it, and how to mend it.
        problem: String,
    },
    /// There are commands, but nothing to start them with.
    #[error("worker.commands: programs are allowed, but no launcher is set to start them with; name one")]
    NoLauncher,
}

impl Settings {
    /// The same with absolute paths, if all of it can work.
    pub(crate) fn checked(mut self) -> Result<Self, SettingsError> {
        if self.launcher.is_empty() && !self.commands.is_empty() {
            return Err(SettingsError::NoLauncher);
        }
        self.limits.check()?;
        for (name, program) in &mut self.commands {
            program.path =
                find(&program.path).map_err(|problem| SettingsError::Program { name: name.clone(), problem })?;
        }
        Ok(self)
    }
}

impl Limits {
    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |limit, problem: String| Err(SettingsError::Limit { limit, problem });
        if self.wall < Duration::from_millis(1) {
            return wrong("wall", format!("{:?} is over before anything starts; the default is 30 s", self.wall));
        }
        if self.memory_bytes < MEMORY_BYTES_MIN {
            let problem =
                format!("{} bytes are not enough for any program; at least {MEMORY_BYTES_MIN}", self.memory_bytes);
            return wrong("memory_bytes", problem);
        }
        if self.processes == 0 {
            return wrong("processes", "0 leaves no room for the program itself; the default is 16".to_string());
        }
        Ok(())
    }
}

/// The absolute path of a program that can be run.
fn find(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    if path.to_str().is_none() {
        return Err(format!("{shown} is not UTF-8; give it another name"));
    }
    if path.is_absolute() {
        return runnable(path).map(|()| path.to_path_buf());
    }
    if path.components().count() != 1 {
        return Err(format!("{shown} is neither a name nor an absolute path; begin it with a slash"));
    }
    let places = SEARCH_PATH.split(':').map(|folder| Path::new(folder).join(path));
    let found = places.into_iter().find(|place| place.is_file());
    let place =
        found.ok_or_else(|| format!("`{shown}` is not in {SEARCH_PATH}; install it or give its absolute path"))?;
    runnable(&place).map(|()| place)
}

fn runnable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let file = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{shown} does not exist; install it or remove the entry"),
        _ => format!("{shown} cannot be looked at: {error}; check its path and rights"),
    })?;
    if !file.is_file() {
        return Err(format!("{shown} is not a file; name a program"));
    }
    if file.mode() & 0o111 == 0 || access(path, Access::EXEC_OK).is_err() {
        return Err(format!("{shown} is not executable; `chmod +x` it or name another program"));
    }
    if geteuid().is_root() && !reachable_by_others(path) {
        return Err(format!(
            "{shown} can be run by its owner only, but tasks run as users of their own; \
             `chmod o+x` it and every folder above it"
        ));
    }
    Ok(())
}

/// Tasks of a validator that is root run under a user id that owns nothing.
fn reachable_by_others(path: &Path) -> bool {
    path.ancestors().all(|part| fs::metadata(part).is_ok_and(|part| part.mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs::Permissions, os::unix::fs::PermissionsExt as _, process};

    fn check(path: &str) -> Result<PathBuf, String> {
        let program = Program { path: path.into(), args: Vec::new() };
        let settings = Settings {
            launcher: vec!["launcher".into()],
            commands: [("x".to_string(), program)].into(),
            limits: Limits::default(),
        };
        settings.checked().map(|settings| settings.commands["x"].path.clone()).map_err(|error| error.to_string())
    }

    fn refused(path: &str, words: &str) {
        let message = check(path).expect_err("cannot be run");
        assert!(message.starts_with("worker.commands.x: ") && message.contains(words), "{message}");
    }

    #[test]
    fn a_bare_name_is_found_where_programs_are() {
        let path = check("sort").expect("every system has it");
        assert!(path.is_absolute() && path.ends_with("sort"), "{path:?}");
        assert_eq!(check("/bin/sh"), Ok("/bin/sh".into()));
    }

    #[test]
    fn a_program_that_cannot_be_run_is_named_with_the_reason() {
        refused("/usr/bin/no-such-program", "/usr/bin/no-such-program does not exist; install it");
        refused("no-such-program", "`no-such-program` is not in /usr/local/bin:/usr/bin:/bin; install it");
        refused("bin/sort", "neither a name nor an absolute path");
        refused("./sort", "neither a name nor an absolute path");
        refused("", "neither a name nor an absolute path");
        refused("/usr/bin", "not a file");
        refused("/etc/passwd", "not executable");
        refused("/etc/passwd/x", "cannot be looked at");
    }

    #[test]
    fn a_program_only_its_owner_can_run_is_refused_if_tasks_run_as_others() {
        if !geteuid().is_root() {
            println!("skipped: tasks run as the validator's own user");
            return;
        }
        let folder = env::temp_dir().join(format!("unsplit-executor-{}", process::id()));
        let program = folder.join("program");
        fs::create_dir(&folder).expect("a folder of our own");
        fs::copy("/bin/true", &program).expect("a program of our own");
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
        mode(&folder, 0o711);
        mode(&program, 0o700);
        let private = check(&program.display().to_string());
        mode(&program, 0o755);
        let public = check(&program.display().to_string());
        mode(&folder, 0o700);
        let hidden = check(&program.display().to_string());
        fs::remove_dir_all(&folder).expect("ours");
        assert!(private.expect_err("0700").contains("`chmod o+x` it and every folder above it"));
        assert_eq!(public, Ok(program));
        assert!(hidden.expect_err("a hidden folder").contains("`chmod o+x`"));
    }

    #[test]
    fn limits_that_nothing_could_keep_are_refused() {
        let check = |limits: Limits, words: &str| {
            let settings = Settings { limits, ..Settings::default() };
            let message = settings.checked().expect_err("too little").to_string();
            assert!(message.starts_with(words), "{message}");
        };
        let limits = Limits::default();
        check(Limits { wall: Duration::ZERO, ..limits }, "worker.limits.wall: 0ns");
        check(Limits { memory_bytes: MEMORY_BYTES_MIN - 1, ..limits }, "worker.limits.memory_bytes: 67108863 bytes");
        check(Limits { processes: 0, ..limits }, "worker.limits.processes: 0 leaves");
        let least = Limits { wall: Duration::from_millis(1), memory_bytes: MEMORY_BYTES_MIN, processes: 1 };
        assert!(Settings { limits: least, ..Settings::default() }.checked().is_ok());
    }

    #[test]
    fn programs_need_a_launcher() {
        let program = Program { path: "sort".into(), args: Vec::new() };
        let settings = Settings { commands: [("sort".to_string(), program)].into(), ..Settings::default() };
        assert_eq!(settings.checked().expect_err("no launcher"), SettingsError::NoLauncher);
        assert!(Settings::default().checked().is_ok(), "matmul needs none");
    }
}
