//! An archive of blocks on a simulated disk, and what becomes of it.

use super::*;
use crate::{integrity::BLOCKS, testing};
use commonware_cryptography::Digestible as _;
use commonware_runtime::{Runner as _, Supervisor as _, deterministic};
use std::collections::BTreeMap;

type Held = Archive<deterministic::Context, Block>;

const COUNT: u64 = 40;

/// Blocks 1, 2, ... on top of each other.
fn chain(count: u64) -> Vec<Block> {
    let mut state = testing::state();
    let leader = testing::key(testing::VALIDATOR).public();
    (0..count)
        .map(|_| {
            let block = ledger::Block::on(&state, leader, state.timestamp().after(1), Vec::new());
            state.apply(&block).expect("a valid block");
            Block::new(block)
        })
        .collect()
}

async fn open(context: &deterministic::Context, processed: u64) -> (Held, Opened) {
    let settings = Settings { prefix: "a-".into(), name: BLOCKS, chain: [1; 32], codec: () };
    let quarantine = Quarantine::new("a-");
    let opened = Archive::open(context.child("archive"), settings, &quarantine, processed, Progress::default()).await;
    let (archive, opened) = opened.expect("a simulated disk");
    archive.expect(&opened, processed, true);
    (archive, opened)
}

async fn fill(context: &deterministic::Context, blocks: &[Block]) {
    let (archive, _) = open(context, 0).await;
    for block in blocks {
        archive.insert(block.height().get(), block.digest().0, block).await.expect("a simulated disk");
    }
    archive.finish_sync().await.expect("a simulated disk");
}

/// What is in the archive, by height; each must be the block that was put in.
async fn held(archive: &Held, blocks: &[Block]) -> Vec<u64> {
    let mut heights = Vec::new();
    for block in blocks {
        let height = block.height().get();
        if let Some((digest, found)) = archive.read(height).await.expect("a simulated disk") {
            assert_eq!((digest, &found), (block.digest().0, block), "what is served is what was put in");
            heights.push(height);
        }
    }
    heights
}

async fn bytes(context: &deterministic::Context) -> Vec<u8> {
    let (blob, length) = context.open("a-blocks", &0_u64.to_be_bytes()).await.expect("written");
    let length = usize::try_from(length).expect("small");
    blob.read_at(0, length, ReadOptions::default()).await.expect("readable").coalesce().as_ref().to_vec()
}

async fn overwrite(context: &deterministic::Context, bytes: &[u8]) {
    let (blob, _) = context.open("a-blocks", &0_u64.to_be_bytes()).await.expect("written");
    blob.resize(0).await.expect("a simulated disk");
    blob.write_at(0, bytes.to_vec(), WriteOptions::default()).await.expect("a simulated disk");
    // A change of the length is durable only after this.
    blob.sync().await.expect("a simulated disk");
}

#[test]
fn what_is_put_in_is_found_by_height_and_digest_before_and_after_a_restart() {
    deterministic::Runner::default().start(|context| async move {
        let blocks = chain(COUNT);
        fill(&context, &blocks).await;
        let (archive, opened) = open(&context, COUNT).await;
        assert_eq!(held(&archive, &blocks).await, (1..=COUNT).collect::<Vec<_>>());
        assert!(opened.findings.is_empty() && archive.missing().len() == 0);
        let digest = blocks[6].digest();
        let found = archive.find(Identifier::Key(&digest)).await.expect("a simulated disk");
        assert_eq!(found.as_ref(), Some(&blocks[6]));
        assert_eq!(archive.last(), Some(Height::new(COUNT)));
    });
}

#[test]
fn what_waits_in_the_buffer_can_be_read() {
    deterministic::Runner::default().start(|context| async move {
        let blocks = chain(3);
        let (archive, _) = open(&context, 0).await;
        for block in &blocks {
            archive.insert(block.height().get(), block.digest().0, block).await.expect("a simulated disk");
        }
        assert!(bytes_in_memory(&archive) > 0);
        assert_eq!(held(&archive, &blocks).await, [1, 2, 3]);
    });
}

fn bytes_in_memory(archive: &Held) -> usize {
    archive.shared.state.lock().sections.values().map(|section| section.buffer.len()).sum()
}

