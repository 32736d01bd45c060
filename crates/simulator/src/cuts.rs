//! Does every node name the cuts that there are, and none that there is not?
//!
//! Written from the rules and not from the sentinel: who hears whom follows from the links, whose row comes where follows from
//! that, and what a node shows is held against it once the rows have had the time to show it.

use api::Snapshot;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Rows show a cut when nothing was heard for as long as silence may last, at the next heartbeat after that; a second more is
/// what naming may take.
const NAMED_WITHIN: Duration = Duration::from_millis(1_500 + 500 + 1_000);

/// Who hears whom, and since when.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// By who hears, then by whom; of those that are down nothing.
    hears: Vec<Vec<bool>>,
    since: Duration,
    /// How long each took to name it.
    named: Vec<Option<Duration>>,
    accused: BTreeSet<usize>,
    /// The longest that any node took to name any change, and how many were named.
    pub(crate) longest: Option<Duration>,
    pub(crate) count: u64,
}

/// What a node shows, and what it should.
#[derive(Debug, Eq, PartialEq)]
struct Shown {
    sides: BTreeSet<BTreeSet<String>>,
    unheard: BTreeSet<String>,
    unknown: BTreeSet<String>,
    /// From whom, to whom, how; of a cut the smaller place first.
    damaged: BTreeSet<(String, String, String)>,
}

impl Cuts {
    /// Notes who hears whom now; `None` while the weather is such that nobody can tell.
    pub(crate) fn follow(&mut self, hears: Option<Vec<Vec<bool>>>, now: Duration) {
        match hears {
            Some(hears) if hears == self.hears => {}
            other => {
                let hears = other.unwrap_or_default();
                self.named = vec![None; hears.len()];
                self.accused.clear();
                (self.hears, self.since) = (hears, now);
            }
        }
    }

    /// Looks at what `node` shows, and says what is wrong with it, once for each change.
    pub(crate) fn judge(&mut self, node: usize, snapshot: &Snapshot, now: Duration) -> Option<String> {
        if self.hears.is_empty() || !self.hears[node][node] || snapshot.status.validators == 0 {
            return None;
        }
        let (shown, expected) = (shown(snapshot), self.expected(node));
        let took = now - self.since;
        if shown == expected && told(snapshot) == expected.unheard {
            if self.named[node].is_none() {
                self.named[node] = Some(took);
                let is_cut = self.hears.iter().flatten().any(|hears| !hears);
                if is_cut {
                    self.longest = self.longest.max(Some(took));
                    self.count += 1;
                }
            }
            return None;
        }
        if took < NAMED_WITHIN || !self.accused.insert(node) {
            return None;
        }
        let sentence = &snapshot.why.sentence;
        Some(format!("n{node} shows {shown:?} {took:?} after the change, and not {expected:?}: {sentence}"))
    }

    /// Whose rows come to whom: directly, or from one that it hears and that knows by its row what it lacks.
    fn known(&self) -> Vec<BTreeSet<usize>> {
        let n = self.hears.len();
        let mut known: Vec<BTreeSet<usize>> = (0..n).map(|node| BTreeSet::from([node])).collect();
        loop {
            let before = known.clone();
            for (node, via) in (0..n).flat_map(|node| (0..n).map(move |via| (node, via))) {
                if node == via || !self.hears[node][via] {
                    continue;
                }
                known[node].insert(via);
                if before[via].contains(&node) {
                    known[node].extend(&before[via]);
                }
            }
            if known == before {
                return known;
            }
        }
    }

    fn expected(&self, me: usize) -> Shown {
        let n = self.hears.len();
        let known = &self.known()[me];
        let both = |a: usize, b: usize| self.hears[a][b] && self.hears[b][a];
        let mut side: BTreeMap<usize, usize> = known.iter().map(|node| (*node, *node)).collect();
        for _ in 0..n {
            for (a, b) in known.iter().flat_map(|a| known.iter().map(move |b| (*a, *b))) {
                if both(a, b) {
                    let least = side[&a].min(side[&b]);
                    side.insert(a, least);
                    side.insert(b, least);
                }
            }
        }
        let mut sides: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (node, side) in side {
            sides.entry(side).or_default().insert(name(node));
        }
        let away = (0..n).filter(|node| !known.contains(node));
        let (unknown, unheard): (Vec<usize>, Vec<usize>) =
            away.partition(|node| known.iter().any(|who| self.hears[*who][*node]));
        let mut damaged = BTreeSet::new();
        for (a, b) in known.iter().flat_map(|a| known.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b) {
            let (from, to, how) = match (self.hears[a][b], self.hears[b][a]) {
                (true, true) => continue,
                (true, false) => (b, a, "one_way"),
                (false, true) => (a, b, "one_way"),
                (false, false) => (a, b, "cut"),
            };
            damaged.insert((name(from), name(to), how.to_owned()));
        }
        for (who, other) in known.iter().flat_map(|who| unknown.iter().map(move |other| (*who, *other))) {
            if !self.hears[who][other] {
                damaged.insert((name(other), name(who), "broken".to_owned()));
            }
        }
        let names = |nodes: Vec<usize>| nodes.into_iter().map(name).collect();
        Shown { sides: sides.into_values().collect(), unheard: names(unheard), unknown: names(unknown), damaged }
    }
}

