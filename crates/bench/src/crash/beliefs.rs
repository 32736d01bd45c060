//! Whom does each node think dead, how soon, and was it true?

use crate::network::{Event, Network};

/// One network's beliefs, and what is known to the one who made it: who really crashed.
pub struct Beliefs {
    nodes: usize,
    dead: Vec<bool>,
    detected: Vec<bool>,
    believers: Vec<u32>,
    crashed_us: Vec<Option<u64>>,
    first: Vec<bool>,
    outcome: Outcome,
}

/// What came of it, in one network or several.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Nodes that crashed.
    pub crashes: u64,
    /// From each crash to each live observer's belief, in microseconds.
    pub all_us: Vec<u64>,
    /// From each crash to the first observer's belief, in microseconds.
    pub first_us: Vec<u64>,
    /// Pairs of a crash and a live observer that did not know of it in the end.
    pub unaware: u64,
    /// Crashes that nobody knew of in the end.
    pub unnoticed: u64,
    /// When somebody began to think dead a node that was not, and of which nobody thought so before; and which node.
    pub false_deaths: Vec<(u64, u32)>,
    /// How often an observer thought dead a node that was not.
    pub wrong_beliefs: u64,
    /// When a watcher suspected a node that had not crashed, whether others joined it or not: when, who, whom.
    pub false_suspicions: Vec<(u64, u32, u32)>,
    /// For each stall in order: how long a pause of that node was waited for when it began.
    pub patience_us: Vec<Option<u64>>,
    /// Time that nodes were there and running, in microseconds.
    pub exposure_us: u64,
    /// Messages sent, lost ones included.
    pub messages: u64,
    /// Their bytes, without what a transport adds.
    pub bytes: u64,
}

impl Beliefs {
    /// Everybody thinks everybody alive, and is right.
    pub fn new(nodes: u32) -> Self {
        let nodes = nodes as usize;
        Self {
            nodes,
            dead: vec![false; nodes * nodes],
            detected: vec![false; nodes * nodes],
            believers: vec![0; nodes],
            crashed_us: vec![None; nodes],
            first: vec![false; nodes],
            outcome: Outcome::default(),
        }
    }

    /// A node really crashes.
    pub fn crash(&mut self, node: u32, now_us: u64) {
        self.crashed_us[node as usize] = Some(now_us);
        self.outcome.crashes += 1;
        self.outcome.exposure_us += now_us;
    }

    /// From now on the observer thinks the other dead.
    pub fn thinks_dead(&mut self, observer: u32, other: u32, now_us: u64) {
        let (pair, other) = (self.pair(observer, other), other as usize);
        if std::mem::replace(&mut self.dead[pair], true) {
            return;
        }
        self.believers[other] += 1;
        match self.crashed_us[other] {
            Some(crashed_us) => self.detect(pair, other, now_us - crashed_us),
            None => {
                self.outcome.wrong_beliefs += 1;
                if self.believers[other] == 1 {
                    self.outcome.false_deaths.push((now_us, other as u32));
                }
            }
        }
    }

    /// From now on the observer thinks the other alive.
    pub fn thinks_alive(&mut self, observer: u32, other: u32) {
        let pair = self.pair(observer, other);
        if std::mem::replace(&mut self.dead[pair], false) {
            self.believers[other as usize] -= 1;
        }
    }

    /// A watcher suspects a node, and so far only it does.
    pub fn suspects(&mut self, observer: u32, other: u32, now_us: u64) {
        if self.crashed_us[other as usize].is_none() {
            self.outcome.false_suspicions.push((now_us, observer, other));
        }
    }

    /// The end: what came of it.
    pub fn end<M, T>(mut self, network: &Network<M, T>) -> Outcome {
        self.outcome.messages = network.messages();
        self.outcome.bytes = network.bytes();
        self.finish(network.now_us())
    }

    /// The end at that time, messages not counted.
    pub fn finish(mut self, now_us: u64) -> Outcome {
        let live: Vec<usize> = (0..self.nodes).filter(|node| self.crashed_us[*node].is_none()).collect();
        self.outcome.exposure_us += live.len() as u64 * now_us;
        for other in (0..self.nodes).filter(|node| self.crashed_us[*node].is_some()) {
            let unaware = live.iter().filter(|observer| !self.dead[**observer * self.nodes + other]).count();
            self.outcome.unaware += unaware as u64;
            self.outcome.unnoticed += u64::from(!self.first[other]);
        }
        self.outcome
    }

    fn detect(&mut self, pair: usize, other: usize, after_us: u64) {
        if std::mem::replace(&mut self.detected[pair], true) {
            return;
        }
        self.outcome.all_us.push(after_us);
        if !std::mem::replace(&mut self.first[other], true) {
            self.outcome.first_us.push(after_us);
        }
    }

    const fn pair(&self, observer: u32, other: u32) -> usize {
        observer as usize * self.nodes + other as usize
    }
}

impl Outcome {
    /// Adds another network's.
    pub fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.all_us.extend(other.all_us);
        self.first_us.extend(other.first_us);
        self.unaware += other.unaware;
        self.unnoticed += other.unnoticed;
        self.false_deaths.extend(other.false_deaths);
        self.wrong_beliefs += other.wrong_beliefs;
        self.false_suspicions.extend(other.false_suspicions);
        self.patience_us.extend(other.patience_us);
        self.exposure_us += other.exposure_us;
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    /// Hours that nodes were there.
    pub fn node_hours(&self) -> f64 {
        self.exposure_us as f64 / 3.6e9
    }

