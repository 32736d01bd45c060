//! What is kept about one peer: 24 bytes, with the entry in the wheel 28.

use super::{
    arrivals::{Arrivals, Beat, between, grains, in_grains, us},
    doubt::WHOLE,
    margin::{Margin, Pace},
    stalls::{Stalls, Step},
};
use crate::time::Moment;

/// It has an entry in the wheel.
pub(super) const ARMED: u8 = 1;
/// It is being probed.
pub(super) const DOUBTED: u8 = 2;
/// It is suspected.
pub(super) const SUSPECT: u8 = 4;
/// Something was heard of it, ever.
pub(super) const MET: u8 = 8;
/// Its link changed and nobody was told yet.
pub(super) const CHANGED: u8 = 16;
/// A pause ended, and the next row will tell whether the same process lives.
pub(super) const PAUSED: u8 = 32;

/// The average of losses forgets within so many rows, as a power of two.
const MEMORY: u32 = 7;

/// The share of rows taken to be lost before any came: bad, so that early evidence counts for little.
const LOST: u16 = 1 << 14;

/// What all records share.
#[derive(Debug)]
pub(super) struct Paces {
    pub(super) margin: Pace,
    pub(super) stalls: Stalls,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) arrivals: Arrivals,
    margin: Margin,
    /// The share of its rows that never came, of [`WHOLE`].
    lost: u16,
    pub(super) flags: u8,
    pub(super) wait: Step,
}

impl Record {
    pub(super) const fn new(margin: Margin, wait: Step, now: Moment) -> Self {
        Self { arrivals: Arrivals::new(0, grains(now)), margin, lost: LOST, flags: 0, wait }
    }

    #[inline]
    pub(super) const fn watched(&self) -> bool {
        self.arrivals.interval != 0
    }

    #[inline]
    pub(super) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The share of [`WHOLE`] that may be lost: a quarter more than was seen, as a hundred rows are not many.
    pub(super) const fn loss(&self) -> u32 {
        self.lost as u32 * 5 / 4
    }

    /// From now on rows are due every so often. Silence counts from when somebody listens.
    pub(super) fn expect(&mut self, interval_us: u64, now: Moment) {
        if !self.watched() {
            self.arrivals.heard = grains(now);
        }
        let interval = if interval_us == 0 { 0 } else { in_grains(interval_us).max(1) };
        self.arrivals = Arrivals { interval, ..self.arrivals };
        self.arrivals.due = grains(now).wrapping_add(interval);
    }

    /// The grace, in grains: what is usual, but never more than half an interval, or a second row would be waited for.
    #[inline]
    fn grace(&self) -> u32 {
        in_grains(u64::from(self.margin.us())).min(self.arrivals.interval / 2)
    }

    /// A row came.
    #[inline]
    pub(super) fn row(&mut self, sequence: u32, now: Moment, paces: &Paces) -> Beat {
        let beat = self.arrivals.row(sequence, grains(now), self.grace());
        self.flags |= MET;
        if let Beat::Next { late, from } = beat {
            self.learn(late, from, sequence, paces);
        }
        beat
    }

    #[inline]
    fn learn(&mut self, late: i32, from: u32, sequence: u32, paces: &Paces) {
        self.margin.beat(&paces.margin, from, sequence, 1);
        if us(late) > u64::from(self.margin.us()) {
            self.margin.missed();
        }
        self.wait = paces.stalls.beat(self.wait, from, sequence);
        self.lost -= self.lost >> MEMORY;
        if sequence.wrapping_sub(from) != 1 && from != 0 {
            self.skipped(sequence.wrapping_sub(from) - 1);
        }
    }

    /// Moves the average as often as rows are missing; the peer chooses the number, so it is bounded.
    fn skipped(&mut self, rows: u32) {
        for _ in 0..rows.min(1 << MEMORY) {
            self.lost += ((WHOLE - 1 - u32::from(self.lost)) >> MEMORY) as u16;
        }
    }

    /// Microseconds until it is overdue enough to be doubted; 0 when it is.
    #[inline]
    pub(super) fn doubtful_in(&self, now: Moment) -> u64 {
        us(between(grains(now), self.arrivals.expected().wrapping_add(self.grace())))
    }

    /// Microseconds since something was expected of it.
    pub(super) fn overdue_us(&self, now: Moment) -> u64 {
        us(between(self.arrivals.expected(), grains(now)))
    }

    /// Microseconds since anything was heard.
    pub(super) fn silence_us(&self, now: Moment) -> u64 {
        us(between(self.arrivals.heard, grains(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_24_bytes() {
        assert_eq!(size_of::<Record>(), 24);
    }

    #[test]
    fn the_share_of_lost_rows_is_followed() {
        let stalls = Stalls::new(200_000, 5_000_000, 1 << 26);
        let paces = Paces { margin: Pace::one_in(64), stalls };
        let mut record = Record::new(Margin::new(30_000), stalls.initial(), Moment(0));
        record.expect(500_000, Moment(0));
        for sequence in (1..4_000).filter(|n| n % 10 != 0) {
            record.row(sequence, Moment(u64::from(sequence) * 500_000), &paces);
        }
        assert!(record.loss().abs_diff(WHOLE / 8) < WHOLE / 50, "{}", record.loss());
    }
}
