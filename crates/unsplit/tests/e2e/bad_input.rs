//! Files, ports and disks that are not as they should be: what, where, how to mend; the right exit code; nothing lost.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::{
    network::Solo,
    world::{World, until},
};

/// Replaces a piece of a file; the piece must be there.
fn edit(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).expect("our own file");
    assert!(text.contains(old), "{old:?} is not in {}", path.display());
    fs::write(path, text.replacen(old, new, 1)).expect("our own file");
}

#[test]
fn a_typo_in_a_configuration_is_shown_with_its_line_and_a_caret() {
    let world = World::shared("typo");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let config = solo.file("node.toml");
    let check = format!("config check -c {}", config.display());
    world.unsplit(&check).ok();

    edit(&config, "leader_timeout = ", "leader_timout = ");
    let words = ["node.toml", "line ", "^^^^^^^^^^^^^", "leader_timout", "did you mean `leader_timeout`"];
    solo.refuses("", 3, &words);
    world.unsplit(&check).refused(3, &words);

    edit(&config, "leader_timout = \"1s\"", "leader_timeout = \"1 sec ond\"");
    solo.refuses("", 3, &["node.toml", "line ", "^^^", "1 sec ond"]);
}

#[test]
fn a_typo_laid_over_a_configuration_is_named() {
    let world = World::shared("overlay");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let words = ["consensus.leader_timout=1s", "did you mean `leader_timeout`"];
    solo.refuses("--set consensus.leader_timout=1s", 3, &words);
    solo.refuses("--set consensus.leader_timeout", 3, &["consensus.leader_timeout", "has no `=`"]);
    solo.refuses("--set log.level=in=fo=", 3, &["log.level", "filter"]);
    let variable = ("UNSPLIT_CONSENSUS__LEADER_TIMOUT", "1s");
    world.unsplit_with(&solo.line(""), &[variable]).refused(3, &[variable.0, "did you mean `leader_timeout`"]);

    let devnet = format!("devnet up --dir {} --port-base {}", world.path("devnet").display(), world.port);
    world.unsplit(&format!("{devnet} --set consensus.leader_timout=1s")).refused(3, &words);
    assert!(!world.path("devnet").exists(), "nothing half made is left behind");
}

#[test]
fn a_folder_of_another_chain_or_a_newer_version_is_refused_and_unharmed() {
    let world = World::shared("foreign");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let mut process = solo.start();
    let height = solo.node().wait_for_blocks(3);
    let digest = solo.node().digest(height);
    solo.stop(&mut process);

    let (genesis, kept) = (solo.file("genesis.toml"), solo.file("genesis.kept"));
    fs::rename(&genesis, &kept).expect("our own file");
    solo.refuses("", 3, &["there is no genesis file", "genesis.toml", "help: "]);
    let other = Solo::write(&world, "other", "unsplit-other");
    fs::copy(other.file("genesis.toml"), &genesis).expect("our own file");
    solo.refuses("", 5, &["solo/data", "belongs to chain unsplit-test", "unsplit-other", "use the data directory"]);
    fs::rename(&kept, &genesis).expect("our own file");

    let chain = solo.file("data/chain.toml");
    edit(&chain, "format = 2", "format = 3");
    solo.refuses("", 5, &["chain.toml", "newer version", "format 3", "start it with that version"]);
    edit(&chain, "format = 3", "format = 1");
    solo.refuses("", 5, &["chain.toml", "earlier version", "format 1", "except `guard-a` and `guard-b`"]);
    edit(&chain, "format = 1", "format = 2");

    let _process = solo.start();
    assert_eq!(solo.node().digest(height), digest, "what was final is final");
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let world = World::shared("secrets");
    let solo = Solo::write(&world, "net", "unsplit-test");
    for (name, mode) in [("node.key", 0o644), ("node.key", 0o640), ("api.token", 0o604)] {
        let path = solo.file("data").join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our own file");
        let (mend, shown) = (format!("chmod 600 {}", path.display()), format!("{mode:04o}"));
        solo.refuses("", 5, &[name, &shown, &mend]);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our own file");
    }
    let _process = solo.start();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let world = World::shared("ports");
    let solo = Solo::write(&world, "net", "unsplit-test");
    let take = |port: u16| TcpListener::bind(("127.0.0.1", port)).expect("a port of ours");
    let (api, peers) = (world.port, world.port + 1_000);
    for (port, key) in [(api, "api.listen"), (peers, "network.listen")] {
        let _taken = take(port);
        solo.refuses("", 5, &[key, &format!("127.0.0.1:{port}"), "stop what uses the port, or choose another"]);
    }
    let devnet = format!("devnet up --dir {} --port-base {api}", world.path("devnet").display());
    let _taken = take(api + 2);
    world.unsplit(&devnet).refused(5, &[&format!("port {}", api + 2), "n2's API", "--port-base"]);
    assert!(!world.path("devnet").exists(), "nothing half made is left behind");
}

