//! Who wants to validate, and what has this validator to do with it?
//!
//! Whoever gets a seat on the chain is let onto the network by everybody, and everything that is kept by place grows. A node
//! that is a learner says itself that it is level, as soon as it is, and says so again before that is too old to count.

use super::{Driver, GOSSIP_EVERY, Peer, answers::pending};
use crate::{
    chain::ledger_key,
    clock::{milliseconds, since},
};
use api::{CandidateView, EventKind, Refusal, RefusalClass, TransactionStatus};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Sender};
use commonware_runtime::{Clock, Metrics, Spawner, Storage};
use ledger::{Candidate, Kind, NodeId, State, Step, quorum, roster::LEVEL_BLOCKS};
use std::time::{Duration, SystemTime};
use tracing::info;

/// A learner that said that it is level, and is not heard on the chain, says so again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

impl<E, B, SG> Driver<E, B, SG>
where
    E: Spawner + Clock + Metrics + Storage,
    B: Blocker<PublicKey = PublicKey> + Sync,
    SG: Sender<PublicKey = PublicKey>,
{
    /// Takes notice of whom a state gives a seat, and lets those onto the network that are to be there.
    pub(super) fn grow(&mut self, state: &State) {
        if self.settings.roster.follow(state) {
            let n = self.settings.roster.len();
            self.parts.sights.grow(n);
            let sights = self.parts.sights.all().into_iter().skip(self.peers.len());
            self.peers.extend(sights.map(Peer::new));
            self.said.resize(n, None);
            self.recall();
        }
        let members = self.settings.roster.members();
        let others = || members.iter().filter(|member| member.key != self.settings.me);
        let mut peers: Vec<_> = others().filter(|member| state.is_peer(&member.entry.key)).collect();
        self.parts.boundary.set_peers(peers.iter().map(|member| member.key.clone()).collect());
        self.parts.blocker.set_names(peers.iter().map(|it| (it.key.clone(), it.entry.name.clone())).collect());
        // There is room on the network for so many: who is gone comes last.
        let is_gone = |key: &NodeId| state.seat(key).is_some_and(|seat| seat.from.is_some()) && !state.is_voter(key);
        peers.sort_by_key(|member| is_gone(&member.entry.key));
        (self.parts.track)(peers.iter().map(|it| (it.key.clone(), it.entry.address.clone())).collect());
    }

    /// Has a learner say that it is level, once it is.
    pub(super) fn say_level(&mut self, state: &State, now: SystemTime) {
        let me = self.settings.secret.public();
        let Some(candidate) = state.candidate(&me).filter(|it| it.learner.is_some() && !it.is_withdrawn) else {
            return;
        };
        let Some(mark) = state.newest_mark() else { return };
        let is_due = candidate.level.is_none_or(|level| mark.height >= level.after(LEVEL_BLOCKS / 2));
        let is_said = self.said_level.is_some_and(|at| since(now, at) < REPEAT_AFTER);
        if !is_due || is_said {
            return;
        }
        self.said_level = Some(now);
        let transaction = self.sign(Kind::CaughtUp(mark), state);
        // It may be refused here, when a later block knows better; then it is said again.
        if self.parts.ledger.mempool().offer(transaction.clone(), state).is_ok() {
            self.outbox.push(transaction);
            self.parts.ledger.arrivals.step();
            self.flush_at.get_or_insert(now + GOSSIP_EVERY);
        }
    }

    /// Tells what the newest block changed about those that want to validate.
    pub(super) fn tell_steps(&self, state: &State, now: SystemTime) {
        for (node, step) in state.steps() {
            let (name, key) = (self.name_of(node, state), node.to_string());
            info!(node = name, key, step = ?step, "a seat is asked for");
            let kind = match step {
                Step::Asked => EventKind::JoinRequested { node: name, key },
                Step::Approved => EventKind::Learner { node: name, key },
                Step::Level => EventKind::CaughtUp { node: name, key },
                Step::Withdrew => EventKind::JoinEnded { node: name, key, reason: "it took its request back".into() },
                Step::Lapsed => EventKind::JoinEnded { node: name, key, reason: "its time is over".into() },
            };
            self.parts.events.push(milliseconds(now), kind);
        }
    }

    /// What to call somebody who has a seat, or asks for one.
    pub(super) fn name_of(&self, node: &NodeId, state: &State) -> String {
        let candidate = state.candidate(node);
        candidate.map_or_else(|| self.settings.roster.name_of(node), |candidate| candidate.request.name.clone())
    }

    /// Who asked under this name, or with this key.
    pub(super) fn applicant(&self, name: &str, state: &State) -> Result<NodeId, Refusal> {
        let is_meant = |(node, candidate): &(&NodeId, &Candidate)| {
            !candidate.is_withdrawn && (candidate.request.name == name || node.to_string() == name)
        };
        let found = state.candidates().find(is_meant).map(|(node, _)| *node);
        found.ok_or_else(|| Refusal {
            code: "no_candidate",
            detail: format!("nobody called {name} asks for a seat"),
            help: "see `unsplit nodes candidates`; the new node asks with `unsplit nodes join`".into(),
            class: RefusalClass::NotFound,
        })
    }

    /// Those that want to validate, and what each waits for.
    pub(super) fn show_candidates(&self, state: &State) -> Vec<CandidateView> {
        let next = state.foresee(&[]);
        let show = |(node, candidate): (&NodeId, &Candidate)| {
            let approving = candidate.approvals.iter().filter(|approver| state.is_voter(approver)).copied();
            let approvals = self.names_of(&approving.collect::<Vec<_>>());
            let needed = if candidate.request.replaces.is_some() { 1 } else { quorum(state.voters().len()) };
            let obstacle = next.postponed.iter().find(|(transition, _)| transition.node() == *node);
            let waits_for = if candidate.is_withdrawn {
                "it took its request back".to_owned()
            } else if candidate.learner.is_none() {
                match candidate.request.replaces {
                    Some(old) => {
                        format!("{} has to say that it gives its place away", self.settings.roster.name_of(&old))
                    }
                    None => format!("{} of {needed} approve", approvals.len()),
                }
            } else if let Some((_, obstacle)) = obstacle {
                obstacle.to_string()
            } else {
                format!("it gets its vote with epoch {}", next.epoch)
            };
            CandidateView {
                name: candidate.request.name.clone(),
                key: node.to_string(),
                address: candidate.request.address.clone(),
                region: candidate.request.region.clone(),
                replaces: candidate.request.replaces.map(|old| self.settings.roster.name_of(&old)),
                since: candidate.since.0,
                approvals,
                approvals_needed: needed as u64,
                learner_since: candidate.learner.map(|height| height.0),
                level_at: candidate.level.map(|height| height.0),
                waits_for,
            }
        };
        state.candidates().map(show).collect()
    }

    /// Has this validator approve of somebody who asks for a seat; or, if it is asked for its own, give that away.
    pub(super) fn approve(&mut self, name: &str) -> Result<TransactionStatus, Refusal> {
        let state = self.parts.ledger.finalized();
        let node = self.applicant(name, &state)?;
        if self.settings.roster.supervisors().any(|(supervisor, _)| ledger_key(supervisor) == node) {
            return Err(Refusal {
                code: "key_taken",
                detail: format!("the key of {name} is that of a supervisor, which can not be a validator's too"),
                help: "have the new node ask with a key of its own".into(),
                class: RefusalClass::Conflict,
            });
        }
        let since = state.candidate(&node).expect("it was just found").since;
        let transaction = self.sign(Kind::Approve { node, since }, &state);
        let id = transaction.id();
        self.take(transaction)?;
        Ok(pending(id))
    }
}
