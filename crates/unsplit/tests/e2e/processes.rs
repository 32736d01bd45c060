//! How validators end, and what they end with.

use std::time::Duration;

use rustix::process::Signal;

use crate::{
    network::{Devnet, Solo},
    world::{World, is_alive, kill, until},
};

#[test]
fn a_validator_ends_within_five_seconds_of_sigterm_with_exit_code_0_and_goes_on_later() {
    let world = World::shared("sigterm");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut process = solo.start();
    let height = solo.node().wait_for_blocks(3);
    solo.stop(&mut process);
    assert!(process.err().contains("validator started") && process.err().contains("stopped"), "{}", process.err());
    assert_eq!(process.out(), "", "talk is not data");
    let _process = solo.start();
    assert!(solo.node().height() >= Some(height), "nothing final is lost");
}

#[test]
fn a_second_process_on_one_data_directory_is_refused_at_once() {
    let world = World::shared("second");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut first = solo.start();
    let (line, pid) = (solo.line("--set api.listen=127.0.0.1:1025"), first.id().to_string());
    let mut second = world.spawn(&line);
    let status = second.wait(Duration::from_secs(2)).expect("at once");
    assert_eq!(status.code(), Some(5), "{}", second.err());
    assert!(second.err().contains("in use by process") && second.err().contains(&pid), "{}", second.err());
    assert!(first.is_running());
    solo.node().wait_for_blocks(2);
}

#[test]
fn validators_end_with_the_process_that_holds_them_however_it_ends() {
    let world = World::shared("holder");
    let devnet = Devnet::up(&world, 4);
    let pids: Vec<u32> = devnet.rows().iter().map(|row| row.pid.expect("it runs")).collect();
    kill(devnet.holder(), Signal::KILL);
    until(Duration::from_secs(10), "all have ended", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
    let rows = devnet.rows();
    assert!(rows.iter().all(|row| row.pid.is_none() && row.height.is_none()), "{rows:?}");
    devnet.run("fault crash n1").refused(4, &["no devnet runs in", "up --resume"]);

    devnet.run("up --detach --resume").ok();
    devnet.row("n0").node().wait_for_blocks(2);
    assert!(devnet.run("down").ok().contains("ended the devnet"));
    assert!(devnet.run("down").ok().contains("was not running"));
}

#[test]
fn a_devnet_in_the_foreground_says_what_to_try_and_ends_with_ctrl_c() {
    let world = World::shared("foreground");
    let mut up =
        world.spawn(&format!("devnet up -n 4 --dir {} --port-base {}", world.path("net").display(), world.port));
    let banner = until(Duration::from_secs(30), "a banner", || Some(up.out()).filter(|out| out.contains("down --dir")));
    let lines: Vec<&str> = banner.lines().collect();
    assert!(lines.len() <= 12, "{banner}");
    for line in &lines[lines.len() - 3..] {
        // What the banner offers can be copied as it is; the last one ends it.
        let words = line.trim().strip_prefix("unsplit ").expect("a command");
        world.unsplit(words).ok();
    }
    let status = up.wait(Duration::from_secs(10)).expect("`devnet down` ends it");
    assert_eq!(status.code(), Some(0), "{}", up.err());
    assert!(up.err().contains("up --resume"), "{}", up.err());

    let mut up = world.spawn(&format!("devnet up --resume --dir {}", world.path("net").display()));
    until(Duration::from_secs(30), "a banner", || up.out().contains("down --dir").then_some(()));
    up.signal(Signal::INT);
    assert_eq!(up.wait(Duration::from_secs(10)).and_then(|status| status.code()), Some(130), "{}", up.err());
}
