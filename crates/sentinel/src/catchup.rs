//! What am I missing, how fast does it come, and is it still to be had block by block?
//!
//! Heights that others claim say whom to ask and what for, and nothing more: of them the one counts that more than f others
//! have reached, as one of those is honest. Whatever is fetched is checked against certificates by who fetches it.
//!
//! The state itself is fetched, rather than the blocks that lead to it, when there are very many of them or when they do not
//! come: then nobody has them any more.
//!
//! - `ranges`: which blocks are asked for next

mod ranges;

pub use ranges::{RANGE_MAX, Range, Ranges, Reach};

use crate::time::Moment;
use std::collections::VecDeque;

/// When what is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// So many blocks are not fetched one by one; 0: however many there are.
    pub snapshot_after: u64,
    /// When no block has come for so long, in microseconds, the blocks are not to be had.
    pub stalled_after_us: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { snapshot_after: 50_000, stalled_after_us: 10_000_000 }
    }
}

/// So few blocks are under way at any time.
const LIVE_WITHIN: u64 = 16;
/// And so many are a lag.
const BEHIND_FROM: u64 = 64;
/// Fewer that do not come are no reason to fetch a whole state.
const STALLED_FROM: u64 = 128;
/// From one attempt to fetch a state to the next; twice as long after each that failed.
const PAUSE_MIN_US: u64 = 10_000_000;
const PAUSE_MAX_US: u64 = 300_000_000;
/// What a rate is taken over.
const RATE_OVER_US: u64 = 10_000_000;
const SAMPLES_MAX: usize = 64;

/// How a node follows the chain.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Course {
    /// Block by block, as they become final.
    #[default]
    Live,
    /// It is behind, and fetches blocks.
    Blocks,
    /// It is behind, and fetches a state.
    Snapshot,
}

/// Why a state is fetched rather than blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// So many blocks are missing.
    Behind {
        /// How many.
        blocks: u64,
    },
    /// No block has come for so long.
    Stalled {
        /// How long, in microseconds.
        for_us: u64,
    },
}

/// What is known at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The newest block that took effect here.
    pub height: u64,
    /// The newest that a certificate was seen of.
    pub tip: u64,
    /// The height that more than f others say they have reached.
    pub claimed: u64,
    /// When.
    pub now: Moment,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Catchup {
    config: Config,
    course: Course,
    last: Option<Look>,
    /// When the height moved last, or there began to be something that it could move to.
    moved: Moment,
    /// Heights over the last while, the oldest first.
    samples: VecDeque<(Moment, u64)>,
    /// Attempts to fetch a state that failed, one after the other.
    failures: u32,
    /// No attempt before this.
    paused_until: Moment,
}

/// The claim that more than `faults` others have reached: at least one honest validator has.
pub fn claimed(mut claims: Vec<u64>, faults: usize) -> u64 {
    claims.sort_unstable_by(|a, b| b.cmp(a));
    claims.get(faults).copied().unwrap_or(0)
}

impl Catchup {
    /// Starts at `now`, as one who follows.
    pub const fn new(config: Config, now: Moment) -> Self {
        Self {
            config,
            course: Course::Live,
            last: None,
            moved: now,
            samples: VecDeque::new(),
            failures: 0,
            paused_until: now,
        }
    }

    /// Takes in how things are. The answer is why a state is to be fetched, if it is; the course is then that, until
    /// [`Self::joined`] or [`Self::failed`].
    pub fn look(&mut self, look: Look) -> Option<Reason> {
        let had_far_to_go = self.behind() >= STALLED_FROM;
        let moves = self.last.is_none_or(|last| last.height < look.height);
        self.last = Some(look);
        // Whoever could hear nobody for an hour has not waited for blocks that long.
        if moves || !had_far_to_go {
            self.moved = look.now;
        }
        self.sample(look);
        if self.course == Course::Snapshot {
            return None;
        }
        let behind = self.behind();
        if behind == 0 || self.course == Course::Blocks && behind <= LIVE_WITHIN {
            self.course = Course::Live;
        } else if behind >= BEHIND_FROM {
            self.course = Course::Blocks;
        }
        let reason = self.reason(look).filter(|_| look.now >= self.paused_until)?;
        self.course = Course::Snapshot;
        Some(reason)
    }

    fn reason(&self, look: Look) -> Option<Reason> {
        let (behind, for_us) = (self.behind(), look.now.since(self.moved));
        if self.config.snapshot_after > 0 && behind >= self.config.snapshot_after {
            return Some(Reason::Behind { blocks: behind });
        }
        (behind >= STALLED_FROM && for_us >= self.config.stalled_after_us).then_some(Reason::Stalled { for_us })
    }

    fn sample(&mut self, look: Look) {
        let is_old = |(at, _): &(Moment, u64)| look.now.since(*at) > RATE_OVER_US;
        while self.samples.len() >= SAMPLES_MAX || self.samples.len() > 1 && self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
        self.samples.push_back((look.now, look.height));
    }

    /// A state was fetched and taken over.
    pub fn joined(&mut self, height: u64, now: Moment) {
        (self.course, self.failures, self.paused_until, self.moved) = (Course::Blocks, 0, now.after(PAUSE_MIN_US), now);
        // What was skipped was not fetched.
        self.samples.clear();
        self.samples.push_back((now, height));
    }

