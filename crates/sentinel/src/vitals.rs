//! It is there, but is it well?
//!
//! A validator that is heard may still be of no use: its disk is a hundred times slower than it was, its executor hangs, its
//! clock is wrong, or it takes no part in consensus. Such *gray* failures have names here, each with what was measured.
//!
//! One bad measurement is weather. An ailment stands when [`SICK_AFTER`] rows in a row show it, and passes when
//! [`WELL_AFTER`] in a row do not: slower to forgive than to see, so that what comes and goes is not told each time.
//!
//! What a validator measures of itself is believed when it speaks against itself: a liar can only have its own tasks taken
//! away. Its votes and its clock are measured by others.

/// Rows in a row that show an ailment before it stands.
pub const SICK_AFTER: u8 = 4;

/// Rows in a row without it before it has passed.
pub const WELL_AFTER: u8 = 12;

/// A disk is slow when it takes so many times what the median disk of the network takes.
const DISK_TIMES_MEDIAN: u32 = 20;

/// But never for less than this, in milliseconds: below, consensus does not suffer.
const DISK_MS_MIN: u32 = 250;

/// A clock that is so far off, in milliseconds. Peers that are five times as far ahead cannot connect any more.
const CLOCK_MS: u64 = 1_000;

/// No vote for so long, in milliseconds, while blocks become final: several rounds of the slowest leader.
const SILENT_VOTER_MS: u32 = 10_000;

/// What may ail a validator that is heard.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Ailment {
    /// It takes no part in consensus.
    Consensus,
    /// It does no work, or does it wrong.
    Executor,
    /// Its disk is far slower than those of the others.
    Disk,
    /// Its clock is off.
    Clock,
}

impl Ailment {
    /// All of them, the gravest first.
    pub const ALL: [Self; 4] = [Self::Consensus, Self::Executor, Self::Disk, Self::Clock];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Consensus => "consensus",
            Self::Executor => "executor",
            Self::Disk => "disk",
            Self::Clock => "clock",
        }
    }
}

/// What one row and its arrival show of a validator.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Signs {
    /// How long its disk took to make votes durable, at most, in milliseconds.
    pub disk_ms: u32,
    /// What the median validator's disk took.
    pub median_disk_ms: u32,
    /// Whether work with a known answer was not done in time, or done wrong.
    pub executor_failed: bool,
    /// How far its clock is ahead of ours, in milliseconds; `None` while that cannot be told.
    pub clock_ahead_ms: Option<i64>,
    /// How long ago it voted, in milliseconds, if it says that it votes and blocks become final meanwhile.
    pub vote_ms_ago: Option<u32>,
}

impl Signs {
    /// What the signs show of one ailment, in its own measure, if they show it.
    pub fn measure(&self, ailment: Ailment) -> Option<u32> {
        match ailment {
            Ailment::Consensus => self.vote_ms_ago.filter(|ms| *ms >= SILENT_VOTER_MS),
            Ailment::Executor => self.executor_failed.then_some(1),
            Ailment::Disk => {
                let limit = self.median_disk_ms.saturating_mul(DISK_TIMES_MEDIAN).max(DISK_MS_MIN);
                Some(self.disk_ms).filter(|ms| *ms >= limit)
            }
            Ailment::Clock => {
                let off = self.clock_ahead_ms?.unsigned_abs();
                (off >= CLOCK_MS).then(|| u32::try_from(off).unwrap_or(u32::MAX))
            }
        }
    }
}

/// The course of one ailment.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    stands: bool,
    /// Rows in a row that speak against what stands.
    against: u8,
    /// The last measure that showed it.
    measure: u32,
}

impl Course {
    /// Takes one more row into account, and says whether what stands has changed.
    const fn follow(&mut self, shown: Option<u32>) -> bool {
        if let Some(measure) = shown {
            self.measure = measure;
        }
        if shown.is_some() == self.stands {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if self.stands { WELL_AFTER } else { SICK_AFTER };
        if self.against < enough {
            return false;
        }
        (self.stands, self.against) = (!self.stands, 0);
        true
    }
}

/// The courses of all ailments of all validators, as one of them sees it.
#[derive(Clone, Debug)]
pub struct Vitals {
    nodes: Vec<[Course; Ailment::ALL.len()]>,
}

impl Vitals {
    /// Everybody is well.
    pub fn new(nodes: usize) -> Self {
        Self { nodes: vec![Default::default(); nodes] }
    }

    /// There are so many nodes from now on. Who is new is well.
    pub fn grow(&mut self, nodes: usize) {
        self.nodes.resize(nodes, Default::default());
    }

