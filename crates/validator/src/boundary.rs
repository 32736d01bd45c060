//! What crosses the line between this validator and its peers, and when?
//!
//! Every peer-to-peer channel passes here, in both directions:
//! - the *barrier*: a message leaves only when every vote signed so far is durable in the [`Guard`]. Votes, certificates
//!   and backfill can all carry our signature, so the barrier stands before every channel on which a vote could leave,
//!   rather than before votes. What waits is not overtaken. Rows and probes hold none: on a disk that hangs they still say that this validator is there;
//! - *cuts*: faults injected on a devnet, by peer and direction, each with a deadline;
//! - *presence*: when each peer was last heard, whatever it said;
//! - *membership*: supervisors are on the same network, and neither hear nor say anything on the channels of validators.

use crate::{guard::Guard, progress::Progress};
use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender, LimitedSender, Message, Receiver, Recipients};
use commonware_runtime::{Clock, IoBufs, Metrics, Spawner};
use commonware_utils::{channel::mpsc, sync::Mutex};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

/// Messages of one channel that may wait for the barrier. The wait is one disk sync; what does not fit is dropped, as a
/// lossy network would.
const WAITING_MAX: usize = 1_024;

/// A longer cut is a configuration, not a fault.
pub const CUT_MAX: Duration = Duration::from_secs(3_600);

/// Cuts in force at once.
const CUTS_MAX: usize = 256;

/// One injected fault: messages from and to these peers are dropped until the deadline.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Peers that are not heard.
    pub inbound: BTreeSet<PublicKey>,
    /// Peers that are not spoken to.
    pub outbound: BTreeSet<PublicKey>,
    /// When it ends by itself.
    pub until: SystemTime,
}

#[derive(Default)]
struct Traffic {
    cuts: BTreeMap<u64, Cut>,
    cuts_made: u64,
    heard: BTreeMap<PublicKey, SystemTime>,
}

/// The line itself, shared by all channels of one validator.
#[derive(Clone)]
pub struct Boundary {
    guard: Guard,
    /// In the order of their keys.
    peers: Arc<Mutex<Arc<Vec<PublicKey>>>>,
    traffic: Arc<Mutex<Traffic>>,
    /// How many different peers were ever heard.
    met: Progress,
}

impl Boundary {
    /// `peers` are all other validators.
    pub fn new(guard: Guard, peers: Vec<PublicKey>) -> Self {
        let boundary = Self { guard, peers: Arc::default(), traffic: Arc::default(), met: Progress::default() };
        boundary.set_peers(peers);
        boundary
    }

    /// These are all other validators from now on.
    pub fn set_peers(&self, mut peers: Vec<PublicKey>) {
        peers.sort_unstable();
        *self.peers.lock() = Arc::new(peers);
    }

