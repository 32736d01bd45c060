//! Who validates, how do they stand, and why?

use api::{
    BalanceView, CandidateView, ChangeView, Departing, Duty, LinkView, NodeRow, NodeView, RecoveryView, Standing,
    ValidatorsView, WantedChange,
};
use ledger::{Encode as _, Height, Kind, Nonce, PublicKey, Request, Transaction};

use crate::{
    cli::{ConfigFile, Global, SetChange},
    client::Client,
    config,
    failure::{Exit, Failure, listed},
    keys, node,
    output::{self, Output},
    status::{clock, span},
};

/// All validators, or one with why it stands as it does.
pub(crate) async fn show(name: Option<&str>, global: &Global, output: Output) -> Result<Exit, Failure> {
    let client = Client::of(global)?;
    let all = client.nodes().await?;
    let Some(name) = name else {
        output.data(&table(&all.nodes), &all);
        return Ok(Exit::Ok);
    };
    if all.nodes.iter().all(|node| node.name != name) {
        let known = listed(all.nodes.iter().map(|node| &node.name));
        return Err(Failure::not_found(format!("no validator is called {name:?}"), format!("there are {known}")));
    }
    let node = client.node(name).await?;
    output.data(&page(&node), &node);
    Ok(Exit::Ok)
}

/// Has the validator take no more tasks, or take them again.
pub(crate) async fn drain(drained: bool, global: &Global, output: Output) -> Result<Exit, Failure> {
    let client = Client::of(global)?;
    let status = client.drain(drained).await?;
    let name = client.snapshot().await?.status.name;
    let words = if drained {
        format!(
            "{name} finishes what it has and takes nothing more once {} is final; see: unsplit nodes {name}",
            status.id
        )
    } else {
        format!("{name} takes tasks again once {} is final; see: unsplit nodes {name}", status.id)
    };
    output.data(&words, &status);
    Ok(Exit::Ok)
}

/// Changes the set of validators, or says what a change would do.
pub(crate) async fn change_set(change: &SetChange, global: &Global, output: Output) -> Result<Exit, Failure> {
    let client = Client::of(global)?;
    match change {
        SetChange::Leave => leave(&client, true, output).await,
        SetChange::Stay => leave(&client, false, output).await,
        SetChange::Join { config, address, region, capacity, replaces } => {
            let asked =
                Asked { address: address.as_deref(), region, capacity: *capacity, replaces: replaces.as_deref() };
            join(&client, config, asked, output).await
        }
        SetChange::Approve { node } => approve(&client, node, "approves of it", output).await,
        SetChange::Rotate { node } => {
            let own = client.snapshot().await?.status.name;
            let view = client.validators(&WantedChange::default()).await?;
            let is_meant = |it: &&CandidateView| it.name == *node || it.key == *node;
            let wants = view.candidates.iter().find(is_meant).and_then(|it| it.replaces.clone());
            if wants.as_ref() != Some(&own) {
                return Err(Failure::refused(
                    format!("{node} does not ask for the place of {own}"),
                    format!("ask for it first, from the folder of the new node: unsplit nodes join --replaces {own}"),
                ));
            }
            approve(&client, node, "gives it its place", output).await
        }
        SetChange::Candidates => {
            let view = client.validators(&WantedChange::default()).await?;
            output.data(&applicants(&view.candidates), &view.candidates);
            Ok(Exit::Ok)
        }
        SetChange::SimulateChange { join, rotate, leave, remove } => {
            let rotate = rotate.iter().map(|pair| match pair.split_once(':') {
                Some((old, new)) => Ok((old.to_owned(), new.to_owned())),
                None => Err(Failure::usage(
                    format!("--rotate {pair:?} does not say who comes"),
                    "write it as OLD:NEW, for example n1:n5",
                )),
            });
            let rotate = rotate.collect::<Result<_, _>>()?;
            let wanted = WantedChange { join: join.clone(), rotate, leave: leave.clone(), remove: remove.clone() };
            let view = client.validators(&wanted).await?;
            output.data(&set(&view), &view);
            Ok(if view.postponed.is_empty() { Exit::Ok } else { Exit::Refused })
        }
    }
}

