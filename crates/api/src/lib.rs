//! Show what a validator knows, and take what its users send.
//!
//! One loopback port speaks HTTP: reads, transactions, tasks, server-sent events, metrics and health. Nothing is decided
//! and nothing is stored here: what is shown comes out of the validator's [`Snapshot`] and [`EventLog`], what is asked
//! goes into its mailbox as a [`Request`], and every wait for an answer has a deadline.
//!
//! - `types`: the documents, shared with whoever reads them
//! - `backend`: what a validator hands over, and what it is asked
//! - `events`: what happened, and who has not heard it yet?
//! - `routes`: which question goes where?
//! - `guard`: who may ask?
//! - `problem`: what to say when it cannot be answered?
//! - `openapi`: what is offered, for machines to read
//! - `hex`: bytes as text
//! - `server`: connections, and how much of us each may take

#![forbid(unsafe_code)]
#![expect(clippy::result_large_err, reason = "a problem is an answer, made once and moved straight to the caller")]

mod backend;
mod events;
mod guard;
mod hex;
mod openapi;
mod problem;
mod routes;
mod server;
mod types;

pub use backend::{Backend, BlockAt, Refusal, RefusalClass, Request, TaskQuery};
pub use events::{EventLog, Heard, Subscription};
pub use openapi::openapi;
pub use routes::{SUBMISSIONS_BYTES_MAX, SUBMISSIONS_MAX, TRANSACTION_BYTES_MAX};
pub use server::{Limits, Settings, serve};
pub use types::*;
