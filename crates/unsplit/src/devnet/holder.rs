//! The process that holds a devnet: starts its validators, hurts them when asked, and takes them along when it ends.
//!
//! A validator that ends by itself, or is killed from outside, stays dead until somebody restarts it by name. Every
//! fault ends by itself. Crashes without a time are no faults in this sense: they are over when they have happened.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use api::{Affliction, CutRequest, Illness, WantedChange};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    control::{self, Reply, Request},
    fleet::{self, Fleet, Node},
    groups, plan,
    record::{self, FaultRecord, Record, State},
};
use crate::{
    cli::ConfigFile,
    client::{Client, Trouble},
    config,
    failure::{Failure, listed},
    files::Lock,
    nodes::{self, Asked},
    output::Output,
    testnet::now_ms,
};

/// The longest fault.
pub(crate) const FAULT_MAX: Duration = Duration::from_secs(3600);

/// How often processes and faults are looked after.
const TICK: Duration = Duration::from_millis(100);

/// How long a request for a seat may take to be final, and to be known.
const SEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// A devnet and what is done to it.
pub(crate) struct Holder {
    dir: PathBuf,
    chain_id: String,
    fleet: Fleet,
    faults: Vec<Fault>,
    next_fault: u64,
    saved: Option<Record>,
    ending: bool,
    output: Output,
    _lock: Lock,
}

struct Fault {
    id: u64,
    text: String,
    kind: Kind,
    ends: Instant,
}

enum Kind {
    /// Starts these when it ends.
    Crash(Vec<usize>),
    /// Lets these go on when it ends.
    Pause(Vec<usize>),
    Cuts(Vec<Cut>),
    /// These end by themselves in the validators.
    Illness(Vec<usize>),
}

/// What one validator is to drop, and whether it knows.
struct Cut {
    node: usize,
    inbound: Vec<String>,
    outbound: Vec<String>,
    /// The validator's own id for it; absent until it has been told, and again after it was restarted.
    posted: Option<u64>,
}

impl Holder {
    /// Takes charge of the devnet that was written into `dir`. Nothing runs yet.
    pub(crate) fn open(dir: &Path, output: Output) -> Result<Self, Failure> {
        let record = Record::load(dir)?;
        let Some(lock) = record::take_lock(dir)? else {
            return Err(Failure::refused(
                format!("the devnet in {} is running already", dir.display()),
                format!("look at it: unsplit devnet status --dir {}", dir.display()),
            ));
        };
        Ok(Self {
            dir: record.dir,
            chain_id: record.chain_id,
            fleet: Fleet::new(record.nodes)?,
            faults: Vec::new(),
            next_fault: 1,
            saved: None,
            ending: false,
            output,
            _lock: lock,
        })
    }

    pub(crate) fn start_all(&mut self) -> Result<(), Failure> {
        for node in &mut self.fleet.nodes {
            node.start()?;
        }
        self.save();
        Ok(())
    }

    pub(crate) async fn stop_all(&mut self) {
        self.faults.clear();
        self.stop(&self.everyone()).await;
        self.save();
    }

    fn everyone(&self) -> Vec<usize> {
        (0..self.fleet.nodes.len()).collect()
    }

    async fn stop(&mut self, nodes: &[usize]) {
        self.fleet.stop(nodes, State::Stopped).await;
        self.forget_posts(nodes);
    }

    /// How everything is now.
    pub(crate) fn record(&self) -> Record {
        let now = Instant::now();
        let faults = self.faults.iter().map(|fault| FaultRecord {
            id: fault.id,
            fault: fault.text.clone(),
            ends_ms: now_ms() + millis(fault.ends.saturating_duration_since(now)),
        });
        Record {
            schema: "unsplit.devnet/1".into(),
            chain_id: self.chain_id.clone(),
            dir: self.dir.clone(),
            holder: std::process::id(),
            nodes: self.fleet.nodes.iter().map(|node| node.record.clone()).collect(),
            faults: faults.collect(),
        }
    }

