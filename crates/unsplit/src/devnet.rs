//! A network of validator processes on this machine, and how to hurt it.
//!
//! - `plan`: names, addresses and files
//! - `fleet`: the processes
//! - `holder`: the process that holds them, and the faults
//! - `control`: how the command line speaks to the holder
//! - `record`: what is written down for when the holder is gone
//! - `groups`: `0-3/4-6`
//! - `logs`: what the validators write

pub(crate) mod control;
mod fleet;
mod groups;
pub(crate) mod holder;
mod logs;
pub(crate) mod plan;
pub(crate) mod record;

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use api::{Affliction, Illness};
use ledger::{faults, quorum};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

pub(crate) use fleet::{describe, program};

use crate::{
    cli::{Devnet, Fault, Held, Up},
    client::Client,
    devnet::{
        control::{Reply, Request, call},
        holder::{Holder, serve},
        record::{NodeRecord, Record, State},
    },
    failure::{Exit, Failure, listed},
    files,
    output::{Output, counted, table},
    signals::Signals,
    status::span,
    testnet::{self, check_tolerance, now_ms},
};

/// How long a new network may take until its first block is final.
const FIRST_BLOCK_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(verb: Devnet, output: Output) -> Result<Exit, Failure> {
    match verb {
        Devnet::Up(up) => self::up(&up, output).await,
        Devnet::Hold(held) => hold(&held.dir, output).await,
        Devnet::Down(held) => down(&held.dir, output).await,
        Devnet::Status(held) => status(&held.dir, output).await,
        Devnet::Restart { nodes, held } => ask(&held, &Request::Restart { nodes }, output).await,
        Devnet::Add { replaces, sets, held } => ask(&held, &Request::Add { replaces, sets }, output).await,
        Devnet::Logs { node, follow, lines, held } => {
            logs::show(&held.dir, node.as_deref(), follow, lines, output).await
        }
        Devnet::Fault(fault) => {
            let (held, request) = fault_request(fault);
            ask(&held, &request, output).await
        }
        Devnet::Heal { id, held } => ask(&held, &Request::Heal { id: fault_id(&id)? }, output).await,
        Devnet::Faults(held) => list_faults(&held.dir, output).await,
    }
}

fn fault_request(fault: Fault) -> (Held, Request) {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match fault {
        Fault::Crash { nodes, duration, held } => (held, Request::Crash { nodes, for_ms: duration.map(ms) }),
        Fault::Pause { nodes, ttl, held } => (held, Request::Pause { nodes, for_ms: ms(ttl.duration) }),
        Fault::Partition { groups, one_way, ttl, held } => {
            (held, Request::Partition { groups, one_way, for_ms: ms(ttl.duration) })
        }
        Fault::Wedge { nodes, ttl, held } => {
            let affliction = ill(Illness::WedgedExecutor, ttl.duration);
            (held, Request::Afflict { nodes, affliction })
        }
        Fault::SlowDisk { nodes, delay, ttl, held } => {
            let affliction = Affliction { delay_ms: ms(delay), ..ill(Illness::SlowDisk, ttl.duration) };
            (held, Request::Afflict { nodes, affliction })
        }
        Fault::Accuse { about, nodes, ttl, held } => {
            let affliction = Affliction { node: Some(about), ..ill(Illness::FalseAccuser, ttl.duration) };
            (held, Request::Afflict { nodes, affliction })
        }
        Fault::Isolate { node, ttl, held } => (held, Request::Isolate { node, for_ms: ms(ttl.duration) }),
    }
}

/// An ailment that lasts so long.
pub(crate) fn ill(illness: Illness, lasts: Duration) -> Affliction {
    let ttl_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    Affliction { illness, ttl_ms, ..Affliction::default() }
}

fn fault_id(text: &str) -> Result<Option<u64>, Failure> {
    if text == "all" {
        return Ok(None);
    }
    let id = text.parse().map_err(|_| Failure::usage(format!("{text:?} is no fault's id"), "a number, or all"))?;
    Ok(Some(id))
}

#[derive(Serialize)]
struct Done<'a> {
    schema: &'static str,
    done: &'a str,
    faults: &'a [record::FaultRecord],
}

async fn ask(held: &Held, request: &Request, output: Output) -> Result<Exit, Failure> {
    Record::load(&held.dir)?;
    let Reply { done, record } = call(&held.dir, request).await?;
    output.data(&done, &Done { schema: "unsplit.devnet.done/1", done: &done, faults: &record.faults });
    Ok(Exit::Ok)
}

