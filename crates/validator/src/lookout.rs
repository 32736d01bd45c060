//! Who is there, and how are they, as this validator sees it?
//!
//! One task says at each heartbeat whom this validator hears and how it is itself, takes what the others say, asks after
//! whom the detector doubts, and answers who asks. It is apart from the driver, so that a long block or a slow disk there
//! does not make this validator look dead, and its channels are apart from the barrier: a row holds no vote.
//!
//! Rows of others are passed on to those that do not hear them (`relay`), so that all know who can talk to whom. The detector
//! counts only what came directly.
//!
//! Nothing here decides: [`sentinel::health`] says who is suspect and [`sentinel::vitals`] who is ill. The driver reads
//! it all from [`Sights`], and takes it to the chain.

mod relay;

use crate::{
    boundary::Boundary,
    clock::{milliseconds, since},
    driver::CLOCK_SKEW_MAX,
    progress::{Progress, Rounds},
    roster::Roster,
    wire::{Canary, Hearing, Probe, Question, Row, Said, Told, Vitals as OwnVitals},
};
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey},
};
use commonware_p2p::{Message, Receiver, Recipients, Sender};
use commonware_runtime::{Clock, IoBuf, Metrics, Spawner};
use commonware_utils::sync::Mutex;
use ledger::{Decode as _, Encode as _, Height, View, genesis::VALIDATORS_MAX};
use rand_core::CryptoRng;
use relay::Relay;
use sentinel::{
    health::{self, Health, Link},
    time::Moment,
    vitals::{Ailment, Signs, Vitals, median},
    watchers::Watchers,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tracing::debug;

/// Rows that were sent and may still be echoed: as many as a round trip of several seconds needs.
const SENT_MAX: usize = 16;

/// Questions that may still be answered.
const ASKED_MAX: usize = 256;

/// Up to so many validators everybody's rows go to everybody.
pub(crate) const ALL_MAX: usize = 16;

/// Among more, each validator is watched by so many, which get its rows in turn.
const WATCHERS: usize = 3;

/// A validator that is not watched here was heard, by its votes, within so much, or it is missing.
pub(crate) const UNWATCHED_SILENT_AFTER: Duration = Duration::from_secs(5);

/// Waking so much too late is a stall of our own: what was not heard meanwhile says nothing about the others.
const STALL: Duration = Duration::from_millis(100);

/// A validator that is doubted and was not heard for so long counts as missing: three heartbeats.
pub(crate) const SILENT_AFTER: Duration = Duration::from_millis(1_500);

/// Whoever sent no row for so long was away, and has to catch up before it can vote: as long as no pause is waited for.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// A row that was passed on took so long on its way at most, besides the time for which it was held.
const PASSED_ON_WITHIN: Duration = Duration::from_secs(1);

/// Rows are passed on at most so often.
const PASS_ON_EVERY: Duration = Duration::from_millis(125);

/// What the driver tells about this validator, for its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    /// Newest finalized and applied height.
    pub(crate) height: Height,
    /// Whether it signs votes.
    pub(crate) voting: bool,
    /// Tasks that it runs.
    pub(crate) running: usize,
    /// Tasks leased to it that wait for a slot.
    pub(crate) waiting: usize,
    /// What became of its last canary.
    pub(crate) canary: Canary,
    /// Whom somebody accuses on the chain, so that it is looked after here too.
    pub(crate) accused: BTreeSet<usize>,
    /// Who is a validator no more: it is not looked after at all.
    pub(crate) gone: BTreeSet<usize>,
}

/// Another validator, as this one sees it.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// Whether rows of it are due here.
    pub(crate) watched: bool,
    /// What the detector says.
    pub(crate) link: Link,
    /// When it was last heard, whatever it said.
    pub(crate) heard: Option<SystemTime>,
    /// Since when it has been suspect.
    pub(crate) suspect_since: Option<SystemTime>,
    /// Its newest row, and when that came.
    pub(crate) row: Option<(Row, SystemTime)>,
    /// Its newest row that somebody passed on, and when that was sent. It is no sign that it is heard.
    pub(crate) told: Option<(Row, SystemTime)>,
    /// The round trip to it.
    pub(crate) rtt: Option<Duration>,
    /// How far its clock is ahead of ours, in milliseconds.
    pub(crate) clock_ahead_ms: Option<i64>,
    /// What ails it, the gravest first.
    pub(crate) ailments: Vec<(Ailment, u32)>,
}