    fn save(&mut self) {
        let record = self.record();
        let is_news = self.saved.as_ref().is_none_or(|saved| {
            let ids = |record: &Record| record.faults.iter().map(|fault| fault.id).collect::<Vec<_>>();
            saved.nodes != record.nodes || ids(saved) != ids(&record)
        });
        if is_news {
            if let Err(failure) = record.save() {
                self.output.failure(&failure);
            }
            self.saved = Some(record);
        }
    }

    /// Does what is asked and says what was done.
    pub(crate) async fn handle(&mut self, request: Request) -> Result<Reply, Failure> {
        let done = self.act(request).await;
        self.look_after().await;
        Ok(Reply { done: done?, record: self.record() })
    }

    async fn act(&mut self, request: Request) -> Result<String, Failure> {
        match request {
            Request::Status => Ok(String::new()),
            Request::Down => {
                self.stop_all().await;
                self.ending = true;
                Ok(format!("ended the devnet; its folder {} stays", self.dir.display()))
            }
            Request::Restart { nodes } => self.restart(&self.find_all(&nodes)?).await,
            Request::Add { replaces, sets } => {
                let find = |name: String| groups::find(&name, &self.names());
                let replaces = replaces.map(find).transpose().map_err(|why| Failure::not_found(why, ""))?;
                self.add(replaces, &sets).await
            }
            Request::Crash { nodes, for_ms } => {
                let ttl = for_ms.map(fault_ttl).transpose()?;
                self.crash(&self.find_all(&nodes)?, ttl)
            }
            Request::Pause { nodes, for_ms } => self.pause(&self.find_all(&nodes)?, fault_ttl(for_ms)?),
            Request::Partition { groups, one_way, for_ms } => {
                let groups = groups::parse(&groups, &self.names()).map_err(|why| Failure::usage(why, ""))?;
                self.partition(&groups, one_way, fault_ttl(for_ms)?).await
            }
            Request::Isolate { node, for_ms } => {
                let node = groups::find(&node, &self.names()).map_err(|why| Failure::not_found(why, ""))?;
                let others = self.everyone().into_iter().filter(|&other| other != node).collect();
                self.partition(&[vec![node], others], false, fault_ttl(for_ms)?).await
            }
            Request::Afflict { nodes, affliction } => self.afflict(&self.find_all(&nodes)?, &affliction).await,
            Request::Heal { id } => self.heal(id).await,
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.fleet.nodes.iter().map(|node| node.name().to_owned()).collect()
    }

    fn find_all(&self, words: &[String]) -> Result<Vec<usize>, Failure> {
        groups::find_all(words, &self.names()).map_err(|why| Failure::not_found(why, ""))
    }

    fn list(&self, nodes: &[usize]) -> String {
        listed(nodes.iter().map(|&node| self.fleet.nodes[node].name()))
    }

    /// To be copied, from whichever folder.
    fn restart_command(&self, nodes: &[usize]) -> String {
        let names: Vec<&str> = nodes.iter().map(|&node| self.fleet.nodes[node].name()).collect();
        format!("unsplit devnet restart {} --dir {}", names.join(" "), self.dir.display())
    }

    /// Starts these; those that run are ended in good order first.
    pub(crate) async fn restart(&mut self, nodes: &[usize]) -> Result<String, Failure> {
        self.fleet.reap();
        self.stop(nodes).await;
        self.faults.retain_mut(|fault| fault.spares(nodes));
        for &node in nodes {
            self.fleet.nodes[node].start()?;
        }
        self.save();
        Ok(format!("started {}", self.list(nodes)))
    }

    /// Starts one more node, which asks for a seat: for that of `replaces`, who gives it, or for one of its own, of which all
    /// that run and vote approve.
    pub(crate) async fn add(&mut self, replaces: Option<usize>, sets: &[String]) -> Result<String, Failure> {
        let Some(any) = self.fleet.nodes.iter().find(|node| node.is_up()).map(|node| node.client.clone()) else {
            return Err(Failure::refused("no validator runs", self.restart_command(&self.everyone())));
        };
        if let Some(old) = replaces.filter(|old| !self.fleet.nodes[*old].is_up()) {
            let name = self.fleet.nodes[old].name();
            let message = format!("{name} does not run, and nobody else can give its place away");
            let fix = format!(
                "start it: {}; or leave out --replaces: the new node gets a seat of its own, and the others remove {name} in time",
                self.restart_command(&[old])
            );
            return Err(Failure::refused(message, fix));
        }
        let old = replaces.map(|node| self.fleet.nodes[node].name().to_owned());
        let node = Node::new(plan::add(&self.record(), sets)?)?;
        let (name, api) = (node.name().to_owned(), node.record.api.clone());
        let config = config::load(&ConfigFile { config: node.record.config.clone(), sets: Vec::new() })?;
        self.fleet.nodes.push(node);
        self.fleet.nodes.last_mut().expect("just added").start()?;
        self.save();
        let asked = Asked { address: None, region: "local", capacity: 1, replaces: old.as_deref() };
        nodes::request_seat(&any, &config, &asked, Some(SEAT_TIMEOUT)).await?;
        match replaces {
            Some(old) => approve(&self.fleet.nodes[old].client, &name).await?,
            None => {
                let voters = any.validators(&WantedChange::default()).await?.validators;
                let approvers =
                    self.fleet.nodes.iter().filter(|it| it.is_up() && voters.iter().any(|name| name == it.name()));
                for it in approvers {
                    approve(&it.client, &name).await?;
                }
            }
        }
        let place = old.map_or_else(|| "a seat of its own".to_owned(), |old| format!("the place of {old}"));
        Ok(format!("started {name}, which gets {place} when an epoch ends; see: unsplit nodes candidates --api {api}"))
    }

    /// The API of the validator that was added last.
    pub(crate) fn newest(&self) -> Client {
        self.fleet.nodes.last().expect("there is one at least").client.clone()
    }

    /// SIGKILL, all at once.
    pub(crate) fn crash(&mut self, nodes: &[usize], ttl: Option<Duration>) -> Result<String, Failure> {
        self.fleet.kill(nodes, State::Crashed);
        self.forget_posts(nodes);
        self.faults.retain_mut(|fault| fault.spares(nodes));
        let list = self.list(nodes);
        let done = match ttl {
            None => format!("killed {list}; to start again: {}", self.restart_command(nodes)),
            Some(ttl) => self.inject(format!("crash {list}"), Kind::Crash(nodes.to_vec()), ttl),
        };
        self.save();
        Ok(done)
    }

    pub(crate) fn pause(&mut self, nodes: &[usize], ttl: Duration) -> Result<String, Failure> {
        if let Some(&node) = nodes.iter().find(|&&node| !self.fleet.nodes[node].is_up()) {
            let message = format!("{} does not run", self.list(&[node]));
            return Err(Failure::refused(message, format!("start it: {}", self.restart_command(&[node]))));
        }
        nodes.iter().for_each(|&node| self.fleet.nodes[node].pause());
        Ok(self.inject(format!("pause {}", self.list(nodes)), Kind::Pause(nodes.to_vec()), ttl))
    }

    /// Cuts every link between groups, at both ends. One way: the second group does not hear the first.
    pub(crate) async fn partition(
        &mut self,
        groups: &[Vec<usize>],
        one_way: bool,
        ttl: Duration,
    ) -> Result<String, Failure> {
        if one_way && groups.len() != 2 {
            let count = groups.len();
            return Err(Failure::usage(format!("--one-way needs two groups, not {count}"), "write 0-3/4-6"));
        }
        let names = self.names();
        let texts: Vec<String> = groups.iter().map(|group| groups::format_group(group, &names)).collect();
        let text = if one_way { format!("cut {}", texts.join(" > ")) } else { format!("cut {}", texts.join(" | ")) };
        let done = self.inject(text, Kind::Cuts(cuts(groups, one_way, &names)), ttl);
        self.post_cuts().await;
        let untold = self.untold();
        Ok(if untold.is_empty() { done } else { format!("{done}; {} will be told once up", self.list(&untold)) })
    }

    /// Makes validators ill. They forget it when they are restarted.
    pub(crate) async fn afflict(&mut self, nodes: &[usize], affliction: &Affliction) -> Result<String, Failure> {
        let ttl = fault_ttl(affliction.ttl_ms)?;
        for &node in nodes {
            self.fleet.nodes[node].client.afflict(affliction).await?;
        }
        let who = self.list(nodes);
        let text = match affliction.illness {
            Illness::WedgedExecutor => format!("{who} do no work"),
            Illness::SlowDisk => format!("the disks of {who} take {} ms longer", affliction.delay_ms),
            Illness::FalseAccuser => format!("{who} accuse {} falsely", affliction.node.as_deref().unwrap_or("nobody")),
        };
        Ok(self.inject(text, Kind::Illness(nodes.to_vec()), ttl))
    }

    fn inject(&mut self, text: String, kind: Kind, ttl: Duration) -> String {
        let id = self.next_fault;
        self.next_fault += 1;
        let done = format!("fault {id}: {text}, for {} s", ttl.as_secs_f64());
        self.faults.push(Fault { id, text, kind, ends: Instant::now() + ttl });
        self.save();
        done
    }

    pub(crate) async fn heal(&mut self, id: Option<u64>) -> Result<String, Failure> {
        let (ended, kept) = std::mem::take(&mut self.faults)
            .into_iter()
            .partition::<Vec<_>, _>(|fault| id.is_none_or(|id| id == fault.id));
        self.faults = kept;
        if let (Some(id), []) = (id, ended.as_slice()) {
            let help = format!("list them: unsplit devnet faults --dir {}", self.dir.display());
            return Err(Failure::not_found(format!("there is no fault {id}"), help));
        }
        let texts: Vec<String> = ended.iter().map(|fault| fault.text.clone()).collect();
        self.end(ended).await?;
        self.save();
        Ok(if texts.is_empty() { "there is no fault".into() } else { format!("healed: {}", texts.join("; ")) })
    }

    async fn end(&mut self, faults: Vec<Fault>) -> Result<(), Failure> {
        let mut healing = JoinSet::new();
        for fault in faults {
            match fault.kind {
                Kind::Crash(nodes) => {
                    for node in nodes {
                        self.fleet.nodes[node].start()?;
                    }
                }
                Kind::Pause(nodes) => nodes.into_iter().for_each(|node| self.fleet.nodes[node].resume()),
                Kind::Illness(nodes) => {
                    for node in nodes {
                        let client = self.fleet.nodes[node].client.clone();
                        healing.spawn(async move { client.cure().await });
                    }
                }
                Kind::Cuts(cuts) => {
                    for cut in cuts {
                        let Some(id) = cut.posted else { continue };
                        let client = self.fleet.nodes[cut.node].client.clone();
                        healing.spawn(async move { client.heal(id).await });
                    }
                }
            }
        }
        for outcome in healing.join_all().await {
            match outcome {
                // A validator that is gone, or has forgotten the cut, does not cut.
                Ok(_) | Err(Trouble::Unreachable { .. } | Trouble::Refused(_)) => {}
                Err(trouble @ Trouble::Strange { .. }) => return Err(trouble.into()),
            }
        }
        Ok(())
    }

    /// Tells those who do not know yet what to drop. One that cannot be told now is told at a later tick.
    async fn post_cuts(&mut self) {
        let mut posting = JoinSet::new();
        let now = Instant::now();
        for fault in &self.faults {
            let Kind::Cuts(cuts) = &fault.kind else { continue };
            let ttl_ms = millis(fault.ends.saturating_duration_since(now)).max(1);
            for cut in cuts.iter().filter(|cut| cut.posted.is_none()) {
                let node = &self.fleet.nodes[cut.node];
                if node.record.state != State::Running {
                    continue;
                }
                let request = CutRequest { inbound: cut.inbound.clone(), outbound: cut.outbound.clone(), ttl_ms };
                let (client, key) = (node.client.clone(), (fault.id, cut.node));
                posting.spawn(async move { (key, client.cut(&request).await) });
            }
        }
        let answers: BTreeMap<_, _> = posting.join_all().await.into_iter().collect();
        for fault in &mut self.faults {
            let Kind::Cuts(cuts) = &mut fault.kind else { continue };
            for cut in cuts {
                if let Some(Ok(posted)) = answers.get(&(fault.id, cut.node)) {
                    cut.posted = Some(posted.id);
                }
            }
        }
        for ((_, node), answer) in &answers {
            if let Err(trouble) = answer
                && !trouble.is_unreachable()
            {
                self.output.talk(&format!("{} does not cut: {trouble}", self.fleet.nodes[*node].name()));
            }
        }
    }

    fn untold(&self) -> Vec<usize> {
        let last = self.faults.last().map(|fault| &fault.kind);
        let Some(Kind::Cuts(cuts)) = last else { return Vec::new() };
        cuts.iter().filter(|cut| cut.posted.is_none()).map(|cut| cut.node).collect()
    }

    /// A process that ended has forgotten its cuts.
    fn forget_posts(&mut self, nodes: &[usize]) {
        for fault in &mut self.faults {
            if let Kind::Cuts(cuts) = &mut fault.kind {
                cuts.iter_mut().filter(|cut| nodes.contains(&cut.node)).for_each(|cut| cut.posted = None);
            }
        }
    }

    /// One look at everything that can change by itself.
    pub(crate) async fn look_after(&mut self) {
        for (node, status) in self.fleet.reap() {
            let (name, how) = (self.list(&[node]), fleet::describe(status));
            self.output
                .talk(&format!("{name} ended by itself ({how}); to start again: {}", self.restart_command(&[node])));
            self.forget_posts(&[node]);
            self.faults.retain_mut(|fault| fault.kind.is_cuts() || fault.spares(&[node]));
        }
        let now = Instant::now();
        let (over, kept) = std::mem::take(&mut self.faults).into_iter().partition(|fault| fault.ends <= now);
        self.faults = kept;
        let over: Vec<Fault> = over;
        for fault in &over {
            self.output.talk(&format!("fault {} is over: {}", fault.id, fault.text));
        }
        if let Err(failure) = self.end(over).await {
            self.output.failure(&failure);
        }
        self.post_cuts().await;
        self.save();
    }

    fn bound_logs(&self) {
        self.fleet.nodes.iter().for_each(fleet::Node::bound_log);
    }
}

impl Kind {
    fn is_cuts(&self) -> bool {
        matches!(self, Self::Cuts(_))
    }
}

impl Fault {
    /// Takes `nodes` out of what this will start or let go on; whether anything is left of it.
    fn spares(&mut self, nodes: &[usize]) -> bool {
        match &mut self.kind {
            Kind::Cuts(_) => true,
            Kind::Crash(mine) | Kind::Pause(mine) | Kind::Illness(mine) => {
                mine.retain(|node| !nodes.contains(node));
                !mine.is_empty()
            }
        }
    }
}

/// Has a validator approve of a node, once it knows of the request.
async fn approve(client: &Client, name: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + SEAT_TIMEOUT;
    loop {
        let known = client.validators(&WantedChange::default()).await?.candidates;
        if known.iter().any(|candidate| candidate.name == name) {
            client.approve(name).await?;
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::unexpected(format!("a validator does not know of the request of {name}")));
        }
        sleep(TICK).await;
    }
}

