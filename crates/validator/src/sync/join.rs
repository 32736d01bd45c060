//! The course of a join: an offer, who stands for it, the pieces, a state.

use super::{
    intake::{self, Intake, IntakeError},
    trust::{Certified, Change, Finding, Offer, Trust},
    want::Want,
};
use crate::{
    archive::Archives,
    asking::{Answer, Asking},
    chain::{Block, Digest},
    epochs::Schemes,
    scheme::Scheme,
    store::Checkpoints,
};
use commonware_codec::Decode as _;
use commonware_consensus::{Block as _, simplex::types::Finalization};
use commonware_cryptography::{Digestible as _, certificate::Scheme as _};
use commonware_resolver::{Outcome, Resolution};
use commonware_runtime::{
    Clock, Error, Metrics, Spawner, Storage,
    telemetry::metrics::{Counter, Gauge, MetricsExt as _},
};
use commonware_utils::{channel::mpsc, sync::Mutex};
use ledger::{ChainId, State};
use rand_core::CryptoRng;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// Pieces that are asked for at the same time. They take 16 MiB at most.
const ASKS_MAX: usize = 32;
/// An offer that nobody makes within so long is not to be had.
const OFFER_WITHIN: Duration = Duration::from_secs(15);
/// The same for one change of the set of voters.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);
/// When no piece comes for so long, nobody has the snapshot any more.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// A snapshot that is lost is followed by a newer one so often.
const ATTEMPTS_MAX: usize = 4;

/// That a snapshot is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// What is of no use: a state at this height or below.
    pub(crate) above: u64,
}

/// What came of it.
pub(crate) struct Joined {
    pub(crate) state: State,
    /// Stands for the next block.
    pub(crate) certificate: Finalization<Scheme, Digest>,
    pub(crate) bytes: u64,
    pub(crate) pieces: usize,
    pub(crate) took: Duration,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// The height of the state.
    pub(crate) height: u64,
    /// What is there.
    pub(crate) bytes: u64,
    /// What there is in all, as a peer says.
    pub(crate) bytes_total: u64,
    pub(crate) pieces: usize,
    /// Pieces that are known of and are not there.
    pub(crate) pieces_open: usize,
    pub(crate) since: SystemTime,
}

/// How everybody else sees how far it is. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reporting(Arc<Mutex<Option<Report>>>);

