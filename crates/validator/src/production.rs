//! A validator on this machine's sockets and disks.
//!
//! Everything that can be wrong with a machine is looked at before the first byte is sent: configuration, genesis,
//! folder, lock, keys, ports, room. What is wrong is said with its place and a way to mend it.

mod folder;
mod headers;
mod network;
mod orders;
mod steady;
mod verify;

use crate::{
    config::Config,
    guard::{Found, Guard},
    integrity,
    progress::Progress,
    roster::Roster,
    validator::{self, CHANNELS, Identity, Network, Node, Rejected},
    worker::{Execute, Job},
};
use api::Backend;
use commonware_codec::DecodeExt as _;
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_runtime::{
    Clock as _, Metrics as _, Runner as _, Spawner as _, Supervisor as _, telemetry::metrics::MetricsExt as _, tokio,
};
use executor::{Executors, Program};
use folder::Folder;
pub use folder::{ROOM_MIN, initialize};
use ledger::Genesis;
pub use orders::{SUPERVISOR_KEY, receive_orders};
use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};
use steady::Steady;
use tracing::{info, warn};
pub use verify::{PartReport, StoreReport, verify};

/// The word that makes this program the launcher of a task.
pub const LAUNCH: &str = "launch-task";

/// How long a stopping node's parts have to finish what they are writing.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often the wall clock is compared with the validator's own.
const WALL_CLOCK_EVERY: Duration = Duration::from_secs(5);

/// A wall clock that moved by so much was set. Less is the clocks' drift.
const WALL_CLOCK_STEP_MS: u64 = 500;

/// Why a validator does not run (any more).
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, or a file it names, is wrong.
    #[error("{0}")]
    Config(String),
    /// A safety guard says no: the folder is in use, foreign, newer, or unsafe.
    #[error("{0}")]
    Refused(String),
    /// The machine or the engine failed.
    #[error("{0}")]
    Failed(String),
}

impl StartError {
    /// The process exit code, as documented for the command line.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Failed(_) => 1,
            Self::Config(_) => 3,
            Self::Refused(_) => 5,
        }
    }
}

impl From<Rejected> for StartError {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::BadKey => Self::Config(format!("{rejected}; copy the file anew from another validator")),
            Rejected::Storage(_) => Self::Failed(rejected.to_string()),
            Rejected::Guard(_) => Self::Refused(format!(
                "{rejected}; every validator needs a data directory of its own: start it on the one that was made for its key"
            )),
        }
    }
}

/// Runs the validator that `config` describes until SIGTERM or SIGINT.
///
/// # Errors
/// See [`StartError`]; each message says what is wrong, where, and how to mend it.
///
/// # Panics
/// When the disk fails under a running node: going on could mean signing what is not remembered.
pub fn run(config: Config) -> Result<(), StartError> {
    let genesis = read_genesis(&config.genesis)?;
    let folder = Folder::open(&config, &genesis)?;
    let key = folder.key()?;
    let token = folder.token()?;
    let listener = bind("api.listen", config.api.listen)?;
    drop(bind("network.listen", config.network.listen)?);
    if genesis.validators.len() < 4 {
        warn!(validators = genesis.validators.len(), "f = 0: one failure halts finality; four validators tolerate one");
    }
    let fresh = folder.fresh();
    let set_aside = folder.set_aside()?;
    tokio::Runner::new(runtime(&folder)).start(move |context| async move {
        let context = Steady::new(context);
        let identity = Identity { genesis, key, name: config.name.clone(), fresh, set_aside, partition: String::new() };
        let node = connect(&context, identity, &config).await?;
        if fresh {
            folder.used()?;
        }
        let settings = api::Settings::new(token, config.api.token_file.display().to_string());
        serve(context, node, listener, settings, &config).await
    })
}

fn runtime(folder: &Folder) -> tokio::Config {
    // Two threads: consensus is latency-bound, and many validators may share a machine.
    tokio::Config::new()
        .with_worker_threads(2)
        .with_storage_directory(folder.storage())
        .with_catch_panics(false)
        .with_read_write_timeout(network::SILENT_CONNECTION)
}