impl Sight {
    const fn new() -> Self {
        Self {
            watched: false,
            link: Link::Alive,
            heard: None,
            suspect_since: None,
            row: None,
            told: None,
            rtt: None,
            clock_ahead_ms: None,
            ailments: Vec::new(),
        }
    }

    /// Whether it can be counted on to be there. One that is doubted for longer is not, even while nobody is accused
    /// because so many are doubted at once: that is what a split looks like.
    pub(crate) fn is_heard(&self, now: SystemTime) -> bool {
        let Some(heard) = self.heard else { return false };
        match self.link {
            Link::Alive => self.watched || since(now, heard) < UNWATCHED_SILENT_AFTER,
            Link::Doubted => since(now, heard) < SILENT_AFTER,
            Link::Suspect => false,
        }
    }
}

/// What the lookout sees, and what the driver tells it. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Sights {
    shared: Arc<Mutex<Shared>>,
    /// When each validator voted last, milliseconds since the Unix epoch; there is room for all that there can ever be.
    voted: Arc<Vec<AtomicU64>>,
    /// Moves whenever somebody becomes suspect, ill, or neither any more.
    pub(crate) changes: Progress,
}

#[derive(Debug)]
struct Shared {
    own: Own,
    /// When blocks last became final.
    finalized: Option<SystemTime>,
    nodes: Vec<Sight>,
}

impl Sights {
    /// Of so many validators, none of them heard yet.
    pub(crate) fn new(validators: usize) -> Self {
        let nodes = vec![Sight::new(); validators];
        let shared = Shared { own: Own::default(), finalized: None, nodes };
        let voted = (0..VALIDATORS_MAX).map(|_| AtomicU64::new(0)).collect();
        Self { shared: Arc::new(Mutex::new(shared)), voted: Arc::new(voted), changes: Progress::default() }
    }

    /// Tells how this validator is.
    pub(crate) fn tell(&self, own: Own, finalized: Option<SystemTime>) {
        let mut shared = self.shared.lock();
        (shared.own, shared.finalized) = (own, finalized);
    }

    /// There are so many validators from now on, or more.
    pub(crate) fn grow(&self, validators: usize) {
        let mut shared = self.shared.lock();
        if shared.nodes.len() < validators {
            shared.nodes.resize_with(validators, Sight::new);
        }
    }

    /// All validators in the order of the roster; the place of this one means nothing.
    pub(crate) fn all(&self) -> Vec<Sight> {
        self.shared.lock().nodes.clone()
    }

    /// A vote of this validator was seen.
    pub(crate) fn voted(&self, index: usize, now: SystemTime) {
        if let Some(voted) = self.voted.get(index) {
            voted.fetch_max(milliseconds(now), Ordering::Relaxed);
        }
    }
}

/// What the lookout needs that is fixed.
pub(crate) struct Settings {
    /// This validator's key.
    pub(crate) key: PrivateKey,
    /// All validators.
    pub(crate) roster: Roster,
    /// What is signed is signed for this chain.
    pub(crate) namespace: Vec<u8>,
    /// How the detector is set.
    pub(crate) health: health::Config,
    /// The time between rows.
    pub(crate) heartbeat: Duration,
}

/// See the module.
pub(crate) struct Lookout<E, SR, SP> {
    context: E,
    settings: Settings,
    /// This validator's place in the roster.
    me: usize,
    boundary: Boundary,
    rounds: Rounds,
    sights: Sights,
    rows: SR,
    probes: SP,
    health: Health,
    vitals: Vitals,
    watchers: Watchers,
    relay: Relay,
    /// When each was heard last, as the detector knows.
    heard: Vec<Option<SystemTime>>,
    /// Since when each is there, after it was away or we were.
    there_since: Vec<SystemTime>,
    started: SystemTime,
    sequence: u64,
    /// The rows sent last, and when.
    sent: VecDeque<(u64, SystemTime)>,
    /// Whom was asked after under which nonce.
    asked: BTreeMap<u64, u32>,
    lag: Duration,
    next_row: SystemTime,
    next_knock: SystemTime,
    next_relay: SystemTime,
}

