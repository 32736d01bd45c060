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
    collections::{BTreeMap, BTreeSet},
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
    /// When a proof was found last.
    proved: Option<SystemTime>,
    /// Proven offenders for whom there is no room yet. Unexplained bans end within a minute and make some.
    waiting: BTreeSet<PublicKey>,
}

impl Policy {
    /// Whether the block goes through. Repeats of a standing ban do.
    fn ban(&mut self, peer: &PublicKey, component: &'static str, now: SystemTime) -> Option<Ban> {
        self.bans.retain(|_, ban| ban.until > now);
        let grounds = if self.proofs.contains_key(peer) { Grounds::Proof } else { Grounds::Unexplained };
        if !self.bans.contains_key(peer) && self.bans.len() >= self.bans_max {
            if grounds == Grounds::Proof {
                self.waiting.insert(peer.clone());
            }
            return None;
        }
        let ban = Ban { component, grounds, until: now + grounds.ban(), renew: now + UNEXPLAINED_FOR };
        self.bans.insert(peer.clone(), ban);
        Some(ban)
    }

    /// Notes a proof; `true` when it is the first against this peer.
    fn prove(&mut self, peer: &PublicKey, what: &'static str, now: SystemTime) -> bool {
        self.proved = Some(now);
        let first = self.proofs.insert(peer.clone(), what).is_none();
        if let Some(ban) = self.bans.get_mut(peer).filter(|ban| ban.grounds == Grounds::Unexplained) {
            ban.grounds = Grounds::Proof;
            ban.until += PROVEN_FOR - UNEXPLAINED_FOR;
        }
        first
    }

    /// Whom to block at the network now: bans that outlast its own block, and proven offenders there is room for at last.
    fn due(&mut self, now: SystemTime) -> Vec<PublicKey> {
        self.bans.retain(|_, ban| ban.until > now);
        let mut due = Vec::new();
        while self.bans.len() < self.bans_max
            && let Some(peer) = self.waiting.pop_first()
        {
            due.extend(self.ban(&peer, "evidence", now).map(|_| peer));
        }
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
    names: Mutex<BTreeMap<PublicKey, String>>,
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
    /// `bans_max` is f; `names` are all *other* validators. Nobody else is cut off: a leader that forgot its proposal finds
    /// it in a certificate later, and the engine then asks for it to be cut off from itself.
    pub fn new(
        inner: B,
        bans_max: usize,
        names: BTreeMap<PublicKey, String>,
        events: EventLog,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        let policy = Mutex::new(Policy { bans_max, ..Policy::default() });
        let shared = Shared { inner: Mutex::new(inner), policy, names: Mutex::new(names), events, now: Box::new(now) };
        Self { component: "node", shared: Arc::new(shared) }
    }

    /// From here on f is this.
    pub fn set_bans_max(&self, bans_max: usize) {
        self.shared.policy.lock().bans_max = bans_max;
    }

    /// From here on these are all other validators.
    pub fn set_names(&self, names: BTreeMap<PublicKey, String>) {
        *self.shared.names.lock() = names;
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

    /// When a proof of misbehaviour was found last, against whomever.
    pub fn proved(&self) -> Option<SystemTime> {
        self.shared.policy.lock().proved
    }

    fn prove(&self, peer: &PublicKey, what: &'static str) {
        let now = (self.shared.now)();
        if self.shared.policy.lock().prove(peer, what, now) {
            warn!(node = self.name(peer), what, "verified proof of misbehaviour");
        }
    }

    fn name(&self, peer: &PublicKey) -> String {
        self.shared.names.lock().get(peer).cloned().unwrap_or_else(|| peer.to_string())
    }

    fn forward(&self, peer: PublicKey) -> Feedback {
        #[allow(clippy::disallowed_methods, reason = "this is the one place that forwards to the engine's blocker")]
        self.shared.inner.lock().block(peer)
    }
}

impl<B: Blocker<PublicKey = PublicKey> + Sync> Blocker for PolicyBlocker<B> {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        if !self.shared.names.lock().contains_key(&peer) {
            warn!(%peer, component = self.component, "not blocked: this very validator, or none");
            return Feedback::Ok;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};

    fn peer(seed: u64) -> PublicKey {
        PrivateKey::from_seed(seed).public_key()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn policy(bans_max: usize) -> Policy {
        Policy { bans_max, ..Policy::default() }
    }

    #[test]
    fn an_unexplained_block_ends_after_a_minute() {
        let mut policy = policy(1);
        let ban = policy.ban(&peer(1), "consensus", at(0)).expect("room");
        assert_eq!((ban.grounds, ban.until), (Grounds::Unexplained, at(60)));
        assert!(policy.due(at(60)).is_empty(), "it is over, not renewed");
        assert!(policy.bans.is_empty());
    }

    #[test]
    fn a_proof_against_that_very_signer_makes_the_ban_long_whichever_comes_first() {
        let mut before = policy(1);
        assert!(before.prove(&peer(1), "two proposals", at(5)));
        assert_eq!(before.ban(&peer(1), "consensus", at(0)).map(|ban| ban.grounds), Some(Grounds::Proof));
        let mut after = policy(1);
        after.ban(&peer(1), "consensus", at(0));
        after.prove(&peer(1), "two proposals", at(5));
        after.prove(&peer(2), "two proposals", at(5));
        assert_eq!(after.bans[&peer(1)].until, at(0) + PROVEN_FOR);
        assert_eq!(after.due(at(60)), [peer(1)], "blocked again when the network's own block has run out");
        assert!(after.due(at(61)).is_empty());
    }

    #[test]
    fn the_newest_proof_is_remembered_whomever_it_is_against() {
        let mut policy = policy(0);
        assert_eq!(policy.proved, None);
        assert!(policy.prove(&peer(1), "two proposals", at(5)) && !policy.prove(&peer(1), "two proposals", at(9)));
        assert_eq!(policy.proved, Some(at(9)));
    }

    #[test]
    fn never_more_than_f_are_cut_off_at_once() {
        let mut policy = policy(2);
        assert!(policy.ban(&peer(1), "consensus", at(0)).is_some());
        assert!(policy.ban(&peer(2), "consensus", at(30)).is_some());
        assert!(policy.ban(&peer(3), "consensus", at(59)).is_none());
        assert!(policy.ban(&peer(1), "backfill", at(59)).is_some(), "who is cut off stays so");
        assert!(policy.ban(&peer(3), "consensus", at(90)).is_some(), "the second ban is over");
    }

    #[test]
    fn a_proven_offender_is_cut_off_as_soon_as_there_is_room() {
        let mut policy = policy(1);
        policy.ban(&peer(1), "consensus", at(0));
        policy.prove(&peer(2), "two proposals", at(5));
        assert!(policy.ban(&peer(2), "consensus", at(1)).is_none());
        assert!(policy.due(at(59)).is_empty());
        assert_eq!(policy.due(at(60)), [peer(2)]);
        assert_eq!(policy.bans[&peer(2)].until, at(60) + PROVEN_FOR);
    }

    #[test]
    fn with_f_zero_nobody_is_cut_off() {
        assert!(policy(0).ban(&peer(1), "consensus", at(0)).is_none());
    }
}
