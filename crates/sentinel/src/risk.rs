//! Who is likely to fail soon?
//!
//! From slow signals only: what a node's failures and recoveries were, what happened to its neighbours, its error
//! counters, the drift of its latency. A crash without a precursor cannot be foreseen, and nobody is dead because they
//! are likely to die: what comes out is advice, to look more closely or to move work away in time. It decides nothing.
//!
//! The score is a sum that can be read aloud: so many failures expected within seven days for each recent failure, less
//! for older ones, a little for neighbours'. This is a self-exciting process (Hawkes, "Spectra of some self-exciting and
//! mutually exciting point processes", Biometrika 58, 1971) with exponential kernels, of which each needs one number a
//! node. All is integers. Time is passed in and may be the chain's, which lasts longer than any process.

/// Milliseconds since any fixed moment. A moment before one that was already seen counts as that one.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// One event, in the fixed point that counts are kept in.
pub const UNIT: u64 = 1 << 16;

/// After how many days a node's own failure counts half, for each count that is kept of them.
pub const OWN_HALF_LIFE_DAYS: [u64; 4] = [1, 7, 30, 180];

/// The same for failures in a group.
pub const GROUP_HALF_LIFE_DAYS: [u64; 2] = [1, 30];

/// How many signals there are.
pub const SIGNALS: usize = 12;

/// What a score is made of. All but the first and the last two are counts of events in 1/[`UNIT`], old events counting
/// less.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(usize)]
pub enum Signal {
    /// Always one: what is expected of a node of which nothing is known.
    Always,
    /// Own failures, counting half after a day.
    FailuresDay,
    /// After a week.
    FailuresWeek,
    /// After a month of 30 days.
    FailuresMonth,
    /// After half a year of 180 days.
    FailuresHalfYear,
    /// Own recoveries, counting half after a day.
    RecoveriesDay,
    /// Failures for each other node of the near group, counting half after a day.
    NearDay,
    /// After a month.
    NearMonth,
    /// Failures for each other node of the far group, counting half after a day.
    FarDay,
    /// After a month.
    FarMonth,
    /// The binary logarithm of one plus the reported errors, which count half after a week. A logarithm, because error
    /// counters count the same cause a thousand times.
    Errors,
    /// By how much latency drifted up: one for a doubling. Half of it is forgotten after a day.
    Drift,
}

/// How many failures within seven days, in parts per million, one unit of each signal lets expect. In the order of
/// [`Signal`].
///
/// Round numbers set by hand: the best of six tries, and of three sets of half-lives, on the year 2002 of the failure
/// records of Los Alamos (`bench predict`), with AUC 0.759 and a recall of 0.255 at precision 0.25. As the best of several
/// these two figures flatter. Weights fitted to the years before 2002 reached 0.754 and 0.225. The years from 2003 on chose
/// nothing. Errors and drift are not in those records: their weights are guesses, kept so low that only something drastic
/// (a thousand errors, eleven times the latency) asks for a closer look by itself.
pub const WEIGHTS_PPM: [u64; SIGNALS] =
    [1_000, 20_000, 50_000, 50_000, 20_000, 0, 50_000, 20_000, 20_000, 70_000, 10_000, 10_000];

/// From this score on, in per mille, a closer look is advised: half of the failures of 2002 were above.
pub const PROBE_FROM: u32 = 100;

/// From this score on, in per mille, moving work away is advised: it costs more, so false alarms should be no more than
/// about half.
pub const DRAIN_FROM: u32 = 500;

/// The most that a drift counts: eleven times the usual latency.
const DRIFT_PERMILLE_MAX: u32 = 10_000;

/// Something to consider. Whoever takes it decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Advice {
    /// Look more often.
    RaiseProbeRate,
    /// Move work away while that is still orderly.
    SuggestDrain,
}

/// Why a risk could not be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RiskError {
    /// A node is in a group with a number that no group can have: there are never more groups than nodes.
    Group {
        /// The node.
        node: usize,
        /// The number.
        group: u32,
        /// How many nodes there are.
        nodes: usize,
    },
}

