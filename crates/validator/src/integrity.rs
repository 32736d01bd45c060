//! Is what is on the disk still what was written?
//!
//! Before the engine opens any of its files, everything is looked at here: the archives of blocks and certificates are read
//! from end to end, and of what only the engine can read it is tried whether it can. Damaged parts are copied into
//! quarantine and taken out, so that the engine never comes upon them: it would drop what follows them, or end the process
//! at every start. What is then missing is left to [`crate::repair`].
//!
//! What may be taken out, and why that is safe:
//! - *Blocks and certificates* are held by the other validators too.
//! - *The engine's journal of votes* repeats what the vote guard has recorded, twice; see [`crate::guard`]. Without it the
//!   node goes on from its newest finalized block.
//! - *Its caches* hold blocks and certificates that are not final yet. Others that voted for them hold them too.
//! - *How far it has come* is known from what is there: no farther than the newest block held, no less far than the newest
//!   checkpoint, which was written after the block above it was final.

mod pages;
mod quarantine;

use crate::{
    archive::{self, Archive, Settings, is_unreadable, record::is_damage},
    blobs::{names, remove},
    chain::{Block, Digest},
    progress::Progress,
    scheme::Scheme,
    store::{CheckpointError, Checkpoints},
    sync,
};
use commonware_codec::{CodecShared, varint::UInt};
use commonware_consensus::{
    simplex::types::{Artifact, Finalization, Notarization},
    types::Epoch,
};
use commonware_cryptography::{Digestible as _, certificate::Verifier as _};
use commonware_runtime::{Error, ReadOptions, Storage, buffer::paged::CacheRef};
use commonware_storage::{
    Context,
    archive::{Archive as _, MultiArchive as _, prunable},
    journal::segmented::variable::{self, Journal},
    metadata::{self, Metadata},
    translator::TwoCap,
};
use commonware_utils::{NZU64, NZUsize, sequence::U64};
use ledger::ChainId;
use pages::hex;
pub(crate) use pages::{PAGE, is_page_whole, is_sealed, page_content};
pub(crate) use quarantine::{Label, PIECE_BYTES_MAX, Quarantine, first_bytes};
use std::num::NonZeroUsize;
use tracing::warn;

/// Under which the engine keeps the height that it has come to.
const PROCESSED: U64 = U64::new(0xFF);
/// The archives that the engine keeps for each epoch, of what is not final yet.
const CACHES: [&str; 5] = ["verified", "notarized", "certified", "notarizations", "finalizations"];
/// The engine may hold so many blocks before it notes that it has come to the first.
const UNPROCESSED_MAX: u64 = 64;
const BUFFER: NonZeroUsize = NZUsize!(64 << 10);

/// How something is damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Damage {
    /// The end of a file, as a crash in the middle of a write leaves it.
    Torn,
    /// It is not there, and nothing shows why.
    Hole,
    /// It was written, and is something else now.
    Rot,
}

impl Damage {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Hole => "hole",
            Self::Rot => "rot",
        }
    }
}

/// A damaged part of the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// Of what: `blocks`, `certificates`, `votes` and so on.
    pub(crate) part: String,
    /// How it is damaged.
    pub(crate) damage: Damage,
    /// The first and the last height concerned, where that is known.
    pub(crate) heights: Option<(u64, u64)>,
    /// Where the damaged bytes are kept.
    pub(crate) kept: Option<String>,
    /// Where it is, and what is wrong.
    pub(crate) what: String,
}

/// What a node keeps, opened and whole but for what is noted as missing.
pub(crate) struct Store<E: Storage> {
    pub(crate) blocks: Archive<E, Block>,
    pub(crate) certificates: Archive<E, Finalization<Scheme, Digest>>,
    pub(crate) quarantine: Quarantine,
    /// Moves when something is found missing, or is there again.
    pub(crate) changes: Progress,
    /// What was found damaged.
    pub(crate) findings: Vec<Finding>,
}

