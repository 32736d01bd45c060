//! What nodes and clients were seen to claim.
//!
//! Everything that must agree over time, nodes and restarts is compared here at the moment it is claimed, so a run need
//! not end well for a fork to be seen.

use crate::{Checker, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// More violations than this tell nothing new.
const VIOLATIONS_MAX: usize = 64;

/// Blocks that were so far on their way when the quorum went that they may still become final: one whose votes to
/// finalize are in flight, and its child.
const UNDER_WAY_MAX: u64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    violations: Vec<Violation>,
    /// Digest and first claimant by height.
    digests: BTreeMap<u64, (String, String)>,
    /// State root and first claimant by height.
    roots: BTreeMap<u64, (String, String)>,
    /// The block in which a task was completed under a token, and who saw it first.
    completions: BTreeMap<(u64, u64), (u64, String)>,
    /// Completions that were rejected as too late: task, token and whose.
    rejections: BTreeSet<(u64, u64, String)>,
    /// Simulated milliseconds when a height was first claimed, newest last.
    newest_at_ms: u64,
    gap_ms: u64,
    /// The newest height when the quorum went, while it is away.
    without_quorum: Option<u64>,
    halts: u64,
    /// When which node told of a damaged part, and under which offset.
    damaged: BTreeSet<(String, u64, u64)>,
    /// The same of what came back, and how much.
    repaired: BTreeMap<(String, u64, u64), u64>,
    /// Who cut off whom.
    cuts: BTreeSet<(String, String)>,
}

impl Book {
    /// `who` cut off `whom`.
    pub(crate) fn cut_off(&mut self, who: &str, whom: &str) {
        self.cuts.insert((who.into(), whom.into()));
    }

    /// Who ever cut off whom.
    pub(crate) const fn cuts(&self) -> &BTreeSet<(String, String)> {
        &self.cuts
    }