impl std::fmt::Display for RiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Group { node, group, nodes } = self;
        write!(
            f,
            "node {node} is in group {group}, but {nodes} nodes have groups 0 to {} at most",
            nodes.saturating_sub(1)
        )
    }
}

impl std::error::Error for RiskError {}

/// See the module. 68 bytes a node and at most 48 for its groups, whatever happens; each call touches one node and its two groups.
#[derive(Clone, Debug)]
pub struct Risk {
    nodes: Vec<Node>,
    near: Vec<Group>,
    far: Vec<Group>,
}

/// What is kept of a node.
#[derive(Clone, Debug, Default)]
struct Node {
    near: u32,
    far: u32,
    down: bool,
    failures: [Count; 4],
    recoveries: Count,
    errors: Count,
    drift: Count,
}

/// What is kept of a group.
#[derive(Clone, Debug, Default)]
struct Group {
    size: u64,
    failures: [Count; 2],
}

impl Risk {
    /// Nothing is known yet. `near` and `far` number each node's groups: those it shares a rack or a host with, and those
    /// it shares a region or an operator with. Where one kind of group is all there is, give it as `far` and put every
    /// node into a near group of its own.
    ///
    /// # Errors
    /// [`RiskError::Group`].
    ///
    /// # Panics
    /// If `near` and `far` differ in length.
    pub fn new(near: &[u32], far: &[u32]) -> Result<Self, RiskError> {
        assert_eq!(near.len(), far.len(), "every node has both groups");
        let nodes = near.iter().zip(far).map(|(&near, &far)| Node { near, far, ..Node::default() }).collect();
        Ok(Self { nodes, near: groups(near)?, far: groups(far)? })
    }

    /// A node was found to have failed. A node that is not known is nobody's risk: nothing happens, here and below.
    pub fn failed(&mut self, node: usize, now: Moment) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.down = true;
        add_all(&mut node.failures, &OWN_HALF_LIFE_DAYS, now);
        add_all(&mut self.near[node.near as usize].failures, &GROUP_HALF_LIFE_DAYS, now);
        add_all(&mut self.far[node.far as usize].failures, &GROUP_HALF_LIFE_DAYS, now);
    }

    /// It is back.
    pub fn recovered(&mut self, node: usize, now: Moment) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.down = false;
        node.recoveries.add(UNIT, 1, now);
    }

    /// So many more errors were counted there: of its disk, its memory, its executor.
    pub fn errors(&mut self, node: usize, count: u32, now: Moment) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        node.errors.add(u64::from(count) * UNIT, 7, now);
    }

    /// Its latency is so many per mille above what it was in better days. The largest drift is kept and fades.
    pub fn drift(&mut self, node: usize, permille: u32, now: Moment) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        let drift = u64::from(permille.min(DRIFT_PERMILLE_MAX)) * UNIT / 1_000;
        node.drift.raise(drift, 1, now);
    }

    /// What the score of a node is made of, in the order of [`Signal`]; nothing for a node that is not known.
    pub fn signals(&self, node: usize, now: Moment) -> [u64; SIGNALS] {
        let Some(node) = self.nodes.get(node) else { return [0; SIGNALS] };
        let [day, week, month, half_year] = [0, 1, 2, 3].map(|i| node.failures[i].at(OWN_HALF_LIFE_DAYS[i], now));
        let [near_day, near_month] = self.near[node.near as usize].others(day, month, now);
        let [far_day, far_month] = self.far[node.far as usize].others(day, month, now);
        let recoveries = node.recoveries.at(1, now);
        let errors = logarithm(node.errors.at(7, now));
        let drift = node.drift.at(1, now);
        [UNIT, day, week, month, half_year, recoveries, near_day, near_month, far_day, far_month, errors, drift]
    }

    /// How many failures of a node to expect within seven days, in parts per million. Finer than the score.
    pub fn expected_ppm(&self, node: usize, now: Moment) -> u64 {
        let signals = self.signals(node, now);
        signals.iter().zip(WEIGHTS_PPM).map(|(signal, weight)| signal.saturating_mul(weight) / UNIT).sum()
    }

    /// How likely a node is to fail within seven days, in per mille: one less the chance of no failure when so many are
    /// expected, which is e to the power of minus that number.
    pub fn score(&self, node: usize, now: Moment) -> u32 {
        let halvings_ppm = self.expected_ppm(node, now).min(100_000_000) * 1_442_695 / 1_000_000;
        let none = halved(UNIT, halvings_ppm * STEPS / 1_000_000);
        u32::try_from((UNIT - none) * 1_000 / UNIT).expect("at most 1000")
    }

    /// What to consider about a node. Nothing while it is down: then it is for others to say what happens.
    pub fn advice(&self, node: usize, now: Moment) -> Option<Advice> {
        if self.nodes.get(node)?.down {
            return None;
        }
        match self.score(node, now) {
            DRAIN_FROM.. => Some(Advice::SuggestDrain),
            PROBE_FROM.. => Some(Advice::RaiseProbeRate),
            _ => None,
        }
    }

    /// Whether a node failed and is not back; `false` for one that is not known.
    pub fn is_down(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.down)
    }
}

