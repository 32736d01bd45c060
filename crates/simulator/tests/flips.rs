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

/// Plays so many runs, and prints what came of them.
fn campaign(runs: u64) {
    let (next, told, scenario) = (AtomicU64::new(1), Mutex::new((0, 0, 0, 0)), scenario());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > runs {
                        return;
                    }
                    let report = run(&scenario, seed);
                    assert!(report.ok, "seed {seed}: {:#?}\n{:#?}", report.violations, report.steps);
                    let flips = report.steps.iter().filter(|step| step.contains(": byte ")).count() as u64;
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.0 += flips;
                    told.1 += report.damage_found;
                    told.2 += report.repaired;
                    told.3 += report.blocks;
                }
            });
        }
    });
    let (flips, found, repaired, blocks) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{flips} flips in {runs} runs of {blocks} blocks: {found} damaged parts told, {repaired} values fetched again"
    );
    assert!(flips >= runs * FLIPS_EACH * 8 / 10, "a flip needs a file to fall into: {flips}");
    assert!(found > flips / 2, "most bytes of a store mean something: {found} of {flips}");
}

#[test]
fn two_hundred_flips_are_found_or_harmless() {
    campaign(200 / FLIPS_EACH);
}

#[test]
#[ignore = "takes minutes"]
fn two_thousand_flips_are_found_or_harmless() {
    campaign(2_000 / FLIPS_EACH);
}
