//! Validators that are brought back, and those that are given up.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    network::{Devnet, Row, SOON, Solo},
    world::{Process, World, is_alive, kill, until},
};

/// A trial takes a hundred blocks.
const TRIAL: Duration = Duration::from_secs(120);

/// n3 of a devnet of four, which the devnet itself does not run any more.
struct Supervised<'a> {
    devnet: Devnet<'a>,
    row: Row,
}

impl<'a> Supervised<'a> {
    fn new(world: &'a World) -> Self {
        Self::new_with(world, "")
    }

    /// The same with more words for `devnet up`.
    fn new_with(world: &'a World, more: &str) -> Self {
        let devnet = Devnet::up_with(world, 4, more);
        devnet.run("fault crash n3").ok();
        let row = devnet.row("n3");
        Self { devnet, row }
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let config = self.row.data_dir.with_file_name("node.toml").display().to_string();
        let line = ["supervise", "-o", "json", "-c", &config].into_iter().chain(more.iter().copied());
        line.map(str::to_owned).collect()
    }

    fn spawn(&self, more: &[&str]) -> Process {
        let words = self.words(more);
        self.devnet.world.spawn_words(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, and waits until the validator votes.
    fn start(&self, more: &[&str]) -> Process {
        let process = self.spawn(more);
        wait_for(&process, "well", 1);
        process
    }

    fn record(&self) -> Value {
        let text = fs::read_to_string(self.row.data_dir.join("supervisor.json")).expect("it writes one");
        serde_json::from_str(&text).expect("it is never half written")
    }

    /// The validator's process.
    fn pid(&self) -> u32 {
        let pid = until(SOON, "a process", || self.record()["pid"].as_u64());
        u32::try_from(pid).expect("a process id")
    }

    fn evidence(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.row.data_dir.join("evidence")) else { return Vec::new() };
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders
    }

    /// Kills the validator and says how long it took until it voted again.
    fn kill_and_wait(&self, process: &Process, before: usize) -> Duration {
        let pid = self.pid();
        let killed = Instant::now();
        kill(pid, Signal::KILL);
        until(SOON, "it votes again", || (steps(process, "verify_responsive").len() > before).then_some(()));
        let took = killed.elapsed();
        assert!(!is_alive(pid) && is_alive(self.pid()));
        took
    }
}

/// A validator that was orphaned takes a moment to end, and keeps its ports until then: the next test wants them.
impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        let folder = self.row.data_dir.with_file_name("").display().to_string();
        let Ok(text) = fs::read_to_string(self.row.data_dir.join("supervisor.json")) else { return };
        let pid = serde_json::from_str::<Value>(&text).ok().and_then(|record| record["pid"].as_u64());
        let Some(pid) = pid.and_then(|pid| u32::try_from(pid).ok()) else { return };
        // Another process may have the number by now.
        let is_ours = || fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&folder));
        let deadline = Instant::now() + SOON;
        // No assertion: the test may be failing already.
        while is_ours() && Instant::now() < deadline {
            let _ = i32::try_from(pid).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::KILL));
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

fn is_stopped(pid: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// The events that a supervisor has told of.
fn events(process: &Process) -> Vec<Value> {
    let out = process.out();
    // The last line may not be whole yet.
    out.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).expect("a document a line"))
        .collect()
}

fn changes(process: &Process, change: &str) -> Vec<Value> {
    events(process).into_iter().filter(|event| event["change"] == change).collect()
}

fn steps(process: &Process, step: &str) -> Vec<Value> {
    let done = changes(process, "step_done").into_iter();
    done.filter(|event| event["step"] == step && event["attempt"] != 0).collect()
}

#[track_caller]
fn wait_for(process: &Process, change: &str, count: usize) -> Vec<Value> {
    until(TRIAL, &format!("{count} times {change}"), || {
        Some(changes(process, change)).filter(|found| found.len() >= count)
    })
}

