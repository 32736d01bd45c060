//! How does a node that is behind come to where the others are?
//!
//! It fetches blocks by the hundred, as long as there are not too many (`ranges`).
//!
//! If there are, it fetches the state itself, at a height that is final, and follows from there: a *snapshot*. Nothing of it is believed.
//! - The block above the snapshot names the root of the state, and a quorum's certificate stands for that block.
//! - Who the quorum is follows from what this node knows (the genesis, or its record of voters), and from there by one step
//!   for each change of the set: a certificate of the set before, on a block whose root proves the set after.
//! - Every piece of the state is a subtree of the Merkle tree and has the hash that the piece above it names: a wrong one
//!   names its liar, who is cut off, and is asked from another peer.
//!
//! What this rests on: no quorum of an old set has turned bad since. Whoever has been away for so long that the keys of a
//! quorum of then may be in wrong hands by now should begin with a store that somebody they trust gives them.
//!
//! - `ranges`: many blocks at a time
//! - `want`: what is asked for of a snapshot
//! - `trust`: offers and changes of the set of voters, and whether they are what they say
//! - `shelf`: what this node has to give
//! - `intake`: pieces, on their way to the disk and from there to a state
//! - `join`: the course of it

mod intake;
mod join;
mod ranges;
mod shelf;
mod trust;
mod want;

pub(crate) use intake::{clear, height_under_way};
pub(crate) use join::{Joined, Joiner, Order, Place, Reporting};
pub(crate) use ranges::{Answering, Feeding, Goal, PATIENCE as RANGES_PATIENCE, Place as RangesPlace, Reader};
pub(crate) use shelf::{Serving, Shelf, change_due, is_change_whole};
pub(crate) use trust::{Certified, Change};
pub(crate) use want::PATIENCE;

/// The most bytes that an answer takes: a block with its certificate and the proof of who votes, or a piece.
pub(crate) fn message_bytes_max(validators: usize) -> usize {
    ledger::block::BYTES_MAX + PROOF_BYTES + validators.saturating_mul(PROOF_BYTES_PER_VALIDATOR)
}

/// An entry of a validator, its seat, the hashes beside them, and its signature in a certificate.
const PROOF_BYTES_PER_VALIDATOR: usize = 2_048;
/// The chain's parameters and whatever is around.
const PROOF_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
