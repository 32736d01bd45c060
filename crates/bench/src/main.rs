//! `bench`: measures, and prints a table or, with `-o json`, a document.

use bench::{Verb, run};
use clap::{Parser, ValueEnum};
use std::process::ExitCode;

/// Measure the deciders against their bounds and their peers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// How to print what was measured
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (run(&arguments.verb), arguments.output) {
        (Ok(report), Output::Table) => print!("{report}"),
        (Ok(report), Output::Json) => println!("{}", serde_json::json!(report)),
        (Err(failure), _) => {
            eprintln!("error: {failure}\nfix: {}", failure.help);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
