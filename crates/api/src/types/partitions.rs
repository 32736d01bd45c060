//! The documents about who can talk to whom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/v1/partitions`: what is left of the network, as far as this validator is told.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PartitionsView {
    /// `unsplit.partitions/1`.
    pub schema: String,
    /// All of it in one sentence.
    pub sentence: String,
    /// Since when it has been like this, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Validators that reach each other, perhaps through others; the largest side first.
    pub sides: Vec<SideView>,
    /// Those whom nobody hears and of whom nothing is known: down, or cut off from all that are known.
    pub unheard: Vec<String>,
    /// Those of whom nothing is known although somebody hears them, or nobody can say.
    pub unknown: Vec<String>,
    /// Those without whom their side would fall apart.
    pub bridges: Vec<String>,
    /// Links over which not both hear each other.
    pub damaged: Vec<DamageView>,
    /// The largest set of validators that all hear each other.
    pub mutual: Vec<String>,
    /// Whether there is none larger, or only none was found.
    pub mutual_is_largest: bool,
    /// How many it takes for finality.
    pub quorum: u64,
    /// The least that would let a quorum hear each other again; absent when one does.
    pub repair: Option<RepairView>,
    /// What it was like before, the newest last.
    pub history: Vec<EpisodeView>,
}

/// One side.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SideView {
    /// Its members.
    pub nodes: Vec<String>,
    /// `quorum`, `majority without quorum`, `minority` or `isolated`, by their number.
    pub class: String,
}

/// A link over which not both hear each other.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DamageView {
    /// One end. Of a one-way link the one that is heard, of a broken one the one that is not.
    pub from: String,
    /// The other.
    pub to: String,
    /// `one_way`, `cut` or `broken` (the word of `from` is not known, and `to` does not hear it).
    pub state: String,
}

/// What has to be mended.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct RepairView {
    /// Links, each by its two ends.
    pub links: Vec<[String; 2]>,
    /// How many validators have to come back, of those that are not known.
    pub returning: u64,
    /// Whether nothing less would do, or only nothing less was found.
    pub is_cheapest: bool,
}

/// What the network was like for a while.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EpisodeView {
    /// In one sentence.
    pub sentence: String,
    /// Since when, milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

/// `GET /api/v1/matrix`: who says that it hears whom.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct MatrixView {
    /// `unsplit.matrix/1`.
    pub schema: String,
    /// All validators, in genesis order.
    pub nodes: Vec<String>,
    /// What each of them says of each: `hears`, `deaf` or `unknown`; of itself nobody says anything.
    pub rows: Vec<Vec<String>>,
}
