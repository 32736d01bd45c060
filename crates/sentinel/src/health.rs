//! Who is still there?
//!
//! Each peer sends a row every heartbeat. When one is later than that peer's rows usually are, the peer is *doubted*: it
//! is asked, directly and through others, in a few quick waves. Any sign of life ends the doubt. It becomes *suspect* when
//! so many probes went unanswered that a budget of mistakes allows it, and when it has been overdue for longer than it has
//! been seen to pause. No threshold is set by hand: the lateness that is usual, the losses of its path, how long answers
//! take and how long it pauses are learned, from the budget and from what came.
//!
//! Asking is what makes this quick. At one mistake a node-year a detector that only listens has to miss six heartbeats
//! in a row at 5 % loss (Wald's bound); a burst of probes collects the same evidence in a tenth of a second.
//!
//! An observer that hears nobody, or wakes late itself, is the likelier culprit. It doubts, and accuses nobody (compare
//! Dadgar, Phillips, Currey, "Lifeguard: local health awareness for more accurate failure detection", DSN 2018).
//!
//! What it cannot tell: a crash from a first pause longer than any before, or from a cut that takes all paths to the peer.
//! A suspicion is an opinion; the network agrees on it or not.
//!
//! - `config`: what may be chosen
//! - `arrivals`: when should the next heartbeat come?
//! - `margin`: how much later than that may it come?
//! - `stalls`: how long may a peer pause before that is called a crash?
//! - `doubt`: is the evidence sufficient?
//! - `judge`: what follows from a doubt?
//! - `passive`: what can be said about one link by listening alone?
//! - `record`, `wheel`: what is kept about a peer, and whose deadline has come

mod arrivals;
mod config;
mod doubt;
mod judge;
mod margin;
mod passive;
mod record;
mod stalls;
mod wheel;

#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError};
pub use passive::Passive;

use crate::time::Moment;
use arrivals::{Beat, grains};
use doubt::{Doubt, ln_milli};
use margin::{Margin, Pace};
use record::{ARMED, CHANGED, DOUBTED, MET, PAUSED, Paces, Record, SUSPECT};
use stalls::Stalls;
use std::collections::{BTreeMap, BTreeSet};
use wheel::Wheel;

/// Of a peer's rows one in so many may come late enough to ask it: that costs a dozen messages a minute.
const LATE_ONE_IN: u64 = 64;

/// How fast the wait for answers falls: an answer that takes longer raises it to more than it took, and it is halved in
/// two hundred answers. So it stays near the slowest answer of late, also among peers near and far.
const ANSWERS_LATE_ONE_IN: u64 = 8;

/// Records that are fetched side by side: what a processor keeps under way, or a little more.
const TOGETHER: usize = 32;

/// After so many answers the time they take is known roughly: four times the longest. Under an exponential tail 1 in
/// 6,000 takes longer.
const ANSWERS_FIRST: u32 = 8;

/// A probe to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// Who is asked whether it is there.
    pub target: u32,
    /// Who is asked to ask; `None`: we do so ourselves.
    pub through: Option<u32>,
    /// Which wave this is, from 1; it stays at 255.
    pub wave: u8,
}

/// What we think of a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// It was heard when it should have been, or is not watched.
    Alive,
    /// Its row is overdue, and it is being asked.
    Doubted,
    /// The evidence is sufficient.
    Suspect,
}

/// See the module.
#[derive(Debug)]
pub struct Health {
    config: Config,
    me: u32,
    nodes: Vec<Record>,
    paces: Paces,
    wheel: Wheel,
    /// Peers that are doubted or suspect.
    doubts: BTreeMap<u32, Doubt>,
    /// When doubted ones are looked at next.
    agenda: BTreeSet<(Moment, u32)>,
    /// Pauses that ended, microseconds and whether they were called a crash, until a row tells whether the process lives.
    pauses: BTreeMap<u32, (u64, bool)>,
    changed: Vec<u32>,
    /// How many peers are watched, how many rows that makes in 2^32 microseconds, and how many of them are doubted.
    watched: u32,
    rate: u64,
    doubted: u32,
    /// Rows that came, and signs of life of any kind.
    rows: u64,
    signs: u64,
    /// How long answers take; before any came, 200 ms at the default heartbeat.
    patience: Margin,
    patience_pace: Pace,
    answers: u32,
    /// The longest of the first answers.
    answer_us_longest: u64,
    /// What a suspicion takes, thousandths of a nat.
    need: u32,
    /// Nobody is accused before.
    excused_until: Moment,
    /// The latest time seen, and when old times were last brought within reach.
    now: Moment,
    swept: Moment,
    random: u64,
}