async fn leave(client: &Client, leaving: bool, output: Output) -> Result<Exit, Failure> {
    let status = client.leave(leaving).await?;
    let name = client.snapshot().await?.status.name;
    let words = if leaving { "leaves when an epoch ends, if enough are left," } else { "stays" };
    let words = format!("{name} {words} once {} is final; see: unsplit nodes simulate-change", status.id);
    output.data(&words, &status);
    Ok(Exit::Ok)
}

async fn approve(client: &Client, node: &str, words: &str, output: Output) -> Result<Exit, Failure> {
    let status = client.approve(node).await?;
    let name = client.snapshot().await?.status.name;
    let words = format!("{name} {words} once {} is final; see: unsplit nodes candidates", status.id);
    output.data(&words, &status);
    Ok(Exit::Ok)
}

/// What a new node says of itself, besides what its configuration says.
struct Asked<'a> {
    address: Option<&'a str>,
    region: &'a str,
    capacity: u32,
    replaces: Option<&'a str>,
}

/// A request is taken within so many blocks, or it is made anew.
const REQUEST_EXPIRES_AFTER: u64 = 5_000;

/// Asks for a seat, in the name of the node in this folder.
async fn join(client: &Client, file: &ConfigFile, asked: Asked<'_>, output: Output) -> Result<Exit, Failure> {
    let config = config::load(file)?;
    let genesis = node::read_genesis(&config.genesis)?;
    let key = keys::load(&config.key_file)?;
    let status = client.status().await?;
    if status.chain_id != genesis.chain_id.to_string() {
        return Err(Failure::refused(
            format!("the validator is of chain {}, this node's genesis of {}", status.chain_id, genesis.chain_id),
            "ask a validator of the same chain: name its API with --api",
        ));
    }
    let listen = config.network.listen;
    if asked.address.is_none() && listen.ip().is_unspecified() {
        return Err(Failure::usage(
            format!("the node listens on all addresses ({listen}), and the others need one to reach it at"),
            "add --address HOST:PORT",
        ));
    }
    let replaces = match asked.replaces {
        Some(name) => Some(key_of(client, name).await?),
        None => None,
    };
    let request = Request {
        name: config.name.clone(),
        address: asked.address.map_or_else(|| listen.to_string(), str::to_owned),
        region: asked.region.to_owned(),
        capacity: asked.capacity,
        replaces,
    };
    let expires = Height(status.height + REQUEST_EXPIRES_AFTER);
    let transaction = Transaction::sign(&key, genesis.chain_id, Nonce(0), expires, Kind::Join(request));
    let status = client.submit(transaction.encode(), None).await?;
    let next = match asked.replaces {
        Some(old) => format!("next, at {old}: unsplit nodes rotate {}", config.name),
        None => format!("next, at a quorum of the validators: unsplit nodes approve {}", config.name),
    };
    output.data(&format!("{} asks for a seat once {} is final; {next}", config.name, status.id), &status);
    Ok(Exit::Ok)
}

async fn key_of(client: &Client, name: &str) -> Result<PublicKey, Failure> {
    let nodes = client.nodes().await?.nodes;
    let found = nodes.iter().find(|node| node.name == name).and_then(|node| node.key.parse().ok());
    let known = listed(nodes.iter().map(|node| &node.name));
    found.ok_or_else(|| Failure::not_found(format!("no validator is called {name:?}"), format!("there are {known}")))
}