/// What each validator has to drop so that the groups do not hear each other. Validators in no group hear everyone.
fn cuts(groups: &[Vec<usize>], one_way: bool, names: &[String]) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for (own, group) in groups.iter().enumerate() {
        let others = groups.iter().enumerate().filter(|(other, _)| *other != own).flat_map(|(_, group)| group);
        let others: Vec<String> = others.map(|&node| names[node].clone()).collect();
        for &node in group {
            let inbound = if one_way && own == 0 { Vec::new() } else { others.clone() };
            let outbound = if one_way && own == 1 { Vec::new() } else { others.clone() };
            cuts.push(Cut { node, inbound, outbound, posted: None });
        }
    }
    cuts
}

fn fault_ttl(ms: u64) -> Result<Duration, Failure> {
    let ttl = Duration::from_millis(ms);
    if ttl.is_zero() || ttl > FAULT_MAX {
        return Err(Failure::usage(format!("a fault lasts from 1ms to 1h, not {ttl:?}"), "give another --for"));
    }
    Ok(ttl)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Looks after the devnet and answers whoever calls, until it is asked to end. Dropping this is safe at any point.
pub(crate) async fn serve(holder: Arc<Mutex<Holder>>, listener: UnixListener) {
    const CALLERS_MAX: usize = 32;
    let mut callers = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok((stream, _)) = listener.accept(), if callers.len() < CALLERS_MAX => {
                callers.spawn(converse(stream, holder.clone()));
            }
        }
        while callers.try_join_next().is_some() {}
        let mut holder = holder.lock().await;
        if holder.ending {
            break;
        }
        holder.look_after().await;
        if tick % 64 == 0 {
            holder.bound_logs();
        }
    }
    // Whoever asked for the end hears that it came.
    let _ = timeout(Duration::from_secs(1), callers.join_all()).await;
}