impl Health {
    /// Nobody is watched yet, and everybody is alive, so that a restart does not accuse the whole network.
    ///
    /// # Panics
    /// If [`Config::check`] refuses the configuration.
    pub fn new(config: &Config, me: u32, nodes: u32, seed: u64, now: Moment) -> Self {
        config.check().expect("the configuration was checked at start");
        let beats = config.beats_per_mistake();
        let stalls = Stalls::new(config.stall_us_min, config.stall_us_max, beats);
        let record = Record::new(Margin::new(config.heartbeat_us / 16), stalls.initial(), now);
        Self {
            config: config.clone(),
            me,
            nodes: vec![record; nodes as usize],
            paces: Paces { margin: Pace::one_in(LATE_ONE_IN), stalls },
            wheel: Wheel::new(now),
            doubts: BTreeMap::new(),
            agenda: BTreeSet::new(),
            pauses: BTreeMap::new(),
            changed: Vec::new(),
            watched: 0,
            rate: 0,
            doubted: 0,
            rows: 0,
            signs: 0,
            patience: Margin::new(config.heartbeat_us * 2 / 5),
            patience_pace: Pace::one_in(ANSWERS_LATE_ONE_IN),
            answers: 0,
            answer_us_longest: 0,
            need: ln_milli(beats),
            excused_until: now,
            now,
            swept: now,
            random: seed,
        }
    }

    /// There are so many nodes from now on, and this one is `me`. Who is new is not watched yet. Nobody ever goes.
    ///
    /// # Panics
    /// If there were more before.
    pub fn grow(&mut self, nodes: u32, me: u32, now: Moment) {
        assert!(nodes as usize >= self.nodes.len(), "{nodes} nodes are fewer than {}", self.nodes.len());
        let now = self.advance(now);
        let record = Record::new(Margin::new(self.config.heartbeat_us / 16), self.paces.stalls.initial(), now);
        self.nodes.resize(nodes as usize, record);
        self.me = me;
    }

    /// From now on rows of `node` are due here every so many microseconds, at most 19 hours; 0: it is not watched, and
    /// counts as alive. A shorter interval takes effect once the deadline under the longer one has passed, or a row came.
    pub fn expect(&mut self, node: u32, interval_us: u64, now: Moment) {
        let now = self.advance(now);
        let Some(record) = self.nodes.get_mut(node as usize).filter(|_| node != self.me) else { return };
        let before = (record.watched(), rate(record));
        record.expect(interval_us, now);
        let after = (record.watched(), rate(record));
        self.watched = self.watched + u32::from(after.0) - u32::from(before.0);
        self.rate = self.rate + after.1 - before.1;
        self.set_alive(node, now);
    }

    /// A row came: the only thing that teaches when rows come.
    #[inline]
    pub fn row(&mut self, node: u32, sequence: u64, now: Moment) {
        let now = self.advance(now);
        let Some(record) = self.nodes.get_mut(node as usize) else { return };
        self.signs += 1;
        self.rows += u64::from(record.watched());
        // Truncated: only differences count, and they are small.
        let sequence = sequence as u32;
        if record.is(DOUBTED | SUSPECT | PAUSED) {
            self.returned_with(node, sequence, now);
        } else {
            record.row(sequence, now, &self.paces);
        }
    }

    /// Rows that came together, node and sequence: cheaper than one by one when there are many nodes.
    pub fn rows(&mut self, rows: &[(u32, u64)], now: Moment) {
        for some in rows.chunks(TOGETHER) {
            self.touch(some.iter().map(|(node, _)| *node));
            some.iter().for_each(|(node, sequence)| self.row(*node, *sequence, now));
        }
    }

