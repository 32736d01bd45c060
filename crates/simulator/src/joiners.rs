//! Who asked for a seat, and what the operators of the others do about it.
//!
//! A new node asks once it runs, and again if its request was lost. Every operator approves of it as soon as it sees the
//! request on the chain; where a node is to be replaced, that one's operator alone does. All of them try again after a while
//! until it is done, as operators do.

use std::{collections::BTreeMap, time::Duration};

/// Operators look again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Joiners {
    /// By the number of the node.
    asked: BTreeMap<usize, Joiner>,
}

#[derive(Debug)]
struct Joiner {
    /// Whose place it is to take.
    replaces: Option<usize>,
    /// When it was last looked after.
    looked: Option<Duration>,
}

impl Joiners {
    /// A node asks from now on.
    pub(crate) fn ask(&mut self, node: usize, replaces: Option<usize>) {
        self.asked.entry(node).or_insert(Joiner { replaces, looked: None });
    }

    /// Whether this node ever asked.
    pub(crate) fn has_asked(&self, node: usize) -> bool {
        self.asked.contains_key(&node)
    }

    /// All that ever asked.
    pub(crate) fn all(&self) -> impl Iterator<Item = usize> + '_ {
        self.asked.keys().copied()
    }

    /// Those that are to be looked after now, with whom each replaces.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<(usize, Option<usize>)> {
        let mut due = Vec::new();
        for (node, joiner) in &mut self.asked {
            if joiner.looked.is_none_or(|looked| now >= looked + AGAIN_AFTER) {
                joiner.looked = Some(now);
                due.push((*node, joiner.replaces));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_looked_after_again_and_again() {
        let mut joiners = Joiners::default();
        joiners.ask(4, Some(1));
        joiners.ask(4, None);
        let at = Duration::from_secs;
        assert_eq!(joiners.due(at(1)), [(4, Some(1))]);
        assert_eq!(joiners.due(at(2)), []);
        assert_eq!(joiners.due(at(3)), [(4, Some(1))]);
        assert!(joiners.has_asked(4) && !joiners.has_asked(3));
    }
}
