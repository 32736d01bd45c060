//! How does a node that is behind get many blocks at a time?
//!
//! It asks for ranges of blocks, several at a time and each of another peer: `sentinel::catchup` plans them. An answer holds
//! blocks one after the other and the certificate of the last one, which stands for all of them: each names the one before.
//! So a signature is checked once for many blocks, nothing is believed, and whoever answers wrongly is cut off. A peer that
//! has no certificate for the last block gives a shorter range.
//!
//! What was checked is fed to the engine's store, which asks for none of it meanwhile. Where ranges do not come, it asks for
//! one block after the other, as it always does.
//!
//! - `answer`: what a peer gives, and whether it is right
//! - `read`: asking, checking and feeding

mod answer;
mod read;

pub(crate) use answer::Answering;
pub(crate) use read::{Feeding, Goal, PATIENCE, Place, Reader};

#[cfg(test)]
mod tests;
