//! Run a benchmark and print what it says.

#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    verb: bench::Verb,
    /// How to print the outcome.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A table and remarks.
    Table,
    /// One JSON document.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let printed = bench::run(&arguments.verb).map(|report| print(&report, arguments.output));
    match printed {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&format!("nothing could be printed: {error}")),
        Err(failure) => fail(&format!("{failure}\n  fix: {}", failure.help)),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

fn print(report: &bench::Report, output: Output) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Table => write!(out, "{report}"),
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)
        }
    }
}
