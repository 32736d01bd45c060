//! Which blocks are asked for next, when many are missing?
//!
//! Ranges of them, several at a time, each of whichever peer. How many blocks are under way follows what comes back, as a
//! sender's window does (additive growth would take too long here: it doubles while all goes well, and halves when something
//! is late; RFC 5681, section 3.1, is the model). A line of any width is used, and none is flooded.

use crate::time::Moment;
use std::collections::BTreeMap;

/// Ranges that are asked for at the same time.
const OPEN_MAX: usize = 16;
/// The most blocks in a range. Ranges end at multiples of their length, so that what came in ranges can be given on in them:
/// only the last block of each brings a certificate along.
pub const RANGE_MAX: u64 = 128;
/// Blocks under way: at first, at least and at most.
const WINDOW: u64 = 256;
const WINDOW_MIN: u64 = 16;
const WINDOW_MAX: u64 = OPEN_MAX as u64 * RANGE_MAX;
/// So far beyond what took effect nothing is asked for.
const AHEAD_MAX: u64 = 2 * WINDOW_MAX;
/// A range that is not there after so long is asked for again, and of fewer blocks.
const LATE_AFTER_US: u64 = 3_000_000;
/// When so many times in a row something was late and nothing came, ranges are no way.
const LATE_MAX: u32 = 4;
/// Then there is a rest of so long; twice as long each time.
const REST_MIN_US: u64 = 10_000_000;
const REST_MAX_US: u64 = 300_000_000;

/// Blocks one after the other.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Range {
    /// The first height.
    pub from: u64,
    /// The last one.
    pub to: u64,
}

impl Range {
    const fn len(self) -> u64 {
        self.to - self.from + 1
    }
}

/// How far things are.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The newest block that took effect here.
    pub applied: u64,
    /// The newest that is wanted.
    pub until: u64,
    /// When.
    pub now: Moment,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// Nothing from here on was wanted yet.
    next: u64,
    /// Blocks that may be under way.
    window: u64,
    /// By their first height: the last one, and since when they are asked for.
    open: BTreeMap<u64, (u64, Moment)>,
    /// What is to be asked for, by the first height.
    wanted: BTreeMap<u64, u64>,
    /// How many times in a row something was late and nothing came.
    late: u32,
    rests: u32,
    resting_until: Moment,
}

impl Default for Ranges {
    fn default() -> Self {
        Self {
            next: 0,
            window: WINDOW,
            open: BTreeMap::new(),
            wanted: BTreeMap::new(),
            late: 0,
            rests: 0,
            resting_until: Moment(0),
        }
    }
}

impl Ranges {
    /// What is to be asked for now. `end` says, of a height, at which one a range that begins there has to end at the latest,
    /// and `held` which heights are there already.
    pub fn ask(&mut self, reach: Reach, end: impl Fn(u64) -> u64, held: impl Fn(u64) -> bool) -> Vec<Range> {
        let Reach { applied, until, now } = reach;
        self.forget_below(applied);
        let limit = until.min(applied.saturating_add(AHEAD_MAX));
        if self.next <= limit {
            self.want(self.next, limit);
            self.next = limit + 1;
        }
        let mut asked = Vec::new();
        while self.open.len() < OPEN_MAX && self.under_way() < self.window && !self.rests(now) {
            let Some((from, to)) = self.wanted.pop_first() else { break };
            let Some(first) = (from..=to).find(|height| !held(*height)) else { continue };
            let last = (first | (self.length() - 1)).min(end(first)).min(to);
            if last < to {
                self.want(last + 1, to);
            }
            self.open.insert(first, (last, now));
            asked.push(Range { from: first, to: last });
        }
        asked
    }

    /// Of a range that was asked for these came, from its first height to `top`. What is left of it will be asked for again.
    pub fn came(&mut self, range: Range, top: u64) {
        if self.open.remove(&range.from).is_none() {
            return;
        }
        if top < range.to {
            self.want(top + 1, range.to);
        }
        (self.late, self.rests) = (0, 0);
        self.window = (self.window + Range { to: top, ..range }.len()).min(WINDOW_MAX);
    }

    /// What nobody has given for too long: it is not asked for any more, and will be again, fewer at a time.
    pub fn late(&mut self, now: Moment) -> Vec<Range> {
        let is_late = |(_, since): &(u64, Moment)| now.since(*since) >= LATE_AFTER_US;
        let late: Vec<Range> = self
            .open
            .iter()
            .filter(|(_, it)| is_late(it))
            .map(|(from, (to, _))| Range { from: *from, to: *to })
            .collect();
        if late.is_empty() {
            return late;
        }
        for Range { from, to } in &late {
            self.open.remove(from);
            self.want(*from, *to);
        }
        self.window = (self.window / 2).max(WINDOW_MIN);
        self.late += 1;
        if self.late >= LATE_MAX {
            let rest = REST_MIN_US.saturating_mul(1 << self.rests.min(16)).min(REST_MAX_US);
            (self.late, self.rests, self.resting_until) = (0, self.rests.saturating_add(1), now.after(rest));
            (self.window, self.next) = (WINDOW, 0);
            self.open.clear();
            self.wanted.clear();
        }
        late
    }

    /// Whether ranges are no way for the time being.
    pub fn rests(&self, now: Moment) -> bool {
        now < self.resting_until
    }

    /// Whether something below is asked for or wanted.
    pub fn is_open_below(&self, height: u64) -> bool {
        let first = [self.open.keys().next(), self.wanted.keys().next()].into_iter().flatten().min();
        first.is_some_and(|first| *first < height)
    }

    /// Ranges that are asked for.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether this is asked for.
    pub fn is_asked(&self, range: Range) -> bool {
        self.open.get(&range.from).is_some_and(|(to, _)| *to == range.to)
    }

    /// These are to be asked for, in one piece with what is beside them.
    fn want(&mut self, mut from: u64, mut to: u64) {
        if let Some((below, end)) = self.wanted.range(..from).next_back().map(|(below, end)| (*below, *end))
            && end + 1 == from
        {
            self.wanted.remove(&below);
            from = below;
        }
        if let Some(end) = self.wanted.remove(&(to + 1)) {
            to = end;
        }
        self.wanted.insert(from, to);
    }

    /// Blocks in a range, a power of two.
    fn length(&self) -> u64 {
        let even = (self.window / OPEN_MAX as u64).clamp(1, RANGE_MAX);
        1 << even.ilog2()
    }

    fn under_way(&self) -> u64 {
        self.open.iter().map(|(from, (to, _))| Range { from: *from, to: *to }.len()).sum()
    }

    fn forget_below(&mut self, applied: u64) {
        self.open.retain(|_, (to, _)| *to > applied);
        self.wanted.retain(|_, to| *to > applied);
        self.next = self.next.max(applied.saturating_add(1));
    }
}

#[cfg(test)]
mod tests;
