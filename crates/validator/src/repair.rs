//! How does what is missing come back?
//!
//! A task of its own asks peers for every height that an archive should hold and does not, and reads everything that is
//! held again and again, slowly: a disk forgets without being asked. The rest of the node goes on meanwhile.
//!
//! No answer is believed. A block is the right one when it has the digest that the block above it names as its parent, or
//! that a certificate of its height names. Where neither is held, the certificate is asked for too, and must carry the
//! signatures of a quorum. Whoever answers otherwise is cut off, and another peer is asked.

mod fetch;

use crate::{
    archive::Missing,
    chain::{Block, Digest},
    clock::milliseconds,
    integrity::{BLOCKS, CERTIFICATES, Finding, Store, inspect_checkpoints},
    scheme::Scheme,
    store::Checkpoints,
};
use api::{EventKind, EventLog, StoreStatus};
use commonware_codec::{Decode as _, Read as _};
use commonware_consensus::{
    Heightable as _,
    marshal::resolver::handler::Key,
    simplex::types::Finalization,
    types::{Epoch, Height},
};
use commonware_cryptography::{
    Digestible as _,
    certificate::{Provider, Verifier as _},
};
use commonware_parallel::Sequential;
use commonware_resolver::{Outcome, Resolution};
use commonware_runtime::{
    Clock, Error, Metrics, Spawner, Storage,
    telemetry::metrics::{Counter, Gauge, MetricsExt as _},
};
use commonware_utils::{channel::mpsc, sync::Mutex};
pub(crate) use fetch::{Answer, Backfill, Fetcher, start as start_backfill};
use rand_core::CryptoRng;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::{error, info, warn};

/// Questions that are open at the same time.
const ASKS_MAX: usize = 32;
/// A question that nobody could answer for so long is put off: three who are cut off may be asked before one who is not.
const ASK_FOR: Duration = Duration::from_secs(3 * fetch::PATIENCE.as_secs() + 1);
/// For how long at first; twice as long each time.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A certificate that nobody has after so many questions may never have been stored: most heights have one, not all.
const CERTIFICATE_TRIES: u32 = 3;
/// After so many the operator is told.
const BLOCK_TRIES: u32 = 3;
/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_secs(1);
/// From the end of one scrub to the next, and from the start to the first.
const REST: Duration = Duration::from_secs(600);

/// What everyone may know of the store's health. Clones share it.
#[derive(Clone)]
pub(crate) struct Health {
    counts: Arc<Mutex<Counts>>,
    blocks: Missing,
    certificates: Missing,
    changes: crate::progress::Progress,
    floor: Arc<dyn Fn() -> u64 + Send + Sync>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    damaged: u64,
    repaired: u64,
    /// The greatest height that no peer has had so far.
    out_of_reach: Option<u64>,
    scrubs: u64,
    scrubbed_at: Option<SystemTime>,
    scrubbed_to: u64,
}

impl Health {
    /// Whether the block at `height` is missing and being asked for.
    pub(crate) fn is_missing(&self, height: u64) -> bool {
        self.blocks.contains(height)
    }

    /// Whether nobody who was asked has it.
    pub(crate) fn is_out_of_reach(&self, height: u64) -> bool {
        self.is_missing(height) && self.counts.lock().out_of_reach.is_some()
    }

    /// Waits until something is missing or there again.
    pub(crate) async fn changed(&self, seen: u64) -> u64 {
        self.changes.reach(seen + 1).await;
        self.changes.get()
    }

    /// What moves with every change.
    pub(crate) fn seen(&self) -> u64 {
        self.changes.get()
    }

    /// The lowest height whose block is kept.
    pub(crate) fn blocks_from(&self) -> u64 {
        (self.floor)()
    }

    /// What is shown.
    pub(crate) fn status(&self) -> StoreStatus {
        let counts = self.counts.lock().clone();
        StoreStatus {
            blocks_missing: self.blocks.len(),
            certificates_missing: self.certificates.len(),
            damage_found: counts.damaged,
            repaired: counts.repaired,
            out_of_reach: counts.out_of_reach,
            scrubs: counts.scrubs,
            scrubbed_to: counts.scrubbed_to,
            scrubbed_ms: counts.scrubbed_at.map(milliseconds),
        }
    }
}

/// Of what something is missing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    Blocks,
    Certificates,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Blocks => BLOCKS,
            Self::Certificates => CERTIFICATES,
        }
    }
}

struct Ask {
    part: Part,
    height: u64,
    until: SystemTime,
}

#[derive(Clone, Copy)]
struct Pause {
    tries: u32,
    until: SystemTime,
}