#[test]
fn a_killed_validator_votes_again_by_itself_and_passes_a_trial() {
    let world = World::alone("supervised");
    let supervised = Supervised::new(&world);
    let process = supervised.start(&["--cooldown", "0s", "--attempts-max", "10"]);
    let mut took: Vec<Duration> = (0..5).map(|before| supervised.kill_and_wait(&process, before)).collect();
    took.sort();
    println!("killed to voting again, sorted: {took:?}");
    let active = wait_for(&process, "active", 1);
    println!("killed to active, the last time: {} ms", active[0]["took_ms"]);
    for step in ["verify_integrity", "restart", "catch_up", "verify_responsive", "trial"] {
        let ms: Vec<Value> = steps(&process, step).iter().map(|event| event["took_ms"].clone()).collect();
        println!("{step}: {ms:?} ms");
    }
    let record = supervised.record();
    assert_eq!((&record["state"], &record["attempts_left"]), (&"active".into(), &5.into()), "{record}");
    let outcomes: Vec<&Value> =
        record["attempts"].as_array().expect("a list").iter().map(|attempt| &attempt["outcome"]["outcome"]).collect();
    assert_eq!(outcomes.last(), Some(&&Value::from("active")), "{outcomes:?}");
    supervised.row.node().wait_for_blocks(2);
}

#[test]
fn an_order_to_recover_does_not_wait_for_the_cooldown_and_counts() {
    let world = World::shared("recover");
    let supervised = Supervised::new(&world);
    let config = supervised.row.data_dir.with_file_name("node.toml").display().to_string();
    world.unsplit(&format!("recover -c {config}")).refused(5, &["no supervisor runs"]);
    let process = supervised.start(&["--cooldown", "300s"]);
    supervised.kill_and_wait(&process, 0);
    // During its trial: that costs the attempt, and the next has to wait.
    kill(supervised.pid(), Signal::KILL);
    until(SOON, "it waits for its cooldown", || (supervised.record()["state"] == "cooling").then_some(()));
    world.unsplit(&format!("recover -c {config}")).ok();
    until(SOON, "it votes again", || (steps(&process, "verify_responsive").len() > 1).then_some(()));
    let shown = world.unsplit(&format!("recoveries -c {config}")).ok();
    assert!(shown.contains("1 of 3 attempts left") && shown.contains("by order"), "{shown}");
}

#[test]
fn a_validator_that_only_the_others_see_ailing_is_restarted_by_their_order() {
    let world = World::alone("ordered");
    let supervised = Supervised::new_with(&world, "--set health.order_recovery_after=5s");
    // What it sees of itself is no reason: it hears everybody, and believes that it votes.
    let process = supervised.start(&["--stuck-after", "10m"]);
    let (pid, node) = (supervised.pid(), supervised.row.node());
    let muted = Instant::now();
    let body = r#"{"outbound":["n0","n1","n2"],"ttl_ms":600000}"#;
    assert_eq!(node.cut(body, Some(&node.token)).status, 201);
    let ordered = wait_for(&process, "ordered", 1);
    println!("mute to ordered: {:?}", muted.elapsed());
    let reason = ordered[0]["reason"].as_str().expect("it says why");
    assert!(reason.starts_with("ordered by ") && reason.contains("link for "), "{reason}");
    until(SOON, "it votes again", || (!steps(&process, "verify_responsive").is_empty()).then_some(()));
    println!("mute to voting again: {:?}", muted.elapsed());
    assert!(!is_alive(pid), "the mute one is gone");
    let n0 = supervised.devnet.row("n0").node();
    until(SOON, "the others hear it again", || (n0.ask("nodes/n3")?["node"]["reachable"] == true).then_some(()));
    assert_eq!(changes(&process, "stuck").len(), 0, "{}", process.out());
    assert_eq!(supervised.record()["attempts_left"], 2);
}

