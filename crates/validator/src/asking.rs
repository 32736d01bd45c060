//! How are peers asked for something?
//!
//! Alike everywhere, by the library's resolver: it asks many at the same time, those that answer quickly more often, asks
//! another when one does not answer or has nothing, and cuts off who answers wrongly.

use bytes::Bytes;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_resolver::{
    Consumer, Delivery, Fetch, Outcome, Resolver as _,
    p2p::{self, Producer},
};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::{
    NZDuration, NZUsize, Span,
    channel::{mpsc, oneshot},
};
use rand_core::CryptoRng;
use std::time::Duration;
use tracing::debug;

/// A peer that has nothing, or does not answer, is followed by another after so long.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Who asks, and whom.
pub(crate) struct Peers<B, P> {
    pub(crate) me: PublicKey,
    pub(crate) blocker: B,
    pub(crate) provider: P,
}

/// Starts asking and answering on a channel: answers go to `consumer`, and peers are given what `producer` has. Whoever does
/// not answer within `patience` is not waited for.
pub(crate) fn start<E, B, P, S, R, C, A>(
    context: &E,
    Peers { me, blocker, provider }: Peers<B, P>,
    (consumer, producer): (C, A),
    patience: Duration,
    channel: (S, R),
) -> p2p::Mailbox<C::Key, PublicKey, C::Subscriber>
where
    E: CryptoRng + Spawner + Clock + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
    C: Consumer<Value = Bytes, Subscriber: Ord>,
    C::Key: Span,
    A: Producer<Key = C::Key>,
{
    let (engine, mailbox) = p2p::Engine::new(
        context.child("resolver"),
        p2p::Config {
            peer_provider: provider,
            blocker,
            consumer,
            producer,
            mailbox_size: NZUsize!(1_024),
            me: Some(me),
            fetch_timeout: NZDuration!(patience),
            fetch_retry_delay: RETRY_AFTER,
            priority_requests: false,
            priority_responses: false,
        },
    );
    engine.start(channel);
    mailbox
}

/// The questions of peers, on their way to whoever answers them.
#[derive(Clone)]
pub(crate) struct Questions<K>(mpsc::Sender<(K, oneshot::Sender<Bytes>)>);

impl<K> Questions<K> {
    /// So many wait; who asks more is told that there is nothing, and asks elsewhere. So is whose sender is dropped.
    pub(crate) fn new(waiting_max: usize) -> (Self, mpsc::Receiver<(K, oneshot::Sender<Bytes>)>) {
        let (sender, inbox) = mpsc::channel(waiting_max);
        (Self(sender), inbox)
    }
}

impl<K: Span> Producer for Questions<K> {
    type Key = K;

    fn produce(&mut self, key: K) -> oneshot::Receiver<Bytes> {
        let (reply, receiver) = oneshot::channel();
        if let Err(full) = self.0.try_send((key, reply)) {
            debug!(question = %full.into_inner().0, "too many questions wait");
        }
        receiver
    }
}

/// What a peer answered.
pub(crate) struct Answer<K> {
    /// What it was asked for.
    pub(crate) key: K,
    pub(crate) bytes: Bytes,
    /// What became of it: a wrong one has its peer cut off.
    pub(crate) verdict: oneshot::Sender<Outcome>,
}

/// Hands answers to who asked, of which there are as many as questions.
struct Answers<K>(mpsc::UnboundedSender<Answer<K>>);

impl<K> Clone for Answers<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Span> Consumer for Answers<K> {
    type Key = K;
    type Value = Bytes;
    type Subscriber = ();
    type Outcome = Outcome;

    fn deliver(&mut self, delivery: Delivery<K, ()>, bytes: Bytes) -> oneshot::Receiver<Outcome> {
        let (verdict, receiver) = oneshot::channel();
        let _ = self.0.send(Answer { key: delivery.key, bytes, verdict });
        receiver
    }
}

/// The asking end of a channel, for one who asks.
pub(crate) struct Asking<K: Span> {
    mailbox: p2p::Mailbox<K, PublicKey, ()>,
    pub(crate) answers: mpsc::UnboundedReceiver<Answer<K>>,
}

impl<K: Span> Asking<K> {
    /// Starts asking and answering on a channel; see [`start`].
    pub(crate) fn start<E, B, P, S, R>(
        context: &E,
        peers: Peers<B, P>,
        producer: impl Producer<Key = K>,
        patience: Duration,
        channel: (S, R),
    ) -> Self
    where
        E: CryptoRng + Spawner + Clock + Metrics,
        B: Blocker<PublicKey = PublicKey>,
        P: Provider<PublicKey = PublicKey>,
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        let (sender, answers) = mpsc::unbounded_channel();
        Self { mailbox: start(context, peers, (Answers(sender), producer), patience, channel), answers }
    }

    /// Asks peers for this until one answers rightly.
    pub(crate) fn ask(&mut self, key: K) {
        self.mailbox.fetch(Fetch { key, subscriber: (), span: tracing::Span::none() });
    }

    /// Asks for nothing else any more.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&K) -> bool + Send + 'static) {
        self.mailbox.retain(move |key, ()| wanted(key));
    }
}
