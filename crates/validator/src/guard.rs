//! Which votes has this key signed?
//!
//! A validator must never sign two conflicting votes, whatever happened to its disk. The guard is asked before every
//! signature and keeps its own durable record of the answer, apart from the engine's journal and twice. It refuses what
//! would conflict; [`crate::boundary`] holds back every message until the record of every signature given so far is
//! durable, so that no signature leaves this machine that a restart would not remember.
//!
//! The rules, for a vote in a round `r = (epoch, view)`:
//! 1. Exact repeats of a recorded vote are fine.
//! 2. Nothing new at or below the floor (the newest finalized round, or the end of a sit-out).
//! 3. One notarize and one finalize message in a round; never both finalize and nullify in a round.
//! 4. Notarize and nullify only in rounds not below the highest round that any vote was recorded in.
//!
//! Rule 4 is what makes the exit of an observer provable, see [`Guard::release`].
//!
//! A damaged or missing record means that votes may be unknown: the node then *observes* (signs nothing) until it has
//! provably sat out. The model is crashes, torn writes, lost files and bit rot in one copy. A whole data directory
//! replaced by an older copy of itself looks intact from inside; operators must delete `guard-a` and `guard-b` from
//! a restored backup, which turns the node into an observer.

mod log;
#[cfg(test)]
mod model;

use crate::{clock::since, progress::Progress};
use commonware_consensus::simplex::types::Subject;
use commonware_cryptography::{Digest, certificate::Subject as _};
use commonware_runtime::{
    Clock, Metrics, Spawner, Storage,
    telemetry::metrics::{Histogram, MetricsExt as _, histogram::Buckets},
};
use commonware_utils::{channel::oneshot, sync::Mutex};
use log::Replica;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::{error, info, warn};

/// A consensus round: epoch, then view.
pub type Round = (u64, u64);

/// Records in one copy before it is rewritten without what finality has made moot.
const RECORDS_MAX: usize = 8_192;

/// Bound on the votes kept above the floor. A network that nullifies this many views without finalizing anything has
/// lost its quorum long ago; the oldest votes stay covered by rule 4, because the highest round is kept apart.
const VOTES_MAX: usize = 4_096;

/// What a vote says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// This proposal is valid.
    Notarize,
    /// This view shall be skipped.
    Nullify,
    /// This proposal may become final.
    Finalize,
}

/// One signed message, by what it commits to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vote {
    /// Where.
    pub round: Round,
    /// What.
    pub kind: Kind,
    /// SHA-256 of the exact message.
    pub message: [u8; 32],
}

impl Vote {
    /// The vote that signing `subject` would be.
    pub fn of<D: Digest>(subject: &Subject<'_, D>) -> Self {
        let (round, kind) = match subject {
            Subject::Notarize { proposal } => (proposal.round, Kind::Notarize),
            Subject::Nullify { round } => (*round, Kind::Nullify),
            Subject::Finalize { proposal } => (proposal.round, Kind::Finalize),
        };
        let message = Sha256::digest(subject.message()).into();
        Self { round: (round.epoch().get(), round.view().get()), kind, message }
    }
}

/// The guard's answer to one vote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Not seen before and free of conflict.
    New,
    /// Recorded before, to the byte.
    Repeat,
    /// Would conflict, or can no longer be judged.
    Refused,
}

/// The pure part: recorded votes and the rules on them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Book {
    floor: Round,
    highest: Round,
    votes: BTreeMap<(Round, Kind), [u8; 32]>,
}

impl Book {
    /// What the rules say to `vote`.
    pub(crate) fn judge(&self, vote: &Vote) -> Verdict {
        let recorded = |kind| self.votes.get(&(vote.round, kind));
        if vote.round <= self.floor {
            return Verdict::Refused;
        }
        if let Some(message) = recorded(vote.kind) {
            return if *message == vote.message { Verdict::Repeat } else { Verdict::Refused };
        }
        let allowed = match vote.kind {
            Kind::Notarize => vote.round >= self.highest,
            Kind::Nullify => vote.round >= self.highest && recorded(Kind::Finalize).is_none(),
            Kind::Finalize => recorded(Kind::Nullify).is_none(),
        };
        if allowed { Verdict::New } else { Verdict::Refused }
    }

