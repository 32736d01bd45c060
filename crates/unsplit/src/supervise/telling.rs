//! Who learns what: people, hooks, other surfaces, and whoever has to find out why.

use std::{path::PathBuf, process::ExitStatus, time::Duration};

use sentinel::recovery::State;

use super::{
    ME, Supervisor,
    clock::millis,
    event::{Change, Event},
    evidence::{self, Evidence},
    record::{AttemptRecord, Record, remember},
};
use crate::testnet::now_ms;

impl Supervisor<'_> {
    pub(super) fn keep_evidence(
        &self,
        reason: &str,
        status: Option<ExitStatus>,
        ran: Duration,
        lines: &[String],
    ) -> Option<PathBuf> {
        use std::os::unix::process::ExitStatusExt as _;
        let evidence = Evidence {
            schema: "unsplit.evidence/1",
            time_ms: now_ms(),
            node: &self.config.name,
            reason,
            exit_code: status.and_then(|status| status.code()),
            signal: status.and_then(|status| status.signal()),
            ran_ms: millis(ran),
            version: env!("CARGO_PKG_VERSION"),
            attempts_left: self.recovery.attempts_left(ME, self.clock.now_ms()),
        };
        let dir = self.config.data_dir.join("evidence");
        let kept = evidence::keep(&dir, &evidence, lines, &self.verb.config.config);
        // A full disk must not keep the validator from being brought back.
        kept.inspect_err(|failure| self.output.failure(failure)).ok()
    }

    /// Tells everybody of a change; `more` adds what is known beyond that there was one.
    pub(super) fn tell(&mut self, change: Change, more: impl FnOnce(Event) -> Event) {
        let event = more(Event {
            schema: "unsplit.supervisor.event/1".into(),
            time_ms: now_ms(),
            node: self.config.name.clone(),
            change,
            attempt: self.attempts().len(),
            step: None,
            took_ms: None,
            reason: None,
            evidence: None,
        });
        event.tell(self.output);
        self.hooks.tell(&event);
        remember(&mut self.history, event);
    }

    /// Writes down how everything is; `state` says it when the supervisor ends, and is empty before.
    pub(super) fn save(&mut self, state: &str) {
        let record = self.record(state);
        if let Err(failure) = record.save(&self.config.data_dir.join("supervisor.json")) {
            self.output.failure(&failure);
        }
    }

    fn record(&self, state: &str) -> Record {
        let now_ms = self.clock.now_ms();
        let present = self.recovery.state(ME, now_ms);
        let (word, step) = match &present {
            State::Active if self.is_well => ("active", None),
            State::Active => ("starting", None),
            State::Queued => ("queued", None),
            State::Cooling { .. } => ("cooling", None),
            State::Recovering { step, .. } => ("recovering", Some(step.name().to_owned())),
            State::Failed { .. } => ("failed", None),
        };
        let config = self.recovery.config();
        Record {
            schema: "unsplit.supervisor/1".into(),
            node: self.config.name.clone(),
            supervisor: std::process::id(),
            pid: self.running.as_ref().map(|running| running.process.pid),
            version: env!("CARGO_PKG_VERSION").into(),
            state: if state.is_empty() || word == "failed" { word.into() } else { state.into() },
            step,
            reason: if present == State::Active && self.is_well { None } else { self.reason.clone() },
            attempts_left: self.recovery.attempts_left(ME, now_ms),
            attempts_max: config.attempts_max,
            window_ms: config.window_ms,
            cooldown_ms: config.cooldown_ms,
            next_attempt_ms: self.recovery.next_ms(ME, now_ms),
            clock_ms: now_ms,
            certified: Some(self.chain_certified.clone()),
            attempts: self.attempts().iter().map(AttemptRecord::from).collect(),
            history: self.history.clone(),
        }
    }
}
