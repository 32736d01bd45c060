//! Asking, checking and feeding.

use super::answer::{Batch, Questions, Wanted};
use crate::{
    archive::Archives,
    asking::{self, Peers},
    chain::Digest,
    clock::since,
    epochs::Schemes,
    progress::Progress,
};
use bytes::Bytes;
use commonware_consensus::types::{Epoch, Epocher, FixedEpocher, Height};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Blocker, Provider, Receiver, Sender};
use commonware_parallel::Sequential;
use commonware_resolver::{Consumer, Delivery, Fetch, Outcome, Resolution, Resolver as _, p2p};
use commonware_runtime::{
    Clock, Metrics, Spawner, Storage,
    telemetry::metrics::{Counter, Gauge, MetricsExt as _},
};
use commonware_utils::channel::{mpsc, oneshot, watch};
use rand_core::CryptoRng;
use sentinel::{
    catchup::{Range, Ranges, Reach},
    time::Moment,
};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use tracing::{debug, info};

/// A peer that does not answer within so long is not waited for. What takes a line longer is asked for in smaller ranges.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether something is late.
const TICK: Duration = Duration::from_millis(250);

/// How far the chain is to be followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Goal {
    /// The height that others have reached, as far as is known.
    pub(crate) until: u64,
}

/// The engine's store, to whoever has final blocks for it.
pub(crate) trait Feeding: Send + 'static {
    /// Up to this height it is fed, and need not ask.
    fn promise(&self, height: u64);

    /// It is fed no more. As it may have wanted to ask for this height meanwhile, and asks only when something happens, it is
    /// asked for in its name.
    fn end(&mut self, height: u64);

    /// Gives a block that is final: the caller has checked a certificate that stands for it. Whoever drops the answer takes
    /// it back.
    fn block(&mut self, height: u64, digest: Digest, block: Bytes) -> oneshot::Receiver<Outcome>;

    /// Gives a certificate and the block that it is of.
    fn certified(&mut self, height: u64, certified: Bytes) -> oneshot::Receiver<Outcome>;
}

/// What a peer answered.
struct Answer {
    range: Range,
    bytes: Bytes,
    /// What became of it: a wrong one has its peer cut off.
    verdict: oneshot::Sender<Outcome>,
}

/// Hands answers to who asked, of which there are as many as questions.
#[derive(Clone)]
pub(crate) struct Answers(mpsc::UnboundedSender<Answer>);

impl Consumer for Answers {
    type Key = Wanted;
    type Value = Bytes;
    type Subscriber = ();
    type Outcome = Outcome;

    fn deliver(&mut self, delivery: Delivery<Wanted, ()>, bytes: Bytes) -> oneshot::Receiver<Outcome> {
        let (verdict, receiver) = oneshot::channel();
        let _ = self.0.send(Answer { range: delivery.key.0, bytes, verdict });
        receiver
    }
}

/// The asking end.
pub(crate) struct Asking {
    mailbox: p2p::Mailbox<Wanted, PublicKey, ()>,
    answers: mpsc::UnboundedReceiver<Answer>,
}

/// Starts asking and answering on a channel. Peers are given what `questions` leads to.
pub(crate) fn start<E, B, P, S, R>(context: &E, peers: Peers<B, P>, questions: Questions, channel: (S, R)) -> Asking
where
    E: CryptoRng + Spawner + Clock + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    P: Provider<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    let (sender, answers) = mpsc::unbounded_channel();
    let mailbox = asking::start(context, peers, (Answers(sender), questions), PATIENCE, channel);
    Asking { mailbox, answers }
}

/// What a reader is told once.
pub(crate) struct Place<E: Storage> {
    pub(crate) archives: Archives<E>,
    pub(crate) schemes: Schemes,
    pub(crate) epocher: FixedEpocher,
    /// The newest block that took effect.
    pub(crate) applied: Progress,
}

struct Gauges {
    open: Gauge,
    blocks: Counter,
    wrong: Counter,
    late: Counter,
}

/// See the module.
pub(crate) struct Reader<E: Storage, F> {
    context: E,
    started: SystemTime,
    place: Place<E>,
    asking: Asking,
    feed: F,
    plan: Ranges,
    /// What came and is right, by the first height, and waits for what is below.
    ready: BTreeMap<u64, Batch>,
    /// Whether the engine's store is promised to be fed.
    feeding: bool,
    gauges: Gauges,
}

