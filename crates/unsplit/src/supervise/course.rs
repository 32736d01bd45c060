//! What does a look at the validator mean for the attempt under way?

use std::time::Duration;

use sentinel::recovery::{State, Step};

use super::{
    ME, Supervisor,
    clock::millis,
    event::{Change, Event},
    integrity::from_chain,
    looks::Look,
    watch::{Condition, Seen},
};
use crate::failure::{Exit, Failure};

impl Supervisor<'_> {
    /// Takes in one look.
    pub(super) async fn looked(&mut self, look: Look) -> Result<Option<Exit>, Failure> {
        let Look { seen, certified } = look;
        if let Some(certified) = certified.as_ref().and_then(from_chain) {
            self.chain_certified = certified;
        }
        let now_ms = self.clock.now_ms();
        let Some(running) = self.running.as_mut() else { return Ok(None) };
        match running.watch.look(now_ms, seen) {
            Condition::Starting | Condition::Silent => Ok(None),
            Condition::Stuck(reason) => self.unstick(&reason).await.map(|()| None),
            Condition::Answers { seen, blocks } => self.follow(&seen, blocks).await,
        }
    }

    /// One look may be enough for several steps; they only go on, so this ends.
    async fn follow(&mut self, seen: &Seen, mut blocks: u64) -> Result<Option<Exit>, Failure> {
        loop {
            let before = self.step();
            self.answered(seen, blocks);
            if before == self.step() {
                return Ok(None);
            }
            if let Some(exit) = self.act().await? {
                return Ok(Some(exit));
            }
            blocks = 0;
        }
    }

    fn step(&self) -> Option<Step> {
        match self.recovery.state(ME, self.clock.now_ms()) {
            State::Recovering { step, .. } => Some(step),
            State::Active | State::Queued | State::Cooling { .. } | State::Failed { .. } => None,
        }
    }

    fn answered(&mut self, seen: &Seen, blocks: u64) {
        match self.recovery.state(ME, self.clock.now_ms()) {
            State::Recovering { step, .. } => self.advance(step, seen, blocks),
            State::Active if !self.is_well && does_its_duty(seen) => {
                self.note_well();
                let took_ms = self.running.as_ref().map(|running| millis(running.process.started.elapsed()));
                let reason = Some(at(seen));
                self.tell(Change::Well, |event| Event { took_ms, reason, ..event });
            }
            State::Active | State::Queued | State::Cooling { .. } | State::Failed { .. } => {}
        }
    }

    /// What failed before is over.
    fn note_well(&mut self) {
        self.is_well = true;
        self.crashes.progressed();
    }

    fn advance(&mut self, step: Step, seen: &Seen, blocks: u64) {
        let now_ms = self.clock.now_ms();
        // Nobody can catch up with, vote in or validate for a network that is halted.
        if blocks > 0 || !seen.is_live {
            self.recovery.moved(ME, now_ms);
        }
        match step {
            Step::VerifyIntegrity => {}
            Step::Restart => self.pass(step, seen),
            Step::CatchUp if seen.keeps_up() => self.pass(step, seen),
            Step::VerifyResponsive if does_its_duty(seen) => {
                self.note_well();
                self.pass(step, seen);
            }
            Step::CatchUp | Step::VerifyResponsive => {}
            Step::Trial if seen.votes => self.try_out(blocks, seen),
            // It follows, and votes again by itself once it has sat out.
            Step::Trial => {}
        }
    }

    fn pass(&mut self, step: Step, seen: &Seen) {
        let now_ms = self.clock.now_ms();
        let began_ms = self.stage_began_ms().unwrap_or(now_ms);
        self.step_done(step, Duration::from_millis(now_ms.saturating_sub(began_ms)), Some(at(seen)));
    }

    /// A block that became final while it signs is one that it validated.
    fn try_out(&mut self, blocks: u64, seen: &Seen) {
        let (now_ms, began_ms) = (self.clock.now_ms(), self.stage_began_ms());
        self.recovery.validated(ME, blocks, now_ms);
        let is_over = !matches!(self.recovery.state(ME, now_ms), State::Recovering { .. });
        if let Some(began_ms) = began_ms.filter(|_| is_over) {
            let count = self.recovery.config().trial_validations;
            let step = Some(Step::Trial.name().to_owned());
            let reason = Some(format!("{count} validations, {}", at(seen)));
            let took_ms = Some(now_ms.saturating_sub(began_ms));
            self.tell(Change::StepDone, |event| Event { step, took_ms, reason, ..event });
        }
    }

    fn stage_began_ms(&self) -> Option<u64> {
        let stage = self.attempts().last()?.stages.last()?;
        stage.took_ms.is_none().then_some(stage.began_ms)
    }
}

/// Votes, or follows for as long as it may not vote, and keeps up.
fn does_its_duty(seen: &Seen) -> bool {
    seen.keeps_up() && (seen.votes || seen.observes)
}

fn at(seen: &Seen) -> String {
    let duty = if seen.observes { "observes" } else { "votes" };
    let here = format!("at height {}", seen.height);
    if seen.votes || seen.observes { format!("{duty} {here}") } else { here }
}
