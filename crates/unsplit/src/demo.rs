//! A scripted storm with a verdict: real validators, a steady load, and figures measured in this very run.
//!
//! - `storm`: the acts, in order
//! - `load`, `book`: the clients, and what they know
//! - `audit`: the check at the end, on every validator
//! - `work`: what became of its tasks
//! - `health`, `illness`: who was found gone or ill, and the acts about that
//! - `rot`: the act about a disk that forgets
//! - `cuts`: a link that works one way only
//! - `newcomer`: a validator is replaced, and loses its disk
//! - `verdict`: the table and the document

mod audit;
mod book;
mod cuts;
mod health;
mod illness;
mod load;
mod newcomer;
mod rot;
mod storm;
mod verdict;
mod work;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ledger::{faults, quorum};

use crate::{
    cli::{ChainRules, Demo},
    client::{self, Client},
    demo::{book::Book, load::Load, storm::Storm},
    devnet::{self, Running, plan, record::Record},
    failure::{Exit, Failure},
    keys,
    output::{Output, is_terminal},
    signals::Signals,
};

/// Longer than a busy machine needs, shorter than the patience of somebody who watches.
const API_TIMEOUT: Duration = Duration::from_secs(3);

/// Short enough that somebody who watches sees the set of validators change.
const EPOCH_BLOCKS: u64 = 32;

/// And that there is a state to give to whoever comes.
const CHECKPOINT_BLOCKS: u64 = 50;

pub(crate) async fn run(demo: &Demo, output: Output, launched: Instant) -> Result<Exit, Failure> {
    let stays = !demo.exit && is_terminal();
    let dir = match &demo.dir {
        Some(dir) if dir.exists() => {
            let help = "choose a folder that does not exist, or leave out --dir";
            return Err(Failure::refused(format!("{} exists", dir.display()), help));
        }
        Some(dir) => dir.clone(),
        None => PathBuf::from(format!("./unsplit-demo-{}", keys::random_word(4)?)),
    };
    let folder = Folder { path: dir, keep: demo.keep };
    // From here on a signal means: clean up first.
    let mut signals = Signals::listen();
    let rules = ChainRules { epoch_length: Some(EPOCH_BLOCKS), ..ChainRules::default() };
    let sets = [format!("store.checkpoint_interval={CHECKPOINT_BLOCKS}")];
    let record = plan::write(&folder.path, usize::from(demo.nodes), demo.port_base, rules, &sets)?;
    let mut running = Running::start(&folder.path, output)?;
    introduce(&record, &folder, output);
    let outcome = tokio::select! {
        outcome = play(demo, &record, &running, output, launched) => outcome,
        exit = signals.next() => Ok(exit),
    };
    if stays && matches!(outcome, Ok(Exit::Ok | Exit::Missed)) {
        output.line(&invitation(&folder.path, record.nodes.len(), &record));
        running.ended(&mut signals).await;
    }
    running.stop().await;
    outcome
}

/// The demo's folder; gone with it unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // It may never have been made.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

async fn play(
    demo: &Demo,
    record: &Record,
    running: &Running,
    output: Output,
    launched: Instant,
) -> Result<Exit, Failure> {
    devnet::first_block(&record.dir, false).await?;
    let first_block = launched.elapsed();
    let clients = clients(record)?;
    let chain = record.chain_id.parse().map_err(|error: ledger::TextError| Failure::unexpected(error.to_string()))?;
    let keys = (0..record.nodes.len()).map(|i| keys::load(&account_key(&record.dir, i))).collect::<Result<_, _>>()?;
    let task_every = demo.load.checked_div(demo.tasks).map_or(0, |every| u64::from(every.max(1)));
    let book = Book::new(chain, keys, clients.len(), task_every, Instant::now());
    let load = Load::new(book, clients.clone(), demo.load);
    let _tasks = load.start();
    let storm = Storm::new(running.holder.clone(), load, clients, output, launched);
    let verdict = storm.play(first_block).await?;
    if output.is_json() {
        output.data("", &verdict);
    }
    output.line(&verdict.line());
    Ok(if verdict.ok { Exit::Ok } else { Exit::Missed })
}

fn clients(record: &Record) -> Result<Vec<Client>, Failure> {
    let client = |node: &crate::devnet::record::NodeRecord| {
        Client::new(&node.api, Some(client::read_token(&node.token_file)?), API_TIMEOUT)
    };
    record.nodes.iter().map(client).collect()
}

fn account_key(dir: &Path, account: usize) -> PathBuf {
    dir.join("accounts").join(format!("a{account}.key"))
}

fn introduce(record: &Record, folder: &Folder, output: Output) {
    let n = record.nodes.len();
    let fate = if folder.keep { "kept" } else { "removed at exit, --keep to keep" };
    output.line(&format!(
        "unsplit {} · {} · {n} validators · tolerates f = {} · quorum {}\n  \
         api   {} to {}        metrics  {}/metrics\n  \
         data  {} ({fate})",
        env!("CARGO_PKG_VERSION"),
        record.chain_id,
        faults(n),
        quorum(n),
        record.nodes[0].api,
        record.nodes[n - 1].api,
        record.nodes[0].api,
        folder.path.display(),
    ));
}

fn invitation(dir: &Path, n: usize, record: &Record) -> String {
    let (a, b) = storm::halting_split(n);
    let dir = dir.display();
    format!(
        "still running until Ctrl-C — try:\n  unsplit why --api {}\n  \
         unsplit devnet fault partition {}-{}/{}-{} --for 30s --dir {dir}\n  unsplit devnet down --dir {dir}",
        record.nodes[0].api,
        a[0],
        a[a.len() - 1],
        b[0],
        b[b.len() - 1],
    )
}
