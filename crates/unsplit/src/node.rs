//! One validator on this machine: its folder, its key, and being it.

use std::{
    io::{IsTerminal as _, Read as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use ledger::Genesis;
use rustix::process::{Signal, getpid, kill_process};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use validator::{Config, config::LogFormat};

use crate::{
    cli::{ConfigFile, Global, Node},
    config,
    failure::{Exit, Failure},
    files, keys,
    output::Output,
    room,
    testnet::{self, Member},
};

#[derive(Serialize)]
struct Identity<'a> {
    schema: &'static str,
    name: &'a str,
    key: String,
    /// The key of its supervisor, if it has one.
    supervisor: Option<String>,
}

pub(crate) fn run(verb: Node, global: &Global, output: Output) -> Result<Exit, Failure> {
    match verb {
        Node::Init { dir, name, genesis, listen, api_listen } => {
            let member = Member { name, listen, address: listen, api: api_listen, region: String::new() };
            init(&dir, &member, genesis.as_deref(), output)
        }
        Node::Start { config, exit_with_stdin } => start(&config, exit_with_stdin, global),
        Node::ShowId { config } => show_id(&config, output),
        Node::Reinstate { config } => reinstate(&config, global.yes, output),
    }
}

fn init(dir: &Path, member: &Member, genesis: Option<&Path>, output: Output) -> Result<Exit, Failure> {
    let genesis = genesis.map(read_genesis).transpose()?;
    let keys = testnet::write_member(dir, member, &[])?;
    let (key, supervisor) = (keys.validator.to_string(), keys.supervisor.to_string());
    if let Some(genesis) = &genesis {
        files::write_new(&dir.join("genesis.toml"), &genesis.to_toml())?;
    }
    let name = &member.name;
    output.data(
        &key,
        &Identity { schema: "unsplit.identity/1", name, key: key.clone(), supervisor: Some(supervisor.clone()) },
    );
    output.talk(&format!(
        "wrote {0}/node.toml and, in {0}/data, node.key, supervisor.key and api.token; its supervisor is {supervisor}",
        dir.display()
    ));
    if genesis.is_none() {
        output.talk(&format!("next: put both and an address into genesis.toml, and that into {}", dir.display()));
    }
    Ok(Exit::Ok)
}

pub(crate) fn read_genesis(path: &Path) -> Result<Genesis, Failure> {
    let text = files::read(path)?;
    Genesis::parse(&text).map_err(|error| Failure::config(format!("{}: {error}", path.display()), ""))
}

fn show_id(file: &ConfigFile, output: Output) -> Result<Exit, Failure> {
    let config = config::load(file)?;
    let key = keys::load(&config.key_file)?.public().to_string();
    let path = config.data_dir.join(validator::SUPERVISOR_KEY);
    let supervisor = path.exists().then(|| keys::load(&path)).transpose()?.map(|key| key.public().to_string());
    output.data(&key, &Identity { schema: "unsplit.identity/1", name: &config.name, key: key.clone(), supervisor });
    Ok(Exit::Ok)
}

fn start(file: &ConfigFile, exit_with_stdin: bool, global: &Global) -> Result<Exit, Failure> {
    let config = config::load(file)?;
    check_genesis(&config)?;
    log_to_stderr(&config, global)?;
    if exit_with_stdin {
        std::thread::spawn(end_with_stdin);
    }
    let data_dir = config.data_dir.clone();
    match catch_unwind(AssertUnwindSafe(|| validator::run(config))) {
        Ok(ended) => ended?,
        // What it was is written above.
        Err(_) => return Err(broken(&data_dir)),
    }
    Ok(Exit::Ok)
}

/// A validator that cannot write ends rather than sign what it would not remember. Most often the disk is full.
fn broken(data_dir: &Path) -> Failure {
    if let Some(refusal) = room::refusal(data_dir) {
        let help = "make room or mend it, and start the validator again: what it said is final is kept, and nothing was \
                    signed that it would not remember; a supervisor does so by itself once the disk can be written";
        return Failure::refused(format!("{refusal}, so the validator ended"), help);
    }
    let help = "start it again: what it said is final is kept; if it ends again, the lines above are worth a report";
    Failure::new(Exit::Unexpected, "the validator failed", help)
}

/// The validator would say that there is no such file; what to do about it depends on where one comes from.
pub(crate) fn check_genesis(config: &Config) -> Result<(), Failure> {
    if config.genesis.exists() {
        return Ok(());
    }
    let help = "every validator of a chain has the same genesis.toml: copy it there, or name it with `genesis` in node.toml; \
                a new chain's is written by `unsplit testnet init`";
    Err(Failure::config(format!("there is no genesis file {}", config.genesis.display()), help))
}

/// How long a validator may take to end once nobody holds it any more.
const END_MAX: Duration = Duration::from_secs(10);

/// Whoever started us holds the other end; when it is gone, however it went, so are we. The same way out as SIGTERM.
fn end_with_stdin() {
    let mut ignored = [0; 64];
    while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
    tracing::info!("whoever started this validator is gone, so it ends");
    if let Err(error) = kill_process(getpid(), Signal::TERM) {
        tracing::error!(%error, "cannot end by signal");
        std::process::exit(i32::from(Exit::Unexpected as u8));
    }
    // One that hangs does not hear it, and nobody is left to kill it.
    std::thread::sleep(END_MAX);
    std::process::exit(i32::from(Exit::Unexpected as u8));
}

fn log_to_stderr(config: &Config, global: &Global) -> Result<(), Failure> {
    let filter = std::env::var("UNSPLIT_LOG").or_else(|_| std::env::var("RUST_LOG")).ok();
    let filter = filter.filter(|filter| !filter.is_empty());
    let level = match global.verbose {
        0 => config.log.level.as_str(),
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or(level)).map_err(|error| {
        Failure::config(format!("UNSPLIT_LOG or RUST_LOG: {error}"), "use a filter such as info,validator=debug")
    })?;
    let shape = shape(config.log.format, std::io::stderr().is_terminal());
    // A reader of our log that goes away must not take the validator along.
    let layer = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Which part of the program speaks is for whoever asks for more.
        .with_target(global.verbose > 0 || shape == Shape::Json)
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let outcome = match shape {
        Shape::Compact => layer.compact().try_init(),
        Shape::Json => layer.json().flatten_event(true).try_init(),
    };
    outcome.map_err(|error| Failure::unexpected(format!("no log: {error}")))
}

#[derive(Debug, Eq, PartialEq)]
enum Shape {
    Compact,
    Json,
}

fn shape(format: LogFormat, terminal: bool) -> Shape {
    match format {
        LogFormat::Compact => Shape::Compact,
        LogFormat::Json => Shape::Json,
        LogFormat::Auto if terminal => Shape::Compact,
        LogFormat::Auto => Shape::Json,
    }
}

const REINSTATE_RISKS: &str = "\
A validator whose vote guard is lost does not know what it has signed. It observes until it has provably sat out and
then votes again by itself: as a rule there is nothing to do. Reinstating is for the one case that does not cure itself,
when so many observe that nothing becomes final. Until the next block is final, a reinstated validator counts as faulty:
with too many of them, two different blocks can become final. Do it only if
  1. `unsplit why` says that too many validators observe;
  2. no other process uses this validator's key, and no copy of its disk will ever be started;
  3. you reinstate no more than finality needs, and never more than f in all, those counted that you do not trust.";

fn reinstate(file: &ConfigFile, yes: bool, output: Output) -> Result<Exit, Failure> {
    let config = config::load(file)?;
    if !yes {
        output.talk(REINSTATE_RISKS);
        return Err(Failure::refused(
            format!("{} was not reinstated", config.name),
            format!("if all three hold: unsplit node reinstate -c {} --yes", file.config.display()),
        ));
    }
    check_genesis(&config)?;
    let text = validator::reinstate(&config)?;
    output.data(&text, &Reinstated { schema: "unsplit.reinstated/1", name: &config.name, text: &text });
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Reinstated<'a> {
    schema: &'static str,
    name: &'a str,
    text: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_json_unless_a_person_reads_it() {
        assert_eq!(shape(LogFormat::Auto, true), Shape::Compact);
        assert_eq!(shape(LogFormat::Auto, false), Shape::Json);
        assert_eq!(shape(LogFormat::Compact, false), Shape::Compact);
        assert_eq!(shape(LogFormat::Json, true), Shape::Json);
    }
}
