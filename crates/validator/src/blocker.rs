//! On what grounds is a peer cut off, and for how long?
//!
//! The engine's own blocker gives no reason and cannot be undone. This one stands in front of it: it knows which component
//! asked, looks for verified evidence against *that* signer, and forwards the block. Blocks at the network are short;
//! a proven offender is blocked again whenever one runs out, until the long ban ends. Never more than f peers are
//! cut off at once, so that a misjudgement cannot take this node's quorum away.

use api::{EventKind, EventLog};
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter,
    simplex::types::{Activity, Attributable as _},
    types::Participant,
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{BlockedSubscription, Blocker};
use commonware_utils::sync::Mutex;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::warn;

/// How long the network keeps a blocked peer out. Short, because the engine also blocks on what an honest peer of another
/// version or with a damaged disk might send.
pub const UNEXPLAINED_FOR: Duration = Duration::from_secs(60);

/// How long a peer stays out whose conflicting signatures were verified here.
pub const PROVEN_FOR: Duration = Duration::from_secs(4 * 3_600);

/// What a ban rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grounds {
    /// Two verified, conflicting signatures of this very peer.
    Proof,
    /// The engine asked and nothing verified explains why.
    Unexplained,
}

impl Grounds {
    const fn ban(self) -> Duration {
        match self {
            Self::Proof => PROVEN_FOR,
            Self::Unexplained => UNEXPLAINED_FOR,
        }
    }

    /// As the API spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::Unexplained => "unexplained",
        }
    }
}

/// A peer that is cut off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ban {
    /// Which part of the engine asked.
    pub component: &'static str,
    /// What it rests on.
    pub grounds: Grounds,
    /// When it ends.
    pub until: SystemTime,
    /// When the network's own block runs out and has to be renewed.
    renew: SystemTime,
}

/// The pure part: who is banned, on what grounds, until when.
#[derive(Debug, Default)]
struct Policy {
    bans_max: usize,
    bans: BTreeMap<PublicKey, Ban>,
    proofs: BTreeMap<PublicKey, &'static str>,
}

impl Policy {
    /// Whether the block goes through. Repeats of a standing ban do.
    fn ban(&mut self, peer: &PublicKey, component: &'static str, now: SystemTime) -> Option<Ban> {
        self.bans.retain(|_, ban| ban.until > now);
        let grounds = if self.proofs.contains_key(peer) { Grounds::Proof } else { Grounds::Unexplained };
        if !self.bans.contains_key(peer) && self.bans.len() >= self.bans_max {
            // Proof displaces suspicion; the displaced peer's network block still has to run out, so it only frees
            // the place once that has happened.
            return None;
        }
        let ban = Ban { component, grounds, until: now + grounds.ban(), renew: now + UNEXPLAINED_FOR };
        self.bans.insert(peer.clone(), ban);
        Some(ban)
    }

    /// Notes a proof; `true` when it is the first against this peer.
    fn prove(&mut self, peer: &PublicKey, what: &'static str) -> bool {
        let first = self.proofs.insert(peer.clone(), what).is_none();
        if let Some(ban) = self.bans.get_mut(peer).filter(|ban| ban.grounds == Grounds::Unexplained) {
            ban.grounds = Grounds::Proof;
            ban.until += PROVEN_FOR - UNEXPLAINED_FOR;
        }
        first
    }

    /// Bans whose block at the network has run out while the ban stands.
    fn due(&mut self, now: SystemTime) -> Vec<PublicKey> {
        self.bans.retain(|_, ban| ban.until > now);
        let mut due = Vec::new();
        for (peer, ban) in self.bans.iter_mut().filter(|(_, ban)| ban.renew <= now) {
            ban.renew = now + UNEXPLAINED_FOR;
            due.push(peer.clone());
        }
        due
    }
}

/// What all clones share.
struct Shared<B> {
    inner: Mutex<B>,
    policy: Mutex<Policy>,
    names: BTreeMap<PublicKey, String>,
    events: EventLog,
    now: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

/// The engine's blocker with a policy in front.
pub struct PolicyBlocker<B> {
    component: &'static str,
    shared: Arc<Shared<B>>,
}

impl<B> Clone for PolicyBlocker<B> {
    fn clone(&self) -> Self {
        Self { component: self.component, shared: self.shared.clone() }
    }
}

impl<B: Blocker<PublicKey = PublicKey> + Sync> PolicyBlocker<B> {
    /// `bans_max` is f; `names` are all validators.
    pub fn new(
        inner: B,
        bans_max: usize,
        names: BTreeMap<PublicKey, String>,
        events: EventLog,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let policy = Mutex::new(Policy { bans_max, ..Policy::default() });
        let shared = Shared { inner: Mutex::new(inner), policy, names, events, now: Box::new(now) };
        Self { component: "node", shared: Arc::new(shared) }
    }

