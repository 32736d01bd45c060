//! How are peers asked for something?
//!
//! Alike everywhere, by the library's resolver: it asks many at the same time, those that answer quickly more often, asks
//! another when one does not answer or has nothing, and cuts off who answers wrongly.

use bytes::Bytes;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_resolver::{
    Consumer,
    p2p::{self, Producer},
};
use commonware_runtime::{Clock, Metrics, Spawner};
use commonware_utils::{NZDuration, NZUsize, Span};
use rand_core::CryptoRng;
use std::time::Duration;

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