#[test]
fn one_validator_cannot_have_another_restarted_and_two_of_four_can() {
    let world = World::shared("two-of-four");
    let supervised = Supervised::new(&world);
    let process = supervised.start(&[]);
    let (pid, config) = (supervised.pid(), supervised.row.data_dir.with_file_name("node.toml"));
    let recover = |name: &str| {
        let row = supervised.devnet.row(name);
        world.unsplit(&format!("recover n3 --api {} --token-file {}", row.api, row.token_file.display()))
    };
    let asked = |name: &str| supervised.devnet.row(name).node().ask("nodes/n3")?["supervisor_asked_ms"].as_u64();
    let before = until(SOON, "the supervisor asks n0", || asked("n0"));
    println!("its supervisor had asked {before} ms before");
    let row = supervised.devnet.row("n0");
    let unknown = format!("recover n9 --api {} --token-file {}", row.api, row.token_file.display());
    world.unsplit(&unknown).refused(6, &["n9"]);
    let (said, told) = (recover("n0").ok(), Instant::now());
    assert!(said.contains("n0 says for 15 min that n3 should be restarted; 2 validators have to"), "{said}");
    // It has asked twice since, so it has the order of n0.
    for _ in 0..2 {
        let since = Instant::now();
        until(SOON, "it asks again", || {
            let ago = Duration::from_millis(asked("n0")?);
            (ago < since.elapsed()).then_some(())
        });
    }
    let page = world.unsplit(&format!("nodes n3 --api {}", supervised.devnet.row("n0").api)).ok();
    assert!(page.contains("it should be restarted: the operator of n0 wants it"), "{page}");
    assert_eq!((changes(&process, "ordered").len(), supervised.pid()), (0, pid), "after {:?}", told.elapsed());
    recover("n2").ok();
    let ordered = wait_for(&process, "ordered", 1);
    let reason = ordered[0]["reason"].as_str().expect("it says why");
    assert!(
        reason.contains("the operator of n0 wants it") && reason.contains("the operator of n2 wants it"),
        "{reason}"
    );
    until(SOON, "it votes again", || (!steps(&process, "verify_responsive").is_empty()).then_some(()));
    assert!(!is_alive(pid), "it was ended before");
    let shown = world.unsplit(&format!("recoveries -c {}", config.display())).ok();
    assert!(shown.contains("2 of 3 attempts left") && shown.contains("by order"), "{shown}");
}

#[test]
fn a_validator_that_ends_three_times_in_the_same_way_is_given_up_with_evidence() {
    let world = World::shared("crash-loop");
    let devnet = Devnet::up(&world, 4);
    let row = devnet.row("n3");
    // The devnet runs it already, and two processes on one folder are refused.
    let supervised = Supervised { devnet, row };
    let mut process = supervised.spawn(&[]);
    let status = process.wait(SOON).expect("it gives up");
    assert_eq!(status.code(), Some(7), "{}", process.err());
    assert_eq!(changes(&process, "started").len(), 3, "{}", process.out());
    for word in ["n3 is given up", "3 times in the same way", "exit code 5", "in use by process", "evidence/000003-"] {
        assert!(process.err().contains(word), "{word:?} is not in: {}", process.err());
    }
    let evidence = supervised.evidence();
    assert_eq!(evidence.len(), 3, "{evidence:?}");
    let read = |name: &str| fs::read_to_string(evidence[2].join(name)).expect("it is kept");
    let document: Value = serde_json::from_str(&read("evidence.json")).expect("a document");
    assert_eq!((&document["exit_code"], &document["node"]), (&5.into(), &"n3".into()));
    assert!(read("output.log").contains("in use by process") && read("node.toml").contains("n3"));
    assert_eq!(supervised.record()["state"], "gave_up");
    assert_eq!(supervised.record()["attempts_left"], 2, "all starts were of one attempt");
}

#[test]
fn a_configuration_that_is_wrong_is_not_tried_twice() {
    let world = World::shared("wrong-config");
    let supervised = Supervised::new(&world);
    fs::remove_file(supervised.row.data_dir.with_file_name("genesis.toml")).expect("every validator has one");
    let mut process = supervised.spawn(&[]);
    let status = process.wait(SOON).expect("it gives up");
    assert_eq!(status.code(), Some(3), "{}", process.err());
    assert_eq!(changes(&process, "started").len(), 0, "{}", process.out());
    assert!(process.err().contains("there is no genesis file"), "{}", process.err());
    let second = world.unsplit("supervise -c /no/such/node.toml");
    second.refused(3, &["/no/such/node.toml"]);
}

#[test]
fn a_validator_stopped_in_its_tracks_is_noticed_and_restarted() {
    let world = World::shared("frozen");
    let supervised = Supervised::new(&world);
    let process = supervised.start(&["--silent-after", "5s"]);
    let (pid, stopped) = (supervised.pid(), Instant::now());
    kill(pid, Signal::STOP);
    let stuck = wait_for(&process, "stuck", 1);
    println!("SIGSTOP to noticed: {:?}", stopped.elapsed());
    assert!(stuck[0]["reason"].as_str().is_some_and(|why| why.contains("API has not answered")), "{stuck:?}");
    until(SOON, "it votes again", || (!steps(&process, "verify_responsive").is_empty()).then_some(()));
    println!("SIGSTOP to voting again: {:?}", stopped.elapsed());
    assert!(!is_alive(pid), "the frozen one is gone");
    supervised.row.node().wait_for_blocks(2);
}

