//! Measures, and prints a table or a document.

#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

/// Measure the deciders against their bounds and their peers, in one run.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: bench::Verb,
    /// How to print it.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let report = match bench::run(&cli.verb) {
        Ok(report) => report,
        Err(bench::Failure { message, help }) => {
            eprintln!("{message}\n{help}");
            return ExitCode::FAILURE;
        }
    };
    match cli.output {
        Format::Table => print!("{report}"),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report).expect("texts and numbers")),
    }
    ExitCode::SUCCESS
}