impl Reporting {
    pub(crate) fn get(&self) -> Option<Report> {
        *self.0.lock()
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no peer offers a state above height {above} that those vouch for who vote as far as is known here")]
    NoOffer { above: u64 },
    #[error("nobody has given a piece of the state at height {height} for {} s", STALLED_AFTER.as_secs())]
    Lost { height: u64 },
    #[error("no peer has the block at height {height}")]
    NoTip { height: u64 },
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

impl From<Error> for Failure {
    fn from(problem: Error) -> Self {
        Self::Intake(problem.into())
    }
}

/// What a joiner is told once.
pub(crate) struct Place<E: Storage> {
    /// Prefix of the partitions.
    pub(crate) partition: String,
    pub(crate) namespace: Vec<u8>,
    pub(crate) chain: ChainId,
    pub(crate) schemes: Schemes,
    pub(crate) archives: Archives<E>,
}

/// See the module.
pub(crate) struct Joiner<E: Storage> {
    context: E,
    place: Place<E>,
    asking: Asking<Want>,
    trust: Trust,
    reporting: Reporting,
    wrong: Counter,
    bytes: Gauge,
}

const RIGHT: Outcome = Outcome::Resolved(Resolution::Complete);

/// What becomes of an answer, and of whoever gave it.
const fn outcome(finding: Finding) -> Outcome {
    match finding {
        Finding::Right => RIGHT,
        Finding::Wrong => Outcome::Invalid,
        Finding::Unknown => Outcome::Unresolved,
    }
}

impl<E> Joiner<E>
where
    E: CryptoRng + Spawner + Clock + Metrics + Storage,
{
    pub(crate) fn new(context: E, place: Place<E>, asking: Asking<Want>) -> (Self, Reporting) {
        let reporting = Reporting::default();
        let wrong =
            context.counter("wrong_answers", "answers about snapshots that were wrong; their peers were cut off");
        let bytes = context.gauge("snapshot_bytes", "bytes of the snapshot that are there");
        let trust = known(&place);
        (Self { context, place, asking, trust, reporting: reporting.clone(), wrong, bytes }, reporting)
    }

    /// Runs until nobody wants a snapshot any more. The answer to an order is a state, which is a checkpoint already, or why
    /// there is none.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>, joined: mpsc::Sender<Result<Joined, String>>) {
        while let Some(order) = orders.recv().await {
            let result = self.join(&order).await;
            self.asking.keep(|_| false);
            *self.reporting.0.lock() = None;
            self.bytes.set(0);
            if joined.send(result.map_err(|failure| failure.to_string())).await.is_err() {
                return;
            }
        }
    }

    async fn join(&mut self, order: &Order) -> Result<Joined, Failure> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.trust = known(&self.place);
            match self.attempt(order).await {
                Err(failure @ (Failure::Lost { .. } | Failure::NoTip { .. })) if attempts < ATTEMPTS_MAX => {
                    warn!(%failure, "fetching a newer state");
                    intake::clear(&self.context, &self.place.partition).await?;
                }
                result => return result,
            }
        }
    }

    async fn attempt(&mut self, order: &Order) -> Result<Joined, Failure> {
        let since = self.context.current();
        let mut intake = self.begin(order).await?;
        let offer = intake.offer().clone();
        let height = offer.above.below();
        info!(height = height.0, bytes = offer.bytes, "fetching the state");
        self.fetch(&mut intake, since).await?;
        let tip = self.tip(&offer).await?;
        let checkpoints = Checkpoints::new(&self.place.partition);
        let state = intake.finish(&self.context, &checkpoints, &self.place.chain, &tip).await?;
        self.keep(&tip, &offer.above).await?;
        let took = self.context.current().duration_since(since).unwrap_or_default();
        let (bytes, (pieces, _)) = (intake.bytes(), intake.pieces());
        Ok(Joined { state, certificate: offer.above.certificate, bytes, pieces, took })
    }

    /// What was begun before, if it can still be trusted and is of use, or what is offered now.
    async fn begin(&mut self, order: &Order) -> Result<Intake<E::Blob>, Failure> {
        let begun = Intake::resume(&self.context, &self.place.partition, &self.place.chain).await?;
        if let Some(intake) = begun.filter(|intake| intake.offer().above.below().0 > order.above) {
            let above = intake.offer().above.clone();
            if self.judge(&above).await == Finding::Right {
                info!(
                    height = above.below().0,
                    bytes = intake.bytes(),
                    "going on with the state that was being fetched"
                );
                return Ok(intake);
            }
        }
        let offer = self.offer(order.above).await?;
        Ok(Intake::begin(&self.context, &self.place.partition, offer).await?)
    }

    /// Waits for the next answer.
    async fn answer(&mut self, until: SystemTime) -> Option<Answer<Want>> {
        tokio::select! {
            biased;
            answer = self.asking.answers.recv() => answer,
            () = self.context.sleep_until(until) => None,
        }
    }

    /// Says what became of an answer.
    fn settle(&self, answer: Answer<Want>, outcome: Outcome) {
        if outcome == Outcome::Invalid {
            self.wrong.inc();
            warn!(want = %answer.key, "a peer gave a wrong answer, and is cut off");
        }
        // The question may have been withdrawn meanwhile.
        let _ = answer.verdict.send(outcome);
    }

    async fn offer(&mut self, above: u64) -> Result<Offer, Failure> {
        let want = Want::Offer { above };
        let until = self.context.current() + OFFER_WITHIN;
        self.asking.ask(want.clone());
        while let Some(answer) = self.answer(until).await {
            if answer.key != want {
                self.settle(answer, Outcome::Ignored);
                continue;
            }
            let offer = Offer::decode(answer.bytes.clone(), self.trust.chain());
            let Some(offer) = offer.filter(|offer| offer.above.below().0 > above) else {
                self.settle(answer, Outcome::Invalid);
                continue;
            };
            let finding = self.judge(&offer.above).await;
            self.settle(answer, outcome(finding));
            if finding == Finding::Right {
                return Ok(offer);
            }
        }
        self.asking.keep(|_| false);
        Err(Failure::NoOffer { above })
    }

    /// Whether a quorum stands for a block, of those who vote according to the changes of the set that are known or to be had.
    async fn judge(&mut self, certified: &Certified) -> Finding {
        loop {
            match self.trust.judge(certified, &mut self.context) {
                finding @ (Finding::Right | Finding::Wrong) => return finding,
                Finding::Unknown if self.change().await => {}
                Finding::Unknown => return Finding::Unknown,
            }
        }
    }

    /// Takes the next change of the set of voters over; whether there was one to be had.
    async fn change(&mut self) -> bool {
        let want = Want::Change { from: self.trust.through() };
        let until = self.context.current() + CHANGE_WITHIN;
        self.asking.ask(want.clone());
        while let Some(answer) = self.answer(until).await {
            if answer.key != want {
                self.settle(answer, Outcome::Ignored);
                continue;
            }
            let change = Change::decode(answer.bytes.clone(), self.trust.chain());
            let finding = change.map_or(Finding::Wrong, |change| self.trust.step(&change, &mut self.context));
            self.settle(answer, outcome(finding));
            if finding == Finding::Right {
                info!(epoch = self.trust.through(), "a change of the set of validators is proven");
                return true;
            }
        }
        false
    }

    async fn fetch(&mut self, intake: &mut Intake<E::Blob>, since: SystemTime) -> Result<(), Failure> {
        let height = intake.offer().above.below().0;
        let mut until = self.context.current() + STALLED_AFTER;
        loop {
            while intake.asked() < ASKS_MAX
                && let Some(path) = intake.next()
            {
                self.asking.ask(Want::Piece { height, path });
            }
            self.report(intake, since);
            if intake.is_whole() {
                return Ok(());
            }
            let Some(answer) = self.answer(until).await else {
                self.asking.keep(|_| false);
                return Err(Failure::Lost { height });
            };
            let path = match &answer.key {
                Want::Piece { height: of, path } if *of == height && intake.expects(path) => path.clone(),
                Want::Piece { .. } | Want::Offer { .. } | Want::Tip { .. } | Want::Change { .. } => {
                    self.settle(answer, Outcome::Ignored);
                    continue;
                }
            };
            if intake.put(&path, &answer.bytes).await? {
                until = self.context.current() + STALLED_AFTER;
                self.settle(answer, RIGHT);
            } else {
                self.settle(answer, Outcome::Invalid);
            }
        }
    }

    fn report(&self, intake: &Intake<E::Blob>, since: SystemTime) {
        let (bytes, (pieces, pieces_open)) = (intake.bytes(), intake.pieces());
        let offer = intake.offer();
        let (height, bytes_total) = (offer.above.below().0, offer.bytes);
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        *self.reporting.0.lock() = Some(Report { height, bytes, bytes_total, pieces, pieces_open, since });
    }

    /// The block that the state is after.
    async fn tip(&mut self, offer: &Offer) -> Result<Block, Failure> {
        let height = offer.above.below().0;
        let want = Want::Tip { height };
        let until = self.context.current() + STALLED_AFTER;
        self.asking.ask(want.clone());
        while let Some(answer) = self.answer(until).await {
            if answer.key != want {
                self.settle(answer, Outcome::Ignored);
                continue;
            }
            let block = Block::decode_cfg(answer.bytes.clone(), &()).ok();
            let block = block.filter(|block| block.digest() == offer.above.block.parent());
            self.settle(answer, if block.is_some() { RIGHT } else { Outcome::Invalid });
            if let Some(block) = block {
                return Ok(block);
            }
        }
        self.asking.keep(|_| false);
        Err(Failure::NoTip { height })
    }

    /// Has the archives hold where the engine's store is to begin. What is below goes when it does: until then it is in use.
    async fn keep(&self, tip: &Block, above: &Certified) -> Result<(), Failure> {
        let Archives { blocks, certificates } = &self.place.archives;
        let height = above.below().0;
        blocks.insert(height, tip.digest().0, tip).await?;
        blocks.insert(height + 1, above.block.digest().0, &above.block).await?;
        certificates.insert(height + 1, above.block.digest().0, &above.certificate).await?;
        blocks.finish_sync().await?;
        certificates.finish_sync().await?;
        Ok(())
    }
}

/// Who votes, as far as this node knows.
fn known<E: Storage>(place: &Place<E>) -> Trust {
    let through = place.schemes.through();
    let scheme = place.schemes.of(through).expect("the voters of the newest known epoch are known");
    Trust::new(place.namespace.clone(), place.chain.clone(), through, scheme.participants().clone())
}