    fn record(&mut self, vote: &Vote) {
        self.votes.insert((vote.round, vote.kind), vote.message);
        self.highest = self.highest.max(vote.round);
        // Beyond the bound the floor rises with what is forgotten, so that nothing forgotten can be contradicted.
        while self.votes.len() > VOTES_MAX {
            let Some(((round, _), _)) = self.votes.first_key_value() else { break };
            self.raise(*round);
        }
    }

    /// Nothing new is signed at or below `floor` from here on.
    fn raise(&mut self, floor: Round) {
        self.floor = self.floor.max(floor);
        self.highest = self.highest.max(floor);
        self.votes = self.votes.split_off(&((self.floor.0, self.floor.1.saturating_add(1)), Kind::Notarize));
    }

    /// Everything either of two copies knows.
    fn merge(&mut self, other: &Self) -> Result<(), String> {
        for (key, message) in &other.votes {
            match self.votes.insert(*key, *message) {
                Some(known) if known != *message => return Err(format!("the copies disagree about round {:?}", key.0)),
                Some(_) | None => {}
            }
        }
        self.highest = self.highest.max(other.highest);
        self.raise(other.floor);
        Ok(())
    }

    fn votes(&self) -> impl Iterator<Item = Vote> + '_ {
        self.votes.iter().map(|((round, kind), message)| Vote { round: *round, kind: *kind, message: *message })
    }
}

/// What opening the record found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// A key that never signed: an empty record was made.
    Fresh,
    /// Both copies whole.
    Intact,
    /// One copy was missing or damaged and was written anew from the other.
    Repaired(String),
    /// No whole copy: votes may be unknown, the node observes.
    Lost(String),
}

/// Why the record cannot be used at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GuardError {
    /// The record belongs to another key or chain.
    #[error("the vote guard was written by another key or for another chain")]
    Foreign,
}

struct State {
    book: Book,
    /// Recorded in memory, not yet handed to the writer.
    pending: Vec<Vote>,
    /// Number of the last vote recorded in memory.
    recorded: u64,
    /// Why nothing is signed; `None` while voting.
    observing: Option<String>,
    last_signed: Option<SystemTime>,
    refused: u64,
    /// Since when the present write is under way.
    writing: Option<SystemTime>,
    /// The longest write since it was asked for last.
    slowest: Duration,
    /// An injected fault: each write takes so much longer until then.
    drag: Option<(Duration, SystemTime)>,
}

/// The handle that everyone shares: the signing scheme asks it, the boundary waits for it, the driver moves its floor.
#[derive(Clone)]
pub struct Guard {
    state: Arc<Mutex<State>>,
    durable: Progress,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// What the writer is asked to do. Orders for the same thing collapse, so the queue stays as short as the writer is slow.
enum Order {
    /// Make everything pending durable.
    Flush,
    /// Begin a fresh record with this floor; answer when both copies are durable.
    Begin(Round, oneshot::Sender<()>),
}

impl Guard {
    /// Opens the record in `context`'s storage, or finds it lost.
    ///
    /// `prefix` comes before the names of its partitions. `identity` binds the record to a key and a chain. `fresh` says that the key is known never to have signed (it was
    /// made by `node init` and not used since); only then may a missing record be made anew.
    ///
    /// # Errors
    /// [`GuardError::Foreign`] when a whole copy belongs to another identity.
    ///
    /// # Panics
    /// When storage fails while a copy is written: nothing may be signed that cannot be recorded.
    pub async fn open<E: Storage + Spawner + Clock + Metrics>(
        context: E,
        prefix: &str,
        identity: [u8; 32],
        fresh: bool,
    ) -> Result<(Self, Found), GuardError> {
        let mut copies = [
            Replica::load(&context, format!("{prefix}guard-a"), identity).await,
            Replica::load(&context, format!("{prefix}guard-b"), identity).await,
        ];
        if copies.iter().any(Replica::is_foreign) {
            return Err(GuardError::Foreign);
        }
        let (book, found) = reconcile(&copies, fresh);
        let observing = match &found {
            Found::Lost(reason) => Some(reason.clone()),
            Found::Fresh | Found::Intact | Found::Repaired(_) => None,
        };
        if observing.is_none() {
            for copy in &mut copies {
                if !copy.matches(&book) {
                    copy.rewrite(&context, &book).await;
                }
            }
        }
        let durable = Progress::default();
        let (orders, inbox) = tokio::sync::mpsc::unbounded_channel();
        let state = Arc::new(Mutex::new(State {
            book,
            pending: Vec::new(),
            recorded: 0,
            observing,
            last_signed: None,
            refused: 0,
            writing: None,
            slowest: Duration::ZERO,
            drag: None,
        }));
        let latency =
            context.histogram("sync_seconds", "time to make recorded votes durable in both copies", Buckets::LOCAL);
        let clock = Arc::new(context.child("clock"));
        let writer = Writer { state: state.clone(), copies, durable: durable.clone(), latency };
        context.spawn(move |context| writer.run(context, inbox));
        let now = Arc::new(move || clock.current());
        Ok((Self { state, durable, orders, now }, found))
    }

