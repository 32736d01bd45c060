//! Who is the least loaded, among a hundred thousand?
//!
//! What `balance` finds by looking at everybody, kept up to date instead: workers are dense indices, and each lease that
//! begins or ends costs one path through a small tree. The answers are the same to the unit, ties included.
//!
//! Load is compared with the task's units already added, so no order of the workers fits tasks of every size. Among
//! workers of *equal weight* one does: the fewest units come first. Those share a lane, which is a tournament (Knuth,
//! "The Art of Computer Programming" volume 3, section 5.4.1, trees of losers and winners) over units and index; across
//! lanes the winners are compared as exact fractions. Equal weight is also an equal window: if the winner of a lane has
//! no room, nobody in that lane has. One choice costs O(lanes), one change O(log workers). Where every worker has a weight
//! of its own this is the plain scan again.
//!
//! - `tournament`: the least of many keys
//! - `leases`: which task is with whom, to move those of workers that failed

mod leases;
mod tournament;

pub use leases::{Evicted, Leases, Moved, Refusal, Relet, Slot};

use std::collections::BTreeMap;
use tournament::{NONE, Tournament};

/// A key is a worker's units above its index: so many bits are the index.
const INDEX_BITS: u32 = 20;

/// The most workers.
pub const WORKERS_MAX: usize = 1 << INDEX_BITS;

/// The most units a worker may hold for each unit of weight: with the greatest weight a key is still 64 bits.
pub const WINDOW_MAX: u32 = 1 << (u64::BITS - INDEX_BITS - u32::BITS);

/// What becomes of a task, as in `balance`, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It goes to this one.
    Now(u32),
    /// It waits until this one has room.
    Later(u32),
    /// There is nobody to wait for.
    Nobody,
}

/// Workers by load. See the module.
#[derive(Clone, Debug)]
pub struct Board {
    /// Units a worker may hold for each unit of weight.
    window: u32,
    seats: Vec<Seat>,
    lanes: Vec<Lane>,
    /// Where the lane of a weight and a group is.
    lane_of: BTreeMap<(u32, u32), u32>,
    /// Who keeps its room for a task that waits.
    kept: Vec<u32>,
}

/// One worker.
#[derive(Clone, Copy, Debug)]
struct Seat {
    units: u64,
    leases: u32,
    lane: u32,
    /// Its place in the lane's tournament.
    place: u32,
    group: u32,
    is_open: bool,
    has_missed: bool,
    is_kept: bool,
}

/// Workers of the same weight and group.
#[derive(Clone, Debug)]
struct Lane {
    weight: u32,
    group: u32,
    /// The units each may hold at once.
    window: u64,
    tournament: Tournament,
    /// Places that workers with a new weight left.
    free: Vec<u32>,
}

/// Units against weight, and the index for a tie.
#[derive(Clone, Copy)]
struct Load {
    units: u64,
    weight: u32,
    index: u32,
}

impl Load {
    fn is_lighter(&self, other: &Self) -> bool {
        let load = |of: &Self, by: &Self| u128::from(of.units) * u128::from(by.weight);
        (load(self, other), self.index) < (load(other, self), other.index)
    }
}

impl Board {
    /// Workers of these weights and groups, all open and idle. Each may hold `window` units for each unit of weight. A
    /// group is whatever tasks are kept within or spread over, such as a region.
    ///
    /// # Panics
    /// If there are more than [`WORKERS_MAX`], or the window is greater than [`WINDOW_MAX`].
    pub fn new(window: u32, workers: impl IntoIterator<Item = (u32, u32)>) -> Self {
        assert!(window <= WINDOW_MAX, "a window of {window} units exceeds {WINDOW_MAX}");
        let mut board =
            Self { window, seats: Vec::new(), lanes: Vec::new(), lane_of: BTreeMap::new(), kept: Vec::new() };
        for (weight, group) in workers {
            assert!(board.seats.len() < WORKERS_MAX, "there are more than {WORKERS_MAX} workers");
            let lane = board.lane(weight, group);
            let place = board.lanes[lane as usize].enter();
            let (is_open, has_missed, is_kept) = (true, false, false);
            board.seats.push(Seat { units: 0, leases: 0, lane, place, group, is_open, has_missed, is_kept });
            board.show(board.seats.len() as u32 - 1);
        }
        board
    }

    /// How many workers there are, open or not.
    pub fn workers(&self) -> u32 {
        self.seats.len() as u32
    }