#[test]
fn any_flipped_byte_is_noticed_and_costs_one_block_which_can_be_put_back() {
    deterministic::Runner::default().start(|context| async move {
        let blocks = chain(12);
        fill(&context, &blocks).await;
        let whole = bytes(&context).await;
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            overwrite(&context, &damaged).await;
            {
                let (archive, opened) = open(&context, 12).await;
                let left = held(&archive, &blocks).await;
                let missing = archive.missing().downward();
                assert_eq!((left.len(), missing.len(), opened.findings.len()), (11, 1, 1), "byte {at}");
                let lost = &blocks[usize::try_from(missing[0]).expect("small") - 1];
                archive.insert(missing[0], lost.digest().0, lost).await.expect("a simulated disk");
                archive.finish_sync().await.expect("a simulated disk");
            }
            let (archive, opened) = open(&context, 12).await;
            assert_eq!(held(&archive, &blocks).await.len(), 12, "byte {at}");
            assert_eq!((opened.findings, archive.missing().len()), (vec![], 0), "told once");
        }
    });
}

#[test]
fn a_byte_that_rots_while_the_archive_is_open_is_never_served() {
    deterministic::Runner::default().start(|context| async move {
        let blocks = chain(12);
        fill(&context, &blocks).await;
        let (archive, _) = open(&context, 12).await;
        let blob = archive.shared.state.lock().sections[&0].blob.clone();
        let entry = archive.shared.state.lock().entries[&5];
        blob.write_at(entry.offset + 90, vec![0xff; 4], WriteOptions::SYNC).await.expect("a simulated disk");
        assert_eq!(archive.read(5).await.expect("a simulated disk"), None);
        assert_eq!(archive.missing().downward(), [5]);
        assert_eq!(Blocks::next_gap(&archive, Height::new(4)), (Some(Height::new(4)), Some(Height::new(6))));
        let findings = archive.dress_wounds(&Quarantine::new("a-")).await.expect("a simulated disk");
        assert_eq!(findings[0].heights, Some((5, 5)));
        assert!(findings[0].kept.is_some());
        archive.insert(5, blocks[4].digest().0, &blocks[4]).await.expect("a simulated disk");
        assert_eq!(held(&archive, &blocks).await.len(), 12);
    });
}

#[test]
fn a_torn_end_is_told_from_rot_by_what_was_durable() {
    let damage = |processed| {
        deterministic::Runner::default().start(move |context| async move {
            fill(&context, &chain(12)).await;
            let whole = bytes(&context).await;
            overwrite(&context, &whole[..whole.len() - 5]).await;
            open(&context, processed).await.1.findings[0].damage
        })
    };
    assert_eq!(damage(11), Damage::Torn, "block 12 was never acknowledged");
    assert_eq!(damage(12), Damage::Rot, "block 12 was durable once");
}

#[test]
fn sections_below_the_floor_go_and_are_not_missed() {
    deterministic::Runner::default().start(|context| async move {
        let block = &chain(1)[0];
        let (archive, _) = open(&context, 0).await;
        let heights = [1, ITEMS - 1, ITEMS, 2 * ITEMS, 2 * ITEMS + 1];
        for height in heights {
            archive.insert(height, block.digest().0, block).await.expect("a simulated disk");
        }
        archive.finish_sync().await.expect("a simulated disk");
        archive.cut(2 * ITEMS).await.expect("a simulated disk");
        assert_eq!(archive.held_from(0).map(|(height, _)| height), Some(2 * ITEMS));
        drop(archive);
        let (archive, _) = open(&context, 2 * ITEMS + 1).await;
        assert_eq!((archive.floor(), archive.missing().len()), (2 * ITEMS, 0));
        assert_eq!(numbers(&context, "a-blocks").await.expect("a simulated disk"), [2]);
    });
}

#[test]
fn what_is_below_the_floor_is_not_given_any_more_though_its_file_stays_for_what_is_above() {
    deterministic::Runner::default().start(|context| async move {
        let block = &chain(1)[0];
        let (archive, _) = open(&context, 0).await;
        for height in [1, 5, 6] {
            archive.insert(height, block.digest().0, block).await.expect("a simulated disk");
        }
        archive.begin_at(6).await.expect("a simulated disk");
        let held = |archive: &Held| [1, 5, 6].map(|height| archive.holds(height));
        assert_eq!(held(&archive), [false, false, true]);
        archive.insert(5, block.digest().0, block).await.expect("a simulated disk");
        assert_eq!(held(&archive), [false, false, true]);
        drop(archive);
        let (archive, found) = open(&context, 6).await;
        assert_eq!((held(&archive), archive.floor()), ([false, false, true], 6));
        assert!(archive.expect(&found, 6, true).is_none());
    });
}

