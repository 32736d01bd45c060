//! Links that drop everything for long enough that connections die, between validators with a network of their own each.

use std::{
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    network::SOON,
    world::{Process, World, until},
};

const NODES: usize = 4;

/// The first block after a long outage, and after one that connections outlive. It takes about a second; on a busy machine a view
/// may be lost to its time-out of 1.5 s.
const LONG_MAX: Duration = Duration::from_secs(3);
const SHORT_MAX: Duration = Duration::from_secs(6);

/// What was under way when the links were cut may still arrive.
const IN_FLIGHT_MS: u64 = 500;

/// Namespaces with a switch between them, and validators in them.
struct Lab<'a> {
    world: &'a World,
    tag: String,
    processes: Vec<Process>,
}

impl<'a> Lab<'a> {
    /// Nothing where this machine does not let us make networks.
    fn new(world: &'a World) -> Option<Self> {
        let lab = Self { world, tag: format!("us{}", std::process::id()), processes: Vec::new() };
        let switch = lab.name("s");
        let mut steps =
            vec![format!("netns add {switch}"), format!("-n {switch} link add br0 type bridge forward_delay 0")];
        steps.push(format!("-n {switch} link set br0 up"));
        for node in 0..NODES {
            let (space, port) = (lab.name(&node.to_string()), format!("p{node}"));
            steps.extend([
                format!("netns add {space}"),
                format!("-n {space} link set lo up"),
                format!("-n {switch} link add {port} type veth peer name eth0 netns {space}"),
                format!("-n {switch} link set {port} master br0 up"),
                format!("-n {space} addr add {}/24 dev eth0", address(node)),
                format!("-n {space} link set eth0 up"),
            ]);
        }
        for step in steps {
            if let Err(problem) = ip(&step) {
                println!("skipped: this machine makes no network namespaces: ip {step}: {problem}");
                return None;
            }
        }
        Some(lab)
    }

    fn name(&self, end: &str) -> String {
        format!("{}-{end}", self.tag)
    }

    /// Writes a chain of four and starts its validators, each in its namespace.
    fn start(&mut self) {
        let hosts = self.world.path("hosts");
        let lines: String = (0..NODES).map(|node| format!("n{node} {}:7601\n", address(node))).collect();
        std::fs::write(&hosts, lines).expect("our own folder");
        let dir = self.world.path("net");
        let line = format!("testnet init --chain-id blackout --out {} --hosts {}", dir.display(), hosts.display());
        self.world.unsplit(&line).ok();
        for node in 0..NODES {
            let config = dir.join(format!("n{node}")).join("node.toml");
            let listen = format!("--set api.listen=127.0.0.1:7700 --set network.listen={}:7601", address(node));
            let line = format!("node start -c {} {listen}", config.display());
            self.processes.push(self.world.spawn_in(&self.name(&node.to_string()), &line));
        }
        // What becomes final, with when, as one of them sees it.
        let events = "events -f -o json --kinds finalized --api http://127.0.0.1:7700";
        until(SOON, "a first block", || (self.height(0)? > 3).then_some(()));
        self.processes.push(self.world.spawn_in(&self.name("0"), events));
    }

    fn height(&self, node: usize) -> Option<u64> {
        let line = "status -o json --api http://127.0.0.1:7700 --timeout 1s";
        let mut asked = self.world.spawn_in(&self.name(&node.to_string()), line);
        asked.wait(SOON)?;
        serde_json::from_str::<Value>(&asked.out()).ok()?["status"]["height"].as_u64()
    }

    /// Has the switch pass on nothing from any of them to another, or everything again. Their ends stay up.
    fn set_links(&self, up: bool) {
        for node in 0..NODES {
            let isolated = if up { "off" } else { "on" };
            ip(&format!("-n {} link set p{node} type bridge_slave isolated {isolated}", self.name("s"))).expect("ours");
        }
    }

    /// When blocks became final, in milliseconds, by the events of the first.
    fn finalized_ms(&self) -> Vec<u64> {
        let events = self.processes.last().expect("it follows them").out();
        let times = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["time_ms"].as_u64());
        times.collect()
    }

    /// No link works for so long; how long after they do again the next block is final.
    fn outage(&self, lasts: Duration) -> Duration {
        self.set_links(false);
        let from = now_ms();
        until(lasts + SOON, "the outage is over", || (now_ms() >= from + millis(lasts)).then_some(()));
        let healed = now_ms();
        self.set_links(true);
        let first = until(SOON, "a block after the outage", || self.finalized_ms().into_iter().find(|at| *at > healed));
        let meanwhile = self.finalized_ms().into_iter().filter(|at| (from + IN_FLIGHT_MS..healed).contains(at)).count();
        assert_eq!(meanwhile, 0, "blocks became final while nobody heard anybody");
        Duration::from_millis(first - healed)
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        self.processes.clear();
        for end in (0..NODES).map(|node| node.to_string()).chain(["s".to_owned()]) {
            let _ = ip(&format!("netns del {}", self.name(&end)));
        }
    }
}

fn address(node: usize) -> String {
    format!("10.88.0.{}", node + 1)
}

fn ip(line: &str) -> Result<(), String> {
    match Command::new("ip").args(line.split_whitespace()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// From so long on, connections are given up and made anew. Before that the system sends again what was lost when it sees fit.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);

/// How many outages of which length. `BLACKOUT=3x70` measures others.
fn outages() -> Vec<Duration> {
    let wish = std::env::var("BLACKOUT").unwrap_or_else(|_| "1x1,1x3,2x6,1x20".into());
    let parts = wish.split(',').map(|part| part.split_once('x').expect("a number of times a number of seconds"));
    let parse = |text: &str| text.parse::<u64>().expect("a number");
    parts.flat_map(|(times, seconds)| vec![Duration::from_secs(parse(seconds)); parse(times) as usize]).collect()
}

#[test]
fn after_an_outage_that_ends_every_connection_the_first_block_is_final_within_three_seconds() {
    let world = World::alone("blackout");
    let Some(mut lab) = Lab::new(&world) else { return };
    lab.start();
    let mut took: Vec<Duration> = Vec::new();
    for outage in outages() {
        let first = lab.outage(outage);
        println!("outage of {} s: heal to first block {} ms", outage.as_secs(), first.as_millis());
        if outage >= GIVEN_UP_AFTER {
            took.push(first);
        } else {
            assert!(first <= SHORT_MAX, "{outage:?}: {first:?}");
        }
        // Everything is as before, so that each outage is one by itself.
        let before = lab.finalized_ms().len();
        until(SOON, "it goes on", || (lab.finalized_ms().len() > before + 10).then_some(()));
    }
    took.sort_unstable();
    println!("heal to first block: median {:?}, longest {:?}", took[took.len() / 2], took[took.len() - 1]);
    assert!(took[took.len() - 1] <= LONG_MAX, "{took:?}");
}