impl<E, SR, SP> Lookout<E, SR, SP>
where
    E: Spawner + Clock + Metrics + CryptoRng,
    SR: Sender<PublicKey = PublicKey>,
    SP: Sender<PublicKey = PublicKey>,
{
    /// `rows` and `probes` are the sending ends of their channels.
    pub(crate) fn new(
        mut context: E,
        settings: Settings,
        boundary: Boundary,
        rounds: Rounds,
        sights: Sights,
        (rows, probes): (SR, SP),
    ) -> Self {
        let started = context.current();
        let n = settings.roster.len();
        let me = own_place(&settings);
        let health = Health::new(&settings.health, small(me), small(n), context.next_u64(), Moment(0));
        let watchers = watchers(n);
        let mut lookout = Self {
            context,
            settings,
            me,
            boundary,
            rounds,
            sights,
            rows,
            probes,
            health,
            vitals: Vitals::new(n),
            watchers,
            relay: Relay::new(n),
            heard: vec![None; n],
            there_since: vec![started; n],
            started,
            sequence: 0,
            sent: VecDeque::new(),
            asked: BTreeMap::new(),
            lag: Duration::ZERO,
            next_row: started,
            next_knock: started,
            next_relay: started,
        };
        lookout.watch(started);
        lookout
    }

    /// How many validators there are, as far as this task has taken notice.
    const fn n(&self) -> usize {
        self.heard.len()
    }

    /// Takes notice of those that got a seat since.
    fn grow(&mut self, now: SystemTime) {
        let (n, me) = (self.settings.roster.len(), own_place(&self.settings));
        if (n, me) == (self.n(), self.me) {
            return;
        }
        self.me = me;
        self.health.grow(small(n), small(me), self.moment(now));
        self.vitals.grow(n);
        self.relay.grow(n);
        self.watchers = watchers(n);
        self.heard.resize(n, None);
        self.there_since.resize(n, now);
        self.sights.grow(n);
    }

    /// Watches those whose rows are due here, and those that somebody accuses.
    fn watch(&mut self, now: SystemTime) {
        let n = self.n();
        let beat = u64::try_from(self.settings.heartbeat.as_micros()).unwrap_or(u64::MAX);
        let moment = self.moment(now);
        let me = self.me;
        let mut shared = self.sights.shared.lock();
        let is_heard: Vec<bool> =
            shared.nodes.iter().map(|sight| sight.heard.is_none() || sight.is_heard(now)).collect();
        for index in (0..n).filter(|index| *index != me) {
            let node = small(index);
            let mut watchers = self.watchers.of(node, |other| is_heard[other as usize]);
            let interval = if shared.own.gone.contains(&index) {
                0
            } else if n <= ALL_MAX {
                beat
            } else if watchers.any(|watcher| watcher as usize == me) {
                beat * WATCHERS as u64
            } else if shared.own.accused.contains(&index) {
                // It sends no rows here: it is asked at each heartbeat, until nobody accuses it any more.
                beat
            } else {
                0
            };
            let watched = interval > 0;
            if shared.nodes[index].watched != watched {
                shared.nodes[index].watched = watched;
                self.health.expect(node, interval, moment);
            }
        }
    }

    /// Who gets the next row.
    fn recipients(&self, now: SystemTime) -> Recipients<PublicKey> {
        if self.n() <= ALL_MAX {
            return Recipients::All;
        }
        let me = small(self.me);
        let shared = self.sights.shared.lock();
        let is_present = |other: u32| {
            let sight = &shared.nodes[other as usize];
            sight.heard.is_none() || sight.is_heard(now)
        };
        let next = self.watchers.turn(me, self.sequence, is_present);
        let members = self.settings.roster.members();
        let key = |index: u32| members[index as usize].key.clone();
        Recipients::Some(next.map(key).into_iter().collect())
    }

    /// Runs until the context is stopped.
    pub(crate) async fn run<RR, RP>(mut self, mut rows: RR, mut probes: RP)
    where
        RR: Receiver<PublicKey = PublicKey>,
        RP: Receiver<PublicKey = PublicKey>,
    {
        let mut stopped = self.context.stopped();
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                Ok(message) = rows.recv() => self.take_row(message),
                Ok(message) = probes.recv() => self.take_probe(message),
                () = self.context.sleep_until(wake) => self.tick(wake),
            }
        }
    }

    fn wake(&self) -> SystemTime {
        let judged = self.health.deadline().map(|Moment(us)| self.started + Duration::from_micros(us));
        let next = self.next_row.min(self.next_knock).min(self.next_relay);
        judged.map_or(next, |judged| judged.min(next))
    }

    fn moment(&self, at: SystemTime) -> Moment {
        Moment(u64::try_from(since(at, self.started).as_micros()).unwrap_or(u64::MAX))
    }

    fn tick(&mut self, due: SystemTime) {
        let now = self.context.current();
        let late = since(now, due);
        self.lag = self.lag.max(late);
        if late >= STALL {
            self.health.stalled(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), self.moment(now));
        }
        self.grow(now);
        self.watch(now);
        self.judge(now);
        if self.next_row <= now {
            self.send_row(now);
            // A late row makes no later ones late: when they come is what the others learn.
            while self.next_row <= now {
                self.next_row += self.settings.heartbeat;
            }
        }
        if self.next_knock <= now {
            self.knock(now);
            self.next_knock = now + self.settings.heartbeat / 4;
        }
        if self.next_relay <= now {
            self.pass_on(now);
            self.next_relay = now + (self.settings.heartbeat / 4).max(PASS_ON_EVERY);
        }
    }

    /// While too few are heard for finality, the others are asked in between: somebody may be just back.
    fn knock(&mut self, now: SystemTime) {
        if self.hears_quorum(now) {
            return;
        }
        let shared = self.sights.shared.lock();
        let me = self.me;
        let is_silent =
            |index: &usize| *index != me && !shared.own.gone.contains(index) && !shared.nodes[*index].is_heard(now);
        let silent: Vec<usize> = (0..self.n()).filter(is_silent).collect();
        drop(shared);
        for index in silent {
            self.ask(health::Probe { target: small(index), through: None, wave: 0 });
        }
    }

    /// Whether enough peers are heard for finality.
    fn hears_quorum(&self, now: SystemTime) -> bool {
        let shared = self.sights.shared.lock();
        let gone = &shared.own.gone;
        let votes = |index: &usize| !gone.contains(index);
        let is_heard = |index: &usize| *index == self.me || shared.nodes[*index].is_heard(now);
        let heard = (0..shared.nodes.len()).filter(votes).filter(is_heard).count();
        heard >= ledger::quorum(shared.nodes.len() - gone.len())
    }

    fn judge(&mut self, now: SystemTime) {
        let moment = self.moment(now);
        let members = self.settings.roster.members();
        let heard: Vec<_> = members.iter().take(self.n()).map(|member| self.boundary.heard(&member.key)).collect();
        for (node, (at, before)) in (0..).zip(heard.iter().zip(&self.heard)) {
            if at > before {
                self.health.heard(node, moment);
            }
        }
        self.heard.clone_from(&heard);
        let mut questions = Vec::new();
        self.health.tick(moment, &mut questions);
        for probe in questions {
            self.ask(probe);
        }
        let changed: Vec<(u32, Link)> = self.health.changes().collect();
        let mut shared = self.sights.shared.lock();
        let mut is_news = !changed.is_empty();
        for (sight, at) in shared.nodes.iter_mut().zip(heard) {
            is_news |= sight.heard.is_none() && at.is_some();
            sight.heard = at.or(sight.heard);
        }
        for (node, link) in &changed {
            let sight = &mut shared.nodes[*node as usize];
            sight.link = *link;
            sight.suspect_since = matches!(link, Link::Suspect).then(|| sight.suspect_since.unwrap_or(now));
        }
        drop(shared);
        if is_news {
            self.sights.changes.step();
        }
    }

    fn ask(&mut self, probe: health::Probe) {
        while self.asked.len() >= ASKED_MAX {
            self.asked.pop_first();
        }
        // Counted up from the start of this run, so that the oldest question is the first to be forgotten.
        let nonce = self.asked.last_key_value().map_or(milliseconds(self.started) << 20, |(nonce, _)| nonce + 1);
        self.asked.insert(nonce, probe.target);
        let question = Question { nonce, asker: small(self.me) };
        match probe.through {
            None => self.send_probe(probe.target, &Probe::Ask(question)),
            Some(helper) => self.send_probe(helper, &Probe::AskFor { question, about: probe.target }),
        }
    }

    fn send_probe(&mut self, to: u32, probe: &Probe) {
        let members = self.settings.roster.members();
        let Some(member) = members.get(to as usize) else { return };
        self.probes.send(Recipients::One(member.key.clone()), IoBuf::from(probe.encode()), true);
    }

    fn take_probe(&mut self, (from, message): Message<PublicKey>) {
        self.grow(self.context.current());
        let Some(sender) = self.settings.roster.index(&from).filter(|index| *index < self.n()).map(small) else {
            return;
        };
        let (key, namespace) = (&self.settings.key, &self.settings.namespace);
        match Probe::decode(message.as_ref()) {
            Ok(Probe::Ask(question)) => {
                let answer = question.answer(key, namespace);
                self.send_probe(sender, &Probe::Here { question, answer });
            }
            Ok(Probe::AskFor { question, about }) => self.send_probe(about, &Probe::Ask(question)),
            Ok(Probe::Here { question, answer }) if question.asker as usize != self.me => {
                self.send_probe(question.asker, &Probe::Answered { question, about: sender, answer });
            }
            Ok(Probe::Here { question, answer }) => self.take_answer(question, sender, &answer),
            Ok(Probe::Answered { question, about, answer }) => self.take_answer(question, about, &answer),
            Err(problem) => debug!(node = self.settings.roster.name(&from), %problem, "probe not understood"),
        }
    }

    fn take_answer(&mut self, question: Question, about: u32, answer: &crate::wire::Answer) {
        if self.asked.get(&question.nonce) != Some(&about) {
            return;
        }
        let members = self.settings.roster.members();
        let Some(member) = members.get(about as usize) else { return };
        if question.is_answered(answer, &member.key, &self.settings.namespace) {
            let now = self.moment(self.context.current());
            self.health.answered(about, now);
        }
    }

    fn send_row(&mut self, now: SystemTime) {
        self.sequence += 1;
        let shared = self.sights.shared.lock();
        let (own, hearings) = (shared.own.clone(), shared.nodes.iter().map(|sight| hearing(sight, now)).collect());
        drop(shared);
        let counted = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let (epoch, view) = self.rounds.get();
        let row = Row {
            started_ms: milliseconds(self.started),
            sequence: self.sequence,
            sent_ms: milliseconds(now),
            epoch,
            height: own.height,
            view: View(view),
            voting: own.voting,
            vitals: OwnVitals {
                lag_ms: saturated(std::mem::take(&mut self.lag)),
                disk_ms: saturated(self.boundary.disk_latency()),
                running: counted(own.running),
                waiting: counted(own.waiting),
                executor: own.canary,
            },
            version: env!("CARGO_PKG_VERSION").into(),
            hearings,
        };
        self.follow_own(&row.vitals);
        let message = Said::Own(row.sign(&self.settings.key, &self.settings.namespace)).encode();
        self.rows.send(self.recipients(now), IoBuf::from(message), true);
        self.sent.push_back((self.sequence, now));
        if self.sent.len() > SENT_MAX {
            self.sent.pop_front();
        }
    }

    /// What its own row shows of this validator. Its clock and its votes are for others to judge.
    fn follow_own(&mut self, own: &OwnVitals) {
        let me = self.me;
        let mut shared = self.sights.shared.lock();
        let signs = Signs {
            disk_ms: own.disk_ms.into(),
            median_disk_ms: median(shared.nodes.iter().filter_map(disk_ms).collect()),
            executor_failed: matches!(own.executor, Canary::Wedged | Canary::Wrong),
            clock_ahead_ms: None,
            vote_ms_ago: None,
        };
        if self.vitals.follow(me, &signs) {
            shared.nodes[me].ailments = self.vitals.ailments(me).collect();
        }
    }

    /// Tells neighbours what those say that they do not hear. Among many, rows go to some only, and holes say nothing.
    fn pass_on(&mut self, now: SystemTime) {
        let (me, n) = (self.me, self.n());
        let members = self.settings.roster.members();
        if n > ALL_MAX {
            return;
        }
        let is_near = |index: &usize| {
            let heard = self.boundary.heard(&members[*index].key);
            *index != me && heard.is_some_and(|heard| since(now, heard) < SILENT_AFTER)
        };
        let neighbours: Vec<usize> = (0..n).filter(is_near).collect();
        for (to, told) in self.relay.due(me, &neighbours, now) {
            let key = members[to].key.clone();
            self.rows.send(Recipients::One(key), IoBuf::from(Said::Others(told).encode()), false);
        }
    }

    fn take_row(&mut self, (from, message): Message<PublicKey>) {
        self.grow(self.context.current());
        let Some(index) = self.settings.roster.index(&from).filter(|index| *index != self.me && *index < self.n())
        else {
            return;
        };
        match Said::decode(message.as_ref()) {
            Ok(Said::Own(row)) => self.take_own(index, row),
            Ok(Said::Others(told)) => told.into_iter().for_each(|told| self.take_told(told)),
            Err(problem) => debug!(node = self.settings.roster.name(&from), %problem, "row not taken"),
        }
    }

    /// Takes a row that came from its sender.
    fn take_own(&mut self, index: usize, message: Vec<u8>) {
        let members = self.settings.roster.members();
        let from = &members[index].key;
        let row = match Row::open(&message, from, &self.settings.namespace, self.settings.roster.first()) {
            Ok(row) => row,
            Err(problem) => {
                debug!(node = self.settings.roster.name(from), %problem, "row not taken");
                return;
            }
        };
        let now = self.context.current();
        let node = small(index);
        if !self.is_newer(index, &row) {
            return;
        }
        // Where rows go to watchers in turn, every so many-th comes here.
        let turns = if self.n() <= ALL_MAX { 1 } else { WATCHERS as u64 };
        self.health.row(node, row.sequence / turns, self.moment(now));
        self.relay.keep(index, row.clone(), message, now);
        self.look_at(index, row, now);
        self.judge(now);
    }

    /// Takes a row that somebody passed on, if it is news, says something of now, and its sender signed it.
    fn take_told(&mut self, told: Told) {
        let (n, index) = (self.n(), told.about as usize);
        if n > ALL_MAX || index >= n || index == self.me {
            return;
        }
        let now = self.context.current();
        let held = Duration::from_millis(told.held_ms.into());
        let Some(claimed) = Row::claimed(&told.row).filter(|row| self.relay.is_news(index, row)) else { return };
        if held >= SILENT_AFTER || !self.is_of_now(index, &claimed, now) {
            return;
        }
        let key = &self.settings.roster.members()[index].key;
        let Ok(row) = Row::open(&told.row, key, &self.settings.namespace, self.settings.roster.first()) else { return };
        let at = now - held;
        self.relay.keep(index, row.clone(), told.row, at);
        self.sights.shared.lock().nodes[index].told = Some((row, at));
    }

    /// Whether a row was sent just now, by its sender's clock as far as that is known. Whoever passes a row on may have kept
    /// it for long and not say so.
    fn is_of_now(&self, index: usize, row: &Row, now: SystemTime) -> bool {
        let ahead = self.sights.shared.lock().nodes[index].clock_ahead_ms;
        let late = SILENT_AFTER + PASSED_ON_WITHIN + if ahead.is_some() { Duration::ZERO } else { CLOCK_SKEW_MAX };
        let sent = i128::from(row.sent_ms) - i128::from(ahead.unwrap_or(0));
        sent.abs_diff(i128::from(milliseconds(now))) <= late.as_millis()
    }

    fn is_newer(&self, index: usize, row: &Row) -> bool {
        let shared = self.sights.shared.lock();
        shared.nodes[index].row.as_ref().is_none_or(|(newest, _)| row.follows(newest))
    }

    /// Takes in what a row says of its sender.
    fn look_at(&mut self, index: usize, row: Row, now: SystemTime) {
        let rtt = self.round_trip(&row.hearing(self.me), now);
        let mut shared = self.sights.shared.lock();
        let finalized = shared.finalized;
        let sight = &mut shared.nodes[index];
        if sight.row.as_ref().is_some_and(|(_, at)| since(now, *at) > AWAY_AFTER) {
            self.there_since[index] = now;
        }
        let is_restarted = sight.row.as_ref().is_some_and(|(last, _)| last.started_ms != row.started_ms);
        sight.rtt = rtt.or(sight.rtt.filter(|_| !is_restarted));
        let travelled = sight.rtt.unwrap_or_default() / 2;
        let ahead = i128::from(row.sent_ms) + travelled.as_millis().cast_signed() - i128::from(milliseconds(now));
        sight.clock_ahead_ms = sight.rtt.and_then(|_| i64::try_from(ahead).ok());
        let voting = row.voting;
        sight.row = Some((row, now));
        let clock_ahead_ms = sight.clock_ahead_ms;
        let disks: Vec<u32> = shared.nodes.iter().filter_map(disk_ms).collect();
        let (own_row, disk_ms) = (&shared.nodes[index].row, disk_ms(&shared.nodes[index]).unwrap_or(0));
        let failed =
            own_row.as_ref().is_some_and(|(row, _)| matches!(row.vitals.executor, Canary::Wedged | Canary::Wrong));
        drop(shared);
        if is_restarted {
            self.vitals.forget(index);
        }
        let signs = Signs {
            disk_ms,
            median_disk_ms: median(disks),
            executor_failed: failed,
            clock_ahead_ms,
            vote_ms_ago: self.vote_ms_ago(index, voting, finalized, now),
        };
        if self.vitals.follow(index, &signs) || is_restarted {
            self.sights.shared.lock().nodes[index].ailments = self.vitals.ailments(index).collect();
            self.sights.changes.step();
        }
    }

    /// How long ago the row that the peer echoes was sent, without the time that it was held.
    fn round_trip(&self, hearing: &Hearing, now: SystemTime) -> Option<Duration> {
        let (_, sent) = self.sent.iter().find(|(sequence, _)| *sequence as u32 == hearing.echo)?;
        since(now, *sent).checked_sub(Duration::from_millis(hearing.held_ms.into()))
    }

    /// How long a validator that says that it votes has not, while blocks became final just now.
    fn vote_ms_ago(&self, index: usize, voting: bool, finalized: Option<SystemTime>, now: SystemTime) -> Option<u32> {
        finalized.filter(|at| voting && since(now, *at) < Duration::from_secs(2))?;
        let voted = self.sights.voted.get(index).map_or(0, |voted| voted.load(Ordering::Relaxed));
        // Whoever was not seen voting since it is there is measured from then on.
        let ago = milliseconds(now).saturating_sub(voted.max(milliseconds(self.there_since[index])));
        Some(u32::try_from(ago).unwrap_or(u32::MAX))
    }
}

fn own_place(settings: &Settings) -> usize {
    settings.roster.index(&settings.key.public_key()).expect("a node is in its own roster")
}

/// Who watches whom among so many. They are drawn once: nobody chose the number that decides about it.
fn watchers(n: usize) -> Watchers {
    Watchers::new(0, small(n), if n > ALL_MAX { WATCHERS } else { 0 })
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("validator counts are small")
}

fn disk_ms(sight: &Sight) -> Option<u32> {
    sight.row.as_ref().map(|(row, _)| row.vitals.disk_ms.into())
}

fn hearing(sight: &Sight, now: SystemTime) -> Hearing {
    let Some(heard) = sight.heard else { return Hearing::NEVER };
    let rtt = sight.rtt.map_or(u16::MAX, |rtt| u16::try_from(rtt.as_micros() / 100).unwrap_or(u16::MAX));
    let (echo, held_ms) =
        sight.row.as_ref().map_or((0, u16::MAX), |(row, at)| (row.sequence as u32, saturated(since(now, *at))));
    Hearing { age_ms: saturated(since(now, heard)), rtt, echo, held_ms }
}

fn saturated(time: Duration) -> u16 {
    u16::try_from(time.as_millis()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