async fn converse(mut stream: UnixStream, holder: Arc<Mutex<Holder>>) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Ok(Ok(Some(line))) = timeout(PATIENCE, control::read_line(&mut stream)).await else { return };
    let answer = match serde_json::from_str(&line) {
        Ok(request) => holder.lock().await.handle(request).await,
        Err(error) => Err(Failure::usage(format!("cannot read the request: {error}"), "use the same unsplit version")),
    };
    let line = serde_json::to_string(&answer).expect("strings, numbers and lists");
    // A caller that hung up does not want to know.
    let _ = timeout(PATIENCE, stream.write_all(format!("{line}\n").as_bytes())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `node <inbound >outbound` for each validator that drops anything.
    fn check(groups: &[Vec<usize>], one_way: bool, expected: &[&str]) {
        let names: Vec<String> = (0..5).map(|i| format!("n{i}")).collect();
        let lines: Vec<String> = cuts(groups, one_way, &names)
            .iter()
            .map(|cut| format!("{} <{} >{}", names[cut.node], cut.inbound.join(","), cut.outbound.join(",")))
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_partition_is_cut_at_both_ends() {
        check(&[vec![0, 1], vec![2]], false, &["n0 <n2 >n2", "n1 <n2 >n2", "n2 <n0,n1 >n0,n1"]);
        check(&[vec![0], vec![1], vec![2]], false, &["n0 <n1,n2 >n1,n2", "n1 <n0,n2 >n0,n2", "n2 <n0,n1 >n0,n1"]);
    }

    #[test]
    fn one_way_the_second_group_does_not_hear_the_first() {
        check(&[vec![0, 1], vec![2]], true, &["n0 < >n2", "n1 < >n2", "n2 <n0,n1 >"]);
    }

    #[test]
    fn a_fault_lasts_from_a_millisecond_to_an_hour() {
        assert!(fault_ttl(0).is_err());
        assert!(fault_ttl(1).is_ok());
        assert!(fault_ttl(3_600_000).is_ok());
        assert!(fault_ttl(3_600_001).is_err());
    }

    #[test]
    fn a_restarted_validator_is_forgotten_by_the_fault_that_would_start_it() {
        let fault = |kind| Fault { id: 1, text: String::new(), kind, ends: Instant::now() };
        assert!(fault(Kind::Crash(vec![1, 2])).spares(&[1]));
        assert!(!fault(Kind::Crash(vec![1, 2])).spares(&[2, 1]));
        assert!(!fault(Kind::Pause(vec![1])).spares(&[1]));
        assert!(fault(Kind::Cuts(Vec::new())).spares(&[1]));
    }
}