    /// Whether `vote` may be signed. A `true` is recorded; it must be durable ([`Self::settled`]) before it leaves.
    pub fn admit(&self, vote: &Vote) -> bool {
        let mut state = self.state.lock();
        if state.observing.is_some() {
            return false;
        }
        match state.book.judge(vote) {
            Verdict::Refused => {
                state.refused += 1;
                warn!(?vote, floor = ?state.book.floor, highest = ?state.book.highest, "vote guard refused a signature");
                return false;
            }
            Verdict::Repeat => {}
            Verdict::New => {
                state.book.record(vote);
                state.recorded += 1;
                state.pending.push(*vote);
                let _ = self.orders.send(Order::Flush);
            }
        }
        state.last_signed = Some((self.now)());
        true
    }

    /// Number of the last vote admitted; [`Self::durable`] waits for it.
    pub fn recorded(&self) -> u64 {
        self.state.lock().recorded
    }

    /// Whether every vote admitted so far is durable.
    pub fn settled(&self) -> bool {
        self.durable.get() >= self.recorded()
    }

    /// Waits until vote number `recorded` is durable in both copies.
    pub async fn durable(&self, recorded: u64) {
        self.durable.reach(recorded).await;
    }

    /// Drops what a finalization in `round` has made moot.
    pub fn finalized(&self, round: Round) {
        let mut state = self.state.lock();
        if state.observing.is_none() && round > state.book.floor {
            state.book.raise(round);
        }
    }

    /// Why nothing is signed, or `None` while voting.
    pub fn observing(&self) -> Option<String> {
        self.state.lock().observing.clone()
    }

    /// When a vote was last admitted.
    pub fn last_signed(&self) -> Option<SystemTime> {
        self.state.lock().last_signed
    }

    /// How many votes were refused since start.
    pub fn refused(&self) -> u64 {
        self.state.lock().refused
    }

    /// The longest that a write took since this was asked last, the one that is still under way included.
    pub fn disk_latency(&self) -> Duration {
        let now = (self.now)();
        let mut state = self.state.lock();
        let under_way = state.writing.map_or(Duration::ZERO, |start| since(now, start));
        std::mem::take(&mut state.slowest).max(under_way)
    }

    /// Injects a fault: until then every write takes so much longer, as on a disk that is about to die.
    pub fn drag(&self, by: Duration, until: SystemTime) {
        self.state.lock().drag = Some((by, until));
    }

    /// Ends the injected fault, and says whether there was one.
    pub fn release_drag(&self) -> bool {
        self.state.lock().drag.take().is_some()
    }