/// Where everything of a node is.
pub(crate) struct Place<'a> {
    /// Comes before the names of all partitions.
    pub(crate) prefix: &'a str,
    /// What binds checksums to this chain.
    pub(crate) chain: [u8; 32],
    /// The chain's name, for checkpoints.
    pub(crate) chain_id: &'a ChainId,
    /// The block that everything follows from.
    pub(crate) genesis: &'a Block,
    /// Pages of the engine's files.
    pub(crate) page_cache: &'a CacheRef,
    /// The engine's journals of votes that may be there.
    pub(crate) journals: &'a [String],
}

/// Opens the archives of blocks and certificates alone, as they are on the disk.
pub(crate) async fn open_archives<E: Context>(
    context: &E,
    prefix: &str,
    chain: [u8; 32],
    processed: u64,
    changes: &Progress,
) -> Result<Archives<E>, Error> {
    let quarantine = Quarantine::new(prefix);
    let settings = Settings { prefix: prefix.to_owned(), name: BLOCKS, chain, codec: () };
    let blocks = Archive::open(context.child("blocks"), settings, &quarantine, processed, changes.clone()).await?;
    let codec = Scheme::certificate_codec_config_unbounded();
    let settings = Settings { prefix: prefix.to_owned(), name: CERTIFICATES, chain, codec };
    let child = context.child("certificates");
    let certificates = Archive::open(child, settings, &quarantine, processed, changes.clone()).await?;
    Ok((blocks, certificates))
}

type Archives<E> = ((Archive<E, Block>, archive::Opened), (Archive<E, Finalization<Scheme, Digest>>, archive::Opened));

/// The archive of blocks.
pub(crate) const BLOCKS: &str = "blocks";
/// The archive of certificates.
pub(crate) const CERTIFICATES: &str = "certificates";

/// Looks at everything, takes out what is damaged, and opens the rest.
///
/// # Errors
/// When the storage fails.
pub(crate) async fn open<E: Context>(context: &E, place: &Place<'_>) -> Result<Store<E>, Error> {
    let prefix = place.prefix;
    let quarantine = Quarantine::new(prefix);
    let mut inspector = Inspector { context, quarantine: &quarantine, findings: Vec::new() };
    let progress = format!("{prefix}marshal-application-metadata");
    let inspected = inspector.metadata::<U64, UInt<u64>>("progress", &progress, ()).await?;
    let come_to = inspected.and_then(|metadata| metadata.get(&PROCESSED).map(|height| height.0));
    let changes = Progress::default();
    let ((blocks, found_blocks), (certificates, found_certificates)) =
        open_archives(context, prefix, place.chain, come_to.unwrap_or(0), &changes).await?;
    let mut findings = std::mem::take(&mut inspector.findings);
    findings.extend(found_blocks.findings.iter().cloned());
    findings.extend(found_certificates.findings.iter().cloned());

    let taken = snapshot_taken(context, place, come_to, &blocks, &certificates).await?;
    let goes_on_from = match come_to {
        _ if taken.is_some() => taken,
        Some(height) if blocks.holds(height) => come_to,
        _ => {
            let checkpoint = newest_checkpoint(context, prefix, place.chain_id, come_to).await;
            let held = come_to.and_then(|height| blocks.held_below(height)).filter(|height| *height > 0);
            held.max(checkpoint)
        }
    };
    let newest_held = blocks.held_below(u64::MAX).unwrap_or(0);
    if come_to.is_none() && taken.is_none() && (goes_on_from.is_some() || newest_held > UNPROCESSED_MAX) {
        let what = format!("{progress} does not say how far the engine has come; blocks up to {newest_held} are there");
        findings.push(Finding { part: "progress".into(), damage: Damage::Hole, heights: None, kept: None, what });
    }
    if goes_on_from != come_to {
        if let Some(height) = come_to.filter(|_| taken.is_none()) {
            let first = goes_on_from.map_or(1, |from| from + 1);
            let what = format!(
                "the newest blocks, {first} to {height}, are not there; the chain is followed again from {first}"
            );
            let heights = Some((first, height));
            findings.push(Finding { part: BLOCKS.into(), damage: Damage::Hole, heights, kept: None, what });
        }
        rewrite_progress(context, &progress, goes_on_from).await?;
    }
    let upto = goes_on_from.unwrap_or(0);
    findings.extend(blocks.expect(&found_blocks, upto, true));
    let upto_certified = upto.max(newest_held);
    findings.extend(certificates.expect(&found_certificates, upto_certified, false));
    if !blocks.holds(0) && blocks.floor() == 0 {
        blocks.insert(0, place.genesis.digest().0, place.genesis).await?;
        blocks.finish_sync().await?;
    }

    findings.extend(inspect_checkpoints(context, &Checkpoints::new(prefix), &quarantine).await?);
    inspector.caches(prefix, place.page_cache).await?;
    for journal in place.journals {
        inspector.journal(journal, place.page_cache).await?;
    }
    findings.append(&mut inspector.findings);
    for finding in &findings {
        let Finding { part, damage, heights, kept, what } = finding;
        warn!(part, damage = damage.name(), ?heights, ?kept, "damage on the disk: {what}");
    }
    Ok(Store { blocks, certificates, quarantine, changes, findings })
}

