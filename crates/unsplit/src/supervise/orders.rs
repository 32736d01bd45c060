//! Somebody else wants the validator back: a person on this machine, or more than f validators.

use std::time::Duration;

use sentinel::recovery::State;
use tokio::sync::mpsc;
use validator::orders::{Action, Command};

use super::{
    ME, Supervisor,
    clock::millis,
    event::{Change, Event},
};
use crate::{devnet, failure::Failure};

/// What enough validators want; nothing, once, when no more can come, and then nothing ever.
pub(super) async fn commanded(commands: Option<&mut mpsc::Receiver<Command>>) -> Option<Command> {
    match commands {
        Some(commands) => commands.recv().await,
        None => std::future::pending().await,
    }
}

impl Supervisor<'_> {
    /// Somebody on this machine wants the validator back now, whatever its cooldown; it counts as an attempt.
    pub(super) fn ordered(&mut self) {
        match self.recovery.recover(ME, self.clock.now_ms()) {
            Ok(()) => self.output.talk("ordered to bring it back now"),
            Err(refusal) => self.output.talk(&format!("ordered to bring it back now, but {refusal}")),
        }
    }

    /// More than f validators want the validator back. One that runs is ended first: they see what cannot be seen from here.
    /// It counts as an attempt, and none is made beyond those that there may be.
    pub(super) async fn commanded(&mut self, command: Option<Command>) -> Result<(), Failure> {
        let Some(command) = command else {
            self.commands = None;
            self.output.talk("no more orders of other validators can be received; start the supervisor again for that");
            return Ok(());
        };
        let now_ms = self.clock.now_ms();
        let wanted: Vec<String> = command.wanted.iter().map(|(node, reason)| format!("{node}: {reason}")).collect();
        let reason = format!("ordered by {} validators ({})", wanted.len(), wanted.join("; "));
        let was_active = self.recovery.state(ME, now_ms) == State::Active;
        let refusal = match (command.action, was_active) {
            // What it does already goes on; a cooldown is there for those who are never content.
            (Action::Recover, false) => return Ok(()),
            (Action::Recover, true) if self.recovery.next_ms(ME, now_ms).is_some() => return Ok(()),
            (Action::Recover, true) => {
                self.recovery.down(ME, &reason);
                None
            }
            (Action::RecoverNow, _) => {
                self.recovery.down(ME, &reason);
                self.recovery.recover(ME, now_ms).err()
            }
        };
        if let Some(refusal) = refusal {
            if was_active {
                self.recovery.back(ME);
            }
            self.output.talk(&format!("{reason}, but {refusal}"));
            return Ok(());
        }
        self.reason = Some(reason.clone());
        let told = Some(reason.clone());
        self.tell(Change::Ordered, |event| Event { reason: told, ..event });
        (self.start_at, self.pause) = (None, Duration::ZERO);
        let ran = self.running.as_ref().map_or(Duration::ZERO, |running| running.process.started.elapsed());
        if let Some((status, lines, took)) = self.stop().await? {
            let evidence = self.keep_evidence(&reason, Some(status), ran, &lines);
            let (reason, took_ms) = (Some(devnet::describe(status)), Some(millis(took)));
            self.tell(Change::Ended, |event| Event { reason, took_ms, evidence, ..event });
        }
        Ok(())
    }
}