#[test]
fn a_validator_that_shows_an_old_state_while_what_decides_in_it_hangs_is_restarted() {
    let world = World::shared("hung");
    let supervised = Supervised::new(&world);
    let process = supervised.start(&["--stuck-after", "5s"]);
    let (pid, node) = (supervised.pid(), supervised.row.node());
    // It waits for its disk before it takes in a block, and answers nothing meanwhile.
    let body = r#"{"illness":"slow_disk","delay_ms":60000,"ttl_ms":600000}"#;
    assert_eq!(node.post("devnet/ailments", body, Some(&node.token)).status, 201);
    let stuck = wait_for(&process, "stuck", 1);
    assert!(stuck[0]["reason"].as_str().is_some_and(|why| why.contains("it shows an old state")), "{stuck:?}");
    until(SOON, "it votes again", || (!steps(&process, "verify_responsive").is_empty()).then_some(()));
    assert!(!is_alive(pid), "the hung one is gone");
}

#[test]
fn a_halted_network_is_no_reason_to_restart_anybody() {
    let world = World::shared("supervised-halt");
    let supervised = Supervised::new(&world);
    let process = supervised.start(&["--stuck-after", "5s"]);
    let pid = supervised.pid();
    supervised.devnet.run("fault crash n0 n1").ok();
    // Twice as long as it would take if it were one.
    until(Duration::from_secs(60), "a long halt", || {
        let why = supervised.row.node().ask("why")?;
        let now_ms =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later").as_millis();
        let since_ms = why["halted_since_ms"].as_u64()?;
        (now_ms > u128::from(since_ms) + 15_000).then_some(())
    });
    supervised.devnet.run("restart n0 n1").ok();
    supervised.row.node().wait_for_blocks(2);
    assert_eq!((supervised.pid(), changes(&process, "stuck").len()), (pid, 0), "{}", process.out());
}

#[test]
fn ctrl_c_ends_both_in_good_order() {
    let world = World::shared("supervisor-int");
    let supervised = Supervised::new(&world);
    let mut process = supervised.start(&[]);
    let pid = supervised.pid();
    process.signal(Signal::INT);
    let status = process.wait(Duration::from_secs(12)).expect("it ends");
    assert_eq!(status.code(), Some(130), "{}", process.err());
    assert!(!is_alive(pid));
    let ended = changes(&process, "ended");
    assert_eq!(ended[0]["reason"], "exit code 0", "{ended:?}");
    assert_eq!(supervised.record()["state"], "stopped");
    assert_eq!(supervised.record()["pid"], Value::Null);
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_validator_behind() {
    let world = World::shared("supervisor-kill");
    let supervised = Supervised::new(&world);
    for freeze in [false, true] {
        let process = supervised.start(&[]);
        let pid = supervised.pid();
        if freeze {
            kill(pid, Signal::STOP);
            // The kernel wakes those who stand still when their parent goes, not those who are about to.
            until(SOON, "it stands still", || is_stopped(pid).then_some(()));
        }
        kill(process.id(), Signal::KILL);
        until(Duration::from_secs(15), "the validator is gone", || (!is_alive(pid)).then_some(()));
    }
}

#[test]
fn a_new_supervisor_gives_no_fresh_attempts_and_hooks_are_told() {
    let world = World::shared("attempts");
    let supervised = Supervised::new(&world);
    let told = world.path("told");
    let hook = format!("sh -c 'echo $UNSPLIT_NODE $UNSPLIT_CHANGE $UNSPLIT_ATTEMPT >> {}'", told.display());
    let options = ["--attempts-max", "1", "--cooldown", "0s", "--hook", &hook];
    let mut process = supervised.start(&options);
    supervised.kill_and_wait(&process, 0);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(SOON).and_then(|status| status.code()), Some(143));
    assert_eq!(supervised.record()["attempts_left"], 0);

    // Its first start is no attempt.
    let mut process = supervised.start(&options);
    kill(supervised.pid(), Signal::KILL);
    let failed = wait_for(&process, "failed", 1);
    assert!(failed[0]["reason"].as_str().is_some_and(|why| why.contains("all attempts are used")), "{failed:?}");
    until(SOON, "a hook", || fs::read_to_string(&told).ok().filter(|told| told.contains("n3 failed 1")));
    process.signal(Signal::TERM);
    assert_eq!(process.wait(SOON).and_then(|status| status.code()), Some(143));
    assert_eq!(supervised.record()["state"], "failed");

    // A third one does not even start it, unless somebody says so.
    let mut process = supervised.spawn(&options);
    wait_for(&process, "failed", 1);
    assert_eq!(changes(&process, "started").len(), 0);
    process.signal(Signal::TERM);
    process.wait(SOON).expect("it ends");
    let _process = supervised.start(&["--yes"]);
    supervised.row.node().wait_for_blocks(2);
}

