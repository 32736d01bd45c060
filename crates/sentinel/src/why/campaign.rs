//! Faults with a known cause, and whether the explanation names it.
//!
//! Written apart from what it checks: a model of a network says what arrives where, and with that whose word each validator
//! knows; what the explanation claims is read back as a set of "does not hear" and compared with what the model did.

use super::*;
use std::collections::BTreeSet;

const SEEDS: u64 = 20_000;

/// What is done to a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Crash,
    Split,
    OneWay,
    Mute,
    Deaf,
    Bridge,
    Ring,
    Isolate,
    RegionCut,
    LostGuards,
    SlowDisk,
    WrongClock,
    PartialLinks,
    PartialOneWay,
}

const FAULTS: [Fault; 14] = [
    Fault::Crash,
    Fault::Split,
    Fault::OneWay,
    Fault::Mute,
    Fault::Deaf,
    Fault::Bridge,
    Fault::Ring,
    Fault::Isolate,
    Fault::RegionCut,
    Fault::LostGuards,
    Fault::SlowDisk,
    Fault::WrongClock,
    Fault::PartialLinks,
    Fault::PartialOneWay,
];

/// Numbers from one seed: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Lots(u64);

impl Lots {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// So many of all, in random order.
    fn some(&mut self, count: usize, all: usize) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..all).collect();
        (1..all).rev().for_each(|last| nodes.swap(last, self.below(last + 1)));
        nodes.truncate(count);
        nodes
    }
}

/// A network as it is.
struct Model {
    n: usize,
    up: Vec<bool>,
    /// Whether what the first says arrives at the second.
    arrives: Vec<Vec<bool>>,
    regions: Vec<usize>,
    observing: BTreeSet<usize>,
    slow: BTreeSet<usize>,
    wrong: BTreeSet<usize>,
}

impl Model {
    fn new(n: usize, lots: &mut Lots) -> Self {
        Self {
            n,
            up: vec![true; n],
            arrives: vec![vec![true; n]; n],
            regions: (0..n).map(|_| lots.below(3)).collect(),
            observing: BTreeSet::new(),
            slow: BTreeSet::new(),
            wrong: BTreeSet::new(),
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.arrives[a][b] = false;
        self.arrives[b][a] = false;
    }

    fn inject(&mut self, fault: Fault, lots: &mut Lots) {
        let n = self.n;
        let one = lots.below(n);
        let count = 1 + lots.below(n - 1);
        match fault {
            Fault::Crash => lots.some(count, n).into_iter().for_each(|node| self.up[node] = false),
            Fault::Split => {
                let side = lots.some(count, n);
                self.part(&side);
            }
            Fault::Isolate => self.part(&[one]),
            Fault::RegionCut => {
                let side: Vec<usize> = (0..n).filter(|node| self.regions[*node] == self.regions[one]).collect();
                self.part(&side);
            }
            Fault::OneWay => self.arrives[one][(one + count) % n] = false,
            Fault::Mute => (0..n).filter(|other| *other != one).for_each(|other| self.arrives[one][other] = false),
            Fault::Deaf => (0..n).filter(|other| *other != one).for_each(|other| self.arrives[other][one] = false),
            Fault::Bridge => {
                let order = lots.some(n, n);
                let middle = 1 + lots.below(n - 2);
                for (a, b) in order[..middle].iter().flat_map(|a| order[middle + 1..].iter().map(move |b| (*a, *b))) {
                    self.cut(a, b);
                }
            }
            Fault::Ring => {
                for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
                    if b - a != 1 && b - a != n - 1 {
                        self.cut(a, b);
                    }
                }
            }
            Fault::LostGuards => self.observing.extend(lots.some(count, n)),
            Fault::SlowDisk => self.slow.extend(lots.some(count, n)),
            // More than half with one wrong clock cannot be told from the others being wrong.
            Fault::WrongClock => {
                let few = 1 + lots.below(n.div_ceil(3));
                self.wrong.extend(lots.some(few.min((n - 1) / 2), n));
            }
            Fault::PartialLinks => {
                for _ in 0..count {
                    let (a, b) = (lots.below(n), lots.below(n));
                    self.cut(a, b);
                }
            }
            Fault::PartialOneWay => {
                for _ in 0..count {
                    let (a, b) = (lots.below(n), lots.below(n));
                    self.arrives[a][b] = false;
                }
            }
        }
    }