/// A line for each that asks for a seat.
fn applicants(candidates: &[CandidateView]) -> String {
    if candidates.is_empty() {
        return "nobody asks for a seat".into();
    }
    let rows = candidates.iter().map(|it| {
        let stands = match (it.learner_since, it.level_at) {
            (None, _) => "asks".to_owned(),
            (Some(_), None) => "learner".to_owned(),
            (Some(_), Some(height)) => format!("learner, level at block {height}"),
        };
        let approved = format!("{}/{} {}", it.approvals.len(), it.approvals_needed, it.approvals.join(" "));
        let key = it.key.get(..16).unwrap_or(&it.key).to_owned();
        let replaces = it.replaces.as_ref().map(|old| format!(" (for {old})")).unwrap_or_default();
        let name = format!("{}{replaces}", it.name);
        vec![name, key, stands, approved, it.region.clone(), it.address.clone(), it.waits_for.clone()]
    });
    output::table(&["node", "key", "stands", "approved", "region", "address", "waits for"], rows)
}

/// Who votes now, who will, and who is to go.
fn set(view: &ValidatorsView) -> String {
    let counted = |names: &[String]| format!("{}: {}", names.len(), names.join(" "));
    let mut lines = vec![
        format!(
            "epoch {} to block {} · {} · need {}",
            view.epoch,
            view.last_height,
            counted(&view.validators),
            view.quorum
        ),
        format!(
            "no set may have fewer than {} validators: each survives b = {}",
            3 * view.byzantine_budget + 1,
            view.byzantine_budget
        ),
    ];
    lines.extend(view.next.iter().map(|next| format!("epoch {} is decided · {}", view.epoch + 1, counted(next))));
    lines.push(format!(
        "epoch {} would have, if block {} decided it now · {} · need {}, {} answer",
        view.foreseen_epoch,
        view.decided_at,
        counted(&view.foreseen),
        view.foreseen_quorum,
        view.foreseen_answering
    ));
    lines.extend(view.coming.iter().map(|node| format!("  {node} would get a vote")));
    lines.extend(view.going.iter().map(|Departing { node, why, .. }| format!("  {node} would go: {why}")));
    lines.extend(view.postponed.iter().map(|Departing { node, why, postponed }| {
        format!("  {node} would wait, although {why}: {}", postponed.as_deref().unwrap_or("?"))
    }));
    if !view.candidates.is_empty() {
        lines.push(applicants(&view.candidates));
    }
    lines.join("\n")
}

/// Has the validator want another restarted by its supervisor.
pub(crate) async fn recover(name: &str, global: &Global, output: Output) -> Result<Exit, Failure> {
    let recovery = Client::of(global)?.recover(name).await?;
    output.data(&wanted(&recovery), &recovery);
    Ok(Exit::Ok)
}

fn wanted(recovery: &RecoveryView) -> String {
    let RecoveryView { node, wanted_by, needed, stands_ms, supervisor_asked_ms, .. } = recovery;
    let stands = span(*stands_ms);
    let words = format!("{wanted_by} says for {stands} that {node} should be restarted; {needed} validators have to");
    match supervisor_asked_ms {
        Some(ago) => format!("{words}. Its supervisor asked {wanted_by} {} ago", span(*ago)),
        None => format!("{words}. Its supervisor has not asked {wanted_by} yet: does it run?"),
    }
}

/// How the work is spread.
pub(crate) async fn balance(global: &Global, output: Output) -> Result<Exit, Failure> {
    let balance = Client::of(global)?.balance().await?;
    output.data(&spread(&balance), &balance);
    Ok(Exit::Ok)
}

/// A line for each validator.
pub(crate) fn table(nodes: &[NodeRow]) -> String {
    let rows = nodes.iter().map(|node| {
        let (duty, height) = (duty(node), present(node, node.height.map(|height| height.to_string())));
        let standing = standing(node);
        let leases = node.leases.to_string();
        vec![
            node.name.clone(),
            heard(node),
            duty,
            height,
            standing,
            leases,
            node.region.clone(),
            node.address.clone(),
            remarks(node),
        ]
    });
    output::table(&["node", "heard", "duty", "height", "standing", "leases", "region", "address", ""], rows)
}