    /// The same policy, for another part of the engine.
    pub fn component(&self, component: &'static str) -> Self {
        Self { component, shared: self.shared.clone() }
    }

    /// Blocks again those whose ban outlasts a block at the network. Call it regularly.
    pub fn renew(&self) {
        let due = self.shared.policy.lock().due((self.shared.now)());
        for peer in due {
            self.forward(peer);
        }
    }

    /// The bans in force.
    pub fn bans(&self) -> Vec<(PublicKey, Ban)> {
        let now = (self.shared.now)();
        let policy = self.shared.policy.lock();
        policy.bans.iter().filter(|(_, ban)| ban.until > now).map(|(peer, ban)| (peer.clone(), *ban)).collect()
    }

    fn prove(&self, peer: &PublicKey, what: &'static str) {
        if self.shared.policy.lock().prove(peer, what) {
            warn!(node = self.name(peer), what, "verified proof of misbehaviour");
        }
    }

    fn name(&self, peer: &PublicKey) -> String {
        self.shared.names.get(peer).cloned().unwrap_or_else(|| peer.to_string())
    }

    fn forward(&self, peer: PublicKey) -> Feedback {
        #[allow(clippy::disallowed_methods, reason = "this is the one place that forwards to the engine's blocker")]
        self.shared.inner.lock().block(peer)
    }
}

impl<B: Blocker<PublicKey = PublicKey> + Sync> Blocker for PolicyBlocker<B> {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        let now = (self.shared.now)();
        let Some(ban) = self.shared.policy.lock().ban(&peer, self.component, now) else {
            warn!(node = self.name(&peer), component = self.component, "not blocked: f peers are cut off already");
            return Feedback::Ok;
        };
        let (node, grounds) = (self.name(&peer), ban.grounds.name());
        warn!(node, component = self.component, grounds, "peer cut off");
        let ttl_ms = u64::try_from(ban.grounds.ban().as_millis()).unwrap_or(u64::MAX);
        let kind = EventKind::PeerBlocked { node, component: self.component.into(), grounds: grounds.into(), ttl_ms };
        self.shared.events.push(crate::clock::milliseconds(now), kind);
        self.forward(peer)
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        self.shared.inner.lock().blocked()
    }
}

/// Hands verified evidence to the policy. Wrap it in the engine's `AttributableReporter`, which does the verifying.
pub struct Witness<B> {
    blocker: PolicyBlocker<B>,
    participants: Arc<Vec<PublicKey>>,
}

impl<B> Clone for Witness<B> {
    fn clone(&self) -> Self {
        Self { blocker: self.blocker.clone(), participants: self.participants.clone() }
    }
}

impl<B: Blocker<PublicKey = PublicKey> + Sync> Witness<B> {
    /// `participants` in the engine's order.
    pub fn new(blocker: PolicyBlocker<B>, participants: Vec<PublicKey>) -> Self {
        Self { blocker, participants: Arc::new(participants) }
    }

    /// Notes a proof if `activity` is one.
    pub fn note(&self, activity: &Activity<crate::scheme::Scheme, crate::chain::Digest>) {
        let (signer, what): (Participant, _) = match activity {
            Activity::ConflictingNotarize(proof) => (proof.signer(), "two proposals notarized in one view"),
            Activity::ConflictingFinalize(proof) => (proof.signer(), "two proposals finalized in one view"),
            Activity::NullifyFinalize(proof) => (proof.signer(), "one view both nullified and finalized"),
            Activity::Notarize(_)
            | Activity::Notarization(_)
            | Activity::Certification(_)
            | Activity::Nullify(_)
            | Activity::Nullification(_)
            | Activity::Finalize(_)
            | Activity::Finalization(_) => return,
        };
        if let Some(peer) = self.participants.get(usize::from(signer)) {
            self.blocker.prove(peer, what);
        }
    }
}

impl<B: Blocker<PublicKey = PublicKey> + Sync> Reporter for Witness<B> {
    type Activity = Activity<crate::scheme::Scheme, crate::chain::Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        self.note(&activity);
        Feedback::Ok
    }
}