impl Group {
    /// Failures of each other node, given one's own.
    fn others(&self, day: u64, month: u64, now: Moment) -> [u64; 2] {
        let others = self.size.saturating_sub(1).max(1);
        let [days, months] = [0, 1].map(|i| self.failures[i].at(GROUP_HALF_LIFE_DAYS[i], now));
        [days.saturating_sub(day) / others, months.saturating_sub(month) / others]
    }
}

/// Groups of their sizes, or the number that is out of range.
fn groups(of: &[u32]) -> Result<Vec<Group>, RiskError> {
    let mut groups = vec![Group::default(); of.len()];
    for (node, &group) in of.iter().enumerate() {
        let error = RiskError::Group { node, group, nodes: of.len() };
        groups.get_mut(group as usize).ok_or(error)?.size += 1;
    }
    Ok(groups)
}

fn add_all<const N: usize>(counts: &mut [Count; N], half_lives: &[u64; N], now: Moment) {
    for (count, &half_life) in counts.iter_mut().zip(half_lives) {
        count.add(UNIT, half_life, now);
    }
}

/// The binary logarithm of one plus a count, exact at powers of two and straight between them.
fn logarithm(count: u64) -> u64 {
    let value = count + UNIT;
    let whole = u64::from(value.ilog2()) - 16;
    whole * UNIT + ((value >> whole) - UNIT)
}

/// A count of which old events are a smaller part: half after each half-life. It fades in steps of 1/256 of a half-life,
/// so that looking or counting often does not round it away.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    value: u32,
    step: u32,
}

/// Steps in a half-life.
const STEPS: u64 = 256;

impl Count {
    fn add(&mut self, amount: u64, half_life_days: u64, now: Moment) {
        self.set(self.at(half_life_days, now) + amount, half_life_days, now);
    }

    fn raise(&mut self, to: u64, half_life_days: u64, now: Moment) {
        self.set(self.at(half_life_days, now).max(to), half_life_days, now);
    }

    fn set(&mut self, value: u64, half_life_days: u64, now: Moment) {
        self.value = u32::try_from(value).unwrap_or(u32::MAX);
        self.step = self.step.max(step(half_life_days, now));
    }

    fn at(self, half_life_days: u64, now: Moment) -> u64 {
        halved(u64::from(self.value), u64::from(step(half_life_days, now).saturating_sub(self.step)))
    }
}

fn step(half_life_days: u64, now: Moment) -> u32 {
    u32::try_from(now.0 / (half_life_days * DAY_MS / STEPS)).unwrap_or(u32::MAX)
}

/// 2^(-1/2), 2^(-1/4), … 2^(-1/256), in 2^-32.
const ROOTS: [u64; 8] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
];

/// A value below 2^32, halved `steps / 256` times.
fn halved(value: u64, steps: u64) -> u64 {
    let whole = value.checked_shr(u32::try_from(steps / STEPS).unwrap_or(u32::MAX)).unwrap_or(0);
    let parts = ROOTS.iter().enumerate().filter(|(bit, _)| (steps % STEPS) >> (7 - bit) & 1 == 1);
    parts.fold(whole, |value, (_, root)| (value * root) >> 32)
}

#[cfg(test)]
mod tests;