fn duty(node: &NodeRow) -> String {
    let duty = node.duty.map(|duty| match duty {
        Duty::Voting => "voting".to_owned(),
        Duty::Observing => "observing".to_owned(),
    });
    present(node, duty)
}

fn heard(node: &NodeRow) -> String {
    match (node.me, node.reachable, node.silent_ms) {
        (true, _, _) => "me".into(),
        (false, true, _) if node.link == LinkView::Doubted => "doubted".into(),
        (false, true, _) => "heard".into(),
        (false, false, Some(silent)) => format!("silent {}", span(silent)),
        (false, false, None) => "never heard".into(),
    }
}

fn standing(node: &NodeRow) -> String {
    if node.learner {
        return "learner".into();
    }
    let standing = match node.standing {
        Standing::Active => "active".into(),
        Standing::Unresponsive => format!("unresponsive ({})", node.reason.as_deref().unwrap_or("?")),
        Standing::Trial => format!("trial, {} left", node.trial_left.unwrap_or(0)),
    };
    match (node.gone, node.votes_until, node.leaving) {
        (true, Some(epoch), _) => format!("gone since epoch {epoch}"),
        (false, Some(epoch), _) => format!("{standing}, goes with epoch {epoch}"),
        (_, None, true) => format!("{standing}, leaving"),
        (_, None, false) if node.drained => format!("{standing}, drained"),
        (_, None, false) => standing,
    }
}

/// What else there is to say. That it is silent has its own column.
fn remarks(node: &NodeRow) -> String {
    let problem = node.problem.clone().filter(|problem| problem != "silent");
    let suspected = (!node.suspected_by.is_empty()).then(|| format!("suspected by {}", listed(&node.suspected_by)));
    let ailments = node.ailments.iter().map(|ailment| ailment.measured.clone());
    problem.into_iter().chain(ailments).chain(suspected).collect::<Vec<_>>().join("; ")
}

/// What a silent validator said last is not how it is now, and what it never said is unknown.
fn present(node: &NodeRow, said: Option<String>) -> String {
    match said {
        None => "?".into(),
        Some(said) if node.me || node.reachable => said,
        Some(said) => format!("was {said}"),
    }
}