fn read_genesis(path: &Path) -> Result<Genesis, StartError> {
    let text = std::fs::read_to_string(path)
        .map_err(|problem| StartError::Config(format!("genesis file {}: {problem}", path.display())))?;
    Genesis::parse(&text).map_err(|problem| StartError::Config(format!("genesis file {}: {problem}", path.display())))
}

fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|problem| {
        StartError::Refused(format!(
            "{key} = \"{address}\" cannot be bound: {problem}; stop what uses the port, or choose another"
        ))
    })
}

/// Starts the network and the validator on it.
async fn connect(context: &Steady, identity: Identity, config: &Config) -> Result<Node, StartError> {
    let roster = Roster::new(&identity.genesis).ok_or(Rejected::BadKey)?;
    let me = identity.key.public_key();
    if roster.index(&me).is_none() {
        info!(key = %me, "this key is not of the genesis file: it has a vote once the chain gives it a seat, see `unsplit nodes join`");
    }
    let (mut network, oracle) = network::open(
        context,
        identity.key.clone(),
        config.network.listen,
        &identity.genesis,
        &roster,
        &config.network,
    )?;
    let channels = CHANNELS.map(|channel| network.register(channel.id, channel.quota()));
    network.start();
    let track = network::tracker(oracle.clone(), &roster)
        .map_err(|problem| StartError::Failed(format!("no thread that lets peers onto the network: {problem}")))?;
    let ends = Network { channels, blocker: oracle.clone(), provider: oracle, track };
    Ok(validator::start(context.child("node"), identity, config, ends, execute(config)?).await?)
}

/// How tasks are done on this machine: in a process of their own, which this program starts as its launcher.
fn execute(config: &Config) -> Result<Execute<Steady>, StartError> {
    let program = std::env::current_exe()
        .map_err(|problem| StartError::Failed(format!("this program's own file is not known: {problem}")))?;
    let worker = &config.worker;
    let command = |(name, words): (&String, &Vec<String>)| {
        let (path, args) = words.split_first()?;
        Some((name.clone(), Program { path: path.into(), args: args.to_vec() }))
    };
    let executors = Executors::new(executor::Settings {
        launcher: vec![program.into(), LAUNCH.into()],
        commands: worker.commands.iter().filter_map(command).collect(),
        limits: executor::Limits {
            wall: worker.time_max,
            memory_bytes: worker.memory_max as u64,
            processes: worker.processes_max,
        },
    })
    .map_err(|problem| StartError::Config(problem.to_string()))?;
    Ok(Arc::new(move |_, job: Job| {
        let executors = executors.clone();
        Box::pin(async move {
            let outcome = executors.execute(&job.executor, &job.payload).await;
            outcome.map_err(|failed| failed.reason().to_owned())
        })
    }))
}

/// Serves the API until the node ends or is told to.
async fn serve(
    context: Steady,
    node: Node,
    listener: TcpListener,
    settings: api::Settings,
    config: &Config,
) -> Result<(), StartError> {
    let failed = |what: &str, problem: &dyn std::fmt::Display| StartError::Failed(format!("{what}: {problem}"));
    let listener = ::tokio::net::TcpListener::from_std(listener).map_err(|problem| failed("api.listen", &problem))?;
    let metrics = context.child("metrics");
    let backend = Backend {
        snapshot: node.snapshot,
        requests: node.requests,
        events: node.events,
        metrics: Arc::new(move || metrics.encode()),
    };
    info!(name = config.name, api = %config.api.listen, p2p = %config.network.listen, version = env!("CARGO_PKG_VERSION"), "validator started");
    let stopping = context.child("api").stopped();
    let window = context.child("api").spawn(move |_| async move {
        api::serve(listener, backend, settings, async {
            let _ = stopping.await;
        })
        .await
    });
    context.child("wall_clock").spawn(watch_wall_clock);
    let signal = termination().map_err(|problem| failed("signals", &problem))?;
    ::tokio::select! {
        biased;
        name = signal => info!(signal = name, "stopping"),
        ended = node.handle => return match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problem)) => Err(StartError::Failed(problem)),
            Err(problem) => Err(failed("the validator ended", &problem)),
        },
        ended = window => return match ended {
            Ok(Err(problem)) => Err(failed("the API ended", &problem)),
            Ok(Ok(())) | Err(_) => Err(StartError::Failed("the API ended".into())),
        },
    }
    if context.stop(0, Some(STOP_WITHIN)).await.is_err() {
        // Nothing is lost: whatever was acknowledged is durable, and a start recovers like one after a crash.
        warn!("some parts did not stop in time");
    }
    info!("stopped");
    Ok(())
}

