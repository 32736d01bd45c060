//! What does this validator have to say about the others, on the chain?
//!
//! The lookout has an opinion of each; this takes it to the chain, where enough of the same make a verdict. One statement
//! stands for each pair: it is made when the opinion begins, repeated before it lapses, and taken back when the opinion ends.
//! A verdict about this validator itself is answered by saying that it is there.

use super::{Driver, GOSSIP_EVERY, nodes::risk_of};
use crate::clock::{milliseconds, since};
use api::{EventKind, Standing as StandingView};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Change, Evidence, Kind, NodeId, Nonce, Reason, State, Status, Transaction, Turn, verdicts::STANDS_MS};
use sentinel::{health::Link, risk::Moment, vitals::Ailment};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// What was said and is not on the chain is said again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

/// A statement may be included for so many blocks. By then it may be wrong, and it is said anew if it is still right.
const EXPIRES_AFTER: u64 = 256;

/// So far behind the newest known block, verdicts are history.
const BEHIND_MAX: u64 = 2;

/// What was said last about a validator, so that it is not said with every block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Word {
    Suspect(Reason),
    Withdraw,
    Alive,
}

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Says what is to be said now, in view of the newest final state.
    pub(super) fn speak(&mut self, state: &State, now: SystemTime) {
        if self.tip > state.height().0 + BEHIND_MAX {
            return;
        }
        let me = self.settings.secret.public();
        if !state.is_voter(&me) {
            self.say_level(state, now);
            return;
        }
        for index in (0..self.peers.len()).filter(|index| self.is_voter(*index, state)).collect::<Vec<_>>() {
            let word = if self.settings.roster.members()[index].key == self.settings.me {
                self.answer_verdict(index, state)
            } else {
                self.word(index, state, now)
            };
            if let Some((word, kind)) = word {
                self.say(index, word, kind, state, now);
            }
        }
    }

    /// Whom somebody accuses on the chain.
    pub(super) fn accused(&self) -> BTreeSet<usize> {
        let state = self.parts.ledger.finalized();
        let members = self.settings.roster.members();
        let accused = members.iter().enumerate().filter(|(_, member)| {
            state.standing(&member.entry.key).is_some_and(|standing| !standing.accusations.is_empty())
        });
        accused.map(|(index, _)| index).collect()
    }

    fn say(&mut self, index: usize, word: Word, kind: Kind, state: &State, now: SystemTime) {
        let is_new = |said: &(Word, SystemTime)| said.0 != word || since(now, said.1) >= REPEAT_AFTER;
        if !self.said[index].as_ref().is_none_or(is_new) {
            return;
        }
        self.said[index] = Some((word, now));
        let transaction = self.sign(kind, state);
        // It may be refused here, when the block that makes it moot came first; then there is nothing to be said.
        if self.parts.ledger.mempool().offer(transaction.clone(), state).is_ok() {
            self.outbox.push(transaction);
            self.parts.ledger.arrivals.step();
            self.flush_at.get_or_insert(now + GOSSIP_EVERY);
        }
    }

    pub(super) fn sign(&self, kind: Kind, state: &State) -> Transaction {
        let expires = state.height().after(EXPIRES_AFTER);
        Transaction::sign(&self.settings.secret, state.chain().clone(), Nonce(0), expires, kind)
    }

    /// What is to be said about another.
    fn word(&self, index: usize, state: &State, now: SystemTime) -> Option<(Word, Kind)> {
        let node = self.settings.roster.members()[index].entry.key;
        let me = self.settings.secret.public();
        let standing = state.standing(&node)?;
        let stands = standing.accusations.iter().find(|accusation| accusation.accuser == me);
        let sequence = state.next_suspicion_sequence(&me, &node);
        match (self.opinion(index, now), stands.map(|accusation| accusation.suspicion)) {
            (None, None) => None,
            (None, Some(_)) => Some((Word::Withdraw, Kind::Withdraw { node, sequence })),
            (Some((reason, evidence)), None) => {
                Some((Word::Suspect(reason), Kind::Suspect { node, reason, evidence, sequence }))
            }
            (Some((reason, evidence)), Some(suspicion)) => {
                let left = suspicion.until.0.saturating_sub(state.lease_time().0);
                (left < STANDS_MS / 2 || reason != suspicion.reason)
                    .then_some((Word::Suspect(reason), Kind::Suspect { node, reason, evidence, sequence }))
            }
        }
    }

    /// What this validator thinks is wrong with another.
    pub(super) fn opinion(&self, index: usize, now: SystemTime) -> Option<(Reason, Evidence)> {
        let sight = &self.peers[index].sight;
        let silent = sight.heard.map_or(Duration::MAX, |heard| since(now, heard));
        let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        if self.lie.is_some_and(|(about, until)| about == index && until > now) || matches!(sight.link, Link::Suspect) {
            return Some((Reason::Link, Evidence::of(silent_ms, 0)));
        }
        let (ailment, measure) = sight.ailments.first()?;
        let reason = match ailment {
            Ailment::Consensus => Reason::Consensus,
            Ailment::Executor => Reason::Executor,
            Ailment::Disk => Reason::Disk,
            Ailment::Clock => Reason::Clock,
        };
        Some((reason, Evidence::of(silent_ms, u16::try_from(*measure).unwrap_or(u16::MAX))))
    }

    /// Answers a verdict about this validator, if speaking refutes it and it has stood long enough.
    fn answer_verdict(&self, index: usize, state: &State) -> Option<(Word, Kind)> {
        let Status::Unresponsive(verdict) = state.standing(&self.settings.roster.members()[index].entry.key)?.status
        else {
            return None;
        };
        let may_speak = verdict.reason.is_refuted_by_speaking() && verdict.dwells_ms(state.lease_time()) == 0;
        may_speak.then_some((Word::Alive, Kind::Alive { verdict: verdict.number }))
    }

    /// Goes once more through what the chain remembers of each validator, for what that lets foresee.
    pub(super) fn recall(&mut self) {
        self.risk = risk_of(&self.settings.roster);
        let state = self.parts.ledger.finalized();
        let mut past: Vec<(NodeId, Change)> = Vec::new();
        for member in self.settings.roster.members().iter() {
            let standing = state.standing(&member.entry.key);
            past.extend(
                standing.into_iter().flat_map(|it| it.history.into_iter().map(move |change| (it.node, change))),
            );
        }
        past.sort_by_key(|(_, change)| change.height);
        past.iter().for_each(|(node, change)| self.learn(node, change));
    }

    /// Takes a change into account for what is to be foreseen. What befell many at once says nothing of one.
    fn learn(&mut self, node: &NodeId, change: &Change) {
        let members = self.settings.roster.members();
        let Some(index) = members.iter().position(|member| member.entry.key == *node) else { return };
        let at = Moment(change.at.0);
        match &change.turn {
            Turn::Unresponsive(verdict) if !verdict.is_network_event => self.risk.failed(index, at),
            Turn::Trial | Turn::Active => self.risk.recovered(index, at),
            Turn::Unresponsive(_) | Turn::Drained | Turn::Undrained => {}
        }
    }

    /// Tells what the newest block changed about validators.
    pub(super) fn tell_verdicts(&mut self, state: &State, now: SystemTime) {
        for (node, change) in state.verdict_changes() {
            self.learn(node, change);
            let Some(change) = self.show_change(state, change) else { continue };
            let node = self.settings.roster.name_of(node);
            match change.standing {
                StandingView::Unresponsive => self.gauges.verdicts.inc(),
                StandingView::Trial | StandingView::Active => 0,
            };
            let kind = EventKind::StandingChanged {
                node,
                standing: change.standing,
                reason: change.reason,
                accusers: change.accusers,
                network_event: change.network_event,
                height: change.height,
            };
            self.parts.events.push(milliseconds(now), kind);
        }
    }
}
