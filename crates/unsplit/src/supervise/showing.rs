//! What was done to bring a validator back, as its supervisor wrote it down; and what somebody wants to be done.

use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use super::{
    opening::take_lock,
    record::{AttemptRecord, Before, OutcomeRecord, Record},
};
use crate::{
    cli::ConfigFile,
    config,
    failure::{Exit, Failure},
    output::Output,
    status::{clock, span},
};

/// Shows the attempts of the supervisor on this host, whether it runs or not.
pub(crate) fn recoveries(file: &ConfigFile, output: Output) -> Result<Exit, Failure> {
    let path = config::load(file)?.data_dir.join("supervisor.json");
    match Record::load(&path)? {
        Before::Known(record) => output.data(&page(&record), &*record),
        Before::Nothing => {
            let message = format!("{} does not exist: no supervisor ever ran for this validator", path.display());
            return Err(Failure::not_found(message, "start one: unsplit supervise -c FILE"));
        }
        Before::Damaged(aside) => {
            let message = format!("the supervisor's record cannot be read; it was moved to {}", aside.display());
            return Err(Failure::config(message, "start the supervisor again: it begins a new one"));
        }
    }
    Ok(Exit::Ok)
}

/// Has the supervisor on this host bring its validator back now, whatever its cooldown.
pub(crate) fn recover(config: PathBuf, output: Output) -> Result<Exit, Failure> {
    let config = config::load(&ConfigFile { config, sets: Vec::new() })?;
    if take_lock(&config).is_ok() {
        let message = format!("no supervisor runs for {}", config.name);
        return Err(Failure::refused(message, "start it, and with it the validator: unsplit supervise -c FILE --yes"));
    }
    let path = config.data_dir.join("supervisor.json");
    let Before::Known(record) = Record::load(&path)? else {
        let message = format!("{} does not say which process the supervisor is", path.display());
        return Err(Failure::refused(message, "end the supervisor and start it again"));
    };
    let pid = i32::try_from(record.supervisor).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::config(format!("{}: no such process", path.display()), "start it again"))?;
    kill_process(pid, Signal::USR1)
        .map_err(|error| Failure::refused(format!("the supervisor, process {pid:?}: {error}"), "is it yours?"))?;
    output.data(
        &format!("told the supervisor of {}; see: unsplit recoveries -c FILE", record.node),
        &serde_json::json!({"schema": "unsplit.recover/1", "node": record.node}),
    );
    Ok(Exit::Ok)
}

fn page(record: &Record) -> String {
    let reason = record.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let next = record.next_attempt_ms.map(|next| next.saturating_sub(record.clock_ms)).filter(|left| *left > 0);
    let next = next.map(|left| format!(", the next in {} at the earliest", span(left))).unwrap_or_default();
    let mut lines = vec![
        format!("{} · {}{reason}", record.node, record.state),
        format!(
            "{} of {} attempts left in {}{next}",
            record.attempts_left,
            record.attempts_max,
            span(record.window_ms)
        ),
    ];
    lines.extend(record.attempts.iter().map(attempt));
    lines.join("\n")
}

fn attempt(attempt: &AttemptRecord) -> String {
    let steps: Vec<String> = attempt
        .steps
        .iter()
        .map(|stage| format!("{} {}", stage.step, stage.took_ms.map_or("under way".into(), span)))
        .collect();
    let outcome = match &attempt.outcome {
        None => "under way".into(),
        Some(OutcomeRecord::Active) => "active".into(),
        Some(OutcomeRecord::Failed { step, reason }) => format!("failed at {step}: {reason}"),
        Some(OutcomeRecord::TimedOut { step }) => format!("{step} took too long"),
        Some(OutcomeRecord::Interrupted) => "interrupted".into(),
    };
    let by_order = if attempt.by_order { " by order" } else { "" };
    format!("  {}{by_order}  {}  → {outcome}", clock(attempt.began_ms).unwrap_or_default(), steps.join(" → "))
}

#[cfg(test)]
mod tests {
    use super::{super::record::StageRecord, *};

    #[test]
    fn each_attempt_is_a_line_with_its_steps_and_its_end() {
        let stage = |step: &str, took_ms| StageRecord { step: step.into(), began_ms: 0, took_ms };
        let attempt = |outcome, steps| AttemptRecord {
            by_order: false,
            began_ms: 1_000,
            ended_ms: None,
            outcome,
            passes: 1,
            steps,
        };
        let failed = OutcomeRecord::Failed { step: "restart".into(), reason: "exit status 1".into() };
        let record = Record {
            node: "n3".into(),
            state: "cooling".into(),
            attempts_left: 1,
            attempts_max: 3,
            window_ms: 86_400_000,
            clock_ms: 5_000,
            next_attempt_ms: Some(65_000),
            attempts: vec![
                attempt(Some(failed), vec![stage("verify_integrity", Some(12)), stage("restart", Some(900))]),
                attempt(None, vec![stage("catch_up", None)]),
            ],
            ..Record::default()
        };
        let page = page(&record);
        for words in [
            "n3 · cooling",
            "1 of 3 attempts left in 24 h, the next in 60 s at the earliest",
            "verify_integrity 12 ms → restart 900 ms  → failed at restart: exit status 1",
            "catch_up under way  → under way",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
}
