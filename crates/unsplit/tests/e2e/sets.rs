//! The set of validators changes, between epochs, on real processes.

use std::{fs, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    network::{Devnet, SOON},
    world::{World, until},
};

/// A minute of epochs, on however busy a machine.
const EPOCHS: Duration = Duration::from_secs(120);

fn names(view: &Value, field: &str) -> Vec<String> {
    let names = view[field].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

#[test]
fn a_validator_leaves_when_an_epoch_ends_and_follows_on_without_a_vote() {
    let world = World::shared("leave");
    let devnet = Devnet::up_with(&world, 5, "--epoch-length 32");
    let rows = devnet.wait_for_all("all run", |row| row.height.is_some());
    let (n0, n4) = (rows[0].node(), rows[4].node());
    let (here, there) = (format!("--api {}", rows[0].api), format!("--api {}", rows[4].api));

    // What it would do is told first, also where it cannot be done.
    let foreseen = world.unsplit(&format!("nodes simulate-change --leave n4 {here}")).ok();
    assert!(foreseen.contains("n4 would go: it wants to leave") && foreseen.contains("4: n0 n1 n2 n3"), "{foreseen}");
    let both = world.unsplit(&format!("nodes simulate-change --leave n3,n4 {here}"));
    assert_eq!(both.code, Some(5), "{both:?}");
    let words = "n4 would wait, although it wants to leave: 3 validators would be left, and 4 are needed to survive 1";
    assert!(both.out.contains(words), "{both:?}");
    let unknown = world.unsplit(&format!("nodes simulate-change --remove n9 {here}"));
    assert!(unknown.err.contains("no validator is called n9"), "{unknown:?}");

    let token = rows[4].token_file.display();
    let said = world.unsplit(&format!("nodes leave {there} --token-file {token}")).ok();
    assert!(said.contains("n4 leaves when an epoch ends"), "{said}");
    let gone = || n0.ask("status").filter(|status| status["validators"] == 4);
    let status = until(EPOCHS, "n4 has no vote any more", gone);
    assert_eq!((&status["quorum"], &status["faults_tolerated"]), (&3.into(), &1.into()), "{status}");
    until(SOON, "n4 says that it observes", || n4.ask("status").filter(|status| status["duty"] == "observing"));
    let again = world.unsplit(&format!("nodes leave {there} --token-file {token}"));
    assert!(again.err.contains("no vote any more"), "{again:?}");

    // Of four a quorum is three: with another one down the network goes on, and the fifth follows.
    devnet.run("fault crash n3").ok();
    let height = n0.height().expect("it answers");
    until(SOON, "n4 follows", || n4.height().filter(|reached| *reached > height + 40));
    let table = world.unsplit(&format!("nodes {here}")).ok();
    assert!(table.contains("gone since epoch"), "{table}");

    // A start of its own tells it the same.
    devnet.run("restart n4").ok();
    let is_back = || n4.ask("status").filter(|status| status["duty"] == "observing" && status["validators"] == 4);
    until(SOON, "n4 is back, and knows that it is none any more", is_back);
    let reached = n0.height().expect("it answers");
    until(SOON, "n4 follows again", || n4.height().filter(|height| *height > reached));
    assert_eq!(n0.digest(reached), n4.digest(reached));
}

#[test]
fn a_fifth_joins_votes_and_then_one_of_the_first_leaves() {
    let world = World::shared("join");
    let devnet = Devnet::up_with(&world, 4, "--epoch-length 32");
    let rows = devnet.wait_for_all("all run", |row| row.height.is_some());
    let n0 = rows[0].node();
    let (api, token) = (rows[0].api.clone(), rows[0].token_file.display().to_string());
    let here = format!("--api {api} --token-file {token}");

    // A node of its own folder, with nothing but the genesis and a new key.
    let (folder, listen, window) = (world.path("n4"), world.port + 1_000 + 10, world.port + 10);
    let (genesis, folder) = (devnet.dir.join("genesis.toml").display().to_string(), folder.display().to_string());
    let init = format!("node init --dir {folder} --name n4 --genesis {genesis}");
    world.unsplit(&format!("{init} --listen 127.0.0.1:{listen} --api-listen 127.0.0.1:{window}")).ok();
    let start = format!("node start -c {folder}/node.toml");
    let mut process = world.spawn(&start);
    let n4 = crate::network::Node {
        api: format!("http://127.0.0.1:{window}"),
        token: fs::read_to_string(format!("{folder}/data/api.token")).expect("a token").trim().to_owned(),
    };
    until(SOON, "n4 runs and has no vote", || n4.ask("status").filter(|status| status["duty"] == "observing"));

    // It asks, and who is not asked for is refused by name.
    let asked = world.unsplit(&format!("nodes join -c {folder}/node.toml {here}")).ok();
    assert!(asked.contains("n4 asks for a seat"), "{asked}");
    until(SOON, "the request is on the chain", || {
        n0.ask("validators").filter(|view| view["candidates"][0]["name"] == "n4")
    });
    // The very same request would be the same transaction, which is on the chain already.
    let twice = world.unsplit(&format!("nodes join -c {folder}/node.toml --region elsewhere {here}"));
    assert!(twice.err.contains("is taken"), "{twice:?}");
    let nobody = world.unsplit(&format!("nodes approve n9 {here}"));
    assert!(nobody.err.contains("nobody called n9 asks for a seat"), "{nobody:?}");
    let foreseen = world.unsplit(&format!("nodes simulate-change --join n4 --api {api}")).ok();
    assert!(foreseen.contains("5: n0 n1 n2 n3 n4") && foreseen.contains("n4 would get a vote"), "{foreseen}");

    // Three of four approve.
    for row in &rows[..3] {
        let at = format!("--api {} --token-file {}", row.api, row.token_file.display());
        let said = world.unsplit(&format!("nodes approve n4 {at}")).ok();
        assert!(said.contains("approves of it"), "{said}");
    }
    let status = until(EPOCHS, "n4 votes", || {
        n4.ask("status").filter(|status| status["duty"] == "voting" && status["validators"] == 5)
    });
    assert_eq!((&status["name"], &status["quorum"]), (&"n4".into(), &4.into()), "{status}");
    until(SOON, "n4 signs", || n4.ask("status").filter(|status| status["last_signed_ms_ago"].as_u64().is_some()));
    let row = n0.ask("nodes/n4").expect("it has a row")["node"].take();
    assert_eq!((&row["standing"], &row["gone"]), (&"trial".into(), &false.into()), "{row}");

    // One of the first goes. Of the four that are left a quorum is three: n4 is needed once another is down.
    let there = format!("--api {} --token-file {}", rows[3].api, rows[3].token_file.display());
    world.unsplit(&format!("nodes leave {there}")).ok();
    until(EPOCHS, "n3 has no vote any more", || n0.ask("status").filter(|status| status["validators"] == 4));
    devnet.run("fault crash n2").ok();
    let words =
        ["n2 does not run, and nobody else can give its place away", "devnet restart n2", "leave out --replaces"];
    devnet.run("add --replaces n2").refused(5, &words);
    let height = n4.height().expect("it answers");
    until(SOON, "n0, n1 and n4 go on", || n4.height().filter(|reached| *reached > height + 40));

    // It knows all of that after a start of its own.
    process.signal(Signal::TERM);
    assert!(process.wait(SOON).is_some_and(|status| status.success()), "{}", process.err());
    let _process = world.spawn(&start);
    until(SOON, "n4 votes again", || {
        n4.ask("status").filter(|status| status["duty"] == "voting" && status["validators"] == 4)
    });
    let reached = n0.height().expect("it answers");
    until(SOON, "n4 goes on", || n4.height().filter(|height| *height > reached));
    assert_eq!(n0.digest(reached), n4.digest(reached));
}

#[test]
fn seven_that_are_lost_one_by_one_are_four_in_the_end_and_go_on() {
    let world = World::alone("losses");
    let devnet = Devnet::up_with(&world, 7, "--epoch-length 16 --remove-after 3s --byzantine-budget 1");
    let rows = devnet.wait_for_all("all run", |row| row.height.is_some());
    let n0 = rows[0].node();
    for lost in (4..7).rev() {
        devnet.run(&format!("fault crash n{lost}")).ok();
        let removed = || n0.ask("status").filter(|status| status["validators"] == lost);
        until(EPOCHS, &format!("n{lost} is removed"), removed);
    }
    let view = n0.ask("validators").expect("it answers");
    assert_eq!(
        (names(&view, "validators"), &view["quorum"]),
        (vec!["n0".into(), "n1".into(), "n2".into(), "n3".into()], &3.into())
    );
    // Three of seven would have been no quorum; of these four they are.
    devnet.run("fault crash n3").ok();
    let height = n0.height().expect("it answers");
    until(SOON, "three go on", || n0.height().filter(|reached| *reached > height + 20));
    let view = until(EPOCHS, "n3 is to go and cannot", || {
        n0.ask("validators").filter(|view| view["postponed"].as_array().is_some_and(|list| !list.is_empty()))
    });
    let postponed = view["postponed"][0]["postponed"].as_str().expect("what is in the way");
    assert!(postponed.contains("3 validators would be left, and 4 are needed"), "{view}");
    // One that was removed and comes back follows without a vote.
    devnet.run("restart n6").ok();
    let n6 = rows[6].node();
    let observes = || n6.ask("status").filter(|status| status["duty"] == "observing" && status["validators"] == 4);
    until(EPOCHS, "n6 knows that it is none any more", observes);
    let reached = n0.height().expect("it answers");
    until(SOON, "n6 follows", || n6.height().filter(|height| *height >= reached));
    assert_eq!(n0.digest(reached), n6.digest(reached));
}

#[test]
fn one_that_was_down_for_many_epochs_catches_up_and_votes_again() {
    let world = World::shared("epochs");
    let devnet = Devnet::up_with(&world, 4, "--epoch-length 16");
    let rows = devnet.wait_for_all("all run", |row| row.height.is_some());
    let (n0, n3) = (rows[0].node(), rows[3].node());
    let epoch = |node: &crate::network::Node| node.ask("status")?["epoch"].as_u64();
    devnet.run("fault crash n3").ok();
    let from = epoch(&n0).expect("it answers");
    until(EPOCHS, "six epochs pass", || epoch(&n0).filter(|epoch| *epoch >= from + 6));
    devnet.run("restart n3").ok();
    let tip = n0.height().expect("it answers");
    until(SOON, "n3 is back", || n3.height().filter(|height| *height >= tip));
    until(SOON, "n3 votes", || n3.ask("status").filter(|status| status["last_signed_ms_ago"].as_u64().is_some()));
    // Of four it takes three: without n0 the network needs n3.
    devnet.run("fault crash n0").ok();
    let height = n3.height().expect("it answers");
    until(SOON, "n3 is needed and there", || n3.height().filter(|reached| *reached > height + 40));
}