/// A snapshot was fetched, and a crash came before the engine knew of it: the archives begin there.
async fn snapshot_taken<E: Context>(
    context: &E,
    place: &Place<'_>,
    come_to: Option<u64>,
    blocks: &Archive<E, Block>,
    certificates: &Archive<E, Finalization<Scheme, Digest>>,
) -> Result<Option<u64>, Error> {
    let Some(height) = sync::height_under_way(context, place.prefix, place.chain_id).await? else { return Ok(None) };
    if come_to.is_some_and(|come_to| height.0 <= come_to) {
        sync::clear(context, place.prefix).await?;
        return Ok(None);
    }
    // It is written when all of the snapshot was there and right.
    if Checkpoints::new(place.prefix).read(context, place.chain_id, height).await.is_err() {
        return Ok(None);
    }
    // The block itself may be there, and need not be.
    blocks.begin_at(if blocks.holds(height.0) { height.0 } else { height.0 + 1 }).await?;
    certificates.begin_at(height.0 + 1).await?;
    Ok(Some(height.0))
}

/// Puts damaged checkpoints into quarantine. The one before, and the next one, do their work.
pub(crate) async fn inspect_checkpoints<E: Storage>(
    storage: &E,
    checkpoints: &Checkpoints,
    quarantine: &Quarantine,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for height in checkpoints.heights(storage).await {
        let problem = match checkpoints.check(storage, height).await {
            Ok(()) => continue,
            Err(CheckpointError::Damaged(problem)) => problem,
            Err(CheckpointError::Storage(problem)) if is_unreadable(&problem) || is_damage(&problem) => {
                problem.to_string()
            }
            // It is being written, or was pruned meanwhile.
            Err(CheckpointError::Storage(Error::BlobAlreadyOpen(..) | Error::BlobMissing(..))) => continue,
            Err(CheckpointError::Storage(problem)) => return Err(problem),
        };
        let bytes = checkpoints.first_bytes(storage, height).await;
        let length = bytes.len() as u64;
        let label = Label::new(checkpoints.partition(), &height.0.to_be_bytes(), (0, length), Damage::Rot);
        let kept = quarantine.keep(storage, &label, &bytes).await;
        storage.remove(checkpoints.partition(), Some(&height.0.to_be_bytes())).await?;
        let what = format!("the checkpoint at height {height} {problem}");
        let heights = Some((height.0, height.0));
        findings.push(Finding { part: "checkpoints".into(), damage: Damage::Rot, heights, kept, what });
    }
    Ok(findings)
}

/// The height of the newest checkpoint that is whole, of those not above `height`.
async fn newest_checkpoint<E: Context>(context: &E, prefix: &str, chain: &ChainId, height: Option<u64>) -> Option<u64> {
    let checkpoints = Checkpoints::new(prefix);
    for found in checkpoints.heights(context).await {
        let is_usable = height.is_none_or(|height| found.0 <= height);
        if is_usable && checkpoints.read(context, chain, found).await.is_ok() {
            return Some(found.0);
        }
    }
    None
}