    /// Notes a violation.
    pub(crate) fn accuse(&mut self, checker: Checker, at_ms: u64, what: String) {
        let violation = Violation { checker, what, at_ms };
        let known = self.violations.iter().any(|other| other.checker == checker && other.what == violation.what);
        if !known && self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The newest height that any node called final.
    pub(crate) fn height(&self) -> u64 {
        self.digests.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// The digest that was claimed for a height.
    pub(crate) fn digest(&self, height: u64) -> Option<&str> {
        self.digests.get(&height).map(|(digest, _)| digest.as_str())
    }

    pub(crate) fn digests(&self) -> impl Iterator<Item = (u64, &str)> {
        self.digests.iter().map(|(height, (digest, _))| (*height, digest.as_str()))
    }

    /// The longest time between two new blocks.
    pub(crate) const fn gap_ms(&self) -> u64 {
        self.gap_ms
    }

    /// How often the quorum was away.
    pub(crate) const fn halts(&self) -> u64 {
        self.halts
    }

    /// `who` says that a part of its store is damaged. May be heard twice.
    pub(crate) fn damaged(&mut self, who: &str, event: &api::Event) {
        self.damaged.insert((who.to_owned(), event.time_ms, event.offset));
    }

    /// `who` says that so much is back. May be heard twice.
    pub(crate) fn repaired(&mut self, who: &str, event: &api::Event, count: u64) {
        self.repaired.insert((who.to_owned(), event.time_ms, event.offset), count);
    }

    /// How many damaged parts `who` told of.
    pub(crate) fn damage_of(&self, who: &str) -> u64 {
        self.damaged.iter().filter(|(name, _, _)| name == who).count() as u64
    }

    /// How many damaged parts all nodes told of, and how much came back.
    pub(crate) fn damage(&self) -> (u64, u64) {
        (self.damaged.len() as u64, self.repaired.values().sum())
    }

    /// `who` says that the block at `height` is final.
    pub(crate) fn finalized(&mut self, who: &str, height: u64, digest: &str, at_ms: u64) {
        if let Some((known, by)) = self.digests.get(&height) {
            if known != digest {
                let what = format!("block {height} is {known} on {by} and {digest} on {who}");
                self.accuse(Checker::Agreement, at_ms, what);
            }
            return;
        }
        if let Some(tip) = self.without_quorum
            && height > tip + UNDER_WAY_MAX
        {
            let what = format!("{who} finalized block {height} though the quorum was away since block {tip}");
            self.accuse(Checker::Halts, at_ms, what);
        }
        self.digests.insert(height, (digest.to_owned(), who.to_owned()));
        self.gap_ms = self.gap_ms.max(at_ms.saturating_sub(self.newest_at_ms));
        self.newest_at_ms = at_ms;
    }

    /// `who` has the state with `root` after the block at `height`.
    pub(crate) fn state(&mut self, who: &str, height: u64, root: &str, at_ms: u64) {
        let (known, by) = self.roots.entry(height).or_insert_with(|| (root.to_owned(), who.to_owned()));
        if known != root {
            let what = format!("the state after block {height} has root {known} on {by} and {root} on {who}");
            self.accuse(Checker::Agreement, at_ms, what);
        }
    }

    /// `who` says that a task was completed under a token in the block at `height`.
    pub(crate) fn completed(&mut self, who: &str, (task, token): (u64, u64), height: u64, at_ms: u64) {
        let (known, by) = self.completions.entry((task, token)).or_insert_with(|| (height, who.to_owned()));
        if *known != height {
            let what = format!("task {task} was completed in block {known} on {by} and in {height} on {who}");
            self.accuse(Checker::Tasks, at_ms, what);
        }
    }

    /// Somebody says that the completion of a task under a token, by `node`, came too late.
    pub(crate) fn rejected(&mut self, task: u64, token: u64, node: &str) {
        self.rejections.insert((task, token, node.to_owned()));
    }

    /// Task, token, height and who said so, of all completions that nodes told of.
    pub(crate) fn completions(&self) -> impl Iterator<Item = (u64, u64, u64, &str)> {
        self.completions.iter().map(|((task, token), (height, who))| (*task, *token, *height, who.as_str()))
    }

    /// Task, token and validator of all completions that were too late.
    pub(crate) fn rejections(&self) -> impl Iterator<Item = (u64, u64, &str)> {
        self.rejections.iter().map(|(task, token, node)| (*task, *token, node.as_str()))
    }

    /// Whether a quorum of connected voters is there.
    pub(crate) fn quorum(&mut self, there: bool) {
        let height = self.height();
        match (there, self.without_quorum) {
            (true, _) => self.without_quorum = None,
            (false, None) => {
                self.halts += 1;
                self.without_quorum = Some(height);
            }
            (false, Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accusations(claims: &[(&str, u64, &str)]) -> Vec<Checker> {
        let mut book = Book::default();
        for (who, height, digest) in claims {
            book.finalized(who, *height, digest, 0);
        }
        book.violations().iter().map(|violation| violation.checker).collect()
    }

    #[test]
    fn two_digests_at_one_height_are_noticed_and_repeats_are_not() {
        assert_eq!(accusations(&[("n0", 1, "a"), ("n1", 1, "a"), ("n0", 1, "a")]), []);
        assert_eq!(accusations(&[("n0", 1, "a"), ("n0", 2, "b"), ("n1", 1, "b")]), [Checker::Agreement]);
    }

    #[test]
    fn without_a_quorum_two_blocks_may_come_and_no_third() {
        let mut book = Book::default();
        book.finalized("n0", 7, "a", 0);
        book.quorum(false);
        book.finalized("n0", 8, "b", 1);
        book.finalized("n0", 9, "c", 2);
        assert_eq!(book.violations(), []);
        book.finalized("n0", 10, "d", 3);
        assert_eq!(book.violations()[0].checker, Checker::Halts);
    }

    #[test]
    fn with_the_quorum_back_any_number_may_come() {
        let mut book = Book::default();
        book.quorum(false);
        book.quorum(true);
        book.finalized("n0", 10, "d", 3);
        assert_eq!((book.violations().len(), book.halts()), (0, 1));
    }
}
