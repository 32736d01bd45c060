//! Who reaches whom?
//!
//! Faults of the network, and of disks that go on, are kept as they were asked for; what each link and each disk is like
//! follows from those in force. A link is one direction between two nodes.

use crate::{Fault, Links, machine::Disk};
use std::{collections::BTreeMap, time::Duration};

/// A link that works.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
}

/// The network as it is.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    nodes: usize,
    base: Links,
    faults: BTreeMap<usize, Fault>,
}

impl Topology {
    pub(crate) const fn new(nodes: usize, base: Links) -> Self {
        Self { nodes, base, faults: BTreeMap::new() }
    }

    /// Puts fault number `id` in force.
    pub(crate) fn begin(&mut self, id: usize, fault: Fault) {
        self.faults.insert(id, fault);
    }

    /// Ends fault number `id`, if it still is in force.
    pub(crate) fn end(&mut self, id: usize) {
        self.faults.remove(&id);
    }

    /// Ends all faults but those in `kept`.
    pub(crate) fn heal(&mut self, kept: &[usize]) {
        self.faults.retain(|id, _| kept.contains(id));
    }

    /// The link `from` one node `to` another, or `None` when nothing gets through.
    pub(crate) fn link(&self, from: usize, to: usize) -> Option<Link> {
        let mut link = Link { latency: self.base.latency, jitter: self.base.jitter, loss: self.base.loss };
        for fault in self.faults.values() {
            match fault {
                Fault::Partition { groups, .. } if side(groups, from) != side(groups, to) => return None,
                Fault::OneWay { from: unheard, to: deaf, .. } if unheard.contains(&from) && deaf.contains(&to) => {
                    return None;
                }
                Fault::Loss { nodes, loss, .. } if nodes.contains(&from) || nodes.contains(&to) => {
                    link.loss = link.loss.max(*loss);
                }
                Fault::Delay { nodes, delay, .. } if nodes.contains(&from) || nodes.contains(&to) => {
                    link.latency += *delay;
                }
                Fault::Partition { .. }
                | Fault::OneWay { .. }
                | Fault::Loss { .. }
                | Fault::Delay { .. }
                | Fault::Narrow { .. }
                | Fault::Twice { .. }
                | Fault::SlowReads { .. }
                | Fault::LyingDisk { .. } => {}
                Fault::Crash { .. }
                | Fault::FailAt { .. }
                | Fault::Stall { .. }
                | Fault::WrongClock { .. }
                | Fault::Restart { .. }
                | Fault::Heal
                | Fault::WipeJournal { .. }
                | Fault::LoseGuard { .. }
                | Fault::DamageGuard { .. }
                | Fault::RotGuard { .. }
                | Fault::RotStore { .. }
                | Fault::SlowWorker { .. }
                | Fault::StuckWorker { .. }
                | Fault::SlowDisk { .. }
                | Fault::FalseAccuser { .. }
                | Fault::Leave { .. }
                | Fault::Wipe { .. }
                | Fault::BadAnswers { .. }
                | Fault::NoAnswers { .. }
                | Fault::Join { .. }
                | Fault::Spike { .. }
                | Fault::PowerLoss => unreachable!("only what machines and links are like is kept here"),
            }
        }
        Some(link)
    }

    /// How many bytes a second a node sends and receives at most; `None` when there is no bound.
    pub(crate) fn bandwidth(&self, node: usize) -> Option<usize> {
        let bound = |fault: &Fault| match fault {
            Fault::Narrow { nodes, bandwidth, .. } if nodes.contains(&node) => Some(*bandwidth),
            _ => None,
        };
        self.faults.values().filter_map(bound).min()
    }

    /// Whether messages of a node come twice.
    pub(crate) fn is_twice(&self, node: usize) -> bool {
        self.faults.values().any(|fault| matches!(fault, Fault::Twice { nodes, .. } if nodes.contains(&node)))
    }

