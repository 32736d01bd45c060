//! How long does it take?

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Whether this is more than a look whether it runs: `cargo bench` says so.
pub(crate) fn is_full() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Prints the median of several runs and the fastest, which is what it costs on a machine that does nothing else. Each is
/// timed after its own preparation.
pub(crate) fn measure<T, R>(name: &str, runs: usize, mut prepare: impl FnMut() -> T, mut run: impl FnMut(T) -> R) {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let input = prepare();
            let start = Instant::now();
            let output = black_box(run(input));
            let time = start.elapsed();
            drop(output);
            time
        })
        .collect();
    times.sort();
    println!("ledger::{name:<58} {:>12.3?} {:>12.3?}", times[runs / 2], times[0]);
}