    /// The units that this worker holds.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn units(&self, index: u32) -> u64 {
        self.seats[index as usize].units
    }

    /// Gives a task of so many units to the least loaded worker that has room, or to nobody.
    pub fn assign(&mut self, units: u32) -> Option<u32> {
        self.assign_among(units, |_| true)
    }

    /// As [`Self::assign`], to workers of these groups only. Each group is asked for once for each weight in it.
    pub fn assign_among(&mut self, units: u32, among: impl Fn(u32) -> bool) -> Option<u32> {
        let Choice::Now(index) = self.lightest(units, &among) else { return None };
        self.take(index, units);
        Some(index)
    }

    /// What becomes of a task of so many units that these had before, the last one last. The same as `balance::choose` says.
    ///
    /// Nothing changes that can be seen from outside.
    pub fn choose(&mut self, units: u32, lost_by: &[u32]) -> Choice {
        self.choose_among(units, lost_by, |_| true)
    }

    /// As [`Self::choose`], as if there were only the workers of these groups.
    pub fn choose_among(&mut self, units: u32, lost_by: &[u32], among: impl Fn(u32) -> bool) -> Choice {
        let circles = [lost_by, lost_by.split_at(lost_by.len().saturating_sub(1)).1, &[]];
        // Without those who lost it there is one circle, not three.
        let circles = if lost_by.is_empty() { &circles[2..] } else { &circles };
        for outside in circles {
            outside.iter().for_each(|index| self.put(*index, NONE));
            let choice = self.lightest(units, &among);
            outside.iter().for_each(|index| self.show(*index));
            if choice != Choice::Nobody {
                return choice;
            }
        }
        Choice::Nobody
    }

    /// A lease of so many units begins on this worker.
    ///
    /// # Panics
    /// If there is no such worker, or its window is too small for what it would hold.
    pub fn take(&mut self, index: u32, units: u32) {
        let seat = &mut self.seats[index as usize];
        seat.units += u64::from(units);
        seat.leases += 1;
        let window = self.lanes[seat.lane as usize].window;
        assert!(seat.units <= window, "worker {index} would hold {} units of {window}", seat.units);
        self.show(index);
    }

    /// A lease of so many units ends on this worker, however it ends.
    ///
    /// # Panics
    /// If there is no such worker, or it does not hold as much.
    pub fn complete(&mut self, index: u32, units: u32) {
        let seat = &mut self.seats[index as usize];
        assert!(seat.leases > 0 && seat.units >= u64::from(units), "worker {index} holds no lease of {units} units");
        seat.units -= u64::from(units);
        seat.leases -= 1;
        self.show(index);
    }

    /// All leases of this worker end, and it says how many there were.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn end_all(&mut self, index: u32) -> u32 {
        let seat = &mut self.seats[index as usize];
        seat.units = 0;
        let leases = std::mem::take(&mut seat.leases);
        self.show(index);
        leases
    }

    /// The worker takes a share of this weight from now on; what it holds stays.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn set_weight(&mut self, index: u32, weight: u32) {
        let Seat { lane, place, group, .. } = self.seats[index as usize];
        self.lanes[lane as usize].leave(place);
        let lane = self.lane(weight, group);
        let place = self.lanes[lane as usize].enter();
        let seat = &mut self.seats[index as usize];
        (seat.lane, seat.place) = (lane, place);
        self.show(index);
    }

    /// Whether the worker takes anything: not while it is drained, unresponsive or away. What it holds stays.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn set_open(&mut self, index: u32, is_open: bool) {
        self.seats[index as usize].is_open = is_open;
        self.show(index);
    }

    /// Whether a lease ran out on the worker since it last answered for one: then it gets one at a time.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn set_missed(&mut self, index: u32, has_missed: bool) {
        self.seats[index as usize].has_missed = has_missed;
        self.show(index);
    }

    /// The worker counts as full until [`Self::release`]: a task waits for the room that it has or will have. Meant for the
    /// time in which one block leases its tasks.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn keep(&mut self, index: u32) {
        let seat = &mut self.seats[index as usize];
        if !seat.is_kept {
            seat.is_kept = true;
            self.kept.push(index);
            self.show(index);
        }
    }

    /// No room is kept any more.
    pub fn release(&mut self) {
        while let Some(index) = self.kept.pop() {
            self.seats[index as usize].is_kept = false;
            self.show(index);
        }
    }

    fn lightest(&self, units: u32, among: &impl Fn(u32) -> bool) -> Choice {
        let units = u64::from(units);
        let (mut now, mut later): (Option<Load>, Option<Load>) = (None, None);
        for lane in &self.lanes {
            let least = lane.tournament.least();
            if least == NONE || units > lane.window || !among(lane.group) {
                continue;
            }
            let load = Load { units: units_of(least) + units, weight: lane.weight, index: index_of(least) };
            let best = if load.units <= lane.window { &mut now } else { &mut later };
            if best.is_none_or(|best| load.is_lighter(&best)) {
                *best = Some(load);
            }
        }
        match (now, later) {
            (Some(load), _) => Choice::Now(load.index),
            (None, Some(load)) => Choice::Later(load.index),
            (None, None) => Choice::Nobody,
        }
    }

    /// Puts a worker where it belongs after a change.
    fn show(&mut self, index: u32) {
        let seat = &self.seats[index as usize];
        let is_busy_after_a_miss = seat.has_missed && seat.leases > 0;
        let units = if seat.is_kept { self.lanes[seat.lane as usize].window } else { seat.units };
        let key = if seat.is_open && !is_busy_after_a_miss { key(units, index) } else { NONE };
        self.put(index, key);
    }

    fn put(&mut self, index: u32, key: u64) {
        let Seat { lane, place, .. } = self.seats[index as usize];
        self.lanes[lane as usize].tournament.put(place, key);
    }

    fn lane(&mut self, weight: u32, group: u32) -> u32 {
        *self.lane_of.entry((weight, group)).or_insert_with(|| {
            let window = u64::from(weight) * u64::from(self.window);
            let tournament = Tournament::default();
            self.lanes.push(Lane { weight, group, window, tournament, free: Vec::new() });
            self.lanes.len() as u32 - 1
        })
    }
}

impl Lane {
    fn enter(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| self.tournament.push())
    }

    fn leave(&mut self, place: u32) {
        self.tournament.put(place, NONE);
        self.free.push(place);
    }
}

/// Sorts by units, and of equals by index. A window and an index leave room for it to stay below [`NONE`].
const fn key(units: u64, index: u32) -> u64 {
    units << INDEX_BITS | index as u64
}

const fn units_of(key: u64) -> u64 {
    key >> INDEX_BITS
}

const fn index_of(key: u64) -> u32 {
    (key & (WORKERS_MAX as u64 - 1)) as u32
}

#[cfg(test)]
mod tests;
