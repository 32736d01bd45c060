//! Which programs and models may run, by agreement?
//!
//! The genesis says it first. After that each validator may propose another list, and has one standing proposal: once a
//! quorum proposes the same, that is the list. So a release is rolled out by certifying it beside the one that runs, and
//! ends by leaving the old one out; f liars neither bring in a program nor keep one out.
//!
//! Nothing in the chain acts on the list. Supervisors start nothing else, each on its own host.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader, read_option, write_option},
    genesis::{Certified, RELEASES_MAX},
    state::{StateError, TransactionError, id_of, key, stored},
    tree::Tree,
    types::{Hash, Height, NodeId, Sequence, quorum},
    verdicts::check_sequence,
};

/// The first byte of a key, beside those of `state`, `tasks` and `verdicts`.
const CERTIFIED: u8 = 9;
const PROPOSAL: u8 = 10;

/// What may run, and since which block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certification {
    /// The list, in ascending order.
    pub certified: Certified,
    /// The block that decided it; 0 for the genesis.
    pub since: Height,
}

/// What one validator proposes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Proposal {
    /// How many it made before the next.
    next: Sequence,
    /// The one that stands.
    standing: Option<Certified>,
}

/// What the genesis certifies.
pub(crate) fn begin(tree: &mut Tree, certified: &Certified) {
    if !certified.is_empty() {
        store(tree, &Certification { certified: certified.canonical(), since: Height(0) });
    }
}

pub(crate) fn certification(tree: &Tree) -> Certification {
    tree.get(&[CERTIFIED]).map_or_else(Certification::default, stored)
}

/// The proposals that stand, in the order of the validators' keys.
pub(crate) fn proposals(tree: &Tree) -> impl Iterator<Item = (NodeId, Certified)> + '_ {
    tree.prefix(&[PROPOSAL]).filter_map(|(key, value)| Some((id_of(key), stored::<Proposal>(value).standing?)))
}

/// The number that the next proposal of a validator carries.
pub(crate) fn next_sequence(tree: &Tree, node: &NodeId) -> Sequence {
    proposal(tree, node).next
}

/// Whether a validator may propose this.
pub(crate) fn check(tree: &Tree, node: &NodeId, proposed: &Certified, got: Sequence) -> Result<(), TransactionError> {
    let Proposal { next, standing } = proposal(tree, node);
    check_sequence(next, got)?;
    let says = standing.unwrap_or_else(|| certification(tree).certified);
    if says == proposed.canonical() { Err(TransactionError::CertifiedAlready) } else { Ok(()) }
}

/// A validator proposes; of `voters` a quorum decides. To propose what holds is to take back what one proposed.
pub(crate) fn propose(tree: &mut Tree, node: NodeId, proposed: &Certified, voters: usize, now: Height) {
    let (proposed, Proposal { next, .. }) = (proposed.canonical(), proposal(tree, &node));
    let standing = Some(proposed.clone()).filter(|proposed| *proposed != certification(tree).certified);
    put(tree, &node, &Proposal { next: next.after(), standing });
    let agreed: Vec<NodeId> =
        proposals(tree).filter(|(_, standing)| *standing == proposed).map(|(node, _)| node).collect();
    if agreed.len() >= quorum(voters) {
        store(tree, &Certification { certified: proposed, since: now });
        agreed.iter().for_each(|node| take_back(tree, node));
    }
}

/// What a validator proposes stands no more: it is decided, or its vote is gone.
pub(crate) fn take_back(tree: &mut Tree, node: &NodeId) {
    let before = proposal(tree, node);
    if before.standing.is_some() {
        put(tree, node, &Proposal { standing: None, ..before });
    }
}

/// Whether an entry of a checkpoint is one of ours that we could have written; nothing if it is not ours.
pub(crate) fn restore(entry: usize, key: &[u8], value: &[u8]) -> Option<Result<(), StateError>> {
    let decoded = match (key.first(), key.len()) {
        (Some(&CERTIFIED), 1) => Certification::decode(value).map(drop),
        (Some(&PROPOSAL), 33) => Proposal::decode(value).map(drop),
        _ => return None,
    };
    Some(decoded.map_err(|error| StateError::Value { entry, error }))
}

fn proposal(tree: &Tree, node: &NodeId) -> Proposal {
    tree.get(&key(PROPOSAL, node)).map_or_else(Proposal::default, stored)
}

fn put(tree: &mut Tree, node: &NodeId, proposal: &Proposal) {
    tree.insert(&key(PROPOSAL, node), &proposal.encode());
}

fn store(tree: &mut Tree, certification: &Certification) {
    tree.insert(&[CERTIFIED], &certification.encode());
}

impl Encode for Certified {
    fn write(&self, out: &mut Vec<u8>) {
        for hashes in [&self.programs, &self.models] {
            codec::write_count(hashes.len(), out);
            hashes.iter().for_each(|hash| hash.write(out));
        }
    }
}

