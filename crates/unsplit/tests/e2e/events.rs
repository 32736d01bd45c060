//! What is told as it happens.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    network::{SOON, Solo},
    work::{self, product},
    world::{Process, World, until},
};

/// What a reader has written so far, line by line.
fn lines(reader: &Process) -> Vec<Value> {
    let text = reader.out();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(work::document).collect()
}

/// Waits until the reader tells that so many tasks are done; gives the offset it has come to.
#[track_caller]
fn wait_for_done(reader: &Process, count: usize) -> u64 {
    let done = |lines: &[Value]| lines.iter().filter(|line| line["state"] == "done").count();
    let lines = until(SOON, "so many are done", || Some(lines(reader)).filter(|lines| done(lines) == count));
    let offsets: Vec<u64> = lines.iter().map(|line| line["offset"].as_u64().expect("an offset")).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    assert!(lines.iter().all(|line| line["event"] == "task_changed"), "{lines:?}");
    *offsets.last().expect("something was told")
}

#[test]
fn a_reader_follows_goes_on_where_it_stopped_and_outlives_the_validator() {
    let world = World::shared("events");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut process = solo.start();
    let submit = |id: &str| {
        let file = work::write(&world, "work.jsonl", [product(id, 8)]);
        work::run(&world, &format!("tasks submit {} --wait {}", file.display(), solo.signer())).ok();
    };
    let follow =
        |more: &str| world.spawn(&format!("--api {} -o json events -f --kinds task_changed {more}", solo.node().api));
    let mut first = follow("");
    submit("one");
    let offset = wait_for_done(&first, 1);
    let told = lines(&first);
    let states: Vec<&str> = told.iter().map(|line| line["state"].as_str().expect("a state")).collect();
    assert!(matches!(states[..], ["leased", "done"] | ["pending", "leased", "done"]), "{states:?}");
    assert!(told.iter().all(|line| line["id"] == "one"));
    first.signal(Signal::INT);
    assert_eq!(first.wait(SOON).and_then(|status| status.code()), Some(130), "{}", first.err());

    submit("two");
    let second = follow(&format!("--after {offset}"));
    let newest = wait_for_done(&second, 1);
    assert!(newest > offset && lines(&second).iter().all(|line| line["id"] == "two"));

    // The validator ends and comes back: it counts its events anew, and the reader says so.
    solo.stop(&mut process);
    until(SOON, "it notices", || second.err().contains("lost the connection").then_some(()));
    let _process = solo.start();
    until(SOON, "it is back", || second.err().contains("connected again").then_some(()));
    submit("three");
    let is_told = || lines(&second).iter().any(|line| line["id"] == "three" && line["state"] == "done").then_some(());
    until(SOON, "it goes on", is_told);
}

#[test]
fn what_is_there_already_is_shown_and_that_is_the_end() {
    let world = World::shared("events-past");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start();
    solo.node().wait_for_blocks(3);
    let all = world.unsplit(&format!("--api {} events", solo.node().api)).ok();
    assert!(all.contains("block 3 is final"), "{all}");
    assert!(all.lines().all(|line| line.contains(" UTC  ")), "{all}");
    let some = world.unsplit(&format!("--api {} events -o json --kinds finalized --after 2", solo.node().api)).ok();
    let events: Vec<Value> = some.lines().map(work::document).collect();
    assert!(events.iter().all(|event| event["event"] == "finalized" && event["offset"].as_u64() > Some(2)));
    assert_eq!(world.unsplit(&format!("--api {} events --kinds fault_ended", solo.node().api)).ok(), "");

    world.unsplit("events --api http://127.0.0.1:1").refused(4, &["does not answer"]);
    world.unsplit("events --kinds tasks").refused(2, &["task_changed"]);
    world.unsplit("events --after now").refused(2, &["add -f"]);
}

#[test]
fn a_hook_is_told_how_much_capacity_is_there_and_how_much_is_asked_for() {
    let world = World::shared("events-hook");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let _process = solo.start();
    let told = world.path("told");
    let hook = format!("sh -c 'echo $UNSPLIT_EVENT $UNSPLIT_CAPACITY $UNSPLIT_DESIRED >> {}'", told.display());
    let api = solo.node().api;
    let follow = ["--api", &api, "events", "-f", "--kinds", "scaling_changed", "--hook"];
    let _hooked = world.spawn_words(&[&follow[..], &[&hook]].concat());
    let is_told = |line: &str| {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().any(|told| told == line).then_some(())
    };
    until(SOON, "what is there", || is_told("scaling_changed 1 1"));
    let token = solo.file("data/api.token").display().to_string();
    world.unsplit(&format!("drain --api {api} --token-file {token}")).ok();
    until(SOON, "there is nobody left to work", || is_told("scaling_changed 0 1"));

    let failing = world.spawn_words(&[&follow[..], &["sh -c 'exit 9'"]].concat());
    until(SOON, "a hook that fails is told of", || failing.err().contains("sh: exit code 9").then_some(()));
    world.unsplit("events --hook true").refused(2, &["--follow"]);
    world.unsplit(&format!("--api {api} events -f --hook ''")).refused(2, &["is no command"]);
}