/// Has the engine go on from another height. It finds out the rest of what it keeps there by itself.
async fn rewrite_progress<E: Context>(context: &E, partition: &str, from: Option<u64>) -> Result<(), Error> {
    remove(context, partition).await?;
    let Some(height) = from else { return Ok(()) };
    let config = metadata::Config { partition: partition.to_owned(), codec_config: () };
    let failed = |problem: metadata::Error| match problem {
        metadata::Error::Runtime(problem) => problem,
        metadata::Error::Corruption(_) => Error::InvalidChecksum,
    };
    let metadata: Result<Metadata<E, U64, UInt<u64>>, _> = Metadata::init(context.child("progress"), config).await;
    let mut metadata = metadata.map_err(failed)?;
    metadata.put(PROCESSED, UInt(height));
    metadata.sync().await.map_err(failed)?;
    Ok(())
}

/// The problem, if it is one of the runtime and says nothing about the bytes: that ends the start.
fn failure(problem: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut next = Some(problem);
    while let Some(problem) = next {
        if let Some(runtime) = problem.downcast_ref::<Error>() {
            let about_bytes = is_damage(runtime) || is_unreadable(runtime) || matches!(runtime, Error::InvalidChecksum);
            return (!about_bytes).then(|| runtime.clone());
        }
        next = problem.source();
    }
    None
}

/// Tries what only the engine can read.
struct Inspector<'a, E> {
    context: &'a E,
    quarantine: &'a Quarantine,
    findings: Vec<Finding>,
}

