//! What a network survives, and what it says meanwhile.

use std::{collections::BTreeSet, fs, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    http,
    network::{Devnet, Node, Row, SOON, encoded, transfer},
    world::{World, kill, until},
};

#[test]
fn a_devnet_of_ten_goes_on_after_kill_nine_of_any_three_and_they_rejoin() {
    let world = World::alone("ten");
    let devnet = Devnet::up(&world, 10);
    for victims in [["n0", "n1", "n2"], ["n3", "n6", "n9"], ["n0", "n5", "n7"]] {
        goes_on_without(&devnet, &victims);
        let tip = tip(&devnet.rows());
        devnet.run(&format!("restart {}", victims.join(" "))).ok();
        rejoin(&devnet, tip);
    }
}

fn goes_on_without(devnet: &Devnet<'_>, victims: &[&str]) {
    let is_victim = |row: &Row| victims.contains(&row.name.as_str());
    for row in devnet.rows().iter().filter(|row| is_victim(row)) {
        kill(row.pid.expect("it runs"), Signal::KILL);
    }
    let rows = devnet.wait_for_all("the killed are rows, and dead", |row| row.is_dead() == is_victim(row));
    let before = tip(&rows);
    devnet.wait_for_all("the others go on", |row| is_victim(row) || row.height > Some(before + 8));
    let rows = devnet.rows();
    assert!(rows.iter().all(|row| row.is_dead() == is_victim(row)), "the killed stay dead: {rows:?}");
}

/// All vote and are where the network was when they were started, with the same block there.
fn rejoin(devnet: &Devnet<'_>, tip: u64) {
    let rows = devnet.wait_for_all("all at the tip", |row| row.height >= Some(tip));
    let digests: BTreeSet<String> = rows.iter().map(|row| row.node().digest(tip).expect("it has it")).collect();
    assert_eq!(digests.len(), 1, "one block at height {tip}");
    devnet.wait_for_all("all vote", |row| row.node().duty().as_deref() == Some("voting"));
    rows[0].node().wait_for_blocks(3);
}

fn tip(rows: &[Row]) -> u64 {
    rows.iter().filter_map(|row| row.height).max().expect("somebody answers")
}

#[test]
fn a_halt_is_told_with_its_reason_its_code_and_every_validator_as_a_row() {
    let world = World::shared("halt");
    let devnet = Devnet::up(&world, 4);
    let unsplit = |line: &str| world.unsplit(&format!("--api http://127.0.0.1:{} {line}", world.port));
    let wait_for_code = |code: i32| {
        let what = format!("status --check ends with {code}");
        until(SOON, &what, || Some(unsplit("status --check")).filter(|ran| ran.code == Some(code)))
    };
    wait_for_code(0);

    devnet.run("fault crash n3").ok();
    let degraded = wait_for_code(10);
    assert!(degraded.out.contains("DEGRADED") && degraded.out.contains("silent"), "{}", degraded.out);
    assert_eq!(unsplit("status --check=nagios").code, Some(1));

    devnet.run("fault pause n2 --for 60s").ok();
    let halted = wait_for_code(12);
    assert!(halted.out.contains("HALTED (safe)") && halted.out.contains("fix: "), "{}", halted.out);
    let why = unsplit("why").ok();
    for words in ["finality needs 3 of 4", "n2  not heard", "n3  not heard", "No fork is possible"] {
        assert!(why.contains(words), "{words:?} is not in: {why}");
    }
    let nodes = unsplit("nodes").ok();
    assert!(["n0", "n1", "n2", "n3"].iter().all(|name| nodes.contains(name)), "{nodes}");
    let height = devnet.row("n0").height.expect("it answers");

    devnet.run("fault isolate n0 --for 60s").ok();
    wait_for_code(11);
    let faults = devnet.run("faults").ok();
    assert!(faults.contains("pause n2") && faults.contains("cut n0"), "{faults}");
    assert_eq!(devnet.row("n0").height, Some(height), "halted is halted");

    devnet.run("heal").ok();
    assert_eq!(devnet.run("faults").ok().trim(), "no fault");
    devnet.run("restart n3").ok();
    wait_for_code(0);
}

