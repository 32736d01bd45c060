//! One way to ask peers for blocks, shared by the engine's store and by repair.
//!
//! The engine's own backfill asks for nothing at or below the height that it has come to, but peers answer such questions
//! like any other. So repair asks on the same channel, and answers are sorted by who asked.

use crate::chain::Digest;
use bytes::Bytes;
use commonware_actor::Feedback;
use commonware_consensus::marshal::resolver::handler::{self, Annotation, Handler, Key};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_resolver::{Consumer, Delivery, Fetch, Outcome, Resolver, TargetedResolver, p2p};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::{
    NZDuration, NZUsize,
    channel::{mpsc, oneshot},
    vec::NonEmptyVec,
};
use rand_core::CryptoRng;
use std::time::Duration;
use tracing::Span;

/// Who asked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Asker {
    /// The engine's store, and what it wants to know again when the answer is there.
    Engine(Annotation),
    /// Repair.
    Repair,
}

/// What a peer answered to repair.
pub(crate) struct Answer {
    pub(crate) key: Key<Digest>,
    pub(crate) value: Bytes,
    /// Whether it is what was asked for.
    pub(crate) verdict: oneshot::Sender<Outcome>,
}

type Mailbox = p2p::Mailbox<Key<Digest>, PublicKey, Asker>;

/// Asks peers until one answers rightly. Those that answer wrongly are cut off.
#[derive(Clone)]
pub(crate) struct Fetcher(Mailbox);

impl Fetcher {
    /// Asks.
    pub(crate) fn ask(&mut self, key: Key<Digest>) {
        self.0.fetch(Fetch { key, subscriber: Asker::Repair, span: Span::none() });
    }

    /// Asks no more.
    pub(crate) fn forget(&mut self, key: Key<Digest>) {
        self.0.retain(move |other, asker| *asker != Asker::Repair || *other != key);
    }
}

/// The same, as the engine's store uses it.
#[derive(Clone)]
pub(crate) struct Engine(Mailbox);

fn of_engine(fetch: Fetch<Key<Digest>, Annotation>) -> Fetch<Key<Digest>, Asker> {
    Fetch { key: fetch.key, subscriber: Asker::Engine(fetch.subscriber), span: fetch.span }
}

impl Resolver for Engine {
    type Key = Key<Digest>;
    type Subscriber = Annotation;

    fn fetch<F>(&mut self, key: F) -> Feedback
    where
        F: Into<Fetch<Self::Key, Self::Subscriber>> + Send,
    {
        self.0.fetch(of_engine(key.into()))
    }

    fn fetch_all<F>(&mut self, keys: Vec<F>) -> Feedback
    where
        F: Into<Fetch<Self::Key, Self::Subscriber>> + Send,
    {
        self.0.fetch_all(keys.into_iter().map(|key| of_engine(key.into())).collect())
    }

    fn retain(&mut self, predicate: impl Fn(&Self::Key, &Self::Subscriber) -> bool + Send + 'static) -> Feedback {
        self.0.retain(move |key, asker| match asker {
            Asker::Engine(annotation) => predicate(key, annotation),
            Asker::Repair => true,
        })
    }
}

impl TargetedResolver for Engine {
    type PublicKey = PublicKey;

    fn fetch_targeted(
        &mut self,
        fetch: impl Into<Fetch<Self::Key, Self::Subscriber>> + Send,
        targets: NonEmptyVec<Self::PublicKey>,
    ) -> Feedback {
        self.0.fetch_targeted(of_engine(fetch.into()), targets)
    }

    fn fetch_all_targeted<F>(&mut self, keys: Vec<(F, NonEmptyVec<Self::PublicKey>)>) -> Feedback
    where
        F: Into<Fetch<Self::Key, Self::Subscriber>> + Send,
    {
        self.0.fetch_all_targeted(keys.into_iter().map(|(key, targets)| (of_engine(key.into()), targets)).collect())
    }
}

/// Hands answers to who asked.
#[derive(Clone)]
struct Sorter {
    engine: Handler<Digest>,
    /// Holds one answer for each question of repair, of which there are few.
    repair: mpsc::UnboundedSender<Answer>,
}

impl Consumer for Sorter {
    type Key = Key<Digest>;
    type Value = Bytes;
    type Subscriber = Asker;
    type Outcome = Outcome;

    fn deliver(
        &mut self,
        delivery: Delivery<Self::Key, Self::Subscriber>,
        value: Self::Value,
    ) -> oneshot::Receiver<Outcome> {
        let key = delivery.key;
        let of_engine = delivery.subscribers.into_vec().into_iter().filter_map(|(asker, span)| match asker {
            Asker::Engine(annotation) => Some((annotation, span)),
            Asker::Repair => None,
        });
        // If both asked, the engine takes it; repair finds it there, or asks again.
        if let Ok(subscribers) = NonEmptyVec::try_from(of_engine.collect::<Vec<_>>()) {
            return self.engine.deliver(Delivery { key, subscribers }, value);
        }
        let (verdict, answer) = oneshot::channel();
        let _ = self.repair.send(Answer { key, value, verdict });
        answer
    }
}

/// The ends of backfill: what the engine's store takes, and what repair asks and hears with.
pub(crate) struct Backfill {
    pub(crate) engine: (handler::Receiver<Digest>, Engine),
    pub(crate) fetcher: Fetcher,
    pub(crate) answers: mpsc::UnboundedReceiver<Answer>,
}

/// Starts backfill on its channel.
pub(crate) fn start<E, B, P, S, R>(
    context: &E,
    me: PublicKey,
    blocker: B,
    peer_provider: P,
    channel: (S, R),
) -> Backfill
where
    E: CryptoRng + Spawner + Clock + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (receiver, handler) = handler::init(context.child("handler"), channel.1.capacity());
    let (repair, answers) = mpsc::unbounded_channel();
    let (engine, mailbox) = p2p::Engine::new(
        context.child("resolver"),
        p2p::Config {
            peer_provider,
            blocker,
            consumer: Sorter { engine: handler.clone(), repair },
            producer: handler,
            mailbox_size: NZUsize!(1_024),
            me: Some(me),
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
    );
    engine.start(channel);
    Backfill { engine: (receiver, Engine(mailbox.clone())), fetcher: Fetcher(mailbox), answers }
}
