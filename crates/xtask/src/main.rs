//! What a developer runs: `cargo xtask test` runs all tests, says what it needs, and says what it skipped and why.

#![forbid(unsafe_code)]

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

/// What the end-to-end test of a wall clock that is set cannot do without.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("test") => test(),
        Some(_) | None => {
            eprintln!("usage: cargo xtask test    run all tests");
            ExitCode::from(2)
        }
    }
}

fn test() -> ExitCode {
    let start = Instant::now();
    prepare();
    let nextest = cargo(&["nextest", "--version"], true);
    if !nextest {
        println!("xtask: cargo-nextest is not installed; using cargo test, which runs the same tests");
    }
    // Everything in one invocation: cargo would build the engine twice for two different sets of packages.
    let arguments: &[&str] = if nextest {
        &["nextest", "run", "--release", "--workspace", "--locked", "--no-fail-fast"]
    } else {
        &["test", "--release", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]
    };
    println!("xtask: unit, scenario and end-to-end tests: cargo {}", arguments.join(" "));
    if !cargo(arguments, false) {
        println!("xtask: FAILED");
        return ExitCode::FAILURE;
    }
    println!("xtask: all tests passed in {} s; what a test skipped, it says above", start.elapsed().as_secs());
    println!("xtask: Python and browser tests do not exist yet");
    ExitCode::SUCCESS
}

/// Installs what tests need and this machine has not, if that is ours to do. Without it they say that they were skipped.
fn prepare() {
    if Path::new(FAKETIME).exists() {
        return;
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        println!("xtask: the package faketime is not installed; the test that sets a wall clock will be skipped");
        return;
    }
    println!("xtask: installing the package faketime, for the test that sets a wall clock");
    let installed = Command::new("apt-get").args(["install", "-y", "-q", "faketime"]).status();
    if !installed.is_ok_and(|status| status.success()) {
        println!("xtask: that failed; the test will be skipped");
    }
}

/// Runs cargo and says whether it succeeded; `quiet` discards what it prints.
fn cargo(arguments: &[&str], quiet: bool) -> bool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments);
    if quiet {
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    }
    match command.status() {
        Ok(status) => status.success(),
        Err(problem) => {
            if !quiet {
                eprintln!("xtask: cargo cannot be started: {problem}");
            }
            false
        }
    }
}
