//! Whom does this validator want restarted by its supervisor?
//!
//! Those whom it has seen ill for long, and those whom its operator named. It says so to their supervisors, which need more
//! than f to say the same; see [`crate::orders`]. Nothing here touches the chain, so it works while that is halted.

use super::{Driver, nodes::unknown};
use crate::{
    clock::{milliseconds, since},
    orders::{Action, Wish},
};
use api::{EventKind, RecoveryView, Refusal, RefusalClass};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Reason, faults};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// How long an operator's word stands. A supervisor asks every few seconds, and other operators have to be woken first.
const WORD_STANDS: Duration = Duration::from_secs(15 * 60);

/// For what this validator wants others restarted.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// Since when each is ill, and of what, by the place in the roster.
    ill: BTreeMap<usize, (SystemTime, Reason)>,
    /// Whom the operator of this validator wants restarted, and until when that stands.
    named: BTreeMap<usize, SystemTime>,
}

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Puts on the desk what is wanted now.
    pub(super) fn want(&mut self, now: SystemTime) {
        let state = self.parts.ledger.finalized();
        let faults = faults(state.voters().len());
        for index in 0..self.peers.len() {
            let is_me = self.settings.roster.members()[index].key == self.settings.me;
            let is_other = !is_me && self.is_voter(index, &state);
            match self.opinion(index, now).filter(|_| is_other) {
                Some((reason, _)) => self.wants.ill.entry(index).or_insert((now, reason)).1 = reason,
                None => drop(self.wants.ill.remove(&index)),
            }
        }
        self.wants.named.retain(|_, until| *until > now);
        let mut wishes: BTreeMap<usize, Wish> = BTreeMap::new();
        // So many at once are the network's doing, or this validator's own: no restart would help.
        if self.wants.ill.len() <= faults {
            for (index, (since_when, reason)) in &self.wants.ill {
                let ill = since(now, *since_when);
                if ill >= self.settings.order_recovery_after {
                    let reason = format!("{} for {} s", reason.name(), ill.as_secs());
                    wishes.insert(*index, Wish { action: Action::Recover, reason });
                }
            }
        }
        for index in self.wants.named.keys() {
            let reason = format!("the operator of {} wants it", self.settings.roster.name(&self.settings.me));
            wishes.insert(*index, Wish { action: Action::RecoverNow, reason });
        }
        for (index, wish) in wishes.iter().filter(|(index, _)| self.parts.desk.wish(**index).is_none()) {
            let node = self.settings.roster.members()[*index].entry.name.clone();
            let kind = EventKind::RecoveryWanted { node, reason: wish.reason.clone() };
            self.parts.events.push(milliseconds(now), kind);
        }
        self.parts.desk.want(wishes);
    }

    /// Has this validator want another restarted, on its operator's word.
    pub(super) fn name_for_recovery(&mut self, name: &str) -> Result<RecoveryView, Refusal> {
        let index = self.settings.roster.place(name).ok_or_else(|| unknown(name))?;
        let now = self.context.current();
        let supervisor = self.settings.roster.members()[index].entry.supervisor.clone();
        if supervisor.is_none() {
            return Err(Refusal {
                code: "no_supervisor",
                detail: format!("the genesis file names no supervisor for {name}, so no order reaches its host"),
                help: "on that host: unsplit recover -c FILE".into(),
                class: RefusalClass::Conflict,
            });
        }
        self.wants.named.insert(index, now + WORD_STANDS);
        self.want(now);
        let asked_ms = self.supervisor_asked_ms(index, now);
        Ok(RecoveryView {
            schema: "unsplit.recovery/1".into(),
            node: name.into(),
            wanted_by: self.settings.roster.name(&self.settings.me),
            needed: faults(self.settings.roster.first()) as u64 + 1,
            stands_ms: WORD_STANDS.as_millis() as u64,
            supervisor_asked_ms: asked_ms,
        })
    }

    /// How long ago the supervisor of a node asked here; nothing if it never did.
    pub(super) fn supervisor_asked_ms(&self, index: usize, now: SystemTime) -> Option<u64> {
        let asked = self.parts.desk.asked(index)?;
        Some(u64::try_from(since(now, asked).as_millis()).unwrap_or(u64::MAX))
    }
}