/// What repair is told once.
pub(crate) struct Settings {
    /// The block that everything follows from.
    pub(crate) genesis: Block,
    /// Where checkpoints are.
    pub(crate) checkpoints: Checkpoints,
    /// Bytes that the scrub reads in a second; 0 turns it off.
    pub(crate) scrub_rate: u64,
}

struct Gauges {
    missing: Gauge,
    damaged: Counter,
    repaired: Counter,
}

/// See the module.
pub(crate) struct Repair<E: Storage, P> {
    context: E,
    settings: Settings,
    store: Store<E>,
    fetcher: Fetcher,
    answers: mpsc::UnboundedReceiver<Answer>,
    provider: P,
    events: EventLog,
    health: Health,
    asks: BTreeMap<Key<Digest>, Ask>,
    pauses: BTreeMap<(Part, u64), Pause>,
    /// What came back since it was made durable last.
    returned: BTreeMap<Part, Vec<u64>>,
    /// The next height to be read, and the digest of the block before it.
    cursor: (u64, Option<Digest>),
    next_scrub: SystemTime,
    gauges: Gauges,
}

impl<E, P> Repair<E, P>
where
    E: CryptoRng + Spawner + Clock + Metrics + Storage,
    P: Provider<Scope = Epoch, Scheme = Scheme>,
{
    pub(crate) fn new(
        context: E,
        settings: Settings,
        mut store: Store<E>,
        (fetcher, answers): (Fetcher, mpsc::UnboundedReceiver<Answer>),
        provider: P,
        events: EventLog,
    ) -> (Self, Health) {
        let health = Health {
            counts: Arc::default(),
            blocks: store.blocks.missing().clone(),
            certificates: store.certificates.missing().clone(),
            changes: store.changes.clone(),
            floor: {
                let blocks = store.blocks.clone();
                Arc::new(move || blocks.floor())
            },
        };
        let gauges = Gauges {
            missing: context.gauge("missing", "blocks and certificates that are missing and asked for"),
            damaged: context.counter("damaged", "damaged parts of the store that were found"),
            repaired: context.counter("repaired", "blocks and certificates that came back from peers"),
        };
        let next_scrub = context.current() + REST;
        let findings = std::mem::take(&mut store.findings);
        let repair = Self {
            context,
            settings,
            store,
            fetcher,
            answers,
            provider,
            events,
            health: health.clone(),
            asks: BTreeMap::new(),
            pauses: BTreeMap::new(),
            returned: BTreeMap::new(),
            cursor: (0, None),
            next_scrub,
            gauges,
        };
        repair.tell(findings);
        (repair, health)
    }

    /// Runs until the storage fails, and says how.
    pub(crate) async fn run(mut self) -> String {
        match self.work().await {
            Ok(()) => "repair has nobody to ask any more".into(),
            Err(problem) => format!("the store cannot be repaired: {problem}"),
        }
    }

    async fn work(&mut self) -> Result<(), Error> {
        let changes = self.store.changes.clone();
        loop {
            let seen = changes.get();
            self.ask().await?;
            let wake = self.context.current() + TICK;
            tokio::select! {
                biased;
                answer = self.answers.recv() => match answer {
                    Some(answer) => self.take(answer).await?,
                    None => return Ok(()),
                },
                () = changes.reach(seen + 1) => {}
                () = self.context.sleep_until(wake) => self.tick().await?,
            }
            if self.asks.is_empty() {
                self.settle().await?;
            }
        }
    }

    async fn tick(&mut self) -> Result<(), Error> {
        self.settle().await?;
        if self.settings.scrub_rate > 0 && self.context.current() >= self.next_scrub {
            self.scrub().await?;
        }
        Ok(())
    }

    /// Asks for what is missing.
    async fn ask(&mut self) -> Result<(), Error> {
        let mut findings = self.store.blocks.dress_wounds(&self.store.quarantine).await?;
        findings.extend(self.store.certificates.dress_wounds(&self.store.quarantine).await?);
        self.tell(findings);
        let now = self.context.current();
        self.put_off(now);
        let (blocks, certificates) =
            (self.store.blocks.missing().downward(), self.store.certificates.missing().downward());
        self.gauges.missing.set(i64::try_from(blocks.len() + certificates.len()).unwrap_or(i64::MAX));
        let wanted = blocks.into_iter().map(|height| (Part::Blocks, height));
        let wanted = wanted.chain(certificates.into_iter().map(|height| (Part::Certificates, height)));
        for (part, height) in wanted {
            if self.asks.len() >= ASKS_MAX {
                break;
            }
            let is_paused = self.pauses.get(&(part, height)).is_some_and(|pause| pause.until > now);
            let is_asked = self.asks.values().any(|ask| (ask.part, ask.height) == (part, height));
            if is_paused || is_asked {
                continue;
            }
            if height == 0 && part == Part::Blocks {
                let genesis = &self.settings.genesis;
                self.store.blocks.insert(0, genesis.digest().0, genesis).await?;
                self.note_return(part, 0);
                continue;
            }
            let digest = match part {
                Part::Blocks => self.digest_of(height).await?,
                Part::Certificates => None,
            };
            let key = digest.map_or(Key::Finalized { height: Height::new(height) }, Key::Block);
            // The answer to a question about a certificate brings the block too.
            if self.asks.contains_key(&key) {
                continue;
            }
            self.asks.insert(key, Ask { part, height, until: now + ASK_FOR });
            self.fetcher.ask(key);
        }
        Ok(())
    }

    /// Puts off what nobody answered.
    fn put_off(&mut self, now: SystemTime) {
        let late: Vec<Key<Digest>> =
            self.asks.iter().filter(|(_, ask)| ask.until <= now).map(|(key, _)| *key).collect();
        for key in late {
            let Some(Ask { part, height, .. }) = self.asks.remove(&key) else { continue };
            self.fetcher.forget(key);
            let tries = self.pauses.get(&(part, height)).map_or(0, |pause| pause.tries) + 1;
            let pause = PAUSE_MIN.saturating_mul(1 << (tries - 1).min(16)).min(PAUSE_MAX);
            self.pauses.insert((part, height), Pause { tries, until: now + pause });
            match part {
                Part::Blocks if tries == BLOCK_TRIES => self.tell_out_of_reach(height, now),
                Part::Certificates if tries >= CERTIFICATE_TRIES => {
                    self.pauses.remove(&(part, height));
                    self.store.certificates.missing().remove(height);
                }
                Part::Blocks | Part::Certificates => {}
            }
        }
    }

    fn tell_out_of_reach(&self, height: u64, now: SystemTime) {
        warn!(height, "a missing block is out of reach: no peer that was asked holds it; asking goes on");
        let mut counts = self.health.counts.lock();
        counts.out_of_reach = counts.out_of_reach.max(Some(height));
        drop(counts);
        self.events.push(milliseconds(now), EventKind::StoreOutOfReach { height });
    }

    /// What the block at `height` must have as its digest, as far as what is held says so.
    async fn digest_of(&self, height: u64) -> Result<Option<Digest>, Error> {
        if let Some((_, certificate)) = self.store.certificates.read(height).await? {
            return Ok(Some(certificate.proposal.payload));
        }
        let above = self.store.blocks.read(height + 1).await?;
        Ok(above.map(|(_, block)| commonware_consensus::Block::parent(&block)))
    }

    async fn take(&mut self, Answer { key, value, verdict }: Answer) -> Result<(), Error> {
        let Some(height) = self.asks.get(&key).map(|ask| ask.height) else {
            let _ = verdict.send(Outcome::Ignored);
            return Ok(());
        };
        let is_right = match key {
            Key::Block(digest) => Some(self.take_block(height, digest, value).await?),
            Key::Finalized { .. } => self.take_certificate(height, value).await?,
            Key::Notarized { .. } => None,
        };
        if is_right == Some(true) {
            self.asks.remove(&key);
        }
        // After any other answer the question stays: another peer is asked.
        let _ = verdict.send(match is_right {
            Some(true) => Outcome::Resolved(Resolution::Complete),
            Some(false) => Outcome::Invalid,
            None => Outcome::Unresolved,
        });
        Ok(())
    }

    async fn take_block(&mut self, height: u64, digest: Digest, value: bytes::Bytes) -> Result<bool, Error> {
        let Ok(block) = Block::decode_cfg(value, &()) else { return Ok(false) };
        if block.digest() != digest || block.height().get() != height {
            return Ok(false);
        }
        self.put_back(&block).await?;
        Ok(true)
    }

    /// Whether it is right; `None` when that cannot be told.
    async fn take_certificate(&mut self, height: u64, mut value: bytes::Bytes) -> Result<Option<bool>, Error> {
        let config = Scheme::certificate_codec_config_unbounded();
        let certificate = Finalization::<Scheme, Digest>::read_cfg(&mut value, &config);
        let (Ok(certificate), Ok(block)) = (certificate, Block::decode_cfg(value, &())) else { return Ok(Some(false)) };
        if block.height().get() != height || block.digest() != certificate.proposal.payload {
            return Ok(Some(false));
        }
        let Some(scheme) = self.provider.scheme(certificate.proposal.round.epoch()) else { return Ok(None) };
        if !certificate.verify(&mut self.context, scheme.as_ref(), &Sequential) {
            return Ok(Some(false));
        }
        self.store.certificates.insert(height, block.digest().0, &certificate).await?;
        self.note_return(Part::Certificates, height);
        if self.store.blocks.missing().contains(height) {
            self.put_back(&block).await?;
        }
        Ok(Some(true))
    }

    async fn put_back(&mut self, block: &Block) -> Result<(), Error> {
        let height = block.height().get();
        self.store.blocks.insert(height, block.digest().0, block).await?;
        self.note_return(Part::Blocks, height);
        self.ask_anew_below(height);
        Ok(())
    }

    /// The block below can be asked for by its digest now: nobody need have its certificate.
    fn ask_anew_below(&mut self, height: u64) {
        let Some(below) = height.checked_sub(1) else { return };
        self.pauses.remove(&(Part::Blocks, below));
        let key = Key::Finalized { height: Height::new(below) };
        if self.asks.get(&key).is_some_and(|ask| ask.part == Part::Blocks) {
            self.asks.remove(&key);
            self.fetcher.forget(key);
        }
    }

    fn note_return(&mut self, part: Part, height: u64) {
        self.pauses.remove(&(part, height));
        self.returned.entry(part).or_default().push(height);
    }

    /// Makes durable what came back, and tells it.
    async fn settle(&mut self) -> Result<(), Error> {
        if self.returned.is_empty() {
            return Ok(());
        }
        self.store.blocks.finish_sync().await?;
        self.store.certificates.finish_sync().await?;
        let now = milliseconds(self.context.current());
        for (part, mut heights) in std::mem::take(&mut self.returned) {
            heights.sort_unstable();
            heights.dedup();
            let (Some(from), Some(to), count) = (heights.first(), heights.last(), heights.len()) else { continue };
            self.gauges.repaired.inc_by(count as u64);
            let mut counts = self.health.counts.lock();
            counts.repaired += count as u64;
            if self.store.blocks.missing().len() == 0 {
                counts.out_of_reach = None;
            }
            drop(counts);
            info!(part = part.name(), from, to, count, "repaired from peers");
            let kind = EventKind::StoreRepaired { part: part.name().into(), from: *from, to: *to, count };
            self.events.push(now, kind);
        }
        Ok(())
    }

    /// Tells of damage.
    fn tell(&self, findings: Vec<Finding>) {
        let now = milliseconds(self.context.current());
        for Finding { part, damage, heights, kept, what } in findings {
            self.gauges.damaged.inc();
            self.health.counts.lock().damaged += 1;
            let (from, to) = heights.unzip();
            let damage = damage.name().to_owned();
            self.events.push(now, EventKind::StoreDamaged { part, damage, from, to, kept, what });
        }
    }

    /// Reads on for as much as one second allows.
    async fn scrub(&mut self) -> Result<(), Error> {
        let mut left = self.settings.scrub_rate;
        while left > 0 {
            let Some((height, bytes)) = self.store.blocks.held_from(self.cursor.0) else {
                let (context, quarantine) = (&self.context, &self.store.quarantine);
                self.tell(inspect_checkpoints(context, &self.settings.checkpoints, quarantine).await?);
                let now = self.context.current();
                (self.cursor, self.next_scrub) = ((0, None), now + REST);
                let mut counts = self.health.counts.lock();
                (counts.scrubs, counts.scrubbed_at, counts.scrubbed_to) = (counts.scrubs + 1, Some(now), 0);
                return Ok(());
            };
            left = left.saturating_sub(bytes);
            let below = self.cursor.1.filter(|_| height == self.cursor.0);
            let digest = self.examine(height, below).await?;
            self.cursor = (height + 1, digest);
            self.health.counts.lock().scrubbed_to = height;
        }
        Ok(())
    }

    /// Reads a block and its certificate, and whether they go with each other and with the block below.
    async fn examine(&self, height: u64, below: Option<Digest>) -> Result<Option<Digest>, Error> {
        let (blocks, certificates) = (&self.store.blocks, &self.store.certificates);
        let Some((digest, block)) = blocks.read(height).await? else { return Ok(None) };
        let certified = certificates.read(height).await?.map(|(_, certificate)| certificate.proposal.payload);
        let is_itself = block.digest().0 == digest && block.height().get() == height;
        let is_certified = certified.is_none_or(|payload| payload == block.digest());
        let follows = below.is_none_or(|below| commonware_consensus::Block::parent(&block) == below);
        if is_itself && is_certified && follows {
            return Ok(Some(block.digest()));
        }
        error!(
            height,
            is_itself, is_certified, follows, "a stored block does not belong where it is; fetching it anew"
        );
        blocks.reject(height);
        if !is_certified {
            certificates.reject(height);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
