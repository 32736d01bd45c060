//! Work goes on where validators end: each task is done, once, by whoever is left.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::{
    network::{Devnet, SOON},
    work::{self, Task, command, product, with},
    world::{World, kill, until},
};

/// Programs of these devnets: one that only takes its time.
const NAPS: &str = "--set worker.commands={nap=[\"sleep\",\"3\"]}";

fn nap(id: &str) -> serde_json::Value {
    with(command(id, "nap"), "lease", "2s")
}

/// A workload of so many tasks: products, and some that take their time.
fn mixed(count: usize, nap_every: usize) -> impl Iterator<Item = serde_json::Value> {
    let task = move |i: usize| {
        let id = format!("t{i}");
        if i.is_multiple_of(nap_every) { nap(&id) } else { with(product(&id, 8 + i as u64 % 32), "lease", "2s") }
    };
    (0..count).map(task)
}

#[test]
fn what_a_killed_validator_held_is_done_by_others_under_greater_tokens_and_once() {
    let world = World::shared("holder-killed");
    let devnet = Devnet::up_with(&world, 4, NAPS);
    let node = devnet.row("n0").node();
    let file = work::write(&world, "work.jsonl", (0..16).map(|i| nap(&format!("t{i}"))));
    let submit = format!("tasks submit {} --dir {}", file.display(), devnet.dir.display());
    world.unsplit(&submit).ok();

    let leased = work::wait_for(&world, &node, "leased", 8);
    let holder = leased.iter().filter_map(|task| task.holder.clone()).find(|name| name != "n0").expect("all have some");
    kill(devnet.row(&holder).pid.expect("it runs"), Signal::KILL);
    until(SOON, "it is dead", || devnet.row(&holder).is_dead().then_some(()));
    let held = work::list(&world, &node, &format!("--state leased --holder {holder}"));

    work::run(&world, &format!("{submit} --wait")).ok();
    let tasks = work::list(&world, &node, "");
    work::assert_each_done_once(&node, &tasks);
    assert_moved(&held, &work::by_id(tasks));
}

/// What dead validators held was done by others under later leases; all but what they had finished, and said so, just
/// before they died.
#[track_caller]
fn assert_moved(held: &[Task], tasks: &BTreeMap<String, Task>) {
    let mut moved = 0;
    for before in held {
        let after = &tasks[&before.id];
        if after.holder == before.holder {
            assert_eq!(after.token, before.token, "the dead get no new leases: {before:?} {after:?}");
            continue;
        }
        assert!(after.token > before.token && after.attempts > before.attempts, "{before:?} {after:?}");
        moved += 1;
    }
    assert!(moved > 0, "they died with work in their hands: {held:?}");
}

#[test]
fn a_workload_survives_the_death_of_the_whole_network_and_each_task_is_done_once() {
    let world = World::shared("all-killed");
    let devnet = Devnet::up_with(&world, 4, NAPS);
    let node = devnet.row("n0").node();
    let file = work::write(&world, "work.jsonl", mixed(300, 10));
    let submit = format!("tasks submit {} --dir {}", file.display(), devnet.dir.display());
    let mut first = world.spawn(&format!("{submit} --wait"));
    work::wait_for(&world, &node, "done", 50);
    devnet.run("fault crash n0 n1 n2 n3").ok();
    devnet.wait_for_all("all are dead", |row| row.height.is_none());
    devnet.run("restart all").ok();
    // Its validator came back, or it has given up before; either way the next one finds what is left.
    let first = work::ended(&mut first);
    assert!(matches!(first.code, Some(0 | 4)), "{first:?}");
    work::run(&world, &format!("{submit} --wait")).ok();
    let tasks = work::list(&world, &node, "");
    assert_eq!(tasks.len(), 300);
    work::assert_each_done_once(&node, &tasks);
}

#[test]
fn a_submission_that_is_killed_goes_on_when_it_is_run_again() {
    let world = World::shared("submit-killed");
    let devnet = Devnet::up(&world, 4);
    let (node, other) = (devnet.row("n0").node(), devnet.row("n1").node());
    let file = work::write(&world, "work.jsonl", (0..600).map(|i| product(&format!("t{i}"), 8)));
    let submit = format!("tasks submit {} --dir {}", file.display(), devnet.dir.display());
    let first = world.spawn(&submit);
    until(SOON, "some are on the chain", || (!work::list(&world, &node, "").is_empty()).then_some(()));
    drop(first);
    kill(devnet.row("n0").pid.expect("it runs"), Signal::KILL);
    let ran = work::run(&world, &format!("{submit} --wait --api {}", other.api));
    ran.ok();
    let tasks = work::list(&world, &other, "");
    assert_eq!(tasks.len(), 600);
    work::assert_each_done_once(&other, &tasks);
}

#[test]
fn ten_validators_of_which_three_are_killed_under_load_do_each_of_300_tasks_once() {
    let world = World::alone("ten-tasks");
    let devnet = Devnet::up_with(&world, 10, NAPS);
    let node = devnet.row("n0").node();
    let file = work::write(&world, "work.jsonl", mixed(300, 6));
    let submit = format!("tasks submit {} --wait --dir {}", file.display(), devnet.dir.display());
    let mut first = world.spawn(&submit);
    work::wait_for(&world, &node, "done", 30);
    let victims = ["n3", "n6", "n9"];
    for row in devnet.rows().iter().filter(|row| victims.contains(&row.name.as_str())) {
        kill(row.pid.expect("it runs"), Signal::KILL);
    }
    devnet.wait_for_all("the killed are dead", |row| row.is_dead() == victims.contains(&row.name.as_str()));
    let held = victims.map(|name| work::list(&world, &node, &format!("--state leased --holder {name}"))).concat();
    let ran = work::ended(&mut first);
    println!("{}", ran.out);
    ran.ok();
    let tasks = work::list(&world, &node, "");
    assert_eq!(tasks.len(), 300);
    work::assert_each_done_once(&node, &tasks);
    let tasks = work::by_id(tasks);
    assert_moved(&held, &tasks);
    // And all agree.
    let rows = devnet.rows();
    for row in rows.iter().filter(|row| !row.is_dead()) {
        let theirs = until(SOON, "it knows all", || {
            let listed = work::list(&world, &row.node(), "--state done");
            (listed.len() == 300).then(|| work::by_id(listed))
        });
        assert!(theirs.iter().all(|(id, task)| task.token == tasks[id].token), "{}", row.name);
    }
}
