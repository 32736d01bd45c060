//! A validator that lost its store while the others keep few blocks: it fetches the state, follows from there, and votes.

use std::{fs, time::Duration};

use crate::{
    network::Devnet,
    world::{World, until},
};

/// Blocks come sixteen a second while nothing is asked for.
const GROWN: Duration = Duration::from_secs(90);
/// A join takes seconds; then it has to sit out the votes that it may have forgotten.
const BACK: Duration = Duration::from_secs(90);

#[test]
fn a_validator_without_its_store_takes_over_the_state_and_votes_again() {
    let world = World::shared("snapshots");
    let keeping = "--set store.checkpoint_interval=20 --set store.blocks_kept=40 --set store.snapshot_after=60 \
        --set consensus.block_time=50ms --set consensus.build_timeout=50ms --set consensus.leader_timeout=240ms";
    let devnet = Devnet::up_with(&world, 4, keeping);
    let other = devnet.row("n0").node();
    // More than the engine's caches hold, which others are served from too.
    until(GROWN, "there are many blocks", || other.height().filter(|height| *height >= 300));

    let row = devnet.stop("n1");
    fs::remove_dir_all(row.data_dir.join("storage")).expect("its store");
    devnet.run("restart n1").ok();

    let node = row.node();
    let tip = other.height().expect("n0 runs");
    let sync = until(BACK, "it is at the tip and votes", || {
        let sync = node.ask("sync")?;
        let is_there = sync["height"].as_u64()? >= tip && sync["course"] == "live";
        (is_there && node.duty().as_deref() == Some("voting")).then_some(sync)
    });
    assert!(sync["blocks_from"].as_u64() > Some(20), "it came by a state, not block by block: {sync}");
    assert!(other.ask("sync").is_some_and(|sync| sync["blocks_from"].as_u64() > Some(20)), "n0 has pruned");
    until(BACK, "it tells of it", || {
        let events = world.unsplit(&format!("--api {} events --kinds sync_changed,snapshot_taken", node.api)).ok();
        (events.contains("fetches the state") && events.contains("took over the state at")).then_some(())
    });
    let said = world.unsplit(&format!("--api {} sync", node.api)).ok();
    assert!(said.contains("LIVE at") && said.contains("keeps blocks from"), "{said}");
    // Both have the same blocks. Older ones are gone soon.
    let top = node.height().expect("it runs").min(other.height().expect("n0 runs"));
    for at in top - 10..=top {
        assert_eq!(node.block(at), other.block(at), "block {at}");
    }

    devnet.stop("n1");
    let verified = world.unsplit(&format!("verify store {}", row.data_dir.display()));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    devnet.run("restart n1").ok();
    until(BACK, "it goes on from its own checkpoint", || node.height().filter(|height| *height >= tip));
}