/// Who hears whom, of `n`, given who is up and which links there are.
pub(crate) fn hears(n: usize, is_up: impl Fn(usize) -> bool, link: impl Fn(usize, usize) -> bool) -> Vec<Vec<bool>> {
    let hears = |who: usize, about: usize| is_up(who) && is_up(about) && (who == about || link(about, who));
    (0..n).map(|who| (0..n).map(|about| hears(who, about)).collect()).collect()
}

fn shown(snapshot: &Snapshot) -> Shown {
    let view = &snapshot.partitions;
    Shown {
        sides: view.sides.iter().map(|side| side.nodes.iter().cloned().collect()).collect(),
        unheard: view.unheard.iter().cloned().collect(),
        unknown: view.unknown.iter().cloned().collect(),
        damaged: view.damaged.iter().map(|it| (it.from.clone(), it.to.clone(), it.state.clone())).collect(),
    }
}

/// Whom the explanation calls unheard.
fn told(snapshot: &Snapshot) -> BTreeSet<String> {
    let causes = snapshot.why.causes.iter().filter(|cause| cause.kind == "unheard");
    causes.flat_map(|cause| cause.nodes.iter().cloned()).collect()
}

fn name(node: usize) -> String {
    format!("n{node}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{CauseView, PartitionsView, SideView, Status, Why};

    /// What one of four shows that sees these sides, and these as unheard.
    fn snapshot(sides: &[&[&str]], unheard: &[&str]) -> Snapshot {
        let names = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>();
        let side = |nodes: &&[&str]| SideView { nodes: names(nodes), ..SideView::default() };
        let cause = CauseView { kind: "unheard".into(), nodes: names(unheard), ..CauseView::default() };
        Snapshot {
            status: Status { validators: 4, ..Status::default() },
            partitions: PartitionsView {
                sides: sides.iter().map(side).collect(),
                unheard: names(unheard),
                ..PartitionsView::default()
            },
            why: Why { causes: vec![cause], ..Why::default() },
            ..Snapshot::default()
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two and two do not hear each other from the start on.
    fn split() -> Cuts {
        let mut cuts = Cuts::default();
        cuts.follow(Some(hears(4, |_| true, |from, to| (from < 2) == (to < 2))), at(0));
        cuts
    }

    #[test]
    fn a_cut_that_is_named_in_time_is_no_violation_and_is_timed() {
        let mut cuts = split();
        let whole = snapshot(&[&["n0", "n1", "n2", "n3"]], &[]);
        assert_eq!(cuts.judge(0, &whole, at(2_999)), None, "it is not late yet");
        assert_eq!(cuts.judge(0, &snapshot(&[&["n0", "n1"]], &["n2", "n3"]), at(2_999)), None);
        assert_eq!((cuts.longest, cuts.count), (Some(at(2_999)), 1));
    }

    #[test]
    fn a_cut_that_is_not_named_or_named_wrong_is_accused_once() {
        let mut cuts = split();
        assert!(cuts.judge(0, &snapshot(&[&["n0", "n1", "n2", "n3"]], &[]), at(3_000)).is_some());
        assert_eq!(cuts.judge(0, &snapshot(&[&["n0", "n1", "n2", "n3"]], &[]), at(3_100)), None);
        assert!(cuts.judge(1, &snapshot(&[&["n0", "n1"], &["n2"]], &["n3"]), at(3_000)).is_some());
    }

    #[test]
    fn a_cut_that_there_is_not_is_accused() {
        let mut cuts = Cuts::default();
        cuts.follow(Some(hears(4, |_| true, |_, _| true)), at(0));
        assert!(cuts.judge(2, &snapshot(&[&["n0", "n1", "n2"]], &["n3"]), at(3_000)).is_some());
    }

    #[test]
    fn rows_come_through_those_that_know_what_is_lacking() {
        let mut cuts = Cuts::default();
        // n1 hears both of the others, which do not hear each other; n3 hears all and is heard by nobody.
        cuts.follow(
            Some(hears(4, |_| true, |from, to| from != 3 && (from, to) != (0, 2) && (from, to) != (2, 0))),
            at(0),
        );
        let known = cuts.known();
        assert_eq!(known[0], BTreeSet::from([0, 1, 2]));
        assert_eq!(known[3], BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(cuts.expected(0).damaged, BTreeSet::from([("n0".into(), "n2".into(), "cut".into())]));
    }
}
