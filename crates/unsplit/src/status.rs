//! How is it, and why? One validator's answer; validators it does not hear are rows too.

use api::{Duty, Finality, NetworkState, Snapshot, StoreStatus, TaskCounts, Why};
use jiff::Timestamp;

use crate::{
    cli::{Check, Global, Status},
    client::Client,
    failure::{Exit, Failure, listed},
    nodes,
    output::{Output, counted},
};

pub(crate) async fn status(verb: &Status, global: &Global, output: Output) -> Result<Exit, Failure> {
    let snapshot = match Client::of(global)?.snapshot().await {
        Ok(snapshot) => snapshot,
        Err(trouble) if verb.check == Some(Check::Nagios) => {
            output.line(&format!("UNSPLIT UNKNOWN - {trouble}"));
            // A probe has four codes; 3 is "unknown", and clap and configuration errors never get here.
            std::process::exit(3);
        }
        Err(trouble) => return Err(trouble.into()),
    };
    let health = health(&snapshot);
    if verb.check == Some(Check::Nagios) {
        let (code, word) = nagios(health);
        output.line(&format!("UNSPLIT {word} - {}", snapshot.status.why));
        std::process::exit(code);
    }
    output.data(&screen(&snapshot), &snapshot);
    Ok(if verb.check.is_some() { health } else { Exit::Ok })
}

pub(crate) async fn why(global: &Global, output: Output) -> Result<Exit, Failure> {
    let why = Client::of(global)?.why().await?;
    output.data(&explanation(&why), &why);
    Ok(Exit::Ok)
}

/// What `--check` ends with.
///
/// The gravest that can be acted on comes first. A halted validator that hears fewer than half of all is on the smaller side of
/// something: that is worth another code than a halt, because the others may well go on without it. Observers are heard too;
/// they are not missing, they just do not vote.
fn health(snapshot: &Snapshot) -> Exit {
    let why = &snapshot.why;
    let heard = why.reachable.len() + why.observers.len();
    match snapshot.status.finality {
        _ if snapshot.status.state == NetworkState::UnderAttack => Exit::UnderAttack,
        Finality::Halted if heard * 2 < snapshot.status.validators => Exit::Partitioned,
        Finality::Halted => Exit::Halted,
        _ if snapshot.status.state == NetworkState::Partitioned => Exit::Partitioned,
        Finality::Live if why.missing.is_empty() && why.observers.is_empty() => Exit::Ok,
        // Finality can spare who is missing; whoever looks after the network cannot.
        Finality::Live | Finality::Starting | Finality::Degraded => Exit::Degraded,
    }
}

/// Code and word of a Nagios plugin. Only `health`'s answers come in.
fn nagios(health: Exit) -> (i32, &'static str) {
    match health {
        Exit::Ok => (0, "OK"),
        Exit::Degraded => (1, "WARNING"),
        _ => (2, "CRITICAL"),
    }
}

fn screen(snapshot: &Snapshot) -> String {
    let status = &snapshot.status;
    if status.validators == 0 {
        // The API is up before the validator knows anything.
        let why = snapshot.not_ready.as_deref().unwrap_or("it says nothing about itself yet");
        return format!("{} · chain {} · {}: {why}", status.name, status.chain_id, finality_word(status.finality));
    }
    let duty = match status.duty {
        Duty::Voting => "",
        Duty::Observing => " · OBSERVING (signs nothing)",
    };
    let age = if status.stale { format!(" · STALE, {} old", span(status.age_ms)) } else { String::new() };
    let behind = match status.tip.saturating_sub(status.height) {
        0 => String::new(),
        behind => format!(" ({behind} behind)"),
    };
    format!(
        "{} · chain {} · unsplit {}{duty}\n\
         {} · network {} · height {}{behind}{age} · epoch {}, view {} · reachable {}/{} · need {} · slack {:+}\n\
         mempool {}, {} · up {}\n\
         {}{}\n\n{}\n\n{}",
        status.name,
        status.chain_id,
        status.version,
        finality_word(status.finality),
        state_word(status.state),
        status.height,
        status.epoch,
        status.view,
        status.reachable,
        status.validators,
        status.quorum,
        status.slack,
        counted(status.mempool_transactions, "transaction"),
        counted(status.mempool_bytes, "byte"),
        span(status.uptime_ms),
        task_line(status.tasks),
        store_line(&status.store),
        nodes::table(&snapshot.nodes),
        explanation(&snapshot.why),
    )
}

