//! A vote guard that was damaged: who does not know what it signed signs nothing until that cannot matter any more.

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    network::{Devnet, Node, Row},
    world::{Process, World, until},
};

/// After this, a validator that sat out votes again.
const SAT_OUT: Duration = Duration::from_secs(40);

/// Overwrites the middle of the one file in `folder`.
fn damage(folder: &Path) {
    let files = fs::read_dir(folder).expect("a copy of the guard");
    let mut paths: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let path = paths.pop().expect("one file at least");
    let length = fs::metadata(&path).expect("a file").len();
    assert!(length > 200, "there is something to damage in {} ({length} bytes)", path.display());
    let mut file = OpenOptions::new().write(true).open(&path).expect("our own file");
    file.seek(SeekFrom::Start(length / 2)).and_then(|_| file.write_all(&[0xa5; 64])).expect("our own file");
}

/// Stops a validator, damages these copies of its guard, starts it, and gives its row.
fn restart_with_damage(devnet: &Devnet<'_>, name: &str, copies: &[&str]) -> Row {
    let row = devnet.stop(name);
    for copy in copies {
        damage(&row.data_dir.join("storage").join(copy));
    }
    devnet.run(&format!("restart {name}")).ok();
    row
}

#[test]
fn with_both_copies_of_its_guard_damaged_a_validator_observes_and_then_votes_again_by_itself() {
    let world = World::shared("guards");
    let devnet = Devnet::up(&world, 4);
    devnet.row("n0").node().wait_for_blocks(20);
    let damaged = restart_with_damage(&devnet, "n2", &["guard-a", "guard-b"]);
    let started = Instant::now();

    let other = devnet.row("n0").node();
    let seen = until(Duration::from_secs(20), "n0 sees that n2 observes", || {
        let why = other.ask("why")?;
        (why["observers"] == serde_json::json!(["n2"])).then_some(why)
    });
    assert!(seen["sentence"].as_str().is_some_and(|sentence| sentence.contains("observing without a vote: n2")));
    let nodes = world.unsplit(&format!("--api {} nodes n2", other.api)).ok();
    assert!(nodes.contains("observing"), "{nodes}");
    assert_eq!(damaged.node().duty().as_deref(), Some("observing"));
    other.wait_for_blocks(5);

    until(SAT_OUT, "n2 votes again", || damaged.node().duty().filter(|duty| duty == "voting"));
    println!("n2 votes again {:.1} s after its start", started.elapsed().as_secs_f64());
    until(Duration::from_secs(20), "n0 knows", || {
        other.ask("why").filter(|why| why["observers"].as_array().is_some_and(Vec::is_empty))
    });
}

#[test]
fn with_one_copy_of_its_guard_damaged_a_validator_votes_at_once() {
    let world = World::shared("guard");
    let devnet = Devnet::up(&world, 4);
    devnet.row("n0").node().wait_for_blocks(20);
    let damaged = restart_with_damage(&devnet, "n1", &["guard-b"]);
    let duty = until(Duration::from_secs(20), "n1 answers", || damaged.node().duty());
    assert_eq!(duty, "voting");
    let log = fs::read_to_string(devnet.dir.join("n1/log")).expect("a log");
    assert!(log.contains("guard"), "the log tells of the repair: {log}");
    let signs = || damaged.node().ask("status")?["last_signed_ms_ago"].as_u64();
    until(Duration::from_secs(20), "n1 has signed", signs);
}

/// A second process with the key of a validator, in a copy of its folder.
fn start_copy(devnet: &Devnet<'_>, name: &str, copy: &str) -> (Process, Node) {
    let (from, to) = (devnet.dir.join(name), devnet.dir.join(copy));
    let copied = std::process::Command::new("cp").arg("-a").args([&from, &to]).status().expect("cp");
    assert!(copied.success());
    let token = fs::read_to_string(to.join("data/api.token")).expect("a token").trim().to_owned();
    // The last two ports of this test's part.
    let (api, listen) = (format!("127.0.0.1:{}", devnet.world.port + 18), devnet.world.port + 1_018);
    let config = to.join("node.toml");
    let sets = format!("--set api.listen={api} --set network.listen=127.0.0.1:{listen}");
    let process = devnet.world.spawn(&format!("node start -c {} --set log.format=compact {sets}", config.display()));
    (process, Node { api, token })
}

#[test]
fn a_second_process_with_the_key_of_a_running_validator_signs_nothing_until_that_one_has_ended() {
    let world = World::shared("twins");
    let devnet = Devnet::up(&world, 4);
    devnet.row("n0").node().wait_for_blocks(20);
    let signed = |node: &Node| node.ask("status")?["last_signed_ms_ago"].as_u64();
    let (mut process, copy) = start_copy(&devnet, "n3", "twin");
    let why = until(Duration::from_secs(20), "the copy says that nobody takes it in", || {
        let why = copy.ask("why")?["sentence"].as_str()?.to_owned();
        why.contains("another process runs with its key").then_some(why)
    });
    assert!(why.contains("n3 hears nobody"), "{why}");
    devnet.row("n0").node().wait_for_blocks(20);
    assert_eq!(signed(&copy), None, "it has signed nothing");
    let others = devnet.row("n0").node().ask("why").expect("an answer");
    assert_eq!(
        (&others["observers"], &others["missing"]),
        (&serde_json::json!([]), &serde_json::json!([])),
        "{others}"
    );

    devnet.stop("n3");
    until(Duration::from_secs(30), "the copy votes once the other has ended", || signed(&copy));
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(10)).expect("it ends").code(), Some(0), "{}", process.err());
}
