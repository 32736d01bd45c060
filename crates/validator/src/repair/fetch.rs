//! One way to ask peers for blocks, shared by the engine's store and by repair.
//!
//! The engine's own backfill asks for nothing at or below the height that it has come to, but peers answer such questions
//! like any other. So repair asks on the same channel, and answers are sorted by who asked. Blocks that come some other way,
//! by the hundred, are fed to the engine's store as if it had asked for them.

use crate::{
    asking::{self, Peers},
    chain::Digest,
    sync::Feeding,
};
use bytes::Bytes;
use commonware_actor::Feedback;
use commonware_consensus::{
    marshal::resolver::handler::{self, Annotation, Finalized, Handler, Key},
    types::Height,
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_resolver::{Consumer, Delivery, Fetch, Outcome, Resolver, TargetedResolver, p2p};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::{
    channel::{mpsc, oneshot},
    sync::Mutex,
    vec::NonEmptyVec,
};
use rand_core::CryptoRng;
use sentinel::catchup::Range;
use std::{sync::Arc, time::Duration};
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

/// Gives the engine's store finalized blocks that it did not ask for, as if it had.
pub(crate) struct Feed {
    mailbox: Mailbox,
    handler: Handler<Digest>,
    fed: Arc<Mutex<Option<Range>>>,
}

impl Feeding for Feed {
    fn promise(&self, heights: Range) {
        *self.fed.lock() = Some(heights);
    }

    fn end(&mut self, height: u64) {
        *self.fed.lock() = None;
        let height = Height::new(height);
        let subscriber = Asker::Engine(Annotation::Finalized(Finalized::ByHeight { height }));
        self.mailbox.fetch(Fetch { key: Key::Finalized { height }, subscriber, span: Span::none() });
    }

    fn block(&mut self, height: u64, digest: Digest, block: Bytes) -> oneshot::Receiver<Outcome> {
        self.give(height, Key::Block(digest), block)
    }

    fn certified(&mut self, height: u64, certified: Bytes) -> oneshot::Receiver<Outcome> {
        self.give(height, Key::Finalized { height: Height::new(height) }, certified)
    }
}

impl Feed {
    fn give(&mut self, height: u64, key: Key<Digest>, value: Bytes) -> oneshot::Receiver<Outcome> {
        let annotation = Annotation::Finalized(Finalized::ByHeight { height: Height::new(height) });
        self.handler.deliver(Delivery { key, subscribers: NonEmptyVec::new((annotation, Span::none())) }, value)
    }
}

/// The same, as the engine's store uses it.
#[derive(Clone)]
pub(crate) struct Engine {
    mailbox: Mailbox,
    /// With these heights it is fed, and its questions about them go nowhere.
    fed: Arc<Mutex<Option<Range>>>,
}

impl Engine {
    fn is_fed(&self, fetch: &Fetch<Key<Digest>, Annotation>) -> bool {
        let height = match (fetch.key, fetch.subscriber) {
            (Key::Finalized { height }, _) | (Key::Block(_), Annotation::Finalized(Finalized::ByHeight { height })) => {
                height
            }
            (Key::Block(_) | Key::Notarized { .. }, _) => return false,
        };
        self.fed.lock().is_some_and(|Range { from, to }| (from..=to).contains(&height.get()))
    }
}

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
        let fetch = key.into();
        if self.is_fed(&fetch) {
            return Feedback::Ok;
        }
        self.mailbox.fetch(of_engine(fetch))
    }

    fn fetch_all<F>(&mut self, keys: Vec<F>) -> Feedback
    where
        F: Into<Fetch<Self::Key, Self::Subscriber>> + Send,
    {
        let keys = keys.into_iter().map(Into::into).filter(|fetch| !self.is_fed(fetch));
        let keys: Vec<_> = keys.map(of_engine).collect();
        if keys.is_empty() {
            return Feedback::Ok;
        }
        self.mailbox.fetch_all(keys)
    }

    fn retain(&mut self, predicate: impl Fn(&Self::Key, &Self::Subscriber) -> bool + Send + 'static) -> Feedback {
        self.mailbox.retain(move |key, asker| match asker {
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
        self.mailbox.fetch_targeted(of_engine(fetch.into()), targets)
    }

    fn fetch_all_targeted<F>(&mut self, keys: Vec<(F, NonEmptyVec<Self::PublicKey>)>) -> Feedback
    where
        F: Into<Fetch<Self::Key, Self::Subscriber>> + Send,
    {
        self.mailbox
            .fetch_all_targeted(keys.into_iter().map(|(key, targets)| (of_engine(key.into()), targets)).collect())
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

/// The ends of backfill: what the engine's store takes, and what repair and ranges ask and hear with.
pub(crate) struct Backfill {
    pub(crate) engine: (handler::Receiver<Digest>, Engine),
    pub(crate) fetcher: Fetcher,
    pub(crate) answers: mpsc::UnboundedReceiver<Answer>,
    pub(crate) feed: Feed,
}

/// Starts backfill on its channel.
pub(crate) fn start<E, B, P, S, R>(context: &E, peers: Peers<B, P>, channel: (S, R)) -> Backfill
where
    E: CryptoRng + Spawner + Clock + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (receiver, handler) = handler::init(context.child("handler"), channel.1.capacity());
    let (repair, answers) = mpsc::unbounded_channel();
    let sorter = Sorter { engine: handler.clone(), repair };
    let mailbox = asking::start(context, peers, (sorter, handler.clone()), PATIENCE, channel);
    let fed: Arc<Mutex<Option<Range>>> = Arc::default();
    Backfill {
        engine: (receiver, Engine { mailbox: mailbox.clone(), fed: fed.clone() }),
        fetcher: Fetcher(mailbox.clone()),
        answers,
        feed: Feed { mailbox, handler, fed },
    }
}

/// Who does not answer for so long is not waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
