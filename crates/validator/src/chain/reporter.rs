//! What the engine tells us, handed on to those who need it.

use super::{Block, Digest};
use crate::{blocker::Witness, guard::Guard, lookout::Sights, progress::Rounds, scheme::Scheme};
use commonware_actor::Feedback;
use commonware_consensus::{
    Epochable as _, Reporter, Viewable as _,
    marshal::Update,
    simplex::{
        scheme::reporter::AttributableReporter,
        types::{Activity, Attributable as _},
    },
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::Blocker;
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Supervisor};
use commonware_utils::{Participant, acknowledgement::Exact, channel::mpsc};
use rand_core::CryptoRng;
use std::sync::Arc;

/// What marshal delivers to the driver.
pub enum Delivery {
    /// The newest finalized height that is known of, held or not.
    Tip(u64),
    /// The next finalized block, durable in marshal; acknowledge it when it is applied.
    Block(commonware_cryptography::Digested<Block>, Exact),
}

/// Hands marshal's updates to the driver. Marshal itself bounds how many blocks may be unacknowledged.
#[derive(Clone)]
pub struct Deliveries(pub mpsc::UnboundedSender<Delivery>);

impl Reporter for Deliveries {
    type Activity = Update<Block>;

    fn report(&mut self, update: Update<Block>) -> Feedback {
        let delivery = match update {
            Update::Tip(_, height, _) => Delivery::Tip(height.get()),
            Update::Block(block, acknowledgement) => Delivery::Block(block, acknowledgement),
        };
        match self.0.send(delivery) {
            Ok(()) => Feedback::Ok,
            Err(_) => Feedback::Closed,
        }
    }
}

/// Watches consensus: how far views have come, what is final (the guard's floor), and who contradicts itself.
pub struct Observer<E, B>
where
    E: CryptoRng + Clock + Supervisor,
    B: Blocker<PublicKey = PublicKey> + Sync,
{
    clock: Arc<E>,
    rounds: Rounds,
    guard: Guard,
    sights: Sights,
    /// The place in the roster of each participant.
    voters: Arc<Vec<usize>>,
    evidence: AttributableReporter<E, Scheme, Digest, Sequential, Witness<B>>,
}

impl<E, B> Clone for Observer<E, B>
where
    E: CryptoRng + Clock + Supervisor,
    B: Blocker<PublicKey = PublicKey> + Sync,
{
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            rounds: self.rounds.clone(),
            guard: self.guard.clone(),
            sights: self.sights.clone(),
            voters: self.voters.clone(),
            evidence: self.evidence.clone(),
        }
    }
}

impl<E, B> Observer<E, B>
where
    E: CryptoRng + Clock + Supervisor,
    B: Blocker<PublicKey = PublicKey> + Sync,
{
    /// `rounds` is moved to the newest round that a certificate was seen of; `sights` are told who votes, `voters` being the
    /// place of each participant in them.
    pub(crate) fn new(
        context: E,
        scheme: Scheme,
        guard: Guard,
        rounds: Rounds,
        (sights, voters): (Sights, Vec<usize>),
        witness: Witness<B>,
    ) -> Self {
        let clock = Arc::new(context.child("clock"));
        let evidence = AttributableReporter::new(context, scheme, witness, Sequential, true);
        Self { clock, rounds, guard, sights, voters: Arc::new(voters), evidence }
    }

    /// Whoever sent it signed it, or the engine cuts it off: that is enough for a sign of life.
    fn voted(&self, signer: Participant) {
        if let Some(index) = self.voters.get(signer.get() as usize) {
            self.sights.voted(*index, self.clock.current());
        }
    }
}

impl<E, B> Reporter for Observer<E, B>
where
    E: CryptoRng + Clock + Supervisor,
    B: Blocker<PublicKey = PublicKey> + Sync,
{
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        match &activity {
            Activity::Finalization(finalization) => {
                let round = finalization.proposal.round;
                self.rounds.raise(round.epoch().get(), round.view().get());
                self.guard.finalized((round.epoch().get(), round.view().get()));
            }
            Activity::Notarization(_) | Activity::Certification(_) | Activity::Nullification(_) => {
                self.rounds.raise(activity.epoch().get(), activity.view().get());
            }
            // Only evidence is worth verifying a second time; votes are checked by the engine when they count.
            Activity::ConflictingNotarize(_) | Activity::ConflictingFinalize(_) | Activity::NullifyFinalize(_) => {
                return self.evidence.report(activity);
            }
            Activity::Notarize(vote) => self.voted(vote.signer()),
            Activity::Nullify(vote) => self.voted(vote.signer()),
            Activity::Finalize(vote) => self.voted(vote.signer()),
        }
        Feedback::Ok
    }
}
