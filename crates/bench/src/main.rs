//! Runs one benchmark and prints what it says.

#![forbid(unsafe_code)]

use bench::{Failure, Report, Verb};
use clap::Parser;
use std::{io::Write as _, process::ExitCode};

/// Measure the deciders against their bounds and their peers.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Options {
    /// How to print the outcome.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match bench::run(&options.verb).and_then(|report| print(&report, options.output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, help }) => {
            eprintln!("error: {message}\nhelp: {help}");
            ExitCode::from(2)
        }
    }
}

fn print(report: &Report, output: Output) -> Result<(), Failure> {
    let text = match output {
        Output::Table => report.to_string(),
        Output::Json => serde_json::to_string_pretty(report).expect("plain data") + "\n",
    };
    let failure =
        |error: std::io::Error| Failure { message: error.to_string(), help: "write to where there is room".into() };
    std::io::stdout().write_all(text.as_bytes()).map_err(failure)
}