    /// Takes a row of `node` into account, and says whether an ailment began to stand or has passed.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn follow(&mut self, node: usize, signs: &Signs) -> bool {
        let courses = self.nodes[node].iter_mut().zip(Ailment::ALL);
        courses.fold(false, |changed, (course, ailment)| course.follow(signs.measure(ailment)) | changed)
    }

    /// What ails `node`, with what was measured last, the gravest first.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn ailments(&self, node: usize) -> impl Iterator<Item = (Ailment, u32)> + '_ {
        let courses = self.nodes[node].iter().zip(Ailment::ALL);
        courses.filter(|(course, _)| course.stands).map(|(course, ailment)| (ailment, course.measure))
    }

    /// Forgets what was known of `node`: it begins anew.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn forget(&mut self, node: usize) {
        self.nodes[node] = Default::default();
    }
}

/// The median, of two the smaller; 0 of nothing.
pub fn median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Signs = Signs {
        disk_ms: 5,
        median_disk_ms: 4,
        executor_failed: false,
        clock_ahead_ms: Some(20),
        vote_ms_ago: Some(300),
    };

    /// Which ailment do these signs show?
    fn check(signs: Signs, expected: Option<Ailment>) {
        let shown: Vec<_> = Ailment::ALL.into_iter().filter(|ailment| signs.measure(*ailment).is_some()).collect();
        assert_eq!(shown, Vec::from_iter(expected), "{signs:?}");
    }

    #[test]
    fn each_ailment_shows_from_its_limit_on() {
        check(WELL, None);
        check(Signs { vote_ms_ago: Some(9_999), ..WELL }, None);
        check(Signs { vote_ms_ago: Some(10_000), ..WELL }, Some(Ailment::Consensus));
        check(Signs { executor_failed: true, ..WELL }, Some(Ailment::Executor));
        check(Signs { clock_ahead_ms: Some(-999), ..WELL }, None);
        check(Signs { clock_ahead_ms: Some(-1_000), ..WELL }, Some(Ailment::Clock));
        check(Signs { clock_ahead_ms: Some(1_000), ..WELL }, Some(Ailment::Clock));
    }

    #[test]
    fn a_disk_is_slow_beside_the_others_and_never_when_it_is_fast_enough() {
        check(Signs { disk_ms: 249, median_disk_ms: 1, ..WELL }, None);
        check(Signs { disk_ms: 250, median_disk_ms: 1, ..WELL }, Some(Ailment::Disk));
        check(Signs { disk_ms: 799, median_disk_ms: 40, ..WELL }, None);
        check(Signs { disk_ms: 800, median_disk_ms: 40, ..WELL }, Some(Ailment::Disk));
        check(Signs { disk_ms: u32::MAX - 1, median_disk_ms: u32::MAX / 2, ..WELL }, None);
    }

    #[test]
    fn what_cannot_be_told_is_no_ailment() {
        check(Signs { clock_ahead_ms: None, vote_ms_ago: None, ..WELL }, None);
        check(Signs { clock_ahead_ms: Some(i64::MIN), ..WELL }, Some(Ailment::Clock));
    }

    #[test]
    fn an_ailment_stands_after_some_rows_in_a_row_and_passes_after_more() {
        let mut vitals = Vitals::new(2);
        let sick = Signs { executor_failed: true, disk_ms: 900, ..WELL };
        for _ in 1..SICK_AFTER {
            assert!(!vitals.follow(1, &sick));
        }
        assert!(!vitals.follow(1, &WELL), "one good row begins the count anew");
        for _ in 1..SICK_AFTER {
            assert!(!vitals.follow(1, &sick));
        }
        assert!(vitals.follow(1, &sick));
        assert_eq!(vitals.ailments(1).collect::<Vec<_>>(), [(Ailment::Executor, 1), (Ailment::Disk, 900)]);
        assert_eq!(vitals.ailments(0).count(), 0);
        for _ in 1..WELL_AFTER {
            assert!(!vitals.follow(1, &WELL));
        }
        assert!(vitals.follow(1, &WELL));
        assert_eq!(vitals.ailments(1).count(), 0);
    }

    #[test]
    fn who_begins_anew_is_well() {
        let mut vitals = Vitals::new(1);
        for _ in 0..SICK_AFTER {
            vitals.follow(0, &Signs { executor_failed: true, ..WELL });
        }
        vitals.forget(0);
        assert_eq!(vitals.ailments(0).count(), 0);
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!([median(vec![]), median(vec![7]), median(vec![9, 1]), median(vec![5, 1, 9])], [0, 7, 1, 5]);
    }
}
