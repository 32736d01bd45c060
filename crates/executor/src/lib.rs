//! Run what a task asks for, and hand back what comes out.
//!
//! A task names an executor and brings a payload. [`check`] says whether the two fit, without running anything;
//! [`Executors::execute`] runs it and gives the bytes of the result, or says in one short sentence why there are none.
//!
//! | executor | payload | result |
//! |---|---|---|
//! | `matmul` | `{"seed": 7, "n": 256}` | the hash of a matrix product that anyone can repeat, see [`matmul`] |
//! | `command` | `{"program": "sort", "input": "b\na\n"}` | what that program printed, see [`launcher`] |
//!
//! Whoever drops the future of `execute` has cancelled the task: nothing of it goes on.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use executor::{Executors, Limits, Program, Settings};
//!
//! let executors = Executors::new(Settings {
//!     launcher: vec![std::env::current_exe()?.into(), "launch".into()],
//!     commands: [("sort".into(), Program { path: "sort".into(), args: vec!["-n".into()] })].into(),
//!     limits: Limits::default(),
//! })?;
//! let payload = br#"{"program": "sort", "input": "10\n9\n"}"#;
//! executor::check("command", payload)?;
//! assert_eq!(executors.execute("command", payload).await?, b"9\n10\n");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod launcher;
pub mod matmul;

mod command;
mod executors;
mod failed;
mod job;
mod printable;
mod processes;
mod settings;
mod task;

pub use executors::Executors;
pub use failed::{Failed, Fault, REASON_BYTES_MAX};
pub use settings::{Limits, MEMORY_BYTES_MIN, Program, SEARCH_PATH, Settings, SettingsError};
pub use task::{Unfit, check};

/// The names of the executors there are.
pub const EXECUTORS: [&str; 2] = [MATMUL, COMMAND];

/// The longest payload taken, bytes. Every validator keeps every payload until its task is settled.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// The longest result handed back, bytes.
pub const RESULT_BYTES_MAX: usize = 64 << 10;

const MATMUL: &str = "matmul";
const COMMAND: &str = "command";
