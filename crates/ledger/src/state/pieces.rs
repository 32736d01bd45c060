//! What can be handed over of a state, so that a stranger can check it against the root?

use super::{PARAMETERS, Parameters, State, StateError, VALIDATOR, id_of};
use crate::{
    codec::{Decode, DecodeError},
    roster::{Roster, SEAT},
    tree::{Path, Piece},
    types::{Epoch, Hash, Height, NodeId},
};

/// Why bytes do not prove who votes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// They are no proof.
    #[error("the proof cannot be read: {0}")]
    Bytes(#[from] DecodeError),
    /// They are one of another state.
    #[error("the proof has root {got}, not {expected}")]
    Root {
        /// What is certified.
        expected: Hash,
        /// What the proof leads to.
        got: Hash,
    },
    /// They leave something out.
    #[error("the proof leaves entries out that it is about")]
    Incomplete,
    /// They hold an entry that no state has.
    #[error(transparent)]
    State(#[from] StateError),
}

impl State {
    /// How many bytes the whole state takes in pieces.
    pub fn bytes(&self) -> u64 {
        self.tree.bytes()
    }

    /// The piece of the state at the end of a path, see [`Piece`]; nothing where the path leads nowhere.
    pub fn piece(&self, path: &Path) -> Option<Vec<u8>> {
        self.tree.piece(path)
    }

    /// What shows everybody who knows the root who votes in which epoch, as far as it is decided.
    pub fn prove_voters(&self) -> Vec<u8> {
        self.tree.proof(&[&[PARAMETERS], &[VALIDATOR], &[SEAT]])
    }
}

/// Who votes in `epoch`, in the order of keys, as the state after `height` has it, whose root is `root`; nothing if that was
/// not decided then.
///
/// # Errors
/// When `proof` does not prove it.
pub fn proven_voters(
    proof: &[u8],
    root: Hash,
    height: Height,
    epoch: Epoch,
) -> Result<Option<Vec<NodeId>>, ProofError> {
    let piece = Piece::read(proof)?;
    if piece.hash() != root {
        return Err(ProofError::Root { expected: root, got: piece.hash() });
    }
    let under = |kind: u8| piece.prefix(&[kind]).ok_or(ProofError::Incomplete);
    let (_, parameters) = *under(PARAMETERS)?.first().ok_or(StateError::NoParameters)?;
    let parameters = Parameters::decode(parameters)?;
    let mut roster = Roster::new(parameters.epochs, 0, std::iter::empty());
    for (entry, (key, _)) in under(VALIDATOR)?.into_iter().enumerate() {
        if key.len() != 33 {
            return Err(StateError::Key { entry }.into());
        }
        roster.restore_validator(id_of(key));
    }
    for (entry, (key, value)) in under(SEAT)?.into_iter().enumerate() {
        roster.restore(entry, key, value).unwrap_or(Err(StateError::Key { entry }))?;
    }
    roster.finish(parameters.epochs, parameters.byzantine_budget as usize, height);
    Ok(roster.voters_of(epoch, height))
}