    /// Wraps both ends of one channel. Messages that wait for the barrier are sent by a task of `context`.
    pub fn wrap<E, S, R>(&self, context: E, (sender, receiver): (S, R)) -> (Outbound<E, S>, Inbound<E, R>)
    where
        E: Spawner + Clock + Metrics,
        S: commonware_p2p::Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let (waiting, inbox) = mpsc::channel(WAITING_MAX);
        let queued = Arc::new(AtomicUsize::new(0));
        let clock = Arc::new(context.child("clock"));
        let (guard, late) = (self.guard.clone(), sender.clone());
        let sending = queued.clone();
        context.spawn(move |_| send_when_durable(guard, late, inbox, sending));
        let outbound = Outbound { clock: clock.clone(), inner: sender, boundary: self.clone(), waiting, queued };
        (outbound, Inbound { clock, inner: receiver, boundary: self.clone() })
    }

    /// Wraps both ends of a channel on which no vote can leave: there is no barrier before it.
    pub fn pass<E, S, R>(&self, context: E, (sender, receiver): (S, R)) -> (Unbarred<E, S>, Inbound<E, R>)
    where
        E: Clock,
    {
        let clock = Arc::new(context);
        let outbound = Unbarred { clock: clock.clone(), inner: sender, boundary: self.clone() };
        (outbound, Inbound { clock, inner: receiver, boundary: self.clone() })
    }

    /// See [`Guard::disk_latency`].
    pub fn disk_latency(&self) -> Duration {
        self.guard.disk_latency()
    }

    /// When `peer` was last heard on any channel.
    pub fn heard(&self, peer: &PublicKey) -> Option<SystemTime> {
        self.traffic.lock().heard.get(peer).copied()
    }

    /// How many different peers were heard.
    pub fn met(&self) -> Progress {
        self.met.clone()
    }

    /// Puts a cut in force and returns its id, or `None` when there are too many already.
    pub fn cut(&self, cut: Cut) -> Option<u64> {
        let mut traffic = self.traffic.lock();
        if traffic.cuts.len() >= CUTS_MAX {
            return None;
        }
        traffic.cuts_made += 1;
        let id = traffic.cuts_made;
        traffic.cuts.insert(id, cut);
        Some(id)
    }

    /// The cuts in force.
    pub fn cuts(&self, now: SystemTime) -> Vec<(u64, Cut)> {
        let traffic = self.traffic.lock();
        traffic.cuts.iter().filter(|(_, cut)| cut.until > now).map(|(id, cut)| (*id, cut.clone())).collect()
    }

    /// Ends one cut, or all, and returns those that ended.
    pub fn heal(&self, id: Option<u64>) -> Vec<(u64, Cut)> {
        let mut traffic = self.traffic.lock();
        match id {
            Some(id) => traffic.cuts.remove(&id).into_iter().map(|cut| (id, cut)).collect(),
            None => std::mem::take(&mut traffic.cuts).into_iter().collect(),
        }
    }

    /// Forgets the cuts that have run out and returns them.
    pub fn expire(&self, now: SystemTime) -> Vec<(u64, Cut)> {
        let mut traffic = self.traffic.lock();
        let (expired, kept) = std::mem::take(&mut traffic.cuts).into_iter().partition(|(_, cut)| cut.until <= now);
        traffic.cuts = kept;
        expired.into_iter().collect()
    }

    fn receives(&self, from: &PublicKey, now: SystemTime) -> bool {
        if !self.is_peer(from) {
            return false;
        }
        let mut traffic = self.traffic.lock();
        if traffic.cuts.values().any(|cut| cut.until > now && cut.inbound.contains(from)) {
            return false;
        }
        if traffic.heard.insert(from.clone(), now).is_none() {
            self.met.step();
        }
        true
    }

    fn is_peer(&self, key: &PublicKey) -> bool {
        self.peers.lock().binary_search(key).is_ok()
    }

    /// `recipients` without those that are cut off. Everybody means every validator: others may be connected too.
    fn reachable(&self, recipients: Recipients<PublicKey>, now: SystemTime) -> Recipients<PublicKey> {
        let traffic = self.traffic.lock();
        let cut_off: BTreeSet<&PublicKey> =
            traffic.cuts.values().filter(|cut| cut.until > now).flat_map(|cut| &cut.outbound).collect();
        if cut_off.is_empty() && !matches!(recipients, Recipients::All) {
            return recipients;
        }
        Recipients::Some(self.list(recipients).into_iter().filter(|peer| !cut_off.contains(peer)).collect())
    }

    fn list(&self, recipients: Recipients<PublicKey>) -> Vec<PublicKey> {
        match recipients {
            Recipients::All => self.peers.lock().to_vec(),
            Recipients::Some(peers) => peers,
            Recipients::One(peer) => vec![peer],
        }
    }
}

struct Waiting {
    recipients: Vec<PublicKey>,
    message: IoBufs,
    priority: bool,
    recorded: u64,
}

async fn send_when_durable<S>(guard: Guard, mut sender: S, mut inbox: mpsc::Receiver<Waiting>, queued: Arc<AtomicUsize>)
where
    S: commonware_p2p::Sender<PublicKey = PublicKey>,
{
    while let Some(Waiting { recipients, message, priority, recorded }) = inbox.recv().await {
        guard.durable(recorded).await;
        sender.send(Recipients::Some(recipients), message, priority);
        queued.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The sending end of a channel.
pub struct Outbound<E, S> {
    clock: Arc<E>,
    inner: S,
    boundary: Boundary,
    waiting: mpsc::Sender<Waiting>,
    /// How many wait, or are about to leave: nothing overtakes them.
    queued: Arc<AtomicUsize>,
}

impl<E, S: Clone> Clone for Outbound<E, S> {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            inner: self.inner.clone(),
            boundary: self.boundary.clone(),
            waiting: self.waiting.clone(),
            queued: self.queued.clone(),
        }
    }
}

impl<E, S> std::fmt::Debug for Outbound<E, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

impl<E: Clock, S: commonware_p2p::Sender<PublicKey = PublicKey>> LimitedSender for Outbound<E, S> {
    type PublicKey = PublicKey;
    type Checked<'a> = Checked<'a, S>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Self::Checked<'_>, SystemTime> {
        let recipients = self.boundary.reachable(recipients, self.clock.current());
        let route = if matches!(&recipients, Recipients::Some(peers) if peers.is_empty()) {
            Route::Nobody
        } else if self.boundary.guard.settled() && self.queued.load(Ordering::Acquire) == 0 {
            Route::Direct(self.inner.check(recipients)?)
        } else {
            Route::Later(self.boundary.list(recipients))
        };
        Ok(Checked { route, guard: &self.boundary.guard, waiting: &self.waiting, queued: &self.queued })
    }
}