    /// Ends observing: votes above `floor` are signed once a fresh record with that floor is durable.
    ///
    /// The caller must have seen a finalized block of view `v` whose *parent* has a timestamp later than this process's
    /// start by more than clocks and validity rules allow a block to be ahead, and pass `floor = v + 1`. Why that is safe:
    ///
    /// Let `w` be any view this key voted in before the loss. To enter `w` it held a certificate for `w - 1`, signed by
    /// `n - f` validators before the loss. The finalized block was notarized by `n - f` validators. The honest ones among
    /// them did so after the loss: they vote for a block only once its parent is certified, and no honest validator
    /// certifies a parent from the future. This node is not among them, because it signs nothing. The two sets share at
    /// least `(n-f) + (n-f) - n - f = n - 3f >= 1` honest validators, none of them this one, which signed in view `w - 1`
    /// first and notarized in view `v` later. By rule 4 of their guards `v >= w - 1`: every forgotten vote is in a view
    /// at or below `v + 1`.
    pub async fn release(&self, floor: Round) {
        let (done, written) = oneshot::channel();
        if self.orders.send(Order::Begin(floor, done)).is_ok() {
            let _ = written.await;
        }
    }
}

/// The book that the copies support together, and what that says about their health.
fn reconcile<B>(copies: &[Replica<B>; 2], fresh: bool) -> (Book, Found) {
    let books: Vec<&Book> = copies.iter().filter_map(Replica::book).collect();
    let mut book = Book::default();
    for known in &books {
        if let Err(reason) = book.merge(known) {
            return (Book::default(), Found::Lost(reason));
        }
    }
    let complaints: Vec<String> = copies.iter().filter_map(Replica::complaint).collect();
    let found = match books.len() {
        2 => Found::Intact,
        1 => Found::Repaired(complaints.join("; ")),
        _ if fresh && copies.iter().all(Replica::is_missing) => Found::Fresh,
        _ => Found::Lost(complaints.join("; ")),
    };
    (book, found)
}

/// Owns the files. One flush covers every vote recorded while the previous one was under way.
struct Writer<E: Storage> {
    state: Arc<Mutex<State>>,
    copies: [Replica<E::Blob>; 2],
    durable: Progress,
    latency: Histogram,
}

impl<E: Storage + Clock> Writer<E> {
    async fn run(mut self, context: E, mut inbox: tokio::sync::mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = inbox.recv().await {
            match order {
                Order::Flush => self.flush(&context).await,
                Order::Begin(floor, done) => {
                    self.begin(&context, floor).await;
                    let _ = done.send(());
                }
            }
        }
    }

    async fn flush(&mut self, context: &E) {
        let (records, recorded, compact) = {
            let mut state = self.state.lock();
            let compact = self.copies.iter().any(|copy| copy.records() > RECORDS_MAX).then(|| state.book.clone());
            (std::mem::take(&mut state.pending), state.recorded, compact)
        };
        if records.is_empty() {
            return;
        }
        let start = context.current();
        self.state.lock().writing = Some(start);
        self.drag(context, start).await;
        match compact {
            // The book holds the pending votes too. One copy after the other, so that one is always whole.
            Some(book) => {
                for copy in &mut self.copies {
                    copy.rewrite(context, &book).await;
                }
            }
            None => {
                let [a, b] = &mut self.copies;
                futures::join!(a.append(&records), b.append(&records));
            }
        }
        let took = since(context.current(), start);
        self.latency.observe(took.as_secs_f64());
        let mut state = self.state.lock();
        (state.writing, state.slowest) = (None, state.slowest.max(took));
        drop(state);
        self.durable.raise(recorded);
    }

    /// The injected fault, if one is in force.
    async fn drag(&self, context: &E, now: SystemTime) {
        let drag = self.state.lock().drag.filter(|(_, until)| *until > now);
        if let Some((by, _)) = drag {
            context.sleep(by).await;
        }
    }

    async fn begin(&mut self, context: &E, floor: Round) {
        let mut book = Book::default();
        book.raise(floor);
        for copy in &mut self.copies {
            copy.rewrite(context, &book).await;
        }
        let mut state = self.state.lock();
        state.book = book;
        if let Some(reason) = state.observing.take() {
            info!(?floor, reason, "sat out; votes again above this round");
        }
    }
}

/// What is wrong with the bytes of a copy of the record, whosever it is.
pub(crate) fn complaint(bytes: &[u8], generation: u64) -> Option<String> {
    log::complaint(bytes, generation)
}

/// A storage failure under the guard: going on would mean signing what cannot be remembered.
fn fail(what: &str, problem: &dyn std::fmt::Display) -> ! {
    error!(what, %problem, "vote guard cannot be written; stopping before anything unrecorded is signed");
    panic!("vote guard: cannot {what}: {problem}; mend the disk and start again");
}

#[cfg(test)]
mod tests;
