//! Pieces of a snapshot, on their way to the disk and from there to a state.
//!
//! They are written to a log as they come, so that a large state is not held twice, and a crash loses little: every piece is
//! checked against the one above it when it is read again, and what is damaged or cut short is asked for anew.

use super::trust::Offer;
use crate::{
    blobs::{numbers, remove},
    chain::Block,
    store::{CheckpointError, Checkpoints},
};
use bytes::Bytes;
use commonware_runtime::{Blob, Error, ReadOptions, Storage, WriteOptions};
use ledger::{ChainId, Decode as _, Encode as _, Hash, Height, Item, Path, Piece, Reader, Rebuild, State, StateError};
use std::collections::BTreeMap;

const MAGIC: [u8; 8] = *b"ussnaps1";
/// Magic, length of the offer.
const HEADER: usize = 8 + 4;
/// Bytes that wait to be written.
const BUFFER: usize = 1 << 20;
/// Bytes that a power cut may take.
const UNSYNCED_MAX: u64 = 64 << 20;
/// A path, and the length of what follows.
const PIECE_HEADER_MAX: usize = 2 + 256 + 4;
/// No offer and no piece is longer.
const RECORD_BYTES_MAX: usize = 4 << 20;

/// Why pieces do not become a state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    /// The storage failed.
    #[error("the storage fails: {0}")]
    Storage(#[from] Error),
    /// A checkpoint cannot be written.
    #[error("the checkpoint cannot be written: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// What was written is something else now.
    #[error("a piece that was written to the disk is damaged")]
    Damaged,
    /// It has the certified root, and is not what any state is.
    #[error("the certified state cannot be understood by this version: {0}")]
    State(#[from] StateError),
}

/// Where a piece is in the log.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    length: usize,
}

/// A snapshot that is being fetched.
pub(crate) struct Intake<B> {
    blob: B,
    offer: Offer,
    /// Bytes in the file.
    written: u64,
    /// Bytes in the file that are durable.
    durable: u64,
    buffer: Vec<u8>,
    /// What is to be asked for.
    open: BTreeMap<Path, Hash>,
    /// What is asked for.
    asked: BTreeMap<Path, Hash>,
    places: BTreeMap<Path, Place>,
    bytes: u64,
}

fn partition(prefix: &str) -> String {
    format!("{prefix}snapshot")
}

/// Forgets the snapshot that was being fetched, if there was one.
///
/// # Errors
/// When the storage fails.
pub(crate) async fn clear<E: Storage>(storage: &E, prefix: &str) -> Result<(), Error> {
    remove(storage, &partition(prefix)).await
}