    /// What the disk of a node is like.
    pub(crate) fn disk(&self, node: usize) -> Disk {
        self.faults.values().fold(Disk::default(), |disk, fault| match fault {
            Fault::SlowReads { nodes, delay, .. } if nodes.contains(&node) => Disk { read_delay: *delay, ..disk },
            Fault::LyingDisk { nodes, .. } if nodes.contains(&node) => Disk { lies: true, ..disk },
            _ => disk,
        })
    }

    /// Whether nothing is lost or late beyond what the scenario's links do by themselves.
    pub(crate) fn is_clear(&self) -> bool {
        let is_lossy = |fault: &Fault| matches!(fault, Fault::Loss { .. } | Fault::Delay { .. } | Fault::Narrow { .. });
        !self.faults.values().any(is_lossy)
    }

    /// Whether no group of these voters that could hear each other, even by detours and in one direction, has `quorum`.
    pub(crate) fn without_quorum(&self, voters: &[usize], quorum: usize) -> bool {
        let mut left = voters.to_vec();
        while let Some(first) = left.pop() {
            let mut group = vec![first];
            let mut next = 0;
            while let Some(&node) = group.get(next) {
                next += 1;
                let touches = |other: &usize| self.link(node, *other).is_some() || self.link(*other, node).is_some();
                let (reached, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(touches);
                group.extend(reached);
                left = rest;
            }
            if group.len() >= quorum {
                return false;
            }
        }
        true
    }

    pub(crate) const fn nodes(&self) -> usize {
        self.nodes
    }
}

fn side(groups: &[Vec<usize>], node: usize) -> Option<usize> {
    groups.iter().position(|group| group.contains(&node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(faults: &[Fault]) -> Topology {
        let mut topology = Topology::new(4, Links::default());
        for (id, fault) in faults.iter().enumerate() {
            topology.begin(id, fault.clone());
        }
        topology
    }

    fn partition(groups: &[&[usize]]) -> Fault {
        Fault::Partition { groups: groups.iter().map(|group| group.to_vec()).collect(), lasts: None }
    }

    fn one_way(from: &[usize], to: &[usize]) -> Fault {
        Fault::OneWay { from: from.to_vec(), to: to.to_vec(), lasts: None }
    }

    #[test]
    fn those_in_no_group_are_one_of_their_own() {
        let split = with(&[partition(&[&[0]])]);
        assert_eq!(split.link(0, 1), None);
        assert!(split.link(1, 2).is_some());
    }

    #[test]
    fn a_one_way_cut_leaves_the_way_back() {
        let cut = with(&[one_way(&[3], &[0])]);
        assert_eq!((cut.link(3, 0).is_some(), cut.link(0, 3).is_some()), (false, true));
    }

    #[test]
    fn the_narrowest_bound_counts_and_only_for_whom_it_is() {
        let narrow = |bandwidth| Fault::Narrow { nodes: vec![1], bandwidth, lasts: None };
        let topology = with(&[narrow(9), narrow(7), Fault::Twice { nodes: vec![2], lasts: None }]);
        assert_eq!([0, 1, 2].map(|node| topology.bandwidth(node)), [None, Some(7), None]);
        assert_eq!([0, 1, 2].map(|node| topology.is_twice(node)), [false, false, true]);
        assert!(!topology.is_clear());
    }

    #[test]
    fn a_quorum_is_lost_only_when_no_detour_is_left() {
        let all = [0, 1, 2, 3];
        assert!(!with(&[]).without_quorum(&all, 3));
        assert!(!with(&[partition(&[&[0]])]).without_quorum(&all, 3));
        assert!(with(&[partition(&[&[0, 1]])]).without_quorum(&all, 3));
        assert!(with(&[]).without_quorum(&all[..2], 3));
        assert!(!with(&[one_way(&[0, 1], &[2, 3])]).without_quorum(&all, 3));
        assert!(with(&[one_way(&[0, 1], &[2, 3]), one_way(&[2, 3], &[0, 1])]).without_quorum(&all, 3));
    }
}