impl<E: Context> Inspector<'_, E> {
    /// Opens what the engine keeps twice, each copy with a checksum over all of it. `None` when neither is whole: they are
    /// then gone.
    async fn metadata<K: commonware_utils::Span, V: CodecShared>(
        &mut self,
        part: &str,
        partition: &str,
        codec_config: V::Cfg,
    ) -> Result<Option<Metadata<E, K, V>>, Error> {
        self.copies(part, partition).await?;
        let config = metadata::Config { partition: partition.to_owned(), codec_config };
        match Metadata::init(self.context.child("inspection"), config).await {
            Ok(metadata) => Ok(Some(metadata)),
            Err(problem) => match failure(&problem) {
                Some(failure) => Err(failure),
                None => {
                    self.give_up(part, &[partition.to_owned()], &problem.to_string()).await?;
                    Ok(None)
                }
            },
        }
    }

    /// Tells of copies that fail their checksum: the engine takes the other one without a word.
    async fn copies(&mut self, part: &str, partition: &str) -> Result<(), Error> {
        for name in names(self.context, partition).await? {
            let (blob, length) = match self.context.open(partition, &name).await {
                Ok(opened) => opened,
                Err(problem) if is_unreadable(&problem) => {
                    // The other copy may be whole.
                    self.context.remove(partition, Some(&name)).await?;
                    let what = format!("{partition}/{}: {problem}", hex(&name));
                    let part = part.to_owned();
                    self.findings.push(Finding { part, damage: Damage::Rot, heights: None, kept: None, what });
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            let bytes = first_bytes(&blob, length).await;
            if is_sealed(&bytes) || (length == 0 && bytes.is_empty()) {
                continue;
            }
            let label = Label::new(partition, &name, (0, length), Damage::Torn);
            let kept = self.quarantine.keep(self.context, &label, &bytes).await;
            let what = format!("{partition}/{} fails its checksum; there is another copy", label.file);
            self.findings.push(Finding { part: part.to_owned(), damage: Damage::Torn, heights: None, kept, what });
        }
        Ok(())
    }

    /// Keeps what can be kept of these partitions and removes them.
    async fn give_up(&mut self, part: &str, partitions: &[String], reason: &str) -> Result<(), Error> {
        let mut first_kept = None;
        for partition in partitions {
            for name in names(self.context, partition).await? {
                let Ok((blob, length)) = self.context.open(partition, &name).await else { continue };
                let label = Label::new(partition, &name, (0, length), Damage::Rot);
                let bytes = first_bytes(&blob, length).await;
                let kept = self.quarantine.keep(self.context, &label, &bytes).await;
                first_kept = first_kept.or(kept);
            }
            remove(self.context, partition).await?;
        }
        let what = format!("{} cannot be read and is made anew: {reason}", partitions.join(", "));
        let finding = Finding { part: part.to_owned(), damage: Damage::Rot, heights: None, kept: first_kept, what };
        self.findings.push(finding);
        Ok(())
    }

    /// The engine's caches, epoch by epoch.
    async fn caches(&mut self, prefix: &str, page_cache: &CacheRef) -> Result<(), Error> {
        let partition = format!("{prefix}marshal-cache-metadata");
        let metadata = self.metadata::<u8, (Epoch, Epoch)>("caches", &partition, ((), ())).await?;
        let (floor, ceiling) =
            metadata.and_then(|metadata| metadata.get(&0).copied()).unwrap_or((Epoch::zero(), Epoch::zero()));
        for epoch in floor.get()..=ceiling.get() {
            for name in CACHES {
                let partitions = ["metadata", "key", "value"]
                    .map(|kind| format!("{prefix}marshal-cache-cache-{epoch}-{name}-{kind}"));
                let mut is_there = false;
                for partition in &partitions {
                    is_there |= !names(self.context, partition).await?.is_empty();
                }
                if !is_there {
                    continue;
                }
                let certificates = Scheme::certificate_codec_config_unbounded();
                match name {
                    "notarizations" => {
                        self.cache::<Notarization<Scheme, Digest>>(partitions, page_cache, certificates).await?;
                    }
                    "finalizations" => {
                        self.cache::<Finalization<Scheme, Digest>>(partitions, page_cache, certificates).await?;
                    }
                    _ => self.cache::<Block>(partitions, page_cache, ()).await?,
                }
            }
        }
        Ok(())
    }

    /// One cache: whether it opens, and every value in it can be read.
    async fn cache<V: CodecShared>(
        &mut self,
        partitions: [String; 3],
        page_cache: &CacheRef,
        codec_config: V::Cfg,
    ) -> Result<(), Error> {
        self.copies("caches", &partitions[0]).await?;
        let found = pages::inspect(self.context, "caches", &partitions[1], self.quarantine).await?;
        self.findings.extend(found);
        let [metadata_partition, key_partition, value_partition] = partitions.clone();
        let config = prunable::Config {
            translator: TwoCap,
            metadata_partition,
            key_partition,
            key_page_cache: page_cache.clone(),
            value_partition,
            items_per_section: NZU64!(1_024),
            compression: None,
            codec_config,
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
        };
        let read = async {
            let archive: prunable::Archive<TwoCap, E, Digest, V> =
                prunable::Archive::init(self.context.child("inspection"), config).await?;
            for (start, end) in archive.ranges().collect::<Vec<_>>() {
                for index in start..=end {
                    archive.get_all(index).await?;
                }
            }
            Ok::<_, commonware_storage::archive::Error>(())
        };
        match read.await {
            Ok(()) => Ok(()),
            Err(problem) => match failure(&problem) {
                Some(failure) => Err(failure),
                None => self.give_up("caches", &partitions, &problem.to_string()).await,
            },
        }
    }

    /// A journal of votes: whether it opens and can be read to its end.
    async fn journal(&mut self, partition: &str, page_cache: &CacheRef) -> Result<(), Error> {
        if names(self.context, partition).await?.is_empty() {
            return Ok(());
        }
        let found = pages::inspect(self.context, "votes", partition, self.quarantine).await?;
        self.findings.extend(found);
        let config = variable::Config {
            partition: partition.to_owned(),
            compression: None,
            codec_config: Scheme::certificate_codec_config_unbounded(),
            page_cache: page_cache.clone(),
            write_buffer: BUFFER,
        };
        let read = async {
            let journal: Journal<E, Artifact<Scheme, Digest>> =
                Journal::init(self.context.child("inspection"), config).await?;
            let mut replay = journal.replay(0, 0, BUFFER, ReadOptions::default()).await?;
            while let Some(artifact) = replay.next().await {
                artifact?;
            }
            replay.finish()?;
            Ok::<_, commonware_storage::journal::Error>(())
        };
        match read.await {
            Ok(()) => Ok(()),
            Err(problem) => match failure(&problem) {
                Some(failure) => Err(failure),
                None => self.give_up("votes", &[partition.to_owned()], &problem.to_string()).await,
            },
        }
    }
}

#[cfg(test)]
mod tests;