fn task_line(tasks: TaskCounts) -> String {
    let TaskCounts { pending, leased, done, failed, cancelled } = tasks;
    let cancelled = if cancelled == 0 { String::new() } else { format!(", {cancelled} cancelled") };
    format!("tasks {pending} pending, {leased} leased, {done} done, {failed} failed{cancelled}")
}

/// What is wrong with the store, or was; nothing of one that was whole all the time.
fn store_line(store: &StoreStatus) -> String {
    let (blocks, certificates) = (store.blocks_missing, store.certificates_missing);
    let missing = match (blocks, certificates) {
        (0, 0) => "whole again".into(),
        _ => format!("{} and {} asked for", counted(blocks, "block"), counted(certificates, "certificate")),
    };
    let lost = store.out_of_reach.map(|height| format!(", nobody has block {height}")).unwrap_or_default();
    if (blocks, certificates, store.damage_found) == (0, 0, 0) && lost.is_empty() {
        return String::new();
    }
    let found = usize::try_from(store.damage_found).unwrap_or(usize::MAX);
    format!("\nstore {missing}{lost} · {} found since the start", counted(found, "damaged part"))
}

pub(crate) fn state_word(state: NetworkState) -> &'static str {
    match state {
        NetworkState::Normal => "NORMAL",
        NetworkState::Recovering => "RECOVERING",
        NetworkState::Partitioned => "PARTITIONED",
        NetworkState::UnderAttack => "UNDER ATTACK",
    }
}

pub(crate) fn finality_word(finality: Finality) -> &'static str {
    match finality {
        Finality::Starting => "STARTING",
        Finality::Live => "LIVE",
        Finality::Degraded => "DEGRADED (one more failure stops finality)",
        Finality::Halted => "HALTED (safe)",
    }
}

fn explanation(why: &Why) -> String {
    let mut lines = vec![why.sentence.clone()];
    for missing in &why.missing {
        let since = missing.since_ms.and_then(clock).map(|time| format!(", since {time}")).unwrap_or_default();
        lines.push(format!("  {}  not heard for {}{since}", missing.name, span(missing.silent_ms)));
    }
    if !why.observers.is_empty() {
        lines.push(format!("  {}  heard, but sign nothing", listed(&why.observers)));
    }
    // The sentence names the gravest.
    let untold = why.causes.iter().filter(|cause| !why.sentence.contains(&cause.text));
    lines.extend(untold.map(|cause| format!("  {}", cause.text)));
    lines.extend(why.fix.iter().map(|fix| format!("fix: {fix}")));
    lines.join("\n")
}

/// `16:20:07 UTC`, as in the logs.
pub(crate) fn clock(ms: u64) -> Option<String> {
    let time = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    Some(time.strftime("%H:%M:%S UTC").to_string())
}

