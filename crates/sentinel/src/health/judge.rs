//! What follows from a doubt?
//!
//! Wave after wave of probes until their sum is enough, then the time that answers take, then the rest of the wait for
//! pauses; then a suspicion. All of it only while we hear others as we should.

use super::{
    Health, LATE_ONE_IN, Link, Probe,
    arrivals::REACH,
    doubt::{Doubt, LOSS_MAX, LOSS_MIN, WAVES_CLOSE, WAVES_MIN, WHOLE, nats, worth},
    rate,
    record::{ARMED, DOUBTED},
};
use crate::time::Moment;

/// Probes asked for in one tick, about: the rest follows in the next.
const PROBES_MAX: usize = 4_096;

/// Candidates looked at for each helper that is wanted.
const CANDIDATES: u32 = 8;

/// Answers are given at least so long, microseconds: the grain of two busy loops.
const PATIENCE_US_MIN: u64 = 10_000;

/// What to do about a doubted peer.
enum Step {
    Wait(Moment),
    Ask,
    BeginAgain(Moment),
    Accuse,
}

impl Health {
    /// Judges whoever is due, and says whom to probe. It costs nothing when nothing is due. To be called when
    /// [`Health::deadline`] says so: much later, and it takes that as a sign that this process was stalled.
    pub fn tick(&mut self, now: Moment, probes: &mut Vec<Probe>) {
        let now = self.advance(now);
        self.notice_own_lag(now);
        while let Some(fired) = self.wheel.fire(now) {
            self.touch(fired.nodes().iter().copied());
            fired.nodes().iter().for_each(|node| self.look(*node, now));
        }
        while let Some((_, node)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            if probes.len() >= PROBES_MAX {
                break;
            }
            self.agenda.pop_first();
            self.judge(node, now, probes);
        }
        self.keep_within_reach(now);
    }

    /// When [`Health::tick`] must be called at the latest; `None` while nobody is watched.
    pub fn deadline(&self) -> Option<Moment> {
        let next = self.agenda.first().map(|(at, _)| *at);
        next.into_iter().chain(self.wheel.deadline()).min()
    }

    /// Late by more than a quarter of a heartbeat is not how a healthy loop wakes.
    fn notice_own_lag(&mut self, now: Moment) {
        let late = self.deadline().map_or(0, |deadline| now.since(deadline));
        if late > self.config.heartbeat_us / 4 {
            self.stalled(late, now);
        }
    }

    /// An entry of the wheel fired: is the node overdue by now?
    #[inline]
    fn look(&mut self, node: u32, now: Moment) {
        let record = &mut self.nodes[node as usize];
        match (record.watched(), record.doubtful_in(now)) {
            (false, _) => record.flags &= !ARMED,
            (true, 0) => {
                record.flags &= !ARMED;
                self.doubt(node, now);
            }
            (true, left) => self.wheel.arm(node, now.after(left)),
        }
    }

    fn doubt(&mut self, node: u32, now: Moment) {
        self.set_link(node, Link::Doubted);
        let helper = self.draw();
        let stride = self.stride();
        let doubt = Doubt {
            since: now,
            next: now,
            asked: now,
            latest: now,
            waves: 0,
            evidence: self.overdue_is_worth(node),
            rows: self.rows,
            signs: self.signs,
            helper: helper % self.nodes.len() as u32,
            stride,
        };
        self.doubts.insert(node, doubt);
        self.agenda.insert((now, node));
    }

    /// A doubt itself is evidence: it comes with a lost row, or with one of those that may be late.
    fn overdue_is_worth(&self, node: u32) -> u32 {
        let loss = self.nodes[node as usize].loss();
        nats(loss.clamp(LOSS_MIN, LOSS_MAX) + WHOLE / LATE_ONE_IN as u32)
    }

    fn judge(&mut self, node: u32, now: Moment, probes: &mut Vec<Probe>) {
        let Some(mut doubt) = self.doubts.get(&node).copied().filter(|_| self.nodes[node as usize].is(DOUBTED)) else {
            return;
        };
        match self.step(node, &doubt, now) {
            Step::Wait(until) => doubt.next = until,
            Step::Ask => self.ask(node, &mut doubt, now, probes),
            Step::BeginAgain(until) => self.begin_again(&mut doubt, until, now),
            Step::Accuse => return self.set_link(node, Link::Suspect),
        }
        doubt.next = doubt.next.max(now.after(1_000));
        self.agenda.insert((doubt.next, node));
        self.doubts.insert(node, doubt);
    }

    fn step(&mut self, node: u32, doubt: &Doubt, now: Moment) -> Step {
        if self.deaf() {
            self.excuse(now.after(2 * self.config.heartbeat_us));
        }
        if now < self.excused_until {
            return Step::BeginAgain(self.excused_until);
        }
        match self.others(node, doubt, now) {
            Others::Heard => self.weigh(node, doubt, now),
            // Probing goes on; a verdict waits.
            Others::TooEarly => match self.weigh(node, doubt, now) {
                Step::Accuse => Step::Wait(now.after(self.config.wave_us / 4)),
                step @ (Step::Wait(_) | Step::Ask | Step::BeginAgain(_)) => step,
            },
            Others::Missing => Step::BeginAgain(now.after(self.config.heartbeat_us / 4)),
        }
    }