impl<E, F> Reader<E, F>
where
    E: CryptoRng + Spawner + Clock + Metrics + Storage,
    F: Feeding,
{
    pub(crate) fn new(context: E, place: Place<E>, asking: Asking, feed: F) -> Self {
        let gauges = Gauges {
            open: context.gauge("open", "ranges of blocks that are asked for"),
            blocks: context.counter("blocks", "blocks that came in ranges"),
            wrong: context.counter("wrong_answers", "ranges that were wrong; their peers were cut off"),
            late: context.counter("late", "ranges that nobody gave in time"),
        };
        let started = context.current();
        let (plan, ready) = (Ranges::default(), BTreeMap::new());
        Self { context, started, place, asking, feed, plan, ready, feeding: false, gauges }
    }

    /// Follows the chain as far as it is told, until nobody tells it any more.
    pub(crate) async fn run(mut self, mut goals: watch::Receiver<Option<Goal>>) {
        loop {
            let goal = *goals.borrow_and_update();
            match goal.filter(|_| !self.plan.rests(self.now())) {
                Some(goal) => self.ask(goal),
                None => self.stop(),
            }
            let applied = self.place.applied.get();
            let wake = self.context.current() + TICK;
            tokio::select! {
                biased;
                answer = self.asking.answers.recv() => match answer {
                    Some(answer) => self.take(answer),
                    None => return,
                },
                changed = goals.changed() => if changed.is_err() { return },
                // The farther the chain is, the farther ahead may be asked.
                () = self.place.applied.reach(applied + 1), if self.feeding => {}
                () = self.context.sleep_until(wake), if goal.is_some() => self.tick(),
            }
            self.hand_over().await;
        }
    }

    fn now(&self) -> Moment {
        Moment(u64::try_from(since(self.context.current(), self.started).as_micros()).unwrap_or(u64::MAX))
    }

    fn ask(&mut self, goal: Goal) {
        let Place { archives, schemes, epocher, applied } = &self.place;
        // Whose certificates cannot be checked yet is of no use yet.
        let known = epocher.last(Epoch::new(schemes.through())).map_or(0, Height::get);
        let until = goal.until.min(known);
        let end = |height| epocher.containing(Height::new(height)).map_or(height, |bounds| bounds.last().get());
        let (ready, applied) = (&self.ready, applied.get());
        let is_ready = |height: u64| ready.range(..=height).next_back().is_some_and(|(_, batch)| batch.top >= height);
        let held = |height| archives.blocks.holds(height) || is_ready(height);
        let asked = self.plan.ask(Reach { applied, until, now: self.now() }, end, held);
        self.gauges.open.set(i64::try_from(self.plan.open()).unwrap_or(i64::MAX));
        if !self.feeding {
            debug!(applied, until, "blocks are asked for in ranges");
            self.feeding = true;
        }
        self.feed.promise(until);
        if asked.is_empty() {
            return;
        }
        let fetch = |range| Fetch { key: Wanted(range), subscriber: (), span: tracing::Span::none() };
        self.asking.mailbox.fetch_all(asked.into_iter().map(fetch).collect::<Vec<_>>());
    }

    /// Leaves everything to the engine's store.
    fn stop(&mut self) {
        if !std::mem::take(&mut self.feeding) {
            return;
        }
        debug!("blocks are asked for in ranges no more");
        self.ready.clear();
        if !self.plan.rests(self.now()) {
            self.plan = Ranges::default();
        }
        self.asking.mailbox.retain(|_, ()| false);
        self.gauges.open.set(0);
        self.feed.end(self.place.applied.get() + 1);
    }

    fn tick(&mut self) {
        let late = self.plan.late(self.now());
        if late.is_empty() {
            return;
        }
        self.gauges.late.inc_by(late.len() as u64);
        self.asking.mailbox.retain(move |Wanted(range), ()| !late.contains(range));
        if self.plan.rests(self.now()) {
            info!("nobody gives ranges of blocks: they are asked for one by one for a while");
        }
    }

    fn take(&mut self, Answer { range, bytes, verdict }: Answer) {
        if !self.feeding || !self.plan.is_asked(range) {
            let _ = verdict.send(Outcome::Ignored);
            return;
        }
        let Place { schemes, epocher, .. } = &self.place;
        let outcome = match check(&mut self.context, (schemes, epocher), range, bytes) {
            Some(Ok(batch)) => {
                self.plan.came(range, batch.top);
                self.ready.insert(range.from, batch);
                Outcome::Resolved(Resolution::Complete)
            }
            Some(Err(why)) => {
                debug!(from = range.from, to = range.to, why, "a range of blocks is wrong");
                self.gauges.wrong.inc();
                Outcome::Invalid
            }
            None => Outcome::Unresolved,
        };
        let _ = verdict.send(outcome);
    }

    /// Feeds what came to the engine's store, the lowest first and with nothing left out.
    async fn hand_over(&mut self) {
        while let Some(entry) = self.ready.first_entry() {
            if self.plan.is_open_below(*entry.key()) {
                return;
            }
            let (from, batch) = entry.remove_entry();
            if batch.top <= self.place.applied.get() {
                continue;
            }
            self.gauges.blocks.inc_by(batch.blocks.len() as u64);
            let mut taken = Vec::with_capacity(batch.blocks.len());
            for (height, (digest, block)) in (from..batch.top).zip(&batch.blocks) {
                taken.push(self.feed.block(height, *digest, block.clone()));
            }
            taken.push(self.feed.certified(batch.top, batch.certified()));
            for answer in taken {
                // It was checked; and whatever the store does not take it asks for.
                let _ = answer.await;
            }
        }
    }
}

/// The blocks of an answer, or what is wrong with it; nothing when that cannot be told.
pub(super) fn check<R: CryptoRng>(
    rng: &mut R,
    (schemes, epocher): (&Schemes, &FixedEpocher),
    range: Range,
    bytes: Bytes,
) -> Option<Result<Batch, &'static str>> {
    let Some(batch) = Batch::read(bytes, range) else { return Some(Err("it holds no blocks that follow each other")) };
    let epoch = epocher.containing(Height::new(batch.top))?.epoch();
    if batch.certificate.proposal.round.epoch() != epoch {
        return Some(Err("its certificate is of another epoch"));
    }
    let scheme = schemes.of(epoch.get())?;
    if !batch.certificate.verify(rng, scheme.as_ref(), &Sequential) {
        return Some(Err("its certificate does not hold"));
    }
    Some(Ok(batch))
}