async fn up(up: &Up, output: Output) -> Result<Exit, Failure> {
    let launched = Instant::now();
    let dir = &up.held.dir;
    let origin = prepare(up, output)?;
    if up.detach {
        return up_detached(up, origin, launched, output).await;
    }
    let mut signals = Signals::listen();
    let mut running = Running::start(dir, output)?;
    let ended = tokio::select! {
        first = first_block(dir, up.resume) => match first {
            Ok(height) => {
                let record = Record::load(dir)?;
                output.data(&banner(&record, origin, height, launched.elapsed(), up.detach), &record);
                running.ended(&mut signals).await
            }
            Err(failure) => {
                running.stop().await;
                return Err(failure);
            }
        },
        ended = running.ended(&mut signals) => ended,
    };
    running.stop().await;
    output.talk(&format!("ended; to go on with it: unsplit devnet up --resume --dir {}", dir.display()));
    Ok(ended)
}

/// Makes the folder or looks at the one that is there, and finds out whether its ports are free. Says which it did.
fn prepare(up: &Up, output: Output) -> Result<&'static str, Failure> {
    let dir = &up.held.dir;
    let ignored = fleet::overlays();
    if !ignored.is_empty() {
        let names = listed(ignored.iter().map(|name| name.to_string_lossy()));
        output.talk(&format!("note: a devnet's validators do not read {names}; use --set"));
    }
    let exists = dir.join("devnet.json").exists();
    match (exists, up.resume, up.reset) {
        (false, true, _) => Record::load(dir).map(|_| "").map_err(|_| {
            let help = "start a new one without --resume";
            Failure::not_found(format!("there is no devnet in {} to go on with", dir.display()), help)
        }),
        (true, false, false) => Err(Failure::refused(
            format!("there is a devnet in {} already", dir.display()),
            "go on with it: --resume; or delete it and start a new chain: --reset",
        )),
        (true, true, _) => {
            refuse_if_held(dir)?;
            plan::check_ports(&Record::load(dir)?.nodes)?;
            Ok("resumed")
        }
        (true, false, true) => {
            refuse_if_held(dir)?;
            check_tolerance(usize::from(up.nodes), up.no_tolerance, output)?;
            plan::check_new_ports(usize::from(up.nodes), up.port_base)?;
            std::fs::remove_dir_all(dir).map_err(Failure::file("delete", dir))?;
            plan::write(dir, usize::from(up.nodes), up.port_base, up.rules, &up.sets)?;
            Ok("reset: the old chain was deleted, this one is new")
        }
        (false, false, _) => {
            check_tolerance(usize::from(up.nodes), up.no_tolerance, output)?;
            plan::write(dir, usize::from(up.nodes), up.port_base, up.rules, &up.sets)?;
            Ok("new")
        }
    }
}

fn refuse_if_held(dir: &Path) -> Result<(), Failure> {
    match record::take_lock(dir)? {
        Some(_) => Ok(()),
        None => Err(Failure::refused(
            format!("the devnet in {} is running", dir.display()),
            format!("end it first: unsplit devnet down --dir {}", dir.display()),
        )),
    }
}

/// A devnet that is held by this process, with its socket.
pub(crate) struct Running {
    pub(crate) holder: Arc<Mutex<Holder>>,
    serving: JoinHandle<()>,
}

impl Running {
    /// Takes charge of the devnet in `dir` and starts its validators.
    pub(crate) fn start(dir: &Path, output: Output) -> Result<Self, Failure> {
        let mut holder = Holder::open(dir, output)?;
        let listener = control::listen(dir)?;
        holder.start_all()?;
        let holder = Arc::new(Mutex::new(holder));
        let serving = tokio::spawn(serve(holder.clone(), listener));
        Ok(Self { holder, serving })
    }

    /// Waits until a signal comes or somebody asks for the end.
    pub(crate) async fn ended(&mut self, signals: &mut Signals) -> Exit {
        tokio::select! {
            exit = signals.next() => exit,
            _ = &mut self.serving => Exit::Ok,
        }
    }

    pub(crate) async fn stop(&self) {
        self.serving.abort();
        self.holder.lock().await.stop_all().await;
    }
}

