//! Agree on what happened: blocks, transactions and the one state they lead to.
//!
//! Pure and deterministic: the same blocks give the same state, byte for byte, on every machine. Nothing here reads a
//! clock or a socket, and nothing knows the engine that orders the blocks; time and bytes come in as arguments.
//!
//! A chain starts from a [`Genesis`]. Each [`Block`] holds [`Transaction`]s and names the [`State`] it builds on;
//! [`State::apply`] checks all of it and moves on, or says which rule was broken and stays where it was.

#![forbid(unsafe_code)]

pub mod block;
pub mod codec;
pub mod genesis;
pub mod releases;
pub mod reputation;
pub mod roster;
pub mod state;
pub mod tasks;
pub mod transaction;
pub mod tree;
pub mod types;
pub mod verdicts;

mod digest;

pub use block::Block;
pub use codec::{Decode, DecodeError, Encode, Reader};
pub use genesis::{
    Certified, EpochLimits, Genesis, GenesisBalance, GenesisError, GenesisSupervisor, GenesisValidator, TaskLimits,
};
pub use releases::Certification;
pub use reputation::Reputation;
pub use roster::{Candidate, Decision, Departure, Mark, Postponed, Request, Seat, Step, Transition};
pub use state::{
    Account, BalanceStatistics, BlockError, ProofError, Rebuild, Share, State, StateError, TransactionError, Validator,
    proven_voters,
};
pub use tasks::{
    Lease, Task, TaskCounts, TaskState,
    order::{Claim, Output, Policy, Submission},
};
pub use transaction::{Kind, SecretKey, Slot, Transaction};
pub use tree::{Item, PIECE_BYTES_MAX, Path, Piece};
pub use types::*;
pub use verdicts::{Accusation, Accusers, Change, Evidence, Phase, Reason, Standing, Status, Suspicion, Turn, Verdict};
