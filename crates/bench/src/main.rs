//! Run a benchmark and print what it says.

#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
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
    match bench::run(&arguments.verb) {
        Ok(report) => {
            print(&report, arguments.output);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}\n  fix: {}", failure.help);
            ExitCode::FAILURE
        }
    }
}

fn print(report: &bench::Report, output: Output) {
    match output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(report).expect("a report has string keys only")),
    }
}
