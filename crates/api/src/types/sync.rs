//! The documents about how a validator follows the chain.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a validator follows the chain.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Course {
    /// Block by block, as they become final.
    #[default]
    Live,
    /// It is behind, and fetches blocks.
    Blocks,
    /// It is behind, and fetches the state itself.
    Snapshot,
}

/// `GET /api/v1/sync`: how far a validator is behind, and how fast it catches up.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SyncView {
    /// `unsplit.sync/1`.
    pub schema: String,
    /// How it follows the chain.
    pub course: Course,
    /// Height of the newest finalized and applied block.
    pub height: u64,
    /// Where it ends: the newest height that a certificate was seen of, or that more than f others say they have reached.
    pub target: u64,
    /// `target - height`.
    pub behind: u64,
    /// Blocks that took effect in a second, over the last ten.
    pub blocks_per_second: u64,
    /// Milliseconds until nothing is missing, at this rate; absent while nothing moves, or nothing is missing.
    pub left_ms: Option<u64>,
    /// The lowest height whose block is kept; others were pruned, or never fetched.
    pub blocks_from: u64,
    /// The newest state that this validator has to give to others; absent when there is none yet.
    pub offers: Option<u64>,
    /// The state that is being fetched.
    pub snapshot: Option<SnapshotView>,
    /// Why the last attempt to fetch a state came to nothing; absent when it did not, or none was made.
    pub failed: Option<String>,
}

/// A state that is being fetched.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SnapshotView {
    /// The height that it is of.
    pub height: u64,
    /// Bytes that are there, each of them checked.
    pub bytes: u64,
    /// Bytes in all, as the peer says that offered it.
    pub bytes_total: u64,
    /// Pieces that are there.
    pub pieces: u64,
    /// Pieces that are known of and are not.
    pub pieces_open: u64,
    /// Since when it has been fetched, milliseconds since the Unix epoch.
    pub since_ms: u64,
}