    /// Something counted, per node and second.
    pub fn per_node_second(&self, count: u64) -> f64 {
        count as f64 / (self.exposure_us as f64 / 1e6)
    }
}

/// In how many seconds this share of cases was over, `never` counting as longer than any; `None`: never.
pub fn quantile_s(cases_us: &[u64], never: u64, share: f64) -> Option<f64> {
    let mut sorted = cases_us.to_vec();
    sorted.sort_unstable();
    let total = sorted.len() as f64 + never as f64;
    let rank = (share * total).ceil().max(1.0) as usize - 1;
    sorted.get(rank).map(|us| *us as f64 / 1e6)
}

/// The largest mean of a Poisson distribution under which so few events still have a probability of 5 %; 3.0 for none
/// (the "rule of three").
pub fn bound_95(events: u64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0 + 2.0 * events as f64);
    while high - low > 1e-6 * high {
        let mean = f64::midpoint(low, high);
        *(if poisson(events, mean) > 0.05 { &mut low } else { &mut high }) = mean;
    }
    high
}

/// The probability of at most so many events; terms in logarithms, or the first would vanish for a large mean.
fn poisson(events: u64, mean: f64) -> f64 {
    let mut log_term = -mean;
    let mut sum = log_term.exp();
    for k in 1..=events {
        log_term += (mean / k as f64).ln();
        sum += log_term.exp();
    }
    sum
}

/// Something that happens to the network whether it wants it or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// A node crashes.
    Crash(u32),
    /// A node stalls until then, in microseconds.
    Stall(u32, u64),
}

/// Nodes that find out about each other.
pub trait Detectors {
    /// What they send.
    type Message;
    /// What they wait for.
    type Timer;
    /// Sets the first timers.
    fn start(&mut self, network: &mut Network<Self::Message, Self::Timer>);
    /// How long a pause of this node no observer takes for a crash, in microseconds, if they learn that.
    fn patience_us(&self, node: u32) -> Option<u64>;
    /// Lets a node do what it does when this happens.
    fn take(
        &mut self,
        event: Event<Self::Message, Self::Timer>,
        network: &mut Network<Self::Message, Self::Timer>,
        beliefs: &mut Beliefs,
    );
}

/// Runs a network to its end, with these acts in order of time.
pub fn play<D: Detectors>(
    mut detectors: D,
    mut network: Network<D::Message, D::Timer>,
    nodes: u32,
    acts: &[(u64, Act)],
    end_us: u64,
) -> (Outcome, D) {
    let mut beliefs = Beliefs::new(nodes);
    detectors.start(&mut network);
    for (at_us, act) in acts.iter().copied().map(|(at_us, act)| (at_us, Some(act))).chain([(end_us, None)]) {
        while let Some(event) = network.next(at_us) {
            detectors.take(event, &mut network, &mut beliefs);
        }
        match act {
            Some(Act::Crash(node)) => {
                network.crash(node);
                beliefs.crash(node, at_us);
            }
            Some(Act::Stall(node, until_us)) => {
                network.stall(node, until_us);
                beliefs.outcome.patience_us.push(detectors.patience_us(node));
            }
            None => {}
        }
    }
    (beliefs.end(&network), detectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_counts_from_when_it_happened_once_for_each_observer() {
        let mut beliefs = Beliefs::new(4);
        beliefs.crash(0, 1_000);
        beliefs.thinks_dead(1, 0, 1_500);
        beliefs.thinks_dead(1, 0, 1_600);
        beliefs.thinks_alive(1, 0);
        beliefs.thinks_dead(1, 0, 1_700);
        beliefs.thinks_dead(2, 0, 1_800);
        let outcome = beliefs.finish(2_000);
        assert_eq!((outcome.all_us, outcome.first_us), (vec![500, 800], vec![500]));
        assert_eq!((outcome.unaware, outcome.unnoticed, outcome.false_deaths.len()), (1, 0, 0));
        assert_eq!(outcome.exposure_us, 1_000 + 3 * 2_000);
    }

    #[test]
    fn a_false_death_counts_once_until_nobody_believes_it() {
        let mut beliefs = Beliefs::new(3);
        beliefs.thinks_dead(1, 0, 10);
        beliefs.thinks_dead(2, 0, 11);
        beliefs.thinks_alive(1, 0);
        beliefs.thinks_dead(1, 0, 12);
        let mut both = beliefs.outcome.clone();
        assert_eq!((&both.false_deaths[..], both.wrong_beliefs), (&[(10, 0)][..], 3));
        beliefs.thinks_alive(1, 0);
        beliefs.thinks_alive(2, 0);
        beliefs.thinks_dead(2, 0, 13);
        both.add(beliefs.outcome);
        assert_eq!((both.false_deaths, both.wrong_beliefs), (vec![(10, 0), (10, 0), (13, 0)], 3 + 4));
    }

    #[test]
    fn who_never_knew_counts_as_later_than_all() {
        let cases: Vec<u64> = (1..=10).map(|s| s * 1_000_000).collect();
        for (never, share, seconds) in
            [(0, 0.5, Some(5.0)), (0, 0.99, Some(10.0)), (10, 0.5, Some(10.0)), (11, 0.5, None)]
        {
            assert_eq!(quantile_s(&cases, never, share), seconds, "{never} {share}");
        }
        assert_eq!(quantile_s(&[], 0, 0.5), None);
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        for (events, bound) in [(0, 2.996), (1, 4.744), (2, 6.296), (10, 16.962), (1_000, 1_053.6)] {
            assert!((bound_95(events) - bound).abs() < 0.001 * bound, "{events}: {}", bound_95(events));
        }
    }
}
