//! What is the hash of this, so that it can never be mistaken for the hash of something else?
//!
//! Every use has its own tag. Tags end in a zero byte and hold none before it, so no tag is the beginning of another
//! and no two uses ever hash the same bytes.

use crate::types::Hash;
use sha2::{Digest, Sha256};

/// Transaction ids.
pub(crate) const TRANSACTION: &[u8] = b"unsplit/transaction/id\0";
/// What a sender signs.
pub(crate) const TRANSACTION_SIGNATURE: &[u8] = b"unsplit/transaction/signature\0";
/// Block digests.
pub(crate) const BLOCK: &[u8] = b"unsplit/block\0";
/// The content of a genesis file.
pub(crate) const GENESIS: &[u8] = b"unsplit/genesis\0";
/// One entry of the state tree.
pub(crate) const LEAF: &[u8] = b"unsplit/tree/leaf\0";
/// Two subtrees of the state tree.
pub(crate) const BRANCH: &[u8] = b"unsplit/tree/branch\0";
/// A state tree without entries.
pub(crate) const EMPTY: &[u8] = b"unsplit/tree/empty\0";

/// SHA-256 over the tag and the parts. The caller sees to it that the parts can be told apart.
pub(crate) fn hash(tag: &[u8], parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(tag);
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

/// Plain SHA-256, for what others compute too: payloads and results.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}
