//! Single bytes rot on the disks of whole validators, one after the other, in every part of what they keep: each flip is
//! found and mended or makes no difference, nothing that is served differs, and no validator ends.

use simulator::{Scenario, run};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// What rots, in turn.
const PARTS: [&str; 7] = ["blocks", "certificates", "caches", "votes", "checkpoints", "progress", "any"];

/// Flips in one run: the later ones fall into longer files.
const FLIPS_EACH: u64 = 50;

/// In one run validators that are down 400 ms each lose a byte every one and a half seconds, in turn.
fn scenario() -> Scenario {
    let fault = |number: u64| {
        let (at, node) = (6_000 + 1_500 * number, 1 + number % 3);
        let part = PARTS[usize::try_from(number).expect("small") % PARTS.len()];
        format!(
            "[[fault]]\nat = \"{at}ms\"\nkind = \"rot_store\"\nnodes = [\"n{node}\"]\nfor = \"400ms\"\npart = \"{part}\"\n"
        )
    };
    let text = format!(
        "name = \"flips\"\nabout = \"single bytes rot\"\nnodes = 4\nduration = \"{}s\"\n\
         expect = [\"agreement\", \"certificates\", \"durability\", \"conservation\", \"no_conflicting_votes\", \"no_bans\",\n\
         \"progress_throughout\", \"progress_after_heal\", \"votes_again\", \"tasks\", \"tasks_finish\", \"repaired\"]\n\
         [load]\ntransfers_per_second = 8\ntasks_per_second = 2\n{}",
        8 + FLIPS_EACH * 3 / 2,
        (0..FLIPS_EACH).map(fault).collect::<String>()
    );
    Scenario::parse(&text).expect("a scenario")
}

/// Plays runs until so many bytes have rotted, and prints what came of them.
fn campaign(wanted: u64) {
    let (next, told, scenario) = (AtomicU64::new(1), Mutex::new(Told::default()), scenario());
    let told_of = || told.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while told_of().flips < wanted {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let report = run(&scenario, seed);
                    assert!(report.ok, "seed {seed}: {:#?}\n{:#?}", report.violations, report.steps);
                    // Not all of them: a part of which there is no file yet cannot rot.
                    let flips = report.steps.iter().filter(|step| step.contains(": byte ")).count() as u64;
                    assert!(flips > FLIPS_EACH / 2, "seed {seed}: {flips} flips");
                    let mut told = told_of();
                    told.runs += 1;
                    told.flips += flips;
                    told.found += report.damage_found;
                    told.repaired += report.repaired;
                    told.blocks += report.blocks;
                }
            });
        }
    });
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{told:?}");
    assert!(told.found > told.flips / 2, "most bytes of a store mean something: {told:?}");
}

/// What came of all runs.
#[derive(Debug, Default)]
struct Told {
    runs: u64,
    flips: u64,
    /// Damaged parts that validators told of.
    found: u64,
    /// Values that came back from peers.
    repaired: u64,
    blocks: u64,
}

#[test]
fn two_hundred_flips_are_found_or_harmless() {
    campaign(200);
}

#[test]
#[ignore = "takes minutes"]
fn two_thousand_flips_are_found_or_harmless() {
    campaign(2_000);
}
