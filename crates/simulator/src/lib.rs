//! A world to test in: whole validators, unchanged, on a deterministic runtime and simulated links.
//!
//! A [`Scenario`] says what happens: how many nodes, which links, what load, which faults at which time, and what must
//! hold. [`run`] plays it with a seed and gives a [`Report`]; the same scenario and seed give the same run, byte for byte,
//! so a failure is repeated by its seed alone. [`sweep`] plays many seeds.
//!
//! - `scenario`: what is played, read from TOML
//! - `plan`: which fault happens when, for this seed?
//! - `world`: who takes part, and with which keys?
//! - `session`: the nodes, from power on to power off
//! - `machine`: does a node run, what time does its clock show, and at which operation does it fail?
//! - `rot`: what rots on a disk, and where?
//! - `links`: who reaches whom?
//! - `cuts`: does every node name the cuts that there are, and none that there is not?
//! - `load`: clients that want their transfers to become final and their tasks to be done
//! - `orders`: what do clients order?
//! - `work`: how long does a task take, and what comes out of it?
//! - `tap`, `ballots`: which votes went over the wire, and do any contradict each other?
//! - `electorate`: who votes in which epoch, as the nodes say?
//! - `book`: what nodes and clients were seen to claim
//! - `chain`: are the blocks that nodes hold in order, certified, and without loss?
//! - `tasks`: was every task done once, or is it still open?
//! - `tally`: what became of the tasks?
//! - `verdicts`: who is held to be unresponsive, by whom, and is that what the chain makes of it?
//! - `report`, `sweep`: what came of it, for one seed and for many
//!
//! The checkers are written apart from the code that they check: they have their own quorum arithmetic, their own sum of
//! balances, and look at signatures themselves.

#![forbid(unsafe_code)]

mod ballots;
mod book;
mod chain;
mod cuts;
mod electorate;
mod joiners;
mod links;
mod load;
mod machine;
mod orders;
mod plan;
mod report;
mod rot;
mod scenario;
mod session;
mod sweep;
mod tally;
mod tap;
mod tasks;
mod verdicts;
mod work;
mod world;

pub use machine::{Fate, Fuse, Point, Skew};
pub use report::{Checker, Fall, Report, TaskReport, Violation};
pub use rot::{Part, Rot};
pub use scenario::{Fault, Kind, Links, Load, Scenario, ScenarioError, Swarm, scenarios};
pub use session::simulated;
pub use sweep::{Failure, SweepReport, run, sweep};