#[test]
fn only_a_certified_program_is_started() {
    let world = World::shared("certified");
    let supervised = Supervised::new(&world);
    let zeros = "0".repeat(64);
    let mut process = supervised.spawn(&["--certified", &zeros]);
    let status = process.wait(SOON).expect("it refuses");
    assert_eq!(status.code(), Some(5), "{}", process.err());
    assert!(process.err().contains("which is not certified"), "{}", process.err());
    assert_eq!(changes(&process, "started").len(), 0);
    let printed = Command::new("sha256sum").arg(env!("CARGO_BIN_EXE_unsplit")).output().expect("every system has it");
    let hash = String::from_utf8_lossy(&printed.stdout)[..64].to_owned();
    let mut process = supervised.start(&["--certified", &zeros, "--certified", &hash]);

    // What a quorum certifies holds without a flag, and the supervisor remembers it.
    let certify = |name: &str| {
        let row = supervised.devnet.row(name);
        let access = format!("--api {} --token-file {}", row.api, row.token_file.display());
        world.unsplit(&format!("certify --program {zeros} {access}")).ok();
    };
    let shown = || world.unsplit(&format!("certified --api {}", supervised.devnet.row("n0").api)).ok();
    assert!(shown().contains("certified by the genesis file\n  any program"), "{}", shown());
    certify("n0");
    certify("n1");
    until(SOON, "two proposals", || (shown().matches("3 validators have to propose").count() == 2).then_some(()));
    certify("n2");
    until(SOON, "a quorum", || {
        let shown = shown();
        (shown.contains("certified since block") && shown.contains(&format!("program {zeros}"))).then_some(())
    });
    until(SOON, "the supervisor knows", || (supervised.record()["certified"]["programs"][0] == zeros).then_some(()));
    process.signal(Signal::TERM);
    process.wait(SOON).expect("it ends");
    let mut process = supervised.spawn(&[]);
    let status = process.wait(SOON).expect("it refuses");
    assert_eq!(status.code(), Some(5), "{}", process.err());
    let _process = supervised.start(&["--certified", &hash]);
}

#[test]
fn a_validator_whose_disk_runs_full_is_started_again_when_there_is_room_and_that_is_no_attempt() {
    let mut world = World::shared("no-room");
    let Some(disk) = world.small_disk(100) else { return };
    let solo = Solo::write(&world, "disk/net", "unsplit-test");
    let line = solo.line("").replacen("node start", "supervise -o json", 1);
    let process = world.spawn(&line);
    wait_for(&process, "well", 1);
    let height = solo.node().wait_for_blocks(3);
    let digest = solo.node().digest(height);

    let fill = disk.join("fill");
    // The last of it is smaller than a piece; writing fails there, as it should.
    let _ = fs::write(&fill, vec![1; 200 << 20]);
    let told = wait_for(&process, "no_room", 1);
    assert!(told[0]["reason"].as_str().is_some_and(|reason| reason.contains("is full")), "{told:?}");
    assert!(solo.node().height().is_none(), "it has ended, and signs nothing");
    assert_eq!(changes(&process, "started").len(), 1);

    fs::remove_file(&fill).expect("our own file");
    wait_for(&process, "started", 2);
    assert_eq!(solo.node().block(height)["digest"].as_str(), digest.as_deref(), "what was final is final");
    solo.node().wait_for_blocks(2);
    assert_eq!(changes(&process, "attempt_began"), Vec::<Value>::new());
    assert_eq!(changes(&process, "no_room").len(), 1, "told once");
}
