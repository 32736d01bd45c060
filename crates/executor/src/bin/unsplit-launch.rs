//! The launcher alone, for the tests of this crate.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    executor::launcher::launch()
}