impl Decode for Certified {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut hashes = |what| -> Result<Vec<Hash>, DecodeError> {
            let count = r.count(what, RELEASES_MAX, 32)?;
            (0..count).map(|_| Hash::read(r)).collect()
        };
        Ok(Self { programs: hashes("certified programs")?, models: hashes("certified models")? })
    }
}

impl Encode for Certification {
    fn write(&self, out: &mut Vec<u8>) {
        self.certified.write(out);
        self.since.write(out);
    }
}

impl Decode for Certification {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { certified: Certified::read(r)?, since: Height::read(r)? })
    }
}

impl Encode for Proposal {
    fn write(&self, out: &mut Vec<u8>) {
        self.next.write(out);
        write_option(self.standing.as_ref(), out);
    }
}

impl Decode for Proposal {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { next: Sequence::read(r)?, standing: read_option(r, "whether a proposal stands")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PublicKey;

    fn node(seed: u8) -> NodeId {
        PublicKey([seed; 32])
    }

    fn list(programs: &[u8]) -> Certified {
        Certified { programs: programs.iter().map(|seed| Hash([*seed; 32])).collect(), models: Vec::new() }
    }

    /// Seven validators, of which two may lie; release 1 runs.
    fn tree() -> Tree {
        let mut tree = Tree::new();
        begin(&mut tree, &list(&[1]));
        tree
    }

    /// Validators propose the same in block 5.
    fn propose_all(tree: &mut Tree, nodes: impl IntoIterator<Item = u8>, proposed: &Certified) {
        for seed in nodes {
            let node = node(seed);
            check(tree, &node, proposed, next_sequence(tree, &node)).expect("it may be proposed");
            propose(tree, node, proposed, 7, Height(5));
        }
    }

    #[test]
    fn a_quorum_decides_and_one_less_does_not() {
        let mut tree = tree();
        propose_all(&mut tree, 1..=4, &list(&[1, 2]));
        assert_eq!(certification(&tree), Certification { certified: list(&[1]), since: Height(0) });
        assert_eq!(proposals(&tree).count(), 4);
        propose_all(&mut tree, 5..=5, &list(&[2, 1]));
        assert_eq!(certification(&tree), Certification { certified: list(&[1, 2]), since: Height(5) });
        assert_eq!(proposals(&tree).count(), 0, "what was decided is no proposal any more");
    }

    #[test]
    fn a_proposal_stands_until_the_same_validator_makes_another() {
        let mut tree = tree();
        propose_all(&mut tree, [1, 2, 3, 4], &list(&[2]));
        propose_all(&mut tree, [4], &list(&[3]));
        propose_all(&mut tree, [5], &list(&[2]));
        assert_eq!(certification(&tree).certified, list(&[1]), "four propose the same now");
        // Back to what holds: that takes the proposal back.
        propose_all(&mut tree, [4], &list(&[1]));
        assert!(proposals(&tree).all(|(proposer, _)| proposer != node(4)));
        propose_all(&mut tree, [4], &list(&[2]));
        assert_eq!(certification(&tree).certified, list(&[2]));
    }

    #[test]
    fn what_would_change_nothing_is_refused_and_no_proposal_counts_twice() {
        let mut tree = tree();
        let check = |tree: &Tree, proposed: &Certified, sequence| check(tree, &node(1), proposed, Sequence(sequence));
        assert_eq!(check(&tree, &list(&[1]), 0), Err(TransactionError::CertifiedAlready));
        propose_all(&mut tree, [1], &list(&[2, 3]));
        assert_eq!(check(&tree, &list(&[3, 2]), 1), Err(TransactionError::CertifiedAlready));
        assert!(matches!(check(&tree, &list(&[4]), 0), Err(TransactionError::SequenceTooLow { .. })));
        assert!(matches!(check(&tree, &list(&[4]), 2), Err(TransactionError::SequenceTooHigh { .. })));
        assert_eq!(check(&tree, &list(&[4]), 1), Ok(()));
        assert_eq!(check(&tree, &list(&[1]), 1), Ok(()), "to take it back");
    }

    #[test]
    fn entries_read_back_and_damage_is_an_error() {
        let mut tree = tree();
        propose_all(&mut tree, [1], &list(&[2, 3]));
        assert_eq!(tree.iter().count(), 2);
        for (key, value) in tree.iter() {
            assert_eq!(restore(0, key, value), Some(Ok(())));
            for end in 0..value.len() {
                assert!(restore(0, key, &value[..end]).is_some_and(|restored| restored.is_err()), "{end}");
            }
        }
        assert_eq!(restore(0, &[PROPOSAL], &[]), None, "the key of a proposal names who made it");
    }
}
