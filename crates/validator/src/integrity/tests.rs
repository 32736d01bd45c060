//! A node's partitions on a simulated disk, damaged, and what a start makes of them.

use super::*;
use crate::{testing, validator::page_cache};
use commonware_consensus::Heightable as _;
use commonware_runtime::{Blob as _, Runner as _, Supervisor as _, WriteOptions, deterministic};
use ledger::{Height, State};

const COUNT: u64 = 30;

/// Blocks 1, 2, ... on top of each other, and the state after each.
fn chain() -> Vec<(Block, State)> {
    let mut state = testing::state();
    let leader = testing::key(testing::VALIDATOR).public();
    let next = |_| {
        let block = ledger::Block::on(&state, leader, state.timestamp().after(1), Vec::new());
        state.apply(&block).expect("a valid block");
        (Block::new(block), state.clone())
    };
    (0..COUNT).map(next).collect()
}

fn genesis() -> Block {
    let state = testing::state();
    Block::new(ledger::Block::on(&state, testing::key(testing::VALIDATOR).public(), state.timestamp(), Vec::new()))
}

async fn start(context: &deterministic::Context) -> Store<deterministic::Context> {
    let (chain_id, genesis, page_cache) = (testing::chain(), genesis(), page_cache());
    let journals = ["a-votes-0".to_owned()];
    let place = Place {
        prefix: "a-",
        chain: [1; 32],
        chain_id: &chain_id,
        genesis: &genesis,
        page_cache: &page_cache,
        journals: &journals,
    };
    open(context, &place).await.expect("a simulated disk")
}

/// What was found, apart from the certificates: there are none here.
fn told(store: &Store<deterministic::Context>) -> Vec<Finding> {
    store.findings.iter().filter(|finding| finding.part != CERTIFICATES).cloned().collect()
}

/// How far the engine goes on from.
async fn progress(context: &deterministic::Context) -> Option<u64> {
    let config = metadata::Config { partition: "a-marshal-application-metadata".into(), codec_config: () };
    let metadata: Metadata<_, U64, UInt<u64>> =
        Metadata::init(context.child("look"), config).await.expect("made whole before");
    metadata.get(&PROCESSED).map(|height| height.0)
}

/// All blocks are there, the engine has come to the last, and there is a checkpoint at 20.
async fn fill(context: &deterministic::Context, blocks: &[(Block, State)]) {
    let store = start(context).await;
    for (block, _) in blocks {
        store.blocks.insert(block.height().get(), block.digest().0, block).await.expect("a simulated disk");
    }
    store.blocks.finish_sync().await.expect("a simulated disk");
    rewrite_progress(context, "a-marshal-application-metadata", Some(COUNT)).await.expect("a simulated disk");
    Checkpoints::new("a-").write(context, &blocks[19].1).await.expect("a simulated disk");
}

/// Changes every file of a partition.
async fn damage(context: &deterministic::Context, partition: &str, change: impl Fn(&mut Vec<u8>)) {
    for name in names(context, partition).await.expect("a simulated disk") {
        let (blob, length) = context.open(partition, &name).await.expect("there");
        let length = usize::try_from(length).expect("small");
        let mut bytes =
            blob.read_at(0, length, ReadOptions::default()).await.expect("readable").coalesce().as_ref().to_vec();
        change(&mut bytes);
        blob.resize(0).await.expect("a simulated disk");
        blob.write_at(0, bytes, WriteOptions::default()).await.expect("a simulated disk");
        // A change of the length is durable only after this.
        blob.sync().await.expect("a simulated disk");
    }
}

/// What a start finds, where it goes on from, and what is missing, after this was done to that partition.
fn check(
    partition: &'static str,
    change: impl Fn(&mut Vec<u8>) + Send + 'static,
) -> (Vec<Finding>, Option<u64>, Vec<u64>) {
    deterministic::Runner::default().start(move |context| async move {
        fill(&context, &chain()).await;
        assert_eq!(told(&start(&context).await), [], "whole before");
        damage(&context, partition, change).await;
        let store = start(&context).await;
        let missing = store.blocks.missing().downward();
        let findings = told(&store);
        drop(store);
        let progress = progress(&context).await;
        assert_eq!(told(&start(&context).await).iter().filter(|finding| finding.damage != Damage::Hole).count(), 0);
        (findings, progress, missing)
    })
}

fn flip_at(share: usize) -> impl Fn(&mut Vec<u8>) {
    move |bytes| {
        let at = (bytes.len() * share / 100).min(bytes.len().saturating_sub(1));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 4;
        }
    }
}

#[test]
fn rot_in_the_middle_leaves_the_engine_where_it_was_and_one_block_missing() {
    let (findings, progress, missing) = check("a-blocks", flip_at(50));
    assert_eq!((findings.len(), progress, missing.len()), (1, Some(COUNT), 1));
    assert_eq!((findings[0].damage, findings[0].kept.is_some()), (Damage::Rot, true));
}

#[test]
fn without_its_newest_blocks_the_engine_goes_on_from_the_newest_held() {
    let (findings, progress, missing) = check("a-blocks", |bytes| bytes.truncate(bytes.len() - 5));
    assert_eq!((progress, missing.len()), (Some(COUNT - 1), 0));
    assert!(findings.iter().any(|finding| finding.heights == Some((COUNT, COUNT))), "{findings:?}");
}

#[test]
fn without_any_block_the_engine_goes_on_from_the_newest_checkpoint_and_asks_for_those_below() {
    let (_, progress, missing) = check("a-blocks", Vec::clear);
    assert_eq!((progress, missing), (Some(20), (1..=20).rev().collect()));
}

#[test]
fn when_the_engine_does_not_know_how_far_it_has_come_it_goes_on_from_the_checkpoint() {
    let (findings, progress, missing) = check("a-marshal-application-metadata", flip_at(50));
    assert_eq!((progress, missing.len()), (Some(20), 0));
    assert!(findings.iter().all(|finding| finding.part == "progress"), "{findings:?}");
}

#[test]
fn a_damaged_checkpoint_is_put_into_quarantine_and_not_used() {
    let (findings, progress, _) = check("a-checkpoints", flip_at(60));
    assert_eq!((findings.len(), progress), (1, Some(COUNT)));
    assert_eq!((findings[0].part.as_str(), findings[0].heights), ("checkpoints", Some((20, 20))));
    deterministic::Runner::default().start(|context| async move {
        fill(&context, &chain()).await;
        damage(&context, "a-checkpoints", flip_at(60)).await;
        drop(start(&context).await);
        assert_eq!(Checkpoints::new("a-").heights(&context).await, Vec::<Height>::new());
    });
}

#[test]
fn any_flip_in_how_far_the_engine_has_come_loses_nothing() {
    for share in (0..100).step_by(4) {
        let (_, progress, missing) = check("a-marshal-application-metadata", flip_at(share));
        assert!(progress >= Some(20) && progress <= Some(COUNT), "{progress:?} at {share}");
        assert_eq!(missing.len(), 0);
    }
}