#[test]
fn fewer_than_four_validators_are_allowed_only_by_who_says_so() {
    let world = World::shared("few");
    let (net, dir) = (world.path("testnet"), world.path("devnet"));
    let testnet = format!("testnet init -v 3 -o {}", net.display());
    let devnet = format!("devnet up --detach -n 3 --dir {} --port-base {}", dir.display(), world.port);
    for line in [&testnet, &devnet] {
        world.unsplit(line).refused(5, &["f = 0", "use at least 4", "--no-tolerance"]);
    }
    assert!(!net.exists() && !dir.exists());
    for line in [&testnet, &devnet] {
        let ran = world.unsplit(&format!("{line} --no-tolerance"));
        assert!(ran.err.contains("warning: ") && ran.err.contains("f = 0"), "{}", ran.err);
        ran.ok();
    }
    let log = fs::read_to_string(dir.join("n0/log")).expect("a log");
    assert!(log.contains("f = 0"), "each validator warns too: {log}");
}

#[test]
fn a_key_or_a_network_is_never_overwritten() {
    let world = World::shared("overwrite");
    let init = format!("node init --name berlin --dir {}", world.path("berlin").display());
    let id = world.unsplit(&init).ok();
    world.unsplit(&init).refused(5, &["node.toml", "not overwritten"]);
    let config = world.path("berlin/node.toml");
    fs::remove_file(&config).expect("our own file");
    world.unsplit(&init).refused(5, &["node.key", "never overwritten"]);
    let shown = world.unsplit(&format!("node show-id -c {}", config.display()));
    // Whether or not the configuration was written anew, the key is the first one.
    assert!(shown.code == Some(3) || shown.out == id, "{shown:?}");
    world.unsplit(&format!("testnet init -v 4 -o {}", world.path("berlin").display())).refused(5, &["not empty"]);
}

#[test]
fn a_start_on_a_full_disk_is_refused() {
    let mut world = World::shared("full");
    let Some(disk) = world.small_disk(32) else { return };
    let solo = Solo::write(&world, "disk/net", "unsplit-test");
    assert!(solo.dir.starts_with(disk));
    solo.refuses("", 5, &["solo/data", "MiB left", "64 MiB", "free some"]);
}

#[test]
fn a_disk_that_runs_full_ends_a_validator_and_nothing_final_is_lost() {
    let mut world = World::shared("filling");
    let Some(disk) = world.small_disk(100) else { return };
    let solo = Solo::write(&world, "disk/net", "unsplit-test");
    let mut process = solo.start();
    let height = solo.node().wait_for_blocks(3);
    let digest = solo.node().digest(height);

    let fill = disk.join("fill");
    // The last of it is smaller than a piece; writing fails there, as it should.
    let _ = fs::write(&fill, vec![1; 200 << 20]);
    let code = until(crate::network::SOON, "it ends", || process.wait(std::time::Duration::from_millis(50)));
    assert_eq!(code.code(), Some(5), "{}", process.err());
    for words in ["is full", "make room", "nothing was signed that it would not remember"] {
        assert!(process.err().contains(words), "{words:?} is not in: {}", process.err());
    }
    solo.refuses("", 5, &["MiB left"]);

    fs::remove_file(&fill).expect("our own file");
    let _process = solo.start();
    assert_eq!(solo.node().digest(height), digest, "what was final is final");
    solo.node().wait_for_blocks(2);
}

#[test]
fn a_disk_that_turns_read_only_ends_a_validator_and_nothing_final_is_lost() {
    let mut world = World::shared("read-only");
    if world.real_disk(200).is_none() {
        return;
    }
    let (height, digest) = {
        let solo = Solo::write(&world, "disk/net", "unsplit-test");
        let mut process = solo.start();
        let height = solo.node().wait_for_blocks(3);
        let digest = solo.node().digest(height);
        world.fail_disk();
        let code = until(crate::network::SOON, "it ends", || process.wait(std::time::Duration::from_millis(50)));
        assert_eq!(code.code(), Some(5), "{}", process.err());
        for words in ["is read-only", "mend it", "nothing was signed that it would not remember"] {
            assert!(process.err().contains(words), "{words:?} is not in: {}", process.err());
        }
        (height, digest)
    };
    world.mend_disk();
    let solo = Solo::at(&world, "disk/net");
    let _process = solo.start();
    assert_eq!(solo.node().digest(height), digest, "what was final is final");
    solo.node().wait_for_blocks(2);
}
