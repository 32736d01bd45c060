//! The first thing a newcomer runs.

use serde_json::Value;

use crate::world::World;

#[test]
fn the_demo_passes() {
    let world = World::alone("demo");
    let line = format!("demo --exit -o json --dir {} --port-base {}", world.path("demo").display(), world.port);
    let mut process = world.spawn(&line);
    let status = process.wait(std::time::Duration::from_secs(150)).expect("about 40 s, or 150 when all goes wrong");
    let (out, table) = (process.out(), process.err());
    assert_eq!(status.code(), Some(0), "{table}");
    let verdict: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!(verdict["schema"], "unsplit.demo/1");
    for (figure, expected) in [("nodes", 7), ("lost", 0), ("duplicated", 0), ("forks", 0)] {
        assert_eq!(verdict[figure], expected, "{figure}: {table}");
    }
    assert_eq!(verdict["ok"], true, "{table}");
    let acts = verdict["acts"].as_array().expect("acts");
    assert!(acts.len() >= 11 && acts.iter().all(|act| act["ok"] == true), "{table}");
    assert!(verdict["final"].as_u64() > Some(1_000), "a steady load throughout: {}", verdict["final"]);
    assert!(!world.path("demo").exists(), "the demo's folder goes with it");
}