async fn up_detached(up: &Up, origin: &str, launched: Instant, output: Output) -> Result<Exit, Failure> {
    let dir = &up.held.dir;
    let path = dir.join("holder.log");
    let log = File::options().create(true).append(true).open(&path).map_err(Failure::file("write", &path))?;
    let errors = log.try_clone().map_err(Failure::file("write", &path))?;
    let holder = Command::new(fleet::program())
        .args(["devnet", "hold", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn();
    let mut holder = holder.map_err(|error| Failure::unexpected(format!("cannot start the holder: {error}")))?;
    let gone = async {
        loop {
            if let Ok(Some(status)) = holder.try_wait() {
                return status;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let first = tokio::select! {
        first = first_block(dir, up.resume) => first,
        status = gone => Err(Failure::unexpected(format!(
            "the devnet ended at once ({}):\n{}",
            fleet::describe(status),
            files::tail(&path, 10).join("\n")
        ))),
    };
    match first {
        Ok(height) => {
            let record = Record::load(dir)?;
            output.data(&banner(&record, origin, height, launched.elapsed(), up.detach), &record);
            Ok(Exit::Ok)
        }
        Err(failure) => {
            // Nothing half alive is left behind; an error means that it is gone already.
            let _ = call(dir, &Request::Down).await;
            Err(failure)
        }
    }
}

/// The background half of `up --detach`: a session of its own, so that it outlives the terminal.
async fn hold(dir: &Path, output: Output) -> Result<Exit, Failure> {
    // It fails only for the leader of a group, which is nobody's child.
    let _ = rustix::process::setsid();
    let mut signals = Signals::listen();
    let mut running = Running::start(dir, output)?;
    let exit = running.ended(&mut signals).await;
    running.stop().await;
    Ok(exit)
}

/// Waits until any validator has a final block, a new one if the chain is resumed; otherwise says what is missing where.
pub(crate) async fn first_block(dir: &Path, resumed: bool) -> Result<u64, Failure> {
    let started = Instant::now();
    let clients = clients(&Record::load(dir)?.nodes)?;
    let mut before = if resumed { None } else { Some(0) };
    loop {
        let record = Record::load(dir)?;
        let highest = heights(&clients).await.into_iter().flatten().max();
        match (highest, before) {
            (Some(height), Some(before)) if height > before => return Ok(height),
            // A resumed chain may still be loading what it had: the last height before all answer is not yet it.
            (Some(height), None) => before = Some(height),
            (Some(_) | None, _) => {}
        }
        let dead = record.nodes.iter().filter(|node| node.state == State::Dead).count();
        if dead > faults(record.nodes.len()) || started.elapsed() > FIRST_BLOCK_TIMEOUT {
            return Err(no_first_block(&record, &clients, started.elapsed()).await);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn no_first_block(record: &Record, clients: &[Client], took: Duration) -> Failure {
    let mut lines = vec![format!("no block is final after {:.1} s:", took.as_secs_f64())];
    for (node, client) in record.nodes.iter().zip(clients) {
        let how = match node.state {
            State::Running => client.why().await.map_or_else(|trouble| trouble.to_string(), |why| why.sentence),
            State::Paused | State::Crashed | State::Stopped | State::Dead => node.condition(),
        };
        lines.push(format!("  {}: {how}", node.name));
    }
    let worst = record.nodes.iter().find(|node| node.state != State::Running).unwrap_or(&record.nodes[0]);
    lines.push(format!("the end of {}:", worst.log.display()));
    lines.extend(files::tail(&worst.log, 8).into_iter().map(|line| format!("  {line}")));
    let help = format!("the logs say more: unsplit devnet logs --dir {}", record.dir.display());
    Failure::unreachable(lines.join("\n"), help)
}

fn clients(nodes: &[NodeRecord]) -> Result<Vec<Client>, Failure> {
    nodes.iter().map(|node| Client::new(&node.api, None, Duration::from_secs(1))).collect()
}

/// Asks all at once; who does not answer has none.
async fn heights(clients: &[Client]) -> Vec<Option<u64>> {
    let mut asking = JoinSet::new();
    for (index, client) in clients.iter().cloned().enumerate() {
        asking.spawn(async move { (index, client.status().await.ok().map(|status| status.height)) });
    }
    let mut heights = asking.join_all().await;
    heights.sort_unstable_by_key(|(index, _)| *index);
    heights.into_iter().map(|(_, height)| height).collect()
}

fn banner(record: &Record, origin: &str, height: u64, took: Duration, detached: bool) -> String {
    let n = record.nodes.len();
    let dir = record.dir.display();
    let (first, last) = (&record.nodes[0], &record.nodes[n - 1]);
    let place = if detached { "try" } else { "runs until Ctrl-C; in another terminal, try" };
    format!(
        "unsplit {} · {} · {} · tolerates f = {} · quorum {}\n  \
         data   {dir} ({origin})\n  \
         api    {} ({}) to {} ({}) · metrics at /metrics\n  \
         funds  {dir}/accounts/a0.key and the like, {} each\n  \
         tasks  one JSON object a line: unsplit tasks submit examples/workload.jsonl --dir {dir}\n  \
         [{:4.1}s] block {height} is final\n\
         {place}:\n  \
         unsplit devnet status --dir {dir}\n  \
         unsplit devnet fault {} --for 30s --dir {dir}\n  \
         unsplit devnet down --dir {dir}",
        env!("CARGO_PKG_VERSION"),
        record.chain_id,
        counted(n, "validator"),
        faults(n),
        quorum(n),
        first.api,
        first.name,
        last.api,
        last.name,
        testnet::FUNDS,
        took.as_secs_f64(),
        halting_fault(record),
    )
}

/// The smallest harm that halts it: what a newcomer wants to see.
fn halting_fault(record: &Record) -> String {
    let (n, names) = (record.nodes.len(), record.names());
    if n == 1 {
        return format!("crash {}", names[0]);
    }
    let everyone: Vec<usize> = (0..n).collect();
    let (a, b) = everyone.split_at(quorum(n).saturating_sub(1).max(1));
    format!("partition {}/{}", groups::format_group(a, &names), groups::format_group(b, &names))
}

async fn down(dir: &Path, output: Output) -> Result<Exit, Failure> {
    let record = Record::load(dir)?;
    if record::take_lock(dir)?.is_some() {
        let done = format!("the devnet in {} was not running", dir.display());
        output.data(&done, &Done { schema: "unsplit.devnet.done/1", done: &done, faults: &[] });
        record.without_holder().save()?;
        return Ok(Exit::Ok);
    }
    let reply = call(dir, &Request::Down).await?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while record::take_lock(dir)?.is_none() {
        if Instant::now() > deadline {
            return Err(Failure::unreachable(format!("process {} does not end", record.holder), "kill it"));
        }
        sleep(Duration::from_millis(10)).await;
    }
    output.data(&reply.done, &Done { schema: "unsplit.devnet.done/1", done: &reply.done, faults: &[] });
    Ok(Exit::Ok)
}

/// What `devnet status` shows: the record, and what each validator says.
#[derive(Serialize)]
struct StatusDocument {
    schema: &'static str,
    chain_id: String,
    dir: std::path::PathBuf,
    /// Absent when nobody holds it.
    holder: Option<u32>,
    nodes: Vec<StatusRow>,
    faults: Vec<record::FaultRecord>,
}

#[derive(Serialize)]
struct StatusRow {
    #[serde(flatten)]
    node: NodeRecord,
    /// Absent when it does not answer.
    height: Option<u64>,
}

async fn status(dir: &Path, output: Output) -> Result<Exit, Failure> {
    let (record, is_held) = present(dir).await?;
    let heights = heights(&clients(&record.nodes)?).await;
    let nodes = record.nodes.into_iter().zip(heights).map(|(node, height)| StatusRow { node, height });
    let document = StatusDocument {
        schema: "unsplit.devnet.status/1",
        chain_id: record.chain_id,
        dir: record.dir,
        holder: is_held.then_some(record.holder),
        nodes: nodes.collect(),
        faults: record.faults,
    };
    output.data(&status_screen(&document), &document);
    Ok(Exit::Ok)
}

/// From the holder if there is one, otherwise from what it wrote down.
async fn present(dir: &Path) -> Result<(Record, bool), Failure> {
    let written = Record::load(dir)?;
    Ok(match call(dir, &Request::Status).await {
        Ok(reply) => (reply.record, true),
        Err(_) => (written.without_holder(), false),
    })
}

fn status_screen(document: &StatusDocument) -> String {
    let holder = document.holder.map_or("nobody holds it".to_owned(), |pid| format!("held by process {pid}"));
    let rows = document.nodes.iter().map(|row| {
        let pid = row.node.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let height = row.height.map_or("-".to_owned(), |height| height.to_string());
        vec![row.node.name.clone(), row.node.condition(), height, pid, row.node.api.clone()]
    });
    let nodes = table(&["node", "state", "height", "pid", "api"], rows);
    let faults = fault_lines(&document.faults);
    format!("{} · {} · {holder}\n{nodes}\n{faults}", document.chain_id, document.dir.display())
}

fn fault_lines(faults: &[record::FaultRecord]) -> String {
    let line = |fault: &record::FaultRecord| {
        let left = span(fault.ends_ms.saturating_sub(now_ms()));
        format!("fault {}: {}, ends in {left}", fault.id, fault.fault)
    };
    faults.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[derive(Serialize)]
struct FaultsDocument {
    schema: &'static str,
    faults: Vec<FaultRow>,
}

#[derive(Serialize)]
struct FaultRow {
    id: u64,
    fault: String,
    remaining_ms: u64,
}

async fn list_faults(dir: &Path, output: Output) -> Result<Exit, Failure> {
    let (record, _) = present(dir).await?;
    let human = if record.faults.is_empty() { "no fault".into() } else { fault_lines(&record.faults) };
    let now = now_ms();
    let faults = record.faults.into_iter().map(|fault| FaultRow {
        id: fault.id,
        fault: fault.fault,
        remaining_ms: fault.ends_ms.saturating_sub(now),
    });
    output.data(&human, &FaultsDocument { schema: "unsplit.devnet.faults/1", faults: faults.collect() });
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: usize) -> Record {
        let node = |i: usize| NodeRecord {
            name: format!("n{i}"),
            pid: (i > 0).then_some(7),
            api: format!("http://127.0.0.1:{}", 7700 + i),
            token_file: "/d/n/data/api.token".into(),
            data_dir: "/d/n/data".into(),
            config: "/d/n/node.toml".into(),
            log: "/d/n/log".into(),
            listen: "127.0.0.10:8700".into(),
            state: if i > 0 { State::Running } else { State::Dead },
            ended: (i == 0).then(|| "exit code 3".to_owned()),
        };
        Record {
            schema: "unsplit.devnet/1".into(),
            chain_id: "devnet-1".into(),
            dir: "/d".into(),
            holder: 1,
            nodes: (0..n).map(node).collect(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn a_banner_is_short_and_ends_with_three_commands() {
        for (n, fault) in
            [(7, "partition n0-n3/n4-n6"), (4, "partition n0,n1/n2,n3"), (2, "partition n0/n1"), (1, "crash n0")]
        {
            let banner = banner(&record(n), "new", 1, Duration::from_millis(1234), true);
            assert!(banner.lines().count() <= 12, "{banner}");
            let last: Vec<&str> = banner.lines().rev().take(3).collect();
            assert!(last.iter().all(|line| line.trim_start().starts_with("unsplit devnet ")), "{banner}");
            assert!(banner.contains(fault), "{banner}");
        }
    }

    #[test]
    fn a_dead_validator_is_a_row_with_no_height() {
        let record = record(2);
        let nodes = record.nodes.into_iter().zip([None, Some(9)]).map(|(node, height)| StatusRow { node, height });
        let document = StatusDocument {
            schema: "unsplit.devnet.status/1",
            chain_id: record.chain_id,
            dir: record.dir,
            holder: None,
            nodes: nodes.collect(),
            faults: Vec::new(),
        };
        let json = serde_json::to_value(&document).expect("a document");
        assert_eq!(json["nodes"][0]["state"], "dead");
        assert!(json["nodes"][0]["height"].is_null() && json["nodes"][0]["pid"].is_null());
        assert_eq!(json["nodes"][1]["height"], 9);
        for key in ["name", "pid", "api", "token_file", "data_dir", "height", "state"] {
            assert!(json["nodes"][0].get(key).is_some(), "{key}");
        }
        let screen = status_screen(&document);
        assert!(screen.contains(" n0    dead (exit code 3)  -"), "{screen}");
    }

    #[test]
    fn a_fault_is_healed_by_id_or_with_all() {
        assert_eq!(fault_id("all").expect("all"), None);
        assert_eq!(fault_id("7").expect("a number"), Some(7));
        assert_eq!(fault_id("x").expect_err("no number").exit, Exit::Usage);
    }
}