enum Route<'a, S: LimitedSender + 'a> {
    Nobody,
    Direct(S::Checked<'a>),
    Later(Vec<PublicKey>),
}

/// A send that passed the quotas (or will when it leaves).
pub struct Checked<'a, S: LimitedSender + 'a> {
    route: Route<'a, S>,
    guard: &'a Guard,
    waiting: &'a mpsc::Sender<Waiting>,
    queued: &'a AtomicUsize,
}

impl<S: LimitedSender<PublicKey = PublicKey>> CheckedSender for Checked<'_, S> {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        match &self.route {
            Route::Nobody => Vec::new(),
            Route::Direct(checked) => checked.recipients(),
            Route::Later(peers) => peers.clone(),
        }
    }

    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        // A vote may have been signed since the check, by another thread, and be inside this message.
        let recipients = match self.route {
            Route::Nobody => return Unreliable::Rejected,
            Route::Direct(checked) if self.guard.settled() && self.queued.load(Ordering::Acquire) == 0 => {
                return checked.send(message, priority);
            }
            Route::Direct(checked) => checked.recipients(),
            Route::Later(peers) => peers,
        };
        let waiting = Waiting { recipients, message: message.into(), priority, recorded: self.guard.recorded() };
        self.queued.fetch_add(1, Ordering::AcqRel);
        match self.waiting.try_send(waiting) {
            Ok(()) => Unreliable::Outcome(Feedback::Ok),
            Err(_) => {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                Unreliable::Rejected
            }
        }
    }
}

/// The sending end of a channel without a barrier.
pub struct Unbarred<E, S> {
    clock: Arc<E>,
    inner: S,
    boundary: Boundary,
}

impl<E, S: Clone> Clone for Unbarred<E, S> {
    fn clone(&self) -> Self {
        Self { clock: self.clock.clone(), inner: self.inner.clone(), boundary: self.boundary.clone() }
    }
}

impl<E, S> std::fmt::Debug for Unbarred<E, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unbarred").finish_non_exhaustive()
    }
}

impl<E: Clock, S: commonware_p2p::Sender<PublicKey = PublicKey>> LimitedSender for Unbarred<E, S> {
    type PublicKey = PublicKey;
    type Checked<'a> = S::Checked<'a>;

    fn check(&mut self, recipients: Recipients<PublicKey>) -> Result<Self::Checked<'_>, SystemTime> {
        let recipients = self.boundary.reachable(recipients, self.clock.current());
        self.inner.check(recipients)
    }
}

/// The receiving end of a channel.
pub struct Inbound<E, R> {
    clock: Arc<E>,
    inner: R,
    boundary: Boundary,
}

impl<E, R> std::fmt::Debug for Inbound<E, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}

impl<E: Clock, R: Receiver<PublicKey = PublicKey>> Receiver for Inbound<E, R> {
    type Error = R::Error;
    type PublicKey = PublicKey;

    async fn recv(&mut self) -> Result<Message<PublicKey>, R::Error> {
        loop {
            let (from, message) = self.inner.recv().await?;
            if self.boundary.receives(&from, self.clock.current()) {
                return Ok((from, message));
            }
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Kind, Vote};
    use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
    use commonware_p2p::{Sender as _, simulated};
    use commonware_runtime::{IoBuf, Quota, Runner as _, Supervisor as _, deterministic};
    use commonware_utils::{NZU32, NZUsize, Probability};
    use futures::FutureExt as _;

    type Ends = (
        Outbound<deterministic::Context, simulated::Sender<PublicKey, deterministic::Context>>,
        Inbound<deterministic::Context, simulated::Receiver<PublicKey>>,
    );

    struct Side {
        key: PublicKey,
        guard: Guard,
        boundary: Boundary,
        ends: Ends,
    }

    /// Somebody on the network who is none of theirs.
    struct Stranger {
        key: PublicKey,
        ends: (simulated::Sender<PublicKey, deterministic::Context>, simulated::Receiver<PublicKey>),
    }

    /// Two nodes on one link; what each says crosses its own boundary.
    fn check<Fut: Future<Output = ()>>(story: impl FnOnce(deterministic::Context, Side, Side) -> Fut) {
        check_beside_a_stranger(|context, first, second, _| story(context, first, second));
    }

    /// The same beside somebody whom both can hear.
    fn check_beside_a_stranger<Fut: Future<Output = ()>>(
        story: impl FnOnce(deterministic::Context, Side, Side, Stranger) -> Fut,
    ) {
        deterministic::Runner::seeded(1).start(|context| async move {
            let keys: Vec<PublicKey> = (0..3).map(|seed| PrivateKey::from_seed(seed).public_key()).collect();
            let config = simulated::Config {
                max_size: 1_024,
                max_peers_per_set: NZUsize!(3),
                disconnect_on_block: false,
                tracked_peer_sets: NZUsize!(1),
            };
            let (network, oracle) =
                simulated::Network::new_with_peers(context.child("network"), config, keys.iter().cloned()).await;
            network.start();
            let link = || simulated::Link {
                latency: Duration::from_millis(1),
                jitter: Duration::ZERO,
                success_rate: Probability::new(1, 1).expect("certain"),
            };
            for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to) {
                oracle.add_link(keys[from].clone(), keys[to].clone(), link()).await.expect("two nodes");
            }
            let quota = Quota::per_second(NZU32!(100)).allow_burst(NZU32!(8));
            let mut sides = Vec::new();
            for (index, key) in keys.iter().take(2).enumerate() {
                let node = context.child("node").with_attribute("index", index);
                let prefix = format!("{index}-");
                let (guard, _) = Guard::open(node.child("guard"), &prefix, [7; 32], true).await.expect("fresh");
                let boundary = Boundary::new(guard.clone(), vec![keys[1 - index].clone()]);
                let channel = oracle.control(key.clone()).register(0, quota).await.expect("a free channel");
                let ends = boundary.wrap(node.child("channel"), channel);
                sides.push(Side { key: key.clone(), guard, boundary, ends });
            }
            let (second, first) = (sides.pop().expect("two"), sides.pop().expect("two"));
            let key = keys[2].clone();
            let ends = oracle.control(key.clone()).register(0, quota).await.expect("a free channel");
            story(context, first, second, Stranger { key, ends }).await;
        });
    }

