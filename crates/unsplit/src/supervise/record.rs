//! What a supervisor writes down, so that other surfaces can show it and its successor goes on with it.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
};

use ledger::Certified;
use sentinel::recovery::{Attempt, By, Outcome, Stage, Step};
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::{failure::Failure, files};

/// Events that are kept.
const HISTORY_MAX: usize = 100;

/// `DATA_DIR/supervisor.json`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Record {
    /// `unsplit.supervisor/1`.
    pub(super) schema: String,
    pub(super) node: String,
    /// The supervisor's process; it may be gone.
    pub(super) supervisor: u32,
    /// The validator's process; absent when it does not run.
    pub(super) pid: Option<u32>,
    pub(super) version: String,
    /// `starting`, `active`, `queued`, `recovering`, `cooling`, `failed`, `gave_up` or `stopped`.
    pub(super) state: String,
    /// The step of the attempt under way.
    pub(super) step: Option<String>,
    /// Why it is in this state, when it is not active.
    pub(super) reason: Option<String>,
    pub(super) attempts_left: usize,
    pub(super) attempts_max: usize,
    pub(super) window_ms: u64,
    pub(super) cooldown_ms: u64,
    /// When the next attempt may begin at the earliest; absent when at once. By the supervisor's clock.
    pub(super) next_attempt_ms: Option<u64>,
    /// The supervisor's clock when this was written: the wall's, unless that has stepped back.
    pub(super) clock_ms: u64,
    /// What the chain certifies, as it was known last; absent until it was.
    #[serde(default)]
    pub(super) certified: Option<Certified>,
    /// The attempts that count, oldest first.
    pub(super) attempts: Vec<AttemptRecord>,
    /// The newest events, oldest first.
    pub(super) history: VecDeque<Event>,
}

/// One attempt.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct AttemptRecord {
    /// Whether somebody ordered it.
    pub(super) by_order: bool,
    pub(super) began_ms: u64,
    /// Absent while it lasts.
    pub(super) ended_ms: Option<u64>,
    /// Absent while it lasts.
    pub(super) outcome: Option<OutcomeRecord>,
    pub(super) passes: usize,
    pub(super) steps: Vec<StageRecord>,
}

/// How an attempt ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum OutcomeRecord {
    Active,
    Failed { step: String, reason: String },
    TimedOut { step: String },
    Interrupted,
}

/// One step.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct StageRecord {
    pub(super) step: String,
    pub(super) began_ms: u64,
    /// Absent while it lasts.
    pub(super) took_ms: Option<u64>,
}

/// What is known from before.
#[derive(Debug)]
pub(super) enum Before {
    /// There is no record.
    Nothing,
    Known(Box<Record>),
    /// There is one that cannot be read; it was moved here.
    Damaged(PathBuf),
}

impl Record {
    /// Reads what an earlier supervisor wrote. A record that cannot be read is set aside, never taken for none: that would
    /// give fresh attempts.
    pub(super) fn load(path: &Path) -> Result<Before, Failure> {
        if !path.exists() {
            return Ok(Before::Nothing);
        }
        if let Ok(record) = serde_json::from_slice(&fs::read(path).map_err(Failure::file("read", path))?) {
            return Ok(Before::Known(Box::new(record)));
        }
        let aside = path.with_extension("json.damaged");
        fs::rename(path, &aside).map_err(Failure::file("move aside", path))?;
        Ok(Before::Damaged(aside))
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), Failure> {
        files::replace(path, &serde_json::to_string_pretty(self).expect("strings, numbers and lists"))
    }
}

/// Adds an event; the oldest goes when there are too many.
pub(super) fn remember(history: &mut VecDeque<Event>, event: Event) {
    history.push_back(event);
    while history.len() > HISTORY_MAX {
        history.pop_front();
    }
}