    /// Any other direct sign of life came: a message of consensus, an answer to a task.
    #[inline]
    pub fn heard(&mut self, node: u32, now: Moment) {
        let now = self.advance(now);
        let Some(record) = self.nodes.get_mut(node as usize) else { return };
        self.signs += 1;
        let overdue = if record.is(DOUBTED | SUSPECT) { Some(record.overdue_us(now)) } else { None };
        record.arrivals.heard = grains(now);
        record.flags |= MET;
        if let Some(overdue) = overdue {
            self.returned(node, overdue, now);
        }
    }

    /// A probe about `node` was answered, directly or through a helper: call this alone, not [`Health::heard`] as well, or
    /// how long answers take is never learned. For the helper that passed it on, do call `heard`.
    pub fn answered(&mut self, node: u32, now: Moment) {
        self.answer_took(node, now);
        self.heard(node, now);
    }

    /// Our own loop woke so many microseconds too late. What we did not hear we may have slept through, so nobody is
    /// accused until as much time and another heartbeat have passed.
    pub fn stalled(&mut self, late_us: u64, now: Moment) {
        let now = self.advance(now);
        self.excuse(now.after(late_us).after(self.config.heartbeat_us));
    }

    /// What we think of it; strangers are alive.
    pub fn link(&self, node: u32) -> Link {
        match self.nodes.get(node as usize) {
            Some(record) if record.is(SUSPECT) => Link::Suspect,
            Some(record) if record.is(DOUBTED) => Link::Doubted,
            Some(_) | None => Link::Alive,
        }
    }

    /// Microseconds since anything was heard of it, or since we began; beyond 19 hours it may stay there.
    pub fn silence_us(&self, node: u32, now: Moment) -> u64 {
        self.nodes.get(node as usize).map_or(0, |record| record.silence_us(now.max(self.now)))
    }

    /// For how long it may be overdue before it is suspected, microseconds.
    pub fn stall_us(&self, node: u32) -> u64 {
        self.nodes.get(node as usize).map_or(0, |record| self.wait_us(record))
    }

    /// Whose link changed since this was asked last, and what it is now, in the order of the first change.
    pub fn changes(&mut self) -> impl Iterator<Item = (u32, Link)> + use<> {
        let changed = std::mem::take(&mut self.changed);
        let now: Vec<(u32, Link)> = changed.into_iter().map(|node| (node, self.link(node))).collect();
        now.iter().for_each(|(node, _)| self.nodes[*node as usize].flags &= !CHANGED);
        now.into_iter()
    }

    /// Whether we are not to be trusted ourselves just now: woke late, or hear too few.
    pub fn excused(&self, now: Moment) -> bool {
        now < self.excused_until || self.deaf()
    }