    fn part(&mut self, side: &[usize]) {
        let others: Vec<usize> = (0..self.n).filter(|node| !side.contains(node)).collect();
        for (a, b) in side.iter().flat_map(|a| others.iter().map(move |b| (*a, *b))) {
            self.cut(a, b);
        }
    }

    fn hears(&self, who: usize, about: usize) -> bool {
        self.up[who] && self.up[about] && who != about && self.arrives[about][who]
    }

    fn compares(&self, me: usize, node: usize) -> bool {
        self.hears(me, node) && self.hears(node, me)
    }

    /// Whose word comes to `me`, directly or passed on.
    fn known(&self, me: usize) -> BTreeSet<usize> {
        let mut known = BTreeSet::from([me]);
        loop {
            let more: Vec<usize> = (0..self.n).filter(|node| known.iter().any(|who| self.hears(*who, *node))).collect();
            let before = known.len();
            known.extend(more);
            if known.len() == before {
                return known;
            }
        }
    }

    fn scene(&self, me: usize, finalized_ms: u64) -> Scene {
        let known = self.known(me);
        let mut reach = Reach::new(self.n);
        for who in &known {
            (0..self.n).for_each(|about| {
                reach.say(*who, about, if self.hears(*who, about) { Word::Hears } else { Word::Deaf });
            });
        }
        let node = |node: usize| {
            let mut ailments = Vec::new();
            if known.contains(&node) && self.slow.contains(&node) {
                ailments.push((Ailment::Disk, 2_000));
            }
            // Clocks are compared with one's own, over a round trip.
            if self.compares(me, node) && self.wrong.contains(&node) != self.wrong.contains(&me) {
                ailments.push((Ailment::Clock, 60_000));
            }
            Node {
                heard: self.hears(me, node),
                missing_since_ms: None,
                voting: known.contains(&node).then(|| !self.observing.contains(&node)),
                ailments,
            }
        };
        Scene {
            looks: format!("n{me}"),
            me: Some(me),
            names: (0..self.n).map(|i| format!("n{i}")).collect(),
            regions: self.regions.iter().map(|region| format!("r{region}")).collect(),
            nodes: (0..self.n).map(node).collect(),
            reach,
            height: 7,
            now_ms: 100_000,
            started_ms: 0,
            finalized_ms: Some(finalized_ms),
        }
    }

    /// Each with whom it does not hear, of those whose word is known.
    fn deaf(&self, known: &BTreeSet<usize>) -> BTreeSet<(usize, usize)> {
        let pairs = known.iter().flat_map(|a| known.iter().map(move |b| (*a, *b)));
        pairs.filter(|(a, b)| a != b && !self.hears(*a, *b)).collect()
    }
}

/// What the causes claim: who does not hear whom.
fn claimed(causes: &[Cause]) -> BTreeSet<(usize, usize)> {
    let mut claimed = BTreeSet::new();
    let mut apart = |a: &[usize], b: &[usize]| {
        for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))) {
            claimed.extend([(a, b), (b, a)]);
        }
    };
    for cause in causes {
        let parts: Vec<Vec<usize>> = match cause {
            Cause::Split { sides, .. } => sides.iter().map(|(members, _)| members.clone()).collect(),
            Cause::Through { parts, .. } => parts.clone(),
            Cause::Cut { groups, .. } => {
                groups.iter().for_each(|(a, b)| apart(a, b));
                continue;
            }
            _ => continue,
        };
        for (i, part) in parts.iter().enumerate() {
            parts[i + 1..].iter().for_each(|other| apart(part, other));
        }
    }
    for (deaf, to) in
        causes.iter().flat_map(|cause| if let Cause::Deaf { groups } = cause { groups.clone() } else { vec![] })
    {
        for (deaf, to) in deaf.iter().flat_map(|deaf| to.iter().map(move |to| (*deaf, *to))) {
            claimed.remove(&(to, deaf));
            claimed.insert((deaf, to));
        }
    }
    claimed
}

fn named(causes: &[Cause], kind: &str) -> BTreeSet<usize> {
    causes.iter().filter(|cause| cause.name() == kind).flat_map(Cause::nodes).collect()
}

/// The most of `left` that all hear each other, each in the set or not.
fn mutual(model: &Model, chosen: &mut Vec<usize>, left: &[usize]) -> usize {
    let Some((first, rest)) = left.split_first() else { return chosen.len() };
    let without = mutual(model, chosen, rest);
    if chosen.iter().any(|it| !model.hears(*it, *first) || !model.hears(*first, *it)) {
        return without;
    }
    chosen.push(*first);
    let with = mutual(model, chosen, rest);
    chosen.pop();
    with.max(without)
}