impl From<&Attempt> for AttemptRecord {
    fn from(attempt: &Attempt) -> Self {
        let stage = |stage: &Stage| StageRecord {
            step: stage.step.name().to_owned(),
            began_ms: stage.began_ms,
            took_ms: stage.took_ms,
        };
        Self {
            by_order: attempt.by == By::Order,
            began_ms: attempt.began_ms,
            ended_ms: attempt.ended.as_ref().map(|(ended_ms, _)| *ended_ms),
            outcome: attempt.ended.as_ref().map(|(_, outcome)| outcome.into()),
            passes: attempt.passes,
            steps: attempt.stages.iter().map(stage).collect(),
        }
    }
}

impl AttemptRecord {
    /// Back to what the decider knows. Words of another version are dropped; that there was an attempt is not.
    pub(super) fn attempt(&self) -> Attempt {
        let ended = self.ended_ms.zip(self.outcome.as_ref());
        let stage = |stage: &StageRecord| {
            Some(Stage { step: step(&stage.step)?, began_ms: stage.began_ms, took_ms: stage.took_ms })
        };
        Attempt {
            by: if self.by_order { By::Order } else { By::Itself },
            began_ms: self.began_ms,
            ended: ended.map(|(ended_ms, outcome)| (ended_ms, outcome.outcome())),
            passes: self.passes,
            stages: self.steps.iter().filter_map(stage).collect(),
        }
    }
}

impl From<&Outcome> for OutcomeRecord {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Active => Self::Active,
            Outcome::Failed { step, reason } => Self::Failed { step: step.name().to_owned(), reason: reason.clone() },
            Outcome::TimedOut { step } => Self::TimedOut { step: step.name().to_owned() },
            Outcome::Interrupted => Self::Interrupted,
        }
    }
}

impl OutcomeRecord {
    fn outcome(&self) -> Outcome {
        let failed = |name: &str| step(name).unwrap_or(Step::VerifyIntegrity);
        match self {
            Self::Active => Outcome::Active,
            Self::Failed { step, reason } => Outcome::Failed { step: failed(step), reason: reason.clone() },
            Self::TimedOut { step } => Outcome::TimedOut { step: failed(step) },
            Self::Interrupted => Outcome::Interrupted,
        }
    }
}

fn step(name: &str) -> Option<Step> {
    Step::ALL.into_iter().find(|step| step.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(outcome: Option<Outcome>) -> Attempt {
        let stages = vec![
            Stage { step: Step::VerifyIntegrity, began_ms: 5, took_ms: Some(2) },
            Stage { step: Step::Restart, began_ms: 7, took_ms: None },
        ];
        Attempt { by: By::Order, began_ms: 5, ended: outcome.map(|outcome| (9, outcome)), passes: 3, stages }
    }

    #[test]
    fn attempts_read_back_as_they_were() {
        let failed = Outcome::Failed { step: Step::Restart, reason: "exit code 1".into() };
        let outcomes = [Outcome::Active, failed, Outcome::TimedOut { step: Step::Trial }, Outcome::Interrupted];
        for outcome in outcomes.into_iter().map(Some).chain([None]) {
            let text = serde_json::to_string(&AttemptRecord::from(&attempt(outcome.clone()))).expect("a document");
            let read: AttemptRecord = serde_json::from_str(&text).expect("our own document");
            assert_eq!(read.attempt(), attempt(outcome));
        }
    }

    #[test]
    fn a_damaged_record_is_set_aside_and_not_taken_for_none() {
        let path = std::env::temp_dir().join(format!("unsplit-supervisor-{}.json", std::process::id()));
        assert!(matches!(Record::load(&path), Ok(Before::Nothing)));
        Record { node: "n0".into(), ..Record::default() }.save(&path).expect("a temporary file");
        assert!(matches!(Record::load(&path), Ok(Before::Known(record)) if record.node == "n0"));
        fs::write(&path, "{\"schema\":").expect("our own file");
        let Ok(Before::Damaged(aside)) = Record::load(&path) else { panic!("it is damaged") };
        assert!(!path.exists() && aside.exists());
        fs::remove_file(aside).expect("our own file");
    }
}