/// `850 ms`, `14 s`, `3 min`, `5 h`: one unit is enough to act on.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(finality: Finality, validators: usize, heard: usize, observers: usize) -> Snapshot {
        of(NetworkState::Normal, finality, validators, heard, observers)
    }

    fn of(state: NetworkState, finality: Finality, validators: usize, heard: usize, observers: usize) -> Snapshot {
        let names = |count| (0..count).map(|i| format!("n{i}")).collect();
        let missing = vec![api::Missing::default(); validators - heard - observers];
        Snapshot {
            status: api::Status { finality, state, validators, ..api::Status::default() },
            why: Why { reachable: names(heard), observers: names(observers), missing, ..Why::default() },
            ..Snapshot::default()
        }
    }

    #[test]
    fn health_is_told_by_code() {
        for (finality, validators, heard, observers, exit, code) in [
            (Finality::Live, 7, 7, 0, Exit::Ok, 0),
            (Finality::Live, 7, 6, 0, Exit::Degraded, 1),
            (Finality::Live, 7, 6, 1, Exit::Degraded, 1),
            (Finality::Degraded, 7, 5, 0, Exit::Degraded, 1),
            (Finality::Starting, 7, 1, 0, Exit::Degraded, 1),
            (Finality::Halted, 7, 4, 0, Exit::Halted, 2),
            (Finality::Halted, 7, 3, 0, Exit::Partitioned, 2),
            (Finality::Halted, 7, 3, 4, Exit::Halted, 2),
            (Finality::Halted, 4, 2, 0, Exit::Halted, 2),
            (Finality::Halted, 4, 1, 0, Exit::Partitioned, 2),
        ] {
            let health = health(&snapshot(finality, validators, heard, observers));
            assert_eq!((health, nagios(health).0), (exit, code), "{finality:?} {validators} {heard} {observers}");
        }
    }

    #[test]
    fn the_state_of_the_network_has_codes_of_its_own() {
        for (state, finality, heard, exit) in [
            (NetworkState::Recovering, Finality::Live, 7, Exit::Ok),
            (NetworkState::Partitioned, Finality::Live, 7, Exit::Partitioned),
            (NetworkState::Partitioned, Finality::Degraded, 5, Exit::Partitioned),
            (NetworkState::Partitioned, Finality::Halted, 4, Exit::Halted),
            (NetworkState::Partitioned, Finality::Halted, 3, Exit::Partitioned),
            (NetworkState::UnderAttack, Finality::Live, 7, Exit::UnderAttack),
            (NetworkState::UnderAttack, Finality::Halted, 4, Exit::UnderAttack),
        ] {
            let health = health(&of(state, finality, 7, heard, 0));
            assert_eq!(health, exit, "{state:?} {finality:?} {heard}");
            assert_eq!(nagios(health).0, if exit == Exit::Ok { 0 } else { 2 });
        }
    }

    #[test]
    fn a_cause_that_the_sentence_has_no_room_for_has_a_line() {
        let cause = |text: &str| api::CauseView { text: text.into(), ..api::CauseView::default() };
        let why =
            Why { sentence: "LIVE; told.".into(), causes: vec![cause("told"), cause("untold")], ..Why::default() };
        assert_eq!(explanation(&why), "LIVE; told.\n  untold");
    }

    #[test]
    fn tasks_are_counted_where_they_stand() {
        let tasks = TaskCounts { pending: 1, leased: 2, done: 3, failed: 4, cancelled: 0 };
        assert_eq!(task_line(tasks), "tasks 1 pending, 2 leased, 3 done, 4 failed");
        assert!(task_line(TaskCounts { cancelled: 5, ..tasks }).ends_with("4 failed, 5 cancelled"));
    }

    #[test]
    fn a_store_that_was_damaged_has_a_line_and_a_whole_one_none() {
        let whole = StoreStatus { scrubs: 3, ..StoreStatus::default() };
        assert_eq!(store_line(&whole), "");
        let back = StoreStatus { damage_found: 2, ..whole };
        assert_eq!(store_line(&back), "\nstore whole again · 2 damaged parts found since the start");
        let lost = StoreStatus { blocks_missing: 1, damage_found: 1, out_of_reach: Some(7), ..back };
        let line =
            "\nstore 1 block and 0 certificates asked for, nobody has block 7 · 1 damaged part found since the start";
        assert_eq!(store_line(&lost), line);
    }

    #[test]
    fn a_span_has_one_unit() {
        let spans = [(999, "999 ms"), (1_000, "1 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
    }
}