    fn say(side: &mut Side, text: &'static [u8]) -> usize {
        side.ends.0.send(Recipients::All, IoBuf::from(text), false).len()
    }

    #[test]
    fn who_is_no_validator_neither_hears_nor_is_heard() {
        check_beside_a_stranger(|context, mut first, mut second, mut stranger| async move {
            assert_eq!(say(&mut first, b"to everybody"), 1, "everybody is one other validator");
            assert_eq!(second.ends.1.recv().await.expect("a message").1, IoBuf::from(b"to everybody"));
            stranger.ends.0.send(Recipients::All, IoBuf::from(b"from a stranger"), false);
            context.sleep(Duration::from_secs(1)).await;
            say(&mut first, b"the next");
            assert_eq!(second.ends.1.recv().await.expect("a message").1, IoBuf::from(b"the next"));
            assert_eq!(second.boundary.heard(&stranger.key), None);
            assert!(stranger.ends.1.recv().now_or_never().is_none(), "nothing was sent to it");
        });
    }

    #[test]
    fn a_message_leaves_only_when_every_vote_signed_before_it_is_durable() {
        check(|_, mut one, mut other| async move {
            let vote = Vote { round: (0, 1), kind: Kind::Notarize, message: [1; 32] };
            assert!(one.guard.admit(&vote));
            assert!(!one.guard.settled());
            assert_eq!(say(&mut one, b"vote"), 1, "accepted, to be sent later");
            let (_, message) = other.ends.1.recv().await.expect("one message");
            assert_eq!(message.as_ref(), b"vote");
            assert!(one.guard.settled(), "by now the vote is durable");
        });
    }

    #[test]
    fn a_cut_drops_one_direction_and_ends_by_itself() {
        check(|context, mut one, mut other| async move {
            let until = context.current() + Duration::from_secs(5);
            let cut = Cut { inbound: BTreeSet::new(), outbound: [other.key.clone()].into(), until };
            one.boundary.cut(cut).expect("room");
            assert_eq!(say(&mut one, b"lost"), 0, "nobody is reachable");
            assert_eq!(say(&mut other, b"heard"), 1);
            assert_eq!(one.ends.1.recv().await.expect("the other direction is open").1.as_ref(), b"heard");
            context.sleep_until(until).await;
            assert_eq!(one.boundary.expire(context.current()).len(), 1);
            assert_eq!(say(&mut one, b"back"), 1);
            assert_eq!(other.ends.1.recv().await.expect("healed").1.as_ref(), b"back");
        });
    }

    #[test]
    fn what_a_cut_keeps_out_is_no_sign_of_life() {
        check(|context, mut one, mut other| async move {
            let until = context.current() + Duration::from_secs(5);
            one.boundary.cut(Cut { inbound: [other.key.clone()].into(), outbound: BTreeSet::new(), until });
            say(&mut other, b"unheard");
            say(&mut one, b"still spoken");
            assert_eq!(other.ends.1.recv().await.expect("outbound is open").1.as_ref(), b"still spoken");
            context.sleep(Duration::from_secs(1)).await;
            assert_eq!(one.boundary.heard(&other.key), None);
            assert!(other.boundary.heard(&one.key).is_some());
            assert_eq!(one.boundary.heal(None).len(), 1);
            say(&mut other, b"again");
            one.ends.1.recv().await.expect("healed");
            assert!(one.boundary.heard(&other.key).is_some());
        });
    }
}
