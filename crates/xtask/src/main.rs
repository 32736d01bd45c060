//! What a developer runs: `cargo xtask test` runs all tests, says what it needs, and says what it skipped and why.

#![forbid(unsafe_code)]

use std::{
    process::{Command, ExitCode},
    time::Instant,
};

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
