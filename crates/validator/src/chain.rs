//! Where the engine's blocks meet the ledger's state.
//!
//! - `block`: the ledger's block, dressed for the engine
//! - `states`: which state follows which block?
//! - `application`: what to propose, and what to vote for?
//! - `reporter`: what the engine tells us, handed on

mod application;
mod block;
mod reporter;
mod states;

pub use application::{AHEAD_MAX, Application, Pace};
pub use block::{Block, Digest, digest, hash, ledger_key, public_key};
pub use reporter::{Deliveries, Delivery, Observer};
pub use states::{Ledger, States};
