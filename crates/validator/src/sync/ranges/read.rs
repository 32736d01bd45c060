//! Asking, checking and feeding.

use super::answer::{Batch, Wanted};
use crate::{
    archive::Archives,
    asking::{Answer, Asking},
    chain::Digest,
    clock::since,
    epochs::Schemes,
    progress::Progress,
};
use bytes::Bytes;
use commonware_consensus::types::{Epoch, Epocher, FixedEpocher, Height};
use commonware_parallel::Sequential;
use commonware_resolver::{Outcome, Resolution};
use commonware_runtime::{
    Clock, Metrics, Spawner, Storage,
    telemetry::metrics::{Counter, Gauge, MetricsExt as _},
};
use commonware_utils::channel::{oneshot, watch};
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
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
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
    /// With these heights it is fed, and need not ask for them.
    fn promise(&self, heights: Range);

    /// It is fed no more. As it may have wanted to ask for this height meanwhile, and asks only when something happens, it is
    /// asked for in its name.
    fn end(&mut self, height: u64);

    /// Gives a block that is final: the caller has checked a certificate that stands for it. Whoever drops the answer takes
    /// it back.
    fn block(&mut self, height: u64, digest: Digest, block: Bytes) -> oneshot::Receiver<Outcome>;

    /// Gives a certificate and the block that it is of.
    fn certified(&mut self, height: u64, certified: Bytes) -> oneshot::Receiver<Outcome>;
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
    asking: Asking<Wanted>,
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
    pub(crate) fn new(context: E, place: Place<E>, asking: Asking<Wanted>, feed: F) -> Self {
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
        let mut wake = self.context.current() + TICK;
        loop {
            let goal = *goals.borrow_and_update();
            match goal.filter(|_| !self.plan.rests(self.now())) {
                Some(goal) => self.ask(goal),
                None => self.stop(),
            }
            let applied = self.place.applied.get();
            tokio::select! {
                biased;
                answer = self.asking.answers.recv() => match answer {
                    Some(answer) => self.take(answer),
                    None => return,
                },
                changed = goals.changed() => if changed.is_err() { return },
                // The farther the chain is, the farther ahead may be asked.
                () = self.place.applied.reach(applied + 1), if self.feeding => {}
                () = self.context.sleep_until(wake), if goal.is_some() => {}
            }
            if self.context.current() >= wake {
                self.tick();
                wake = self.context.current() + TICK;
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
        self.feed.promise(Range { from: applied + 1, to: until });
        asked.into_iter().for_each(|range| self.asking.ask(Wanted(range)));
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
        self.asking.keep(|_| false);
        self.gauges.open.set(0);
        self.feed.end(self.place.applied.get() + 1);
    }

    fn tick(&mut self) {
        let late = self.plan.late(self.now());
        if late.is_empty() {
            return;
        }
        self.gauges.late.inc_by(late.len() as u64);
        self.asking.keep(move |Wanted(range)| !late.contains(range));
        if self.plan.rests(self.now()) {
            info!("nobody gives ranges of blocks: they are asked for one by one for a while");
        }
    }

    fn take(&mut self, Answer { key: Wanted(range), bytes, verdict }: Answer<Wanted>) {
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
