//! Decide, locally: who is there, what does it mean, what would mend it.
//!
//! Pure: time and observations come in as arguments, answers go out as values. Nothing here reads a clock, opens a
//! socket or spawns a task, and nothing here can change what the network agrees on.
//!
//! - `health`: who is still there?
//! - `time`: points on a monotonic clock
//! - `vitals`: it is there, but is it well?
//! - `risk`: who is likely to fail soon? advice only
//! - `watchers`: who watches whom, where not everybody can hear everybody
//! - `partition`: who can talk to whom, and what does that leave of the network?
//! - `network`: what state is the network in?
//! - `recovery`: when is it worth bringing a node back, and how far is it?
//! - `why`: one explanation of the present state, for every surface

#![forbid(unsafe_code)]

pub mod health;
pub mod network;
pub mod partition;
pub mod recovery;
pub mod risk;
pub mod time;
pub mod vitals;
pub mod watchers;
pub mod why;
