//! A wall clock that is set while its validator runs.

use std::{fs, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    network::{Devnet, Node, Row},
    world::{Process, World, kill, until},
};

/// Lies about the wall clock to one process.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A validator looks at the wall clock every five seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

const HOUR_MS: i64 = 3_600_000;

/// Starts the validators of a devnet that is down, without the devnet.
fn start(world: &World, row: &Row, variables: &[(&str, &str)]) -> Process {
    let config = row.data_dir.with_file_name("node.toml");
    world.spawn_with(&format!("node start -c {} --set log.format=json", config.display()), variables)
}

/// By how many milliseconds a validator said last that its wall clock is ahead.
fn told(process: &Process) -> i64 {
    let log = process.err();
    let mut lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find_map(|line| line["ahead_ms"].as_i64()).unwrap_or(0)
}

/// Everybody stands well with everybody.
fn all_well(nodes: &[Node]) -> Option<()> {
    let is_well = |row: &Value| {
        row["standing"] == "active"
            && row["link"] == "alive"
            && row["suspected_by"].as_array().is_some_and(Vec::is_empty)
            && row["ailments"].as_array().is_some_and(Vec::is_empty)
    };
    let asks = |node: &Node| {
        node.ask("nodes").is_some_and(|it| it["nodes"].as_array().is_some_and(|all| all.iter().all(is_well)))
    };
    nodes.iter().all(asks).then_some(())
}

#[test]
fn a_wall_clock_that_is_set_by_an_hour_and_back_is_told_and_changes_nothing_else() {
    if !Path::new(FAKETIME).exists() {
        println!("skipped: there is no {FAKETIME} to set a clock with; it comes with the package faketime");
        return;
    }
    let world = World::shared("clocks");
    let devnet = Devnet::up(&world, 4);
    let rows = devnet.rows();
    devnet.run("down").ok();
    let clock = world.path("clock");
    // Renamed into place: the library never reads half of it.
    let set = |offset: &str| {
        let new = world.path("clock.new");
        fs::write(&new, offset).and_then(|()| fs::rename(&new, &clock)).expect("our own folder");
    };
    set("+0");
    let variables = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a path of ours is text")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let processes: Vec<Process> =
        rows.iter().map(|row| start(&world, row, if row.name == "n3" { &variables } else { &[] })).collect();
    let nodes: Vec<Node> = rows.iter().map(Row::node).collect();
    nodes[3].wait_for_blocks(20);
    until(TOLD_WITHIN, "all are well", || all_well(&nodes));
    let began = nodes[0].height().expect("it answers");

    for (offset, ahead) in [("+3600", HOUR_MS), ("+0", 0), ("-3600", -HOUR_MS)] {
        set(offset);
        until(TOLD_WITHIN, &format!("n3 tells of {offset}"), || {
            told(&processes[3]).abs_diff(ahead).lt(&1_000).then_some(())
        });
        nodes[3].wait_for_blocks(20);
        for node in &nodes {
            node.wait_for_blocks(1);
        }
        assert_eq!(all_well(&nodes), Some(()), "after {offset}: {:?}", nodes[0].ask("nodes"));
        assert_eq!(nodes[3].duty().as_deref(), Some("voting"));
    }

    // It led all the time, and nothing that it proposed is dated by the clock that was set.
    let tip = nodes[0].height().expect("it answers");
    let blocks: Vec<Value> = (began..=tip).map(|height| nodes[0].block(height)).collect();
    let led = blocks.iter().filter(|block| block["leader"] == "n3").count();
    assert!(led * 8 > blocks.len(), "n3 led {led} of {}", blocks.len());
    for pair in blocks.windows(2) {
        let dated = |block: &Value| block["timestamp_ms"].as_i64().expect("a date");
        assert!((1..60_000).contains(&(dated(&pair[1]) - dated(&pair[0]))), "{pair:?}");
    }
    // With another one stopped, every block needs its vote.
    kill(processes[0].id(), Signal::STOP);
    nodes[1].wait_for_blocks(10);
    kill(processes[0].id(), Signal::CONT);
}
