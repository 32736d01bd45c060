//! Act: one validator node, the same on real machines and in simulation.
//!
//! With the simulator the only crate that knows the consensus engine. Everything is generic over the runtime context, so
//! time comes from its clock, randomness from its generator, tasks from its spawner and files from its storage.
//!
//! - `validator`: wires the parts and starts them
//! - `driver`: event in, decision, act
//! - `chain`: where the engine's blocks meet the ledger's state
//! - `mempool`: which transactions wait to be put into a block?
//! - `guard`, `scheme`: which votes has this key signed, and may it sign this one?
//! - `epochs`: who votes in which epoch, and which engine runs in it?
//! - `lookout`: who is there, and how are they, as this validator sees it?
//! - `boundary`, `wire`: what crosses the line to the peers, and how is it written?
//! - `blocker`: on what grounds is a peer cut off, and for how long?
//! - `archive`, `integrity`, `repair`: is what is kept still what was written, and how does what is missing come back?
//! - `store`, `note`, `index`: where does a start begin, what outlives a crash, and where is a transaction?
//! - `blobs`: what is in a partition of the storage?
//! - `sync`: how does a node that is behind come to where the others are?
//! - `asking`: how are peers asked for something?
//! - `worker`: what is leased to this validator, and how far is it?
//! - `roster`: who are the validators?
//! - `orders`: may others make this node restart?
//! - `config`: what the operator says
//! - `production`: a validator on this machine's sockets and disks

#![forbid(unsafe_code)]

mod alone;
mod archive;
mod asking;
mod blobs;
pub mod blocker;
pub mod boundary;
pub mod chain;
mod clock;
pub mod config;
pub mod driver;
pub mod epochs;
pub mod guard;
mod index;
mod integrity;
mod lookout;
pub mod mempool;
mod note;
pub mod orders;
pub mod production;
mod progress;
mod repair;
mod reunion;
pub mod roster;
pub mod scheme;
pub mod store;
mod sync;
#[cfg(test)]
mod testing;
pub mod validator;
pub mod wire;
pub mod worker;

pub use config::{Config, ConfigError};
pub use production::{
    PartReport, ROOM_MIN, SUPERVISOR_KEY, StartError, StoreReport, initialize, receive_orders, reinstate, run,
    verify as verify_store,
};
pub use validator::{CHANNELS, Identity, Network, Node, Rejected, start};
