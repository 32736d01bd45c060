//! Bytes that rot on a stopped validator's disk: found, never served, and fetched again from its peers.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    network::{Devnet, Row},
    world::{World, until},
};

/// Far more than a repair takes.
const REPAIRED: Duration = Duration::from_secs(40);
/// The page of the runtime that comes before what is kept in a file.
const HEADER: u64 = 4_096;

/// All files of a partition, or of all partitions.
fn files(storage: &Path, partition: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in fs::read_dir(storage).expect("a storage").flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        if name.starts_with(partition) && name != "quarantine" && folder.path().is_dir() {
            files.extend(fs::read_dir(folder.path()).expect("a partition").flatten().map(|file| file.path()));
        }
    }
    files.sort();
    files
}

/// Makes one byte another one.
fn flip(path: &Path, at: u64, mask: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("our own file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("inside the file");
    file.write_all_at(&[byte[0] ^ mask], at).expect("our own file");
}

/// Starts it again and waits until it is at the tip with nothing missing; gives its status.
#[track_caller]
fn start(devnet: &Devnet<'_>, row: &Row) -> Value {
    devnet.run(&format!("restart {}", row.name)).ok();
    let tip = devnet.row("n0").node().height().expect("n0 runs");
    until(REPAIRED, "it is whole and at the tip", || {
        let status = row.node().ask("status")?;
        let is_whole = status["store"]["blocks_missing"] == 0 && status["store"]["certificates_missing"] == 0;
        (is_whole && status["height"].as_u64()? >= tip).then_some(status)
    })
}

/// Every block up to what both have is the same on both.
#[track_caller]
fn compare(devnet: &Devnet<'_>, row: &Row) -> u64 {
    let (here, there) = (row.node(), devnet.row("n0").node());
    let height = here.height().expect("it runs").min(there.height().expect("n0 runs"));
    for at in 1..=height {
        assert_eq!(here.block(at), there.block(at), "block {at} of {}", row.name);
    }
    height
}

fn verify(world: &World, row: &Row) -> (Option<i32>, Value) {
    let ran = world.unsplit(&format!("verify store {} -o json", row.data_dir.display()));
    (ran.code, serde_json::from_str(&ran.out).unwrap_or_else(|problem| panic!("{problem}: {ran:?}")))
}

#[test]
fn four_wrong_bytes_in_blocks_are_found_offline_and_repaired_from_peers_at_the_start() {
    let world = World::shared("rot");
    let devnet = Devnet::up(&world, 4);
    devnet.row("n0").node().wait_for_blocks(30);
    let row = devnet.stop("n1");
    let (code, whole) = verify(&world, &row);
    assert_eq!((code, &whole["whole"]), (Some(0), &Value::Bool(true)), "{whole}");

    let blocks = files(&row.data_dir.join("storage"), "blocks").remove(0);
    let length = fs::metadata(&blocks).expect("a file").len();
    for at in 0..4 {
        flip(&blocks, HEADER + (length - HEADER) / 2 + at, 0x20);
    }
    let (code, damaged) = verify(&world, &row);
    assert_eq!((code, &damaged["whole"]), (Some(20), &Value::Bool(false)), "{damaged}");
    let ran = world.unsplit(&format!("verify store {}", row.data_dir.display()));
    assert!(ran.out.contains("blocks") && ran.out.contains("fail their checksum"), "{}", ran.out);

    let status = start(&devnet, &row);
    assert!(status["store"]["damage_found"].as_u64() >= Some(1), "{status}");
    assert!(status["store"]["repaired"].as_u64() >= Some(1), "{status}");
    assert!(compare(&devnet, &row) > 30);
    let events = world.unsplit(&format!("--api {} events --kinds store_damaged,store_repaired", row.api)).ok();
    assert!(events.contains("damage on the disk (blocks, rot)"), "{events}");
    assert!(events.contains("came back from peers"), "{events}");

    let row = devnet.stop("n1");
    let (code, mended) = verify(&world, &row);
    assert_eq!(code, Some(0), "{mended}");
    assert!(mended["quarantined"].as_u64() >= Some(1), "the damaged bytes are kept: {mended}");
}

#[test]
fn a_flipped_byte_in_the_header_of_any_file_ends_no_validator() {
    let world = World::shared("headers");
    let devnet = Devnet::up(&world, 4);
    devnet.row("n0").node().wait_for_blocks(20);
    let parts = ["blocks", "certificates", "marshal-application", "marshal-cache", "votes", "guard-a"];
    for (turn, part) in parts.into_iter().enumerate() {
        let row = devnet.stop(["n1", "n2", "n3"][turn % 3]);
        let storage = row.data_dir.join("storage");
        let hit = files(&storage, part);
        assert!(!hit.is_empty(), "there are files of {part}");
        for path in &hit {
            flip(path, [3, 5, 9, 2_000][turn % 4], 0x08);
        }
        let (code, report) = verify(&world, &row);
        assert_eq!(code, Some(20), "{part}: {report}");
        let status = start(&devnet, &row);
        assert!(status["store"]["damage_found"].as_u64() >= Some(1), "{part}: {status}");
        compare(&devnet, &row);
    }
}

/// How many, from the environment: `UNSPLIT_FLIPS`, or 300.
fn flips() -> u64 {
    std::env::var("UNSPLIT_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Numbers that are all over the place, and the same each time.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
#[ignore = "takes minutes: real processes are restarted for every flip"]
fn single_flips_anywhere_in_real_files_are_repaired_or_harmless() {
    let world = World::alone("flips");
    let devnet = Devnet::up(&world, 4);
    devnet.row("n0").node().wait_for_blocks(30);
    let (mut state, mut found, mut slowest) = (1, 0, Duration::ZERO);
    for turn in 0..flips() {
        let row = devnet.stop(["n1", "n2", "n3"][usize::try_from(turn % 3).expect("small")]);
        let all = files(&row.data_dir.join("storage"), "");
        let path = &all[usize::try_from(next(&mut state)).expect("small") % all.len()];
        let length = fs::metadata(path).expect("a file").len();
        // Every other one in the page before the content.
        let at = next(&mut state) % if turn % 2 == 0 { length.min(HEADER) } else { length };
        flip(path, at, 1 << (next(&mut state) % 8));
        let began = Instant::now();
        let status = start(&devnet, &row);
        slowest = slowest.max(began.elapsed());
        found += u64::from(status["store"]["damage_found"].as_u64() > Some(0));
        if turn % 10 == 9 {
            compare(&devnet, &row);
        }
    }
    for name in ["n1", "n2", "n3"] {
        compare(&devnet, &devnet.row(name));
    }
    println!("{} flips: {found} found, the others harmless; slowest restart {slowest:?}", flips());
}
