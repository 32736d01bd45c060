//! Run, watch and break a network that keeps finalizing: node, devnet, demo, simulator and client in one binary.
//!
//! - `cli`: what can be asked
//! - `failure`: what went wrong, how to mend it, and which code the process ends with
//! - `output`: data to standard output, talk to standard error
//! - `signals`: what asks a process to end
//! - `client`: one validator, over HTTP
//! - `status`, `blocks`, `tx`: what a running validator says
//! - `nodes`: who validates, how they stand and why
//! - `partitions`: who can talk to whom
//! - `sync`: how far behind is it?
//! - `releases`: which programs and models may run
//! - `tasks`: work for the validators, and what came of it
//! - `events`: what happens, as it happens
//! - `node`: one validator on this machine
//! - `room`: can it write into its folder?
//! - `hook`: a program of the operator's that is told of something
//! - `supervise`: keeps one validator alive, and says when that is hopeless
//! - `testnet`: the files of a network
//! - `verify`: is a stopped validator's store whole?
//! - `sim`: whole networks on a simulated clock
//! - `devnet`: a network of processes on this machine, and how to hurt it
//! - `demo`: a scripted storm with a verdict

#![forbid(unsafe_code)]

mod blocks;
mod cli;
mod client;
mod config;
mod demo;
mod devnet;
mod events;
mod failure;
mod files;
mod hook;
mod keys;
mod node;
mod nodes;
mod output;
mod partitions;
mod releases;
mod room;
mod signals;
mod sim;
mod status;
mod supervise;
mod sync;
mod tasks;
mod testnet;
mod tx;
mod verify;

use crate::{
    cli::{Cli, Verb},
    failure::{Exit, Failure},
    output::Output,
};

fn main() -> std::process::ExitCode {
    // What a validator starts to run a program for a task. It is no verb: no thread may have been started, and nothing may
    // fail before.
    if std::env::args_os().nth(1).is_some_and(|word| word == validator::production::LAUNCH) {
        return executor::launcher::launch();
    }
    let launched = std::time::Instant::now();
    let cli = Cli::read();
    let output = Output::new(cli.global.output, cli.global.quiet);
    match run(cli, output, launched) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Verbs that only touch files and the one that becomes a validator run here; the validator brings its own runtime.
fn run(cli: Cli, output: Output, launched: std::time::Instant) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Node(verb) => node::run(verb, &cli.global, output),
        Verb::Testnet(verb) => testnet::run(&verb, output),
        Verb::Verify(verb) => verify::run(&verb, output),
        Verb::Config(verb) => config::run(&verb, output),
        Verb::Sim(verb) => sim::run(&verb, cli.global.verbose, output),
        Verb::Recoveries(file) => supervise::recoveries(&file, output),
        Verb::Recover { node: None, config: Some(config) } => supervise::recover(config, output),
        Verb::Bench(verb) => measure(&verb, output),
        Verb::Openapi => Ok(output.raw(api::openapi().trim_end())),
        Verb::Completions { shell } => Ok(output.raw(&completions(shell))),
        Verb::Version => Ok(output.version()),
        verb => runtime()?.block_on(run_client(verb, &cli.global, output, launched)),
    }
}

async fn run_client(
    verb: Verb,
    global: &cli::Global,
    output: Output,
    launched: std::time::Instant,
) -> Result<Exit, Failure> {
    match verb {
        Verb::Demo(demo) => demo::run(&demo, output, launched).await,
        Verb::Devnet(verb) => devnet::run(verb, output).await,
        Verb::Supervise(verb) => supervise::run(&verb, global, output).await,
        Verb::Status(verb) => status::status(&verb, global, output).await,
        Verb::Why => status::why(global, output).await,
        Verb::Sync { watch } => sync::show(global, watch, output).await,
        Verb::Partitions => partitions::show(global, output).await,
        Verb::Matrix => partitions::matrix(global, output).await,
        Verb::Nodes { name, change: None } => nodes::show(name.as_deref(), global, output).await,
        Verb::Nodes { change: Some(change), .. } => nodes::change_set(&change, global, output).await,
        Verb::Balance => nodes::balance(global, output).await,
        Verb::Drain => nodes::drain(true, global, output).await,
        Verb::Undrain => nodes::drain(false, global, output).await,
        Verb::Recover { node, .. } => nodes::recover(&node.unwrap_or_default(), global, output).await,
        Verb::Certified => releases::show(global, output).await,
        Verb::Certify(verb) => releases::certify(&verb, global, output).await,
        Verb::Tasks(verb) => tasks::run(verb, global, output).await,
        Verb::Events(verb) => events::run(&verb, global, output).await,
        Verb::Tx(verb) => tx::run(verb, global, output).await,
        Verb::Blocks { at } => blocks::show(&at, global, output).await,
        Verb::Account { id } => tx::account(&id, global, output).await,
        Verb::Node(_)
        | Verb::Testnet(_)
        | Verb::Verify(_)
        | Verb::Config(_)
        | Verb::Sim(_)
        | Verb::Bench(_)
        | Verb::Recoveries(_)
        | Verb::Openapi
        | Verb::Completions { .. }
        | Verb::Version => unreachable!("run handles the verbs that need no runtime"),
    }
}

fn measure(verb: &bench::Verb, output: Output) -> Result<Exit, Failure> {
    let report = bench::run(verb).map_err(|failure| Failure::usage(failure.message, failure.help))?;
    output.data(&report.to_string(), &report);
    Ok(Exit::Ok)
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "unsplit", &mut script);
    String::from_utf8(script).expect("a script is text")
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::unexpected(format!("no runtime: {error}")))
}