#[test]
fn in_a_halt_writes_stay_pending_and_say_so_reads_are_marked_as_stale_and_alarms_go_off() {
    let world = World::shared("stale");
    let devnet = Devnet::up(&world, 4);
    let (node, key) = (devnet.row("n0").node(), devnet.account());
    let account = format!("accounts/{}", key.public());
    let is_stale = |path: &str| Some(node.ask(path)?["stale"] == true);
    for path in ["status", &account, "blocks/latest"] {
        assert_eq!(is_stale(path), Some(false), "{path}");
    }
    devnet.run("fault partition 0-1/2-3 --for 120s").ok();
    until(SOON, "it is halted", || {
        Some(()).filter(|()| node.ask("status").is_some_and(|it| it["finality"] == "halted"))
    });
    for path in ["status", &account, "blocks/latest"] {
        until(SOON, "it is stale, and how old is told", || {
            let view = node.ask(path)?;
            (view["stale"] == true && view["age_ms"].as_u64() > Some(1_000)).then_some(())
        });
    }
    let bytes = encoded(&transfer(&key, node.chain_id(), 0));
    let answer = node.submit(&bytes, Some(&node.token));
    assert_eq!((answer.status, answer.body["state"].as_str()), (202, Some("pending")), "{:?}", answer.body);
    let halted = answer.body["halted"].as_str().expect("it says why");
    assert!(halted.contains("stays pending") && halted.contains("HALTED (safe)"), "{halted}");

    let events = world.unsplit(&format!("--api {} -o json events --kinds slack_changed,state_changed", node.api)).ok();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let told = |holds: &dyn Fn(&Value) -> bool| assert!(events.iter().any(holds), "{events:#?}");
    told(&|event| event["event"] == "slack_changed" && event["alarm"] == true && event["slack"].as_i64() < Some(0));
    told(&|event| event["event"] == "state_changed" && event["state"] == "partitioned");
    let metrics = http::metrics(&node.api).expect("metrics");
    for line in ["unsplit_quorum_slack_low 1", "unsplit_state{state=\"partitioned\"} 1", "unsplit_finality_live 0"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    devnet.run("heal").ok();
    let is_final = || node.submit(&bytes, Some(&node.token)).body["state"] == "finalized";
    until(SOON, "what waited is final", || is_final().then_some(()));
    until(SOON, "the others are heard to hear each other", || is_stale("status").filter(|stale| !stale));
}

#[test]
fn a_cut_is_named_with_who_hears_whom_and_what_would_mend_it() {
    let world = World::shared("partitions");
    let devnet = Devnet::up(&world, 4);
    let ask = |name: &str, path: &str| devnet.row(name).node().ask(path);
    let sentence = |name: &str| Some(ask(name, "partitions")?["sentence"].as_str()?.to_owned());
    let says = |name: &str, words: &str| {
        until(SOON, words, || sentence(name).filter(|sentence| sentence.contains(words)));
    };
    says("n0", "no link is broken");
    // Only n3 hears both.
    devnet.run("fault partition 0/1-2 --for 60s").ok();
    says(
        "n3",
        "partial: n0 and n1 do not hear each other, n0 and n2 do not hear each other; only n3 holds a side together",
    );
    let view = ask("n3", "partitions").expect("it answers");
    assert_eq!((view["mutual"].as_array().map(Vec::len), &view["repair"]), (Some(3), &Value::Null), "{view}");
    let matrix = ask("n3", "matrix").expect("it answers");
    assert_eq!((&matrix["rows"][0][1], &matrix["rows"][0][3]), (&"deaf".into(), &"hears".into()), "{matrix}");
    devnet.run("heal").ok();
    says("n3", "no link is broken");

    devnet.run("fault partition 0-1/2-3 --for 60s").ok();
    says("n0", "n2 n3 are not heard by anybody; 2 hear each other, which is no quorum: bring one more validator back");
    let line = format!("partitions --api {}", devnet.row("n0").api);
    let page =
        until(SOON, "what was before", || Some(world.unsplit(&line).ok()).filter(|page| page.contains("before")));
    assert!(page.contains("2 hear each other, 3 are needed: n0 n1"), "{page}");
    let matrix = world.unsplit(&format!("matrix --api {}", devnet.row("n0").api)).ok();
    assert_eq!(matrix.lines().count(), 5, "{matrix}");
    devnet.run("heal").ok();
    says("n0", "no link is broken");
}

#[test]
fn a_validator_whose_address_is_stale_in_the_list_dials_the_others_and_votes_on() {
    let world = World::shared("moved");
    let devnet = Devnet::up(&world, 4);
    let row = devnet.row("n3");
    devnet.run("fault crash n3").ok();
    let file = row.data_dir.with_file_name("node.toml");
    let text = fs::read_to_string(&file).expect("its configuration");
    let (_, port) = row.listen.rsplit_once(':').expect("a host and a port");
    let moved = text.replacen(&row.listen, &format!("127.0.0.77:{port}"), 1);
    assert_ne!(moved, text, "{text}");
    fs::write(&file, moved).expect("a configuration of ours");
    devnet.run("restart n3").ok();
    let (n0, n3) = (devnet.row("n0").node(), devnet.row("n3").node());
    until(SOON, "n3 votes", || n3.ask("status").filter(|status| status["duty"] == "voting"));
    let all_heard = |node: &Node| node.ask("nodes")?["nodes"].as_array().map(|nodes| nodes.to_vec());
    for node in [&n0, &n3] {
        until(SOON, "it hears all", || all_heard(node).filter(|nodes| nodes.iter().all(|it| it["reachable"] == true)));
    }
    // With another one down its vote is needed.
    devnet.run("fault crash n1").ok();
    let height = n0.height().expect("it answers");
    until(SOON, "blocks become final", || n0.height().filter(|reached| *reached > height + 8));
}

#[test]
fn every_fault_ends_by_itself() {
    let world = World::shared("ttl");
    let devnet = Devnet::up(&world, 4);
    devnet.run("fault crash n1 --for 2s").ok();
    assert_eq!(devnet.row("n1").state, "crashed");
    devnet.run("fault pause n2 --for 2s").ok();
    assert_eq!(devnet.row("n2").state, "paused");
    devnet.run("fault partition 0/3 --for 2s").ok();
    let over = || Some(devnet.run("faults").ok()).filter(|faults| faults.trim() == "no fault");
    until(Duration::from_secs(20), "no fault is left", over);
    let rows = devnet.wait_for_all("all run and answer", |row| row.state == "running" && row.height.is_some());
    rows[0].node().wait_for_blocks(3);
    let all_heard = || rows[0].node().ask("nodes")?["nodes"].as_array().map(|nodes| nodes.to_vec());
    until(SOON, "n0 hears all", || all_heard().filter(|nodes| nodes.iter().all(|node| node["reachable"] == true)));
}