    /// Others must have been heard since the doubt began, and half of the rows that were due must have come: else it is
    /// we who do not hear.
    fn others(&self, node: u32, doubt: &Doubt, now: Moment) -> Others {
        if self.watched < 2 {
            return Others::Heard;
        }
        let rate = self.rate - rate(&self.nodes[node as usize]);
        let due = (u128::from(now.since(doubt.since)) * u128::from(rate)) >> 32;
        let came = u128::from(self.rows - doubt.rows);
        match came * 2 >= due {
            true if self.signs > doubt.signs => Others::Heard,
            true => Others::TooEarly,
            false if due < 3 => Others::TooEarly,
            false => Others::Missing,
        }
    }

    fn weigh(&self, node: u32, doubt: &Doubt, now: Moment) -> Step {
        let record = &self.nodes[node as usize];
        let (overdue, wait) = (record.overdue_us(now), self.wait_us(record));
        let answered_by = doubt.latest.after(u64::from(self.patience.us()).max(PATIENCE_US_MIN));
        let enough = doubt.evidence >= self.need && doubt.waves >= WAVES_MIN;
        if record.silence_us(now) >= self.config.silence_us_max || (enough && now >= answered_by && overdue >= wait) {
            return Step::Accuse;
        }
        let next_wave = doubt.latest.after(self.spacing(doubt, enough));
        if doubt.waves == 0 || now >= next_wave {
            return Step::Ask;
        }
        let judged = if enough { answered_by.max(now.after(wait.saturating_sub(overdue))) } else { next_wave };
        Step::Wait(judged.min(next_wave))
    }

    /// Close together while evidence is wanted; then with the heartbeats, so that a longer wait ends on fresh probes.
    fn spacing(&self, doubt: &Doubt, enough: bool) -> u64 {
        let close = !enough && doubt.waves < WAVES_CLOSE;
        if close { self.config.wave_us } else { self.config.heartbeat_us }
    }

    fn ask(&mut self, node: u32, doubt: &mut Doubt, now: Moment, probes: &mut Vec<Probe>) {
        if doubt.waves == 0 {
            doubt.asked = now;
        }
        doubt.waves = doubt.waves.saturating_add(1);
        doubt.latest = now;
        doubt.next = now;
        probes.push(Probe { target: node, through: None, wave: doubt.waves });
        let helpers = self.ask_through(node, doubt, probes);
        let worth = worth(self.nodes[node as usize].loss(), 1, helpers);
        doubt.evidence = doubt.evidence.saturating_add(worth);
    }

    /// Most doubts end with the first wave; those after it may cost more and are to be the last.
    fn ask_through(&self, node: u32, doubt: &mut Doubt, probes: &mut Vec<Probe>) -> u32 {
        let first = self.config.helpers.min(1);
        let wanted = if doubt.waves == 1 { first } else { first + 2 * self.config.helpers };
        let mut found = 0;
        for _ in 0..wanted * CANDIDATES {
            if found == wanted {
                break;
            }
            if let Some(helper) = self.next_helper(node, doubt) {
                probes.push(Probe { target: node, through: Some(helper), wave: doubt.waves });
                found += 1;
            }
        }
        found
    }

    /// The walk visits every node once before any twice, so helpers of one doubt are distinct while there are enough.
    fn next_helper(&self, target: u32, doubt: &mut Doubt) -> Option<u32> {
        let nodes = self.nodes.len() as u64;
        let candidate = doubt.helper;
        let next = (u64::from(candidate) + u64::from(doubt.stride)) % nodes;
        doubt.helper = u32::try_from(next).expect("below the number of nodes");
        let fit = candidate != self.me && candidate != target && self.link(candidate) == Link::Alive;
        fit.then_some(candidate)
    }

    /// What went unanswered while we were not to be trusted counts for nothing.
    fn begin_again(&self, doubt: &mut Doubt, until: Moment, now: Moment) {
        // Not even that it is overdue: we may have missed the row ourselves.
        *doubt = Doubt { since: now, waves: 0, evidence: 0, rows: self.rows, signs: self.signs, next: until, ..*doubt };
    }

    /// A step that reaches every node: without a common divisor with their number.
    fn stride(&mut self) -> u32 {
        let nodes = u32::try_from(self.nodes.len()).expect("nodes are counted in 32 bits");
        let first = self.draw() % nodes;
        let fits = |step: &u32| greatest_common_divisor(*step, nodes) == 1;
        (first..nodes).chain(1..first).find(fits).unwrap_or(1)
    }

    /// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    /// Twice a day, all of them at once: a few milliseconds for a million.
    fn keep_within_reach(&mut self, now: Moment) {
        if now.since(self.swept) >> 6 > u64::from(REACH / 2) {
            self.swept = now;
            let grains = super::grains(now);
            self.nodes.iter_mut().for_each(|record| record.arrivals.keep_within_reach(grains));
        }
    }
}

/// Do we hear others?
enum Others {
    Heard,
    TooEarly,
    Missing,
}

/// Euclid.
const fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
