//! The real program: real processes, real sockets, real disks, as a user would run them.
//!
//! - `world`: a folder, ports and processes that end with the test
//! - `http`: one request, written out in full
//! - `network`: a devnet, or one validator alone, and what it says
//! - `blackout`: links that drop everything, and how soon it goes on after that
//! - `faults`, `demo`: what the network survives
//! - `work`: tasks, as they are asked for and told of
//! - `tasks`: work that is done, and work that cannot be
//! - `moves`: work goes on where validators end
//! - `events`: what is told as it happens
//! - `guards`: a vote guard that was damaged
//! - `store`: bytes that rot on a disk
//! - `clocks`: a wall clock that is set
//! - `processes`: how validators end, and what they end with
//! - `supervise`: validators that are brought back, and those that are given up
//! - `sets`: validators that leave, and those that are removed
//! - `strangers`: who may not do what
//! - `bad_input`: files, ports and disks that are not as they should be

#![forbid(unsafe_code)]

mod bad_input;
mod blackout;
mod clocks;
mod demo;
mod events;
mod faults;
mod guards;
mod http;
mod moves;
mod network;
mod processes;
mod sets;
mod store;
mod strangers;
mod supervise;
mod tasks;
mod work;
mod world;