    /// Bytes held for timing, spare room included.
    pub fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Record>() + self.wheel.bytes()
    }

    /// Time never goes back, whoever passes it in.
    #[inline]
    fn advance(&mut self, now: Moment) -> Moment {
        self.now = self.now.max(now);
        self.now
    }

    /// Reads these records at once, so that memory delivers them side by side and not one after the other. A record may
    /// lie across two cache lines: its first word and its last are read.
    #[inline]
    fn touch(&self, nodes: impl Iterator<Item = u32>) {
        let records = nodes.filter_map(|node| self.nodes.get(node as usize));
        let sum = records.fold(0, |sum, record| sum ^ record.arrivals.due ^ u32::from(record.wait));
        std::hint::black_box(sum);
    }

    fn excuse(&mut self, until: Moment) {
        self.excused_until = self.excused_until.max(until);
    }

    /// More than a third of those we watch are doubted at once; a single one never is.
    fn deaf(&self) -> bool {
        self.doubted > 1 && u64::from(self.doubted) * 3 > u64::from(self.watched)
    }

    fn wait_us(&self, record: &Record) -> u64 {
        if record.is(MET) { stalls::us(record.wait) } else { self.config.stall_us_max }
    }

    /// A row came from one that was doubted, or had paused.
    #[cold]
    fn returned_with(&mut self, node: u32, sequence: u32, now: Moment) {
        let record = &mut self.nodes[node as usize];
        let overdue = record.overdue_us(now);
        let beat = record.row(sequence, now, &self.paces);
        if record.is(DOUBTED | SUSPECT) {
            self.returned(node, overdue, now);
        }
        let pause = self.pauses.remove(&node);
        self.nodes[node as usize].flags &= !PAUSED;
        match (beat, pause) {
            (Beat::Next { .. }, Some((us, accused))) => self.paused(node, us, accused),
            // It began anew: that was no pause. Or it cannot be told.
            (Beat::Anew | Beat::Old, _) | (Beat::Next { .. }, None) => {}
        }
    }

    /// A sign of life came from one that was doubted or suspect.
    #[cold]
    fn returned(&mut self, node: u32, overdue_us: u64, now: Moment) {
        let record = &mut self.nodes[node as usize];
        let accused = record.is(SUSPECT);
        let teaches = self.paces.stalls.ended(record.wait, overdue_us, accused) != record.wait;
        if teaches && now >= self.excused_until {
            record.flags |= PAUSED;
            self.pauses.insert(node, (overdue_us, accused));
        }
        self.set_alive(node, now);
    }

    fn paused(&mut self, node: u32, us: u64, accused: bool) {
        let record = &mut self.nodes[node as usize];
        record.wait = self.paces.stalls.ended(record.wait, us, accused);
    }

    /// How long did the first answer take? Only answers that were waited for can tell.
    fn answer_took(&mut self, node: u32, now: Moment) {
        let now = self.advance(now);
        let Some(doubt) = self.doubts.get(&node).filter(|doubt| doubt.waves > 0) else { return };
        let took = now.since(doubt.asked);
        self.answers = self.answers.wrapping_add(1);
        if self.answers <= ANSWERS_FIRST {
            return self.first_answer_took(took);
        }
        self.patience.beat(&self.patience_pace, self.answers.wrapping_sub(1), self.answers, 1);
        if took > u64::from(self.patience.us()) {
            self.patience.at_least((took + took / 4).min(self.config.heartbeat_us));
        }
    }

    /// From a guess down to a fine quantile is a long way in small steps, so the first few answers take it in one.
    fn first_answer_took(&mut self, took: u64) {
        self.answer_us_longest = self.answer_us_longest.max(took);
        if self.answers == ANSWERS_FIRST {
            self.patience = Margin::new((4 * self.answer_us_longest).min(u64::from(self.patience.us())));
        }
    }

    fn set_alive(&mut self, node: u32, now: Moment) {
        self.set_link(node, Link::Alive);
        if let Some(doubt) = self.doubts.remove(&node) {
            self.agenda.remove(&(doubt.next, node));
        }
        self.arm(node, now);
    }

    /// Each watched peer that is alive has one entry in the wheel.
    fn arm(&mut self, node: u32, now: Moment) {
        let record = &mut self.nodes[node as usize];
        if record.watched() && !record.is(ARMED | DOUBTED | SUSPECT) {
            record.flags |= ARMED;
            self.wheel.arm(node, now.after(record.doubtful_in(now)));
        }
    }

    fn set_link(&mut self, node: u32, link: Link) {
        if self.link(node) == link {
            return;
        }
        let record = &mut self.nodes[node as usize];
        self.doubted -= u32::from(record.is(DOUBTED));
        record.flags &= !(DOUBTED | SUSPECT);
        match link {
            Link::Alive => {}
            Link::Doubted => {
                record.flags |= DOUBTED;
                self.doubted += 1;
            }
            Link::Suspect => record.flags |= SUSPECT,
        }
        if !record.is(CHANGED) {
            record.flags |= CHANGED;
            self.changed.push(node);
        }
    }
}

/// Rows in 2^32 microseconds.
fn rate(record: &Record) -> u64 {
    (1u64 << 32).checked_div(u64::from(record.arrivals.interval) << 6).unwrap_or(0)
}