#[test]
fn an_archive_that_begins_far_above_all_it_held_still_knows_where() {
    deterministic::Runner::default().start(|context| async move {
        let block = &chain(1)[0];
        for is_empty in [true, false] {
            let (archive, _) = open(&context, 0).await;
            if !is_empty {
                archive.insert(1, block.digest().0, block).await.expect("a simulated disk");
            }
            let floor = if is_empty { 3 * ITEMS + 7 } else { 5 * ITEMS };
            archive.begin_at(floor).await.expect("a simulated disk");
            drop(archive);
            let (archive, found) = open(&context, floor).await;
            assert_eq!((archive.floor(), archive.holds(1)), (floor, false));
            assert!(archive.expect(&found, floor - 1, true).is_none());
        }
    });
}

#[test]
fn absent_heights_are_those_in_no_range() {
    let mut ranges = RMap::new();
    [3, 4, 8].into_iter().for_each(|height| ranges.insert(height));
    let check = |from, to, expected: &[u64]| assert_eq!(absent(&ranges, from, to), expected, "{from} to {to}");
    check(1, 9, &[1, 2, 5, 6, 7, 9]);
    check(3, 4, &[]);
    check(4, 6, &[5, 6]);
    check(9, 10, &[9, 10]);
    check(5, 4, &[]);
}

#[test]
fn a_handle_covers_what_an_earlier_one_covers() {
    deterministic::Runner::default().start(|context| async move {
        let blocks = chain(2);
        let (archive, _) = open(&context, 0).await;
        let durable = |archive: &Held| archive.shared.state.lock().sections[&0].durable;
        archive.insert(1, blocks[0].digest().0, &blocks[0]).await.expect("a simulated disk");
        let first = archive.begin_sync().await.expect("a simulated disk");
        // Nothing new, and the first has not been waited for.
        archive.begin_sync().await.expect("a simulated disk").await.expect("a simulated disk");
        assert_eq!(durable(&archive), archive.shared.state.lock().sections[&0].end());
        first.await.expect("a simulated disk");
        let all: BTreeMap<u64, bool> = (1..=2).map(|height| (height, archive.holds(height))).collect();
        assert_eq!(all, [(1, true), (2, false)].into());
    });
}

/// A start reads all there is. With values of 10 kB, and then with small ones, of which there are far more.
#[test]
#[ignore = "writes and reads hundreds of megabytes"]
fn a_hundred_megabytes_are_read_within_five_seconds() {
    use commonware_runtime::tokio;
    use std::time::{Duration, Instant};
    const BYTES: usize = 100 << 20;
    for size in [10_000, 400] {
        let folder = std::env::temp_dir().join(format!("unsplit-archive-{}-{size}", std::process::id()));
        let config = tokio::Config::new().with_storage_directory(&folder);
        let took = tokio::Runner::new(config).start(move |context| async move {
            let settings =
                || Settings { prefix: String::new(), name: "large", chain: [1; 32], codec: ((..).into(), ()) };
            let quarantine = Quarantine::new("");
            let count = BYTES / size;
            {
                let opened =
                    Archive::open(context.child("write"), settings(), &quarantine, 0, Progress::default()).await;
                let (archive, _): (Archive<_, Vec<u8>>, _) = opened.expect("a disk");
                for height in 0..count as u64 {
                    archive.insert(height, [height as u8; 32], &vec![height as u8; size]).await.expect("a disk");
                }
                archive.finish_sync().await.expect("a disk");
            }
            let start = Instant::now();
            let opened = Archive::open(context.child("read"), settings(), &quarantine, 0, Progress::default()).await;
            let (archive, found): (Archive<_, Vec<u8>>, _) = opened.expect("a disk");
            assert!(found.findings.is_empty() && archive.held_below(u64::MAX) == Some(count as u64 - 1));
            start.elapsed()
        });
        println!("{} MB in values of {size} bytes: read in {took:?}", BYTES >> 20);
        std::fs::remove_dir_all(&folder).expect("our own folder");
        assert!(took <= Duration::from_secs(5), "{took:?}");
    }
}