    /// No state was to be had, or it was of no use.
    pub fn failed(&mut self, now: Moment) {
        let pause = PAUSE_MIN_US.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX_US);
        (self.course, self.paused_until) = (Course::Blocks, now.after(pause));
        self.failures = self.failures.saturating_add(1);
    }

    /// How the chain is followed.
    pub const fn course(&self) -> Course {
        self.course
    }

    /// How many blocks are missing, as far as is known.
    pub fn behind(&self) -> u64 {
        self.last.map_or(0, |look| look.tip.max(look.claimed).saturating_sub(look.height))
    }

    /// Where it ends, as far as is known.
    pub fn target(&self) -> u64 {
        self.last.map_or(0, |look| look.tip.max(look.claimed).max(look.height))
    }

    /// Blocks that took effect, in a thousand seconds.
    pub fn rate_milli(&self) -> u64 {
        let (Some((first, low)), Some((last, high))) = (self.samples.front(), self.samples.back()) else { return 0 };
        let blocks = u128::from(high.saturating_sub(*low));
        let over = u128::from(last.since(*first));
        (blocks * 1_000_000_000).checked_div(over).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// Milliseconds until nothing is missing, at this rate; nothing while nothing moves.
    pub fn left_ms(&self) -> Option<u64> {
        let rate = self.rate_milli();
        (rate > 0).then(|| u64::try_from(u128::from(self.behind()) * 1_000_000 / u128::from(rate)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn catchup() -> Catchup {
        Catchup::new(Config { snapshot_after: 1_000, stalled_after_us: 10 * SECOND }, Moment(0))
    }

    fn look(height: u64, claimed: u64, second: u64) -> Look {
        Look { height, tip: 0, claimed, now: Moment(second * SECOND) }
    }

    /// A height and a claim at each of these seconds: what is wanted, and how is the chain followed?
    fn check(looks: &[(u64, u64, u64, Option<Reason>, Course)]) {
        let mut catchup = catchup();
        for (second, height, claimed, reason, course) in looks {
            let got = catchup.look(look(*height, *claimed, *second));
            assert_eq!((got, catchup.course()), (*reason, *course), "second {second}");
        }
    }

    #[test]
    fn a_claim_counts_when_more_than_f_make_it() {
        assert_eq!(claimed(vec![5, 900, 7], 1), 7);
        assert_eq!(claimed(vec![5, 900, 7], 0), 900);
        assert_eq!(claimed(vec![900], 1), 0);
        assert_eq!(claimed(vec![], 0), 0);
    }

    #[test]
    fn a_lag_begins_late_and_ends_late() {
        check(&[
            (0, 100, 163, None, Course::Live),
            (1, 100, 164, None, Course::Blocks),
            (2, 200, 217, None, Course::Blocks),
            (3, 201, 217, None, Course::Live),
        ]);
    }

    #[test]
    fn very_many_blocks_are_not_fetched_one_by_one() {
        check(&[
            (0, 0, 999, None, Course::Blocks),
            (1, 0, 1_000, Some(Reason::Behind { blocks: 1_000 }), Course::Snapshot),
            (2, 0, 1_000, None, Course::Snapshot),
        ]);
    }

    #[test]
    fn blocks_that_do_not_come_are_not_waited_for() {
        let stalled = Some(Reason::Stalled { for_us: 10 * SECOND });
        check(&[
            (0, 5, 133, None, Course::Blocks),
            (9, 5, 133, None, Course::Blocks),
            (10, 5, 133, stalled, Course::Snapshot),
        ]);
        // One that came in between is a sign that they do.
        check(&[
            (0, 5, 134, None, Course::Blocks),
            (9, 6, 134, None, Course::Blocks),
            (18, 6, 134, None, Course::Blocks),
        ]);
        // While nothing was known to be missing, nothing was waited for.
        check(&[(0, 5, 5, None, Course::Live), (60, 5, 900, None, Course::Blocks), (69, 5, 900, None, Course::Blocks)]);
        // So few need no state.
        check(&[(0, 5, 132, None, Course::Blocks), (60, 5, 132, None, Course::Blocks)]);
    }

    #[test]
    fn a_node_that_must_keep_all_takes_a_state_only_when_blocks_do_not_come() {
        let mut catchup = Catchup::new(Config { snapshot_after: 0, stalled_after_us: SECOND }, Moment(0));
        assert_eq!(catchup.look(look(0, u64::MAX, 0)), None);
        assert_eq!(catchup.look(look(0, u64::MAX, 1)), Some(Reason::Stalled { for_us: SECOND }));
    }

    #[test]
    fn attempts_that_fail_come_at_growing_distances_without_end() {
        let mut catchup = catchup();
        let (mut second, mut attempts) = (0, Vec::new());
        while attempts.len() < 8 {
            if catchup.look(look(0, 5_000, second)).is_some() {
                attempts.push(second);
                catchup.failed(Moment(second * SECOND));
                assert_eq!(catchup.course(), Course::Blocks);
            }
            second += 1;
        }
        let gaps: Vec<u64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn after_a_state_came_blocks_are_followed_from_there() {
        let mut catchup = catchup();
        assert!(catchup.look(look(0, 5_000, 0)).is_some());
        catchup.joined(4_990, Moment(SECOND));
        assert_eq!(catchup.look(look(4_990, 5_000, 2)), None);
        assert_eq!((catchup.course(), catchup.rate_milli()), (Course::Live, 0));
    }

    #[test]
    fn rate_and_rest_follow_from_the_last_seconds() {
        let mut catchup = Catchup::new(Config { snapshot_after: 0, ..Config::default() }, Moment(0));
        for second in 0..=30 {
            catchup.look(look(second * second, 10_000, second));
        }
        // From second 20 to 30: 500 blocks in 10 s.
        assert_eq!(catchup.rate_milli(), 50_000);
        assert_eq!(catchup.left_ms(), Some((10_000 - 900) * 1_000 / 50));
        assert_eq!((catchup.behind(), catchup.target()), (9_100, 10_000));
    }
}
