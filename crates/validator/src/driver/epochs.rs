//! Who votes in which epoch, as far as this validator has come?
//!
//! The ledger decides; this tells the engines where to be, and marshal how far there is to go. A validator that is behind
//! learns from the rows of others that an epoch is over, and asks them for the certificate of its last block: what they
//! claim is a hint whom to ask, and only the certificate counts. An engine is not started in an epoch that more than f
//! others have left behind.

use super::{Driver, answers::pending, nodes::unknown};
use crate::clock::milliseconds;
use api::{Departing, Duty, EventKind, Refusal, RefusalClass, TransactionStatus, ValidatorsView, WantedChange};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use commonware_utils::vec::NonEmptyVec;
use ledger::{Decision, Departure, Kind, NodeId, Seat, State, Transition, faults, quorum};
use std::time::SystemTime;
use tracing::warn;

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Whether the validator in this place of the roster has a vote on the next block.
    pub(super) fn is_voter(&self, index: usize, state: &State) -> bool {
        state.is_voter(&self.settings.roster.members()[index].entry.key)
    }

    /// The state is there: the engines begin.
    pub(super) async fn begin_epochs(&mut self) {
        let state = self.parts.ledger.finalized();
        self.grow(&state);
        self.learn_epochs(&state).await;
        self.follow_epochs(&state);
        if self.parts.guard.observing().is_none() && self.observing(&state).is_some() {
            self.duty = Duty::Observing;
        }
    }

    /// Why this validator signs no votes, if it does not.
    pub(super) fn observing(&self, state: &State) -> Option<String> {
        let me = self.settings.secret.public();
        if state.is_voter(&me) {
            return self.parts.guard.observing();
        }
        let candidate = state.candidate(&me).filter(|candidate| !candidate.is_withdrawn);
        Some(match (state.seat(&me).copied().unwrap_or(NO_SEAT), candidate) {
            (Seat { until: Some(epoch), .. }, _) => format!("it is no validator any more, since epoch {epoch}"),
            (Seat { from: Some(epoch), .. }, _) => format!("it has a vote from epoch {epoch} on"),
            (_, Some(candidate)) if candidate.learner.is_some() => "it is a learner: it has no vote yet".into(),
            (_, Some(_)) => "it asked for a seat, and validators have to approve of it".into(),
            (_, None) => "it has no seat: ask for one with `unsplit nodes join`".into(),
        })
    }

    /// Takes over what a state says of epochs, before the block that it follows is acknowledged: a start that comes later
    /// must know who signs what it is sent.
    pub(super) async fn learn_epochs(&mut self, state: &State) {
        if let Err(problem) = self.parts.epochs.learn(&self.context, state).await {
            warn!(%problem, "who votes in the next epoch is not written down: a restart learns it from the blocks");
        }
        self.parts.blocker.set_bans_max(faults(state.voters().len()));
    }

    /// Goes after the epochs that the others are in.
    pub(super) fn follow_epochs(&self, state: &State) {
        let limits = state.epoch_limits();
        let epoch = state.epoch();
        // All ends of epochs whose voters are known can be asked for at once.
        for due in epoch.0..=self.parts.epochs.through() {
            let last = limits.last_of(ledger::Epoch(due)).0;
            if self.tip >= last {
                continue;
            }
            if let Ok(ahead) = NonEmptyVec::try_from(self.beyond(last)) {
                self.parts.marshal.hint_finalized(commonware_consensus::types::Height::new(last), ahead);
            }
        }
        let is_over = self.beyond(limits.last_of(epoch).0).len() > faults(state.voters().len());
        // The engine of an epoch begins at a block that is there.
        if !is_over && self.following.settling.is_none() {
            self.parts.epochs.enter(epoch.0);
        }
    }

    /// Who says that it has come to this height.
    fn beyond(&self, height: u64) -> Vec<PublicKey> {
        let members = self.settings.roster.members();
        let ahead = members.iter().zip(&self.peers).filter(|(_, peer)| {
            peer.is_heard && peer.sight.row.as_ref().is_some_and(|(row, _)| row.height.0 >= height)
        });
        ahead.map(|(member, _)| member.key.clone()).filter(|key| *key != self.settings.me).collect()
    }

    /// Tells what the newest block decided about validators, and that an epoch began.
    pub(super) fn tell_epochs(&mut self, before: &State, state: &State, now: SystemTime) {
        let me = self.settings.secret.public();
        if before.is_voter(&me) != state.is_voter(&me) {
            let observing = self.observing(state);
            self.duty = if observing.is_some() { Duty::Observing } else { Duty::Voting };
            let reason = observing.unwrap_or_else(|| format!("it has a vote from epoch {} on", state.epoch()));
            self.parts.events.push(milliseconds(now), EventKind::DutyChanged { duty: self.duty, reason });
        }
        let push = |kind| self.parts.events.push(milliseconds(now), kind);
        if let Some(decision) = state.decision().filter(|it| !it.is_quiet()) {
            let validators = decision.voters.len() as u64;
            let (going, postponed) = (self.going(decision), self.postponed(decision));
            let coming = self.names_of(&decision.coming);
            push(EventKind::SetDecided { epoch: decision.epoch.0, validators, going, coming, postponed });
        }
        if state.epoch() != before.epoch() {
            let is_gone = |node: &&NodeId| !state.is_voter(node);
            let gone = before.voters().iter().filter(is_gone).map(|node| self.settings.roster.name_of(node)).collect();
            let is_new = |node: &&NodeId| !before.is_voter(node);
            let came: Vec<NodeId> = state.voters().iter().filter(is_new).copied().collect();
            let (epoch, validators) = (state.epoch().0, state.voters().len() as u64);
            push(EventKind::EpochBegan { epoch, validators, gone, came: self.names_of(&came) });
        }
    }

    pub(super) fn names_of(&self, nodes: &[NodeId]) -> Vec<String> {
        let state = self.parts.ledger.finalized();
        let mut names: Vec<String> = nodes.iter().map(|node| self.name_of(node, &state)).collect();
        names.sort_unstable();
        names
    }

    fn going(&self, decision: &Decision) -> Vec<Departing> {
        let going = decision.going.iter().map(|(node, departure)| Departing {
            node: self.settings.roster.name_of(node),
            why: why(*departure).into(),
            postponed: None,
        });
        going.collect()
    }

    fn postponed(&self, decision: &Decision) -> Vec<Departing> {
        let state = self.parts.ledger.finalized();
        let name = |node: &NodeId| self.name_of(node, &state);
        let postponed = decision.postponed.iter().map(|(transition, obstacle)| Departing {
            node: name(&transition.node()),
            why: match transition {
                Transition::Goes(_, departure) => why(*departure).into(),
                Transition::Comes(_) => "it is to get a vote".into(),
                Transition::Replaces { old, .. } => format!("it is to take the place of {}", name(old)),
            },
            postponed: Some(obstacle.to_string()),
        });
        postponed.collect()
    }

    /// Who validates, and what would be decided if this were to happen as well.
    pub(super) fn show_validators(&self, wanted: &WantedChange) -> Result<ValidatorsView, Refusal> {
        let state = self.parts.ledger.finalized();
        let foreseen = state.foresee(&self.transitions(wanted, &state)?);
        let limits = state.epoch_limits();
        let answering = |voters: &[NodeId]| {
            voters.iter().filter(|node| state.validators_unresponsive().all(|other| other != **node)).count()
        };
        let decided = state.voters_of(state.epoch().after());
        Ok(ValidatorsView {
            schema: "unsplit.validators/1".into(),
            height: state.height().0,
            epoch: state.epoch().0,
            last_height: limits.last_of(state.epoch()).0,
            validators: self.names_of(state.voters()),
            quorum: quorum(state.voters().len()) as u64,
            byzantine_budget: state.byzantine_budget() as u64,
            slack_min: limits.slack_min as u64,
            next: decided.map(|voters| self.names_of(&voters)),
            foreseen_epoch: foreseen.epoch.0,
            decided_at: limits.decides_in(ledger::Epoch(foreseen.epoch.0.saturating_sub(1))).0,
            foreseen_quorum: quorum(foreseen.voters.len()) as u64,
            foreseen_answering: answering(&foreseen.voters) as u64,
            foreseen: self.names_of(&foreseen.voters),
            going: self.going(&foreseen),
            coming: self.names_of(&foreseen.coming),
            postponed: self.postponed(&foreseen),
            candidates: self.show_candidates(&state),
        })
    }

    /// What is wanted, in the words of the ledger.
    fn transitions(&self, wanted: &WantedChange, state: &State) -> Result<Vec<Transition>, Refusal> {
        let seated = |name: &String| {
            let member = self.settings.roster.named(name).ok_or_else(|| unknown(name))?;
            Ok::<NodeId, Refusal>(member.entry.key)
        };
        let anybody = |name: &String| self.applicant(name, state).or_else(|_| name.parse().map_err(|_| unknown(name)));
        let mut transitions = Vec::new();
        for name in &wanted.remove {
            transitions.push(Transition::Goes(seated(name)?, Departure::Removed));
        }
        for (old, new) in &wanted.rotate {
            transitions.push(Transition::Replaces { old: seated(old)?, new: anybody(new)? });
        }
        for name in &wanted.join {
            transitions.push(Transition::Comes(anybody(name)?));
        }
        for name in &wanted.leave {
            transitions.push(Transition::Goes(seated(name)?, Departure::Left));
        }
        Ok(transitions)
    }

    /// Has this validator leave the set of validators, or take that back.
    pub(super) fn set_leaving(&mut self, leaving: bool) -> Result<TransactionStatus, Refusal> {
        let state = self.parts.ledger.finalized();
        let me = self.settings.secret.public();
        if let Some(candidate) = state.candidate(&me).filter(|candidate| leaving && !candidate.is_withdrawn) {
            let transaction = self.sign(Kind::Retract { since: candidate.since }, &state);
            let id = transaction.id();
            self.take(transaction)?;
            return Ok(pending(id));
        }
        let seat = *state.seat(&me).ok_or_else(|| unknown(&me.to_string()))?;
        let refused = |detail: String| Refusal {
            code: "no_change",
            detail,
            help: "see `unsplit nodes simulate-change`".into(),
            class: RefusalClass::Conflict,
        };
        if !state.is_voter(&me) {
            let words = if seat.until.is_some() { "any more" } else { "yet" };
            return Err(refused(format!("this validator has no vote {words}")));
        }
        if let Some(epoch) = seat.until {
            return Err(refused(format!("it is decided that this validator has no vote from epoch {epoch} on")));
        }
        if seat.leaving.is_some() == leaving {
            let (wants, not) = ("wants to leave already", "does not want to leave");
            return Err(refused(format!("this validator {}", if leaving { wants } else { not })));
        }
        let kind = if leaving { Kind::Leave { sequence: seat.next } } else { Kind::Stay { sequence: seat.next } };
        let transaction = self.sign(kind, &state);
        let id = transaction.id();
        self.take(transaction)?;
        Ok(pending(id))
    }
}

/// As if it had asked for nothing yet.
const NO_SEAT: Seat = Seat { from: None, until: None, leaving: None, condemned: None, next: ledger::Sequence(0) };

/// The word for it in events and the API.
const fn why(departure: Departure) -> &'static str {
    match departure {
        Departure::Left => "it wants to leave",
        Departure::Removed => "a quorum has held it unresponsive for long enough",
        Departure::Replaced => "another key takes its place",
    }
}