impl<B: Blob> Intake<B> {
    /// Begins to fetch what is offered, in place of what was being fetched.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) async fn begin<E: Storage<Blob = B>>(storage: &E, prefix: &str, offer: Offer) -> Result<Self, Error> {
        let (blob, _) = storage.open(&partition(prefix), &0_u64.to_be_bytes()).await?;
        blob.resize(0).await?;
        let bytes = offer.encode();
        let length = u32::try_from(bytes.len()).expect("an offer is short").to_be_bytes();
        let header = [MAGIC.as_slice(), &length, &bytes].concat();
        let written = header.len() as u64;
        blob.write_at(0, header, WriteOptions::SYNC).await?;
        Ok(Self::new(blob, offer, written))
    }

    fn new(blob: B, offer: Offer, written: u64) -> Self {
        let open = BTreeMap::from([(Path::root(), offer.above.root())]);
        let (asked, places) = (BTreeMap::new(), BTreeMap::new());
        Self { blob, offer, written, durable: written, buffer: Vec::new(), open, asked, places, bytes: 0 }
    }

    /// Goes on where a stop left off; nothing if there is nothing to go on with. The offer is yet to be judged.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) async fn resume<E: Storage<Blob = B>>(
        storage: &E,
        prefix: &str,
        chain: &ChainId,
    ) -> Result<Option<Self>, Error> {
        let Some((blob, length, offer, end)) = read_offer(storage, prefix, chain).await? else { return Ok(None) };
        let mut intake = Self::new(blob, offer, end);
        while intake.read_next(length).await? {}
        // What follows is torn, and is written over.
        intake.blob.resize(intake.written).await?;
        intake.durable = intake.written;
        Ok(Some(intake))
    }

    /// Takes the next piece of the log, if it is whole and one that is asked for.
    async fn read_next(&mut self, length: u64) -> Result<bool, Error> {
        let head = read(&self.blob, self.written, PIECE_HEADER_MAX, length).await?;
        let mut reader = Reader::new(&head);
        let (Ok(path), Ok(size)) = (Path::read(&mut reader), u32::read(&mut reader)) else { return Ok(false) };
        let at = self.written + (head.len() - reader.remaining()) as u64;
        let size = size as usize;
        let bytes = read(&self.blob, at, size, length).await?;
        if size > RECORD_BYTES_MAX || bytes.len() < size || !self.admit(&path, &bytes) {
            return Ok(false);
        }
        self.places.insert(path, Place { at, length: size });
        self.written = at + size as u64;
        Ok(true)
    }

    /// What is being fetched.
    pub(crate) const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// How many bytes there are.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many pieces there are, and how many are known of that are not.
    pub(crate) fn pieces(&self) -> (usize, usize) {
        (self.places.len(), self.open.len() + self.asked.len())
    }

    /// How many pieces are asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// The next piece to be asked for.
    pub(crate) fn next(&mut self) -> Option<Path> {
        let (path, hash) = self.open.pop_first()?;
        self.asked.insert(path.clone(), hash);
        Some(path)
    }

    /// Whether a piece is asked for.
    pub(crate) fn expects(&self, path: &Path) -> bool {
        self.asked.contains_key(path)
    }

    /// Whether all is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.open.is_empty() && self.asked.is_empty()
    }

    /// Takes a piece; whether it is the one that was asked for.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) async fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<bool, Error> {
        if bytes.len() > RECORD_BYTES_MAX || !self.admit(path, bytes) {
            return Ok(false);
        }
        path.write(&mut self.buffer);
        u32::try_from(bytes.len()).expect("bounded above").write(&mut self.buffer);
        let at = self.written + self.buffer.len() as u64;
        self.buffer.extend_from_slice(bytes);
        self.places.insert(path.clone(), Place { at, length: bytes.len() });
        if self.buffer.len() >= BUFFER {
            self.flush().await?;
        }
        Ok(true)
    }

    /// Checks a piece, and notes what it leads to.
    fn admit(&mut self, path: &Path, bytes: &[u8]) -> bool {
        let expected = self.asked.get(path).or_else(|| self.open.get(path));
        let Ok(piece) = Piece::read(bytes) else { return false };
        if expected != Some(&piece.hash()) {
            return false;
        }
        let items = piece.items(path);
        // The hash stands for itself: such a piece would be asked for again without end.
        if items.iter().any(|item| matches!(item, Item::Rest { path: rest, .. } if rest == path)) {
            return false;
        }
        self.asked.remove(path);
        self.open.remove(path);
        for item in items {
            if let Item::Rest { path, hash } = item {
                self.open.insert(path, hash);
            }
        }
        self.bytes += bytes.len() as u64;
        true
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let length = self.buffer.len() as u64;
        self.blob.write_at(self.written, std::mem::take(&mut self.buffer), WriteOptions::default()).await?;
        self.written += length;
        if self.written - self.durable >= UNSYNCED_MAX {
            self.sync().await?;
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Error> {
        self.blob.sync().await?;
        self.durable = self.written;
        Ok(())
    }

    /// Puts the pieces together, to a state after `tip` and a checkpoint of it.
    ///
    /// # Errors
    /// See [`IntakeError`].
    pub(crate) async fn finish<E: Storage>(
        &mut self,
        storage: &E,
        checkpoints: &Checkpoints,
        chain: &ChainId,
        tip: &Block,
    ) -> Result<State, IntakeError> {
        self.flush().await?;
        self.sync().await?;
        let height = self.offer.above.below();
        let mut writing = checkpoints.begin(storage, height).await?;
        let mut rebuild = Rebuild::default();
        let mut ahead = vec![Due::Piece(Path::root())];
        while let Some(due) = ahead.pop() {
            let path = match due {
                Due::Entry(key, value) => {
                    rebuild.push(&key, &value)?;
                    writing.push(&key, &value).await?;
                    continue;
                }
                Due::Piece(path) => path,
            };
            let bytes = self.read_piece(&path).await?;
            let piece = Piece::read(&bytes).map_err(|_| IntakeError::Damaged)?;
            let mut items = piece.items(&path).into_iter().peekable();
            // Up to the first piece below, entries need not be copied.
            while let Some(Item::Entry { key, value }) = items.next_if(|item| matches!(item, Item::Entry { .. })) {
                rebuild.push(key, value)?;
                writing.push(key, value).await?;
            }
            let below = items.map(|item| match item {
                Item::Entry { key, value } => Due::Entry(key.to_vec(), value.to_vec()),
                Item::Rest { path, .. } => Due::Piece(path),
            });
            let below: Vec<Due> = below.collect();
            ahead.extend(below.into_iter().rev());
        }
        let (digest, timestamp) = (tip.ledger().digest(), tip.ledger().timestamp);
        let state = rebuild.finish(chain, height, digest, timestamp)?;
        if state.root() != self.offer.above.root() {
            return Err(IntakeError::Damaged);
        }
        writing.finish(&state).await?;
        Ok(state)
    }

    async fn read_piece(&self, path: &Path) -> Result<Vec<u8>, IntakeError> {
        let Place { at, length } = *self.places.get(path).ok_or(IntakeError::Damaged)?;
        Ok(self.blob.read_at(at, length, ReadOptions::default()).await?.coalesce().as_ref().to_vec())
    }
}

/// What comes next when pieces are put together.
enum Due {
    Entry(Vec<u8>, Vec<u8>),
    Piece(Path),
}

/// Reads what is there of so many bytes.
async fn read<B: Blob>(blob: &B, at: u64, wanted: usize, end: u64) -> Result<Vec<u8>, Error> {
    let length = end.saturating_sub(at).min(wanted.min(RECORD_BYTES_MAX) as u64) as usize;
    if length == 0 {
        return Ok(Vec::new());
    }
    Ok(blob.read_at(at, length, ReadOptions::default()).await?.coalesce().as_ref().to_vec())
}

async fn read_offer<E: Storage>(
    storage: &E,
    prefix: &str,
    chain: &ChainId,
) -> Result<Option<(E::Blob, u64, Offer, u64)>, Error> {
    let partition = partition(prefix);
    if !numbers(storage, &partition).await?.contains(&0) {
        return Ok(None);
    }
    let (blob, length) = storage.open(&partition, &0_u64.to_be_bytes()).await?;
    let header = read(&blob, 0, HEADER, length).await?;
    let Some((MAGIC, size)) = header.split_first_chunk::<8>().map(|(magic, size)| (*magic, size)) else {
        return Ok(None);
    };
    let Ok(size) = <[u8; 4]>::try_from(size) else { return Ok(None) };
    let bytes = read(&blob, HEADER as u64, u32::from_be_bytes(size) as usize, length).await?;
    let end = (HEADER + bytes.len()) as u64;
    Ok(Offer::decode(Bytes::from(bytes), chain).map(|offer| (blob, length, offer, end)))
}

/// The height of the snapshot that was being fetched when the node stopped, if there was one.
///
/// # Errors
/// When the storage fails.
pub(crate) async fn height_under_way<E: Storage>(
    storage: &E,
    prefix: &str,
    chain: &ChainId,
) -> Result<Option<Height>, Error> {
    Ok(read_offer(storage, prefix, chain).await?.map(|(_, _, offer, _)| offer.above.below()))
}