/// What is wrong with the explanation that `me` gives.
fn judge(model: &Model, me: usize) -> Vec<String> {
    let (stalled, n) = (model.slow.len() > (model.n - 1) / 3, model.n);
    let why = explain(&model.scene(me, if stalled { 1_000 } else { 99_900 }));
    let known = model.known(me);
    let unheard: BTreeSet<usize> = (0..n).filter(|node| !known.contains(node)).collect();
    let and_known = |nodes: &BTreeSet<usize>| -> BTreeSet<usize> { nodes & &known };
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    check(named(&why.causes, "unheard") == unheard, format!("unheard, not {unheard:?}"));
    let deaf = model.deaf(&known);
    check(claimed(&why.causes) == deaf, format!("who does not hear whom, not {deaf:?}"));
    check(named(&why.causes, "observing") == and_known(&model.observing), format!("observing {:?}", model.observing));
    check(named(&why.causes, "disk") == and_known(&model.slow), format!("slow {:?}", model.slow));
    // Two clocks that differ say nothing of which is right, and neither do as many of one kind as of the other.
    let compared: BTreeSet<usize> = (0..n).filter(|node| model.compares(me, *node)).collect();
    let differ = compared.iter().filter(|node| model.wrong.contains(node) != model.wrong.contains(&me)).count();
    let (is_mine, is_clear) = (model.wrong.contains(&me), compared.len() >= 2 && 2 * differ != compared.len());
    if is_clear && is_mine == (2 * differ > compared.len()) {
        let clocks = if is_mine { BTreeSet::from([me]) } else { &model.wrong & &compared };
        check(named(&why.causes, "clock") == clocks, format!("clocks {clocks:?}"));
    }
    let voters: Vec<usize> = known.iter().copied().filter(|node| !model.observing.contains(node)).collect();
    let needed = n - (n - 1) / 3;
    let most = mutual(model, &mut Vec::new(), &voters);
    check(why.slack() == most as i64 - needed as i64, format!("{most} hear each other"));
    let hears = |who: &&usize| voters.iter().filter(|other| model.hears(**who, **other)).count() + 1 >= needed;
    let can_finalize = !stalled && voters.iter().any(|who| hears(&who));
    let expected = match can_finalize {
        false => Finality::Halted,
        true if most <= needed && (n > 3 || most < needed) => Finality::Degraded,
        true => Finality::Live,
    };
    check(why.finality == expected, format!("{expected:?}"));
    check(
        why.causes.is_empty() == why.details.is_empty()
            && why.fix.is_some() == (!why.causes.is_empty() || expected == Finality::Halted),
        "a fix".into(),
    );
    let named = why.details.iter().take(3).all(|detail| why.sentence.contains(detail.as_str()));
    check(named, "the sentence holds the causes".into());
    wrong.iter_mut().for_each(|what| *what += &format!("\n  {:?}\n  {}", why.causes, why.sentence));
    wrong
}

/// Plays so many seeds, each with one fault of each of these kinds, and says how many explanations were right.
fn play(kinds: usize) -> (u64, u64) {
    let (mut right, mut all) = (0, 0);
    for seed in 0..SEEDS {
        let mut lots = Lots(seed);
        let n = 3 + lots.below(8);
        let mut model = Model::new(n, &mut lots);
        let faults: Vec<Fault> = (0..kinds).map(|_| FAULTS[lots.below(FAULTS.len())]).collect();
        faults.iter().for_each(|fault| model.inject(*fault, &mut lots));
        for me in (0..n).filter(|me| model.up[*me]) {
            let wrong = judge(&model, me);
            all += 1;
            right += u64::from(wrong.is_empty());
            if !wrong.is_empty() && all - right <= 5 {
                println!("seed {seed}, {faults:?}, n{me} of {n}: {}", wrong.join("; "));
            }
        }
    }
    println!("{kinds} faults at a time: {right} of {all} explanations name exactly what was done");
    (right, all)
}

#[test]
fn an_injected_fault_is_named_by_every_validator() {
    let (right, all) = play(1);
    assert_eq!(right, all);
}

#[test]
fn two_and_three_faults_at_once_are_named_in_nearly_all_cases() {
    for kinds in 2..=3 {
        let (right, all) = play(kinds);
        assert!(right * 100 >= all * 99, "{right} of {all}");
    }
}