fn page(view: &NodeView) -> String {
    let node = &view.node;
    let mut lines = vec![
        format!("{} · {} · {} · {} · {}", node.name, standing(node), duty(node), heard(node), node.address),
        view.why.clone(),
        measured(node),
    ];
    for suspicion in &view.suspicions {
        lines.push(format!(
            "  {} says so since block {}: {}, silent for {} then",
            suspicion.accuser,
            suspicion.height,
            suspicion.reason,
            span(suspicion.silent_ms)
        ));
    }
    lines.extend(view.recovery_wanted.iter().map(|reason| format!("  it should be restarted: {reason}")));
    lines.extend(view.supervisor_asked_ms.map(|ago| format!("  its supervisor asked for orders {} ago", span(ago))));
    lines.extend(view.dwell_ms.map(|dwell| format!("  the verdict stands for another {} at least", span(dwell))));
    lines.extend(
        view.risk
            .filter(|risk| *risk > 0)
            .map(|risk| format!("  risk of a failure within a week {}", permille(risk.into()))),
    );
    lines.extend(view.advice.iter().map(|advice| format!("  advice: {advice}")));
    if view.diverged > 0 {
        lines.push(format!("  {} suspicions of its own never became a verdict", view.diverged));
    }
    if !view.changes.is_empty() {
        lines.push("changes".into());
        lines.extend(view.changes.iter().map(change));
    }
    lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What was measured of it, by this validator and by itself.
fn measured(node: &NodeRow) -> String {
    let all = [
        Some(format!("leases {}", node.leases)),
        node.rtt_us.map(|us| format!("round trip {:.1} ms", us as f64 / 1_000.0)),
        node.clock_ahead_ms.map(|ms| format!("clock {ms:+} ms")),
        node.disk_ms.map(|ms| format!("disk {ms} ms")),
        node.lag_ms.map(|ms| format!("event loop {ms} ms late")),
        node.running.map(|running| format!("running {running}")),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn change(change: &ChangeView) -> String {
    let time = clock(change.time_ms).unwrap_or_default();
    let what = match change.standing {
        Standing::Active => "active".into(),
        Standing::Trial => "back, on trial".into(),
        Standing::Unresponsive => {
            let event = if change.network_event { ", the network's doing" } else { "" };
            format!("unresponsive ({}) by {}{event}", change.reason.as_deref().unwrap_or("?"), listed(&change.accusers))
        }
    };
    format!("  {time}  block {}  {what}", change.height)
}

fn spread(balance: &BalanceView) -> String {
    let rows = balance.loads.iter().map(|load| {
        let open = if load.open { "" } else { "takes none" };
        let (leases, units, capacity) = (load.leases.to_string(), load.units.to_string(), load.capacity.to_string());
        vec![load.node.clone(), leases, units, capacity, permille(load.reputation.into()), open.to_owned()]
    });
    let table = output::table(&["node", "leases", "units", "capacity", "reputation", ""], rows);
    let oldest = balance.oldest_pending_ms.map(|ms| format!(", the oldest for {}", span(ms))).unwrap_or_default();
    format!(
        "{table}\n{} pending{oldest} · max/mean {} · utilisation {} · capacity {}, desired {}",
        balance.pending,
        permille(balance.max_over_mean),
        permille(balance.utilisation),
        balance.capacity,
        balance.desired_capacity
    )
}

fn permille(thousandths: u64) -> String {
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_heard_is_a_row() {
        let me = NodeRow { name: "n0".into(), me: true, height: Some(17), ..NodeRow::default() };
        let (silent_ms, problem) = (Some(14_000), Some("silent".to_owned()));
        let lost = NodeRow { name: "n1".into(), silent_ms, problem, height: Some(9), ..NodeRow::default() };
        let never = NodeRow { name: "n2".into(), ..NodeRow::default() };
        let text = table(&[me, lost, never]);
        assert!(text.contains("silent 14 s") && text.contains("never heard"), "{text}");
        assert!(text.contains("was 9") && text.matches("silent").count() == 1, "{text}");
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn how_a_validator_stands_is_a_column() {
        let node = |standing| NodeRow { name: "n1".into(), reachable: true, standing, ..NodeRow::default() };
        let fell = NodeRow { reason: Some("disk".into()), drained: true, ..node(Standing::Unresponsive) };
        let tried = NodeRow { trial_left: Some(40), suspected_by: vec!["n2".into()], ..node(Standing::Trial) };
        let text = table(&[node(Standing::Active), fell, tried]);
        for words in ["active", "unresponsive (disk), drained", "trial, 40 left", "suspected by n2"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let busy = NodeRow { name: "n0".into(), leases: 64, ..NodeRow::default() };
        assert!(table(&[busy]).ends_with(" 64"), "the rest of the row is empty");
    }

    #[test]
    fn a_page_says_why_who_and_what_came_before() {
        let change = ChangeView {
            height: 9,
            standing: Standing::Unresponsive,
            reason: Some("link".into()),
            accusers: vec!["n0".into(), "n2".into()],
            ..ChangeView::default()
        };
        let suspicion = api::SuspicionView { accuser: "n0".into(), reason: "link".into(), silent_ms: 1_200, height: 8 };
        let view = NodeView {
            why: "because".into(),
            suspicions: vec![suspicion],
            changes: vec![change],
            dwell_ms: Some(1_500),
            ..NodeView::default()
        };
        let text = page(&view);
        for words in
            ["because", "n0 says so since block 8: link, silent for 1 s", "stands for another 1 s", "by n0 and n2"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
