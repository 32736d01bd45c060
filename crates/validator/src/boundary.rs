//! What crosses the line between this validator and its peers, and when?
//!
//! Every peer-to-peer channel passes here, in both directions:
//! - the *barrier*: a message leaves only when every vote signed so far is durable in the [`Guard`]. Votes, certificates
//!   and backfill can all carry our signature, so the barrier stands before every channel rather than before votes;
//! - *cuts*: faults injected on a devnet, by peer and direction, each with a deadline;
//! - *presence*: when each peer was last heard, whatever it said.

use crate::guard::Guard;
use commonware_actor::{Feedback, Unreliable};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{CheckedSender, LimitedSender, Message, Receiver, Recipients};
use commonware_runtime::{Clock, IoBufs, Metrics, Spawner};
use commonware_utils::{channel::mpsc, sync::Mutex};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
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
    peers: Arc<Vec<PublicKey>>,
    traffic: Arc<Mutex<Traffic>>,
}

impl Boundary {
    /// `peers` are all other validators.
    pub fn new(guard: Guard, peers: Vec<PublicKey>) -> Self {
        Self { guard, peers: Arc::new(peers), traffic: Arc::default() }
    }

    /// Wraps both ends of one channel. Messages that wait for the barrier are sent by a task of `context`.
    pub fn wrap<E, S, R>(&self, context: E, (sender, receiver): (S, R)) -> (Outbound<E, S>, Inbound<E, R>)
    where
        E: Spawner + Clock + Metrics,
        S: commonware_p2p::Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let (waiting, inbox) = mpsc::channel(WAITING_MAX);
        let clock = Arc::new(context.child("clock"));
        let (guard, late) = (self.guard.clone(), sender.clone());
        context.spawn(move |_| send_when_durable(guard, late, inbox));
        let outbound = Outbound { clock: clock.clone(), inner: sender, boundary: self.clone(), waiting };
        (outbound, Inbound { clock, inner: receiver, boundary: self.clone() })
    }

    /// When `peer` was last heard on any channel.
    pub fn heard(&self, peer: &PublicKey) -> Option<SystemTime> {
        self.traffic.lock().heard.get(peer).copied()
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
        let mut traffic = self.traffic.lock();
        if traffic.cuts.values().any(|cut| cut.until > now && cut.inbound.contains(from)) {
            return false;
        }
        traffic.heard.insert(from.clone(), now);
        true
    }

    /// `recipients` without those that are cut off; untouched when no cut is in force.
    fn reachable(&self, recipients: Recipients<PublicKey>, now: SystemTime) -> Recipients<PublicKey> {
        let traffic = self.traffic.lock();
        let cut_off: BTreeSet<&PublicKey> =
            traffic.cuts.values().filter(|cut| cut.until > now).flat_map(|cut| &cut.outbound).collect();
        if cut_off.is_empty() {
            return recipients;
        }
        Recipients::Some(self.list(recipients).into_iter().filter(|peer| !cut_off.contains(peer)).collect())
    }

    fn list(&self, recipients: Recipients<PublicKey>) -> Vec<PublicKey> {
        match recipients {
            Recipients::All => self.peers.to_vec(),
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

async fn send_when_durable<S>(guard: Guard, mut sender: S, mut inbox: mpsc::Receiver<Waiting>)
where
    S: commonware_p2p::Sender<PublicKey = PublicKey>,
{
    while let Some(Waiting { recipients, message, priority, recorded }) = inbox.recv().await {
        guard.durable(recorded).await;
        sender.send(Recipients::Some(recipients), message, priority);
    }
}

/// The sending end of a channel.
pub struct Outbound<E, S> {
    clock: Arc<E>,
    inner: S,
    boundary: Boundary,
    waiting: mpsc::Sender<Waiting>,
}

impl<E, S: Clone> Clone for Outbound<E, S> {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            inner: self.inner.clone(),
            boundary: self.boundary.clone(),
            waiting: self.waiting.clone(),
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
        } else if self.boundary.guard.settled() {
            Route::Direct(self.inner.check(recipients)?)
        } else {
            Route::Later(self.boundary.list(recipients))
        };
        Ok(Checked { route, guard: &self.boundary.guard, waiting: &self.waiting })
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
            Route::Direct(checked) if self.guard.settled() => return checked.send(message, priority),
            Route::Direct(checked) => checked.recipients(),
            Route::Later(peers) => peers,
        };
        let waiting = Waiting { recipients, message: message.into(), priority, recorded: self.guard.recorded() };
        match self.waiting.try_send(waiting) {
            Ok(()) => Unreliable::Outcome(Feedback::Ok),
            Err(_) => Unreliable::Rejected,
        }
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