/// Tells when the wall clock was set, as this validator goes on without following it.
async fn watch_wall_clock(context: Steady) {
    let ahead = context.gauge("wall_clock_ahead_ms", "how far the wall clock was set ahead since the start");
    let mut told = 0;
    loop {
        context.sleep(WALL_CLOCK_EVERY).await;
        let now = context.wall_ahead_ms();
        ahead.set(now);
        if now.abs_diff(told) >= WALL_CLOCK_STEP_MS {
            warn!(ahead_ms = now, "the wall clock was set; this validator keeps its own time until it is restarted");
            told = now;
        }
    }
}

fn termination() -> std::io::Result<impl Future<Output = &'static str>> {
    use ::tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        ::tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Gives a validator whose vote guard is lost a fresh one, with everything up to its newest stored block behind it.
///
/// For the one case that cures itself no more: more than f validators observe and nothing becomes final. Reinstating k
/// of them counts them among the faulty until the next block is final: it is safe while k and the liars together are at
/// most f. Returns what was done, and what to do next.
///
/// # Errors
/// When the guard is not lost, the node is running, or the folder is not usable.
pub fn reinstate(config: &Config) -> Result<String, StartError> {
    let genesis = read_genesis(&config.genesis)?;
    let folder = Folder::open(config, &genesis)?;
    let key = folder.key()?;
    folder.set_aside()?;
    tokio::Runner::new(runtime(&folder)).start(|context| async move {
        let namespace = validator::namespace(&genesis);
        let identity = validator::guard_identity(&namespace, &key.public_key());
        let (guard, found) =
            Guard::open(context.child("guard"), "", identity, false).await.map_err(Rejected::from)?;
        let Found::Lost(reason) = found else {
            return Err(StartError::Refused("the vote guard is whole; there is nothing to reinstate".into()));
        };
        let floor = newest_round(&context, &namespace).await?;
        guard.release(floor).await;
        Ok(format!(
            "vote guard made anew (it was lost: {reason}); nothing is signed at or below view {} of epoch {}.\n\
             Start the validator again. Reinstate no more validators than finality needs, and never more than f = {} in all: \
             until the next block is final each of them counts as faulty.",
            floor.1,
            floor.0,
            ledger::faults(genesis.validators.len()),
        ))
    })
}

/// The round of the newest stored finalized block.
async fn newest_round(context: &tokio::Context, namespace: &[u8]) -> Result<(u64, u64), StartError> {
    let failed =
        |problem: &dyn std::fmt::Display| StartError::Failed(format!("the block store cannot be read: {problem}"));
    let chain = validator::chain_identity(namespace);
    let opened = integrity::open_archives(context, "", chain, 0, &Progress::default()).await;
    let ((blocks, _), _) = opened.map_err(|problem| failed(&problem))?;
    let Some(newest) = blocks.held_below(u64::MAX) else { return Ok((0, 0)) };
    let block = blocks.read(newest).await.map_err(|problem| failed(&problem))?;
    Ok(block.map_or((0, 0), |(_, block)| (block.ledger().epoch.0, block.ledger().view.0)))
}

fn private_key(bytes: [u8; 32]) -> Option<PrivateKey> {
    PrivateKey::decode(bytes::Bytes::copy_from_slice(&bytes)).ok()
}

const _: fn(&PublicKey) -> ledger::PublicKey = crate::chain::ledger_key;
