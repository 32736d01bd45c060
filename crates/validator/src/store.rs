//! Where does a start begin?
//!
//! A checkpoint is the whole state at one height, checksummed, with the root it must have. It is written after the next
//! block is final, because that block names the root; a start loads the newest checkpoint that the chain confirms and
//! replays from there. A checkpoint that a crash cut short fails its checksum and is passed over.

use crate::blobs::numbers;
use commonware_runtime::{Blob, Error, ReadOptions, Storage, WriteOptions};
use ledger::{ChainId, Decode as _, DecodeError, Hash, Height, Rebuild, State, StateError, Timestamp};
use sha2::{Digest as _, Sha256};
use tracing::warn;

const MAGIC: [u8; 8] = *b"uscheck1";
const HEADER: usize = 8 + 8 + 8 + 32 + 32 + 8 + 32;
/// Bytes written at once, so that a large checkpoint does not hold up everything else.
const CHUNK: usize = 1 << 20;
/// No entry comes near.
const ENTRY_BYTES_MAX: usize = 4 << 20;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] Error),
    /// The bytes are not a whole checkpoint.
    #[error("{0}")]
    Damaged(String),
}

/// The checkpoints of one node.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    partition: String,
}

impl Checkpoints {
    /// `prefix` comes before the name of the partition that holds them.
    pub fn new(prefix: &str) -> Self {
        Self { partition: format!("{prefix}checkpoints") }
    }

    /// The partition that holds them.
    pub(crate) fn partition(&self) -> &str {
        &self.partition
    }

    /// The first bytes of the checkpoint at `height`, for quarantine; what cannot be read is left out.
    pub(crate) async fn first_bytes<E: Storage>(&self, storage: &E, height: Height) -> Vec<u8> {
        match storage.open(&self.partition, &height.0.to_be_bytes()).await {
            Ok((blob, length)) => crate::integrity::first_bytes(&blob, length).await,
            Err(_) => Vec::new(),
        }
    }

    /// Heights of the checkpoints in `storage`, newest first, whole or not.
    pub async fn heights<E: Storage>(&self, storage: &E) -> Vec<Height> {
        let heights = numbers(storage, &self.partition).await.unwrap_or_else(|problem| {
            warn!(%problem, "checkpoints cannot be listed; starting from an older state");
            Vec::new()
        });
        heights.into_iter().rev().map(Height).collect()
    }

    /// Writes `state` durably.
    ///
    /// # Errors
    /// When the storage fails; an incomplete checkpoint may be left, which no start will use.
    pub async fn write<E: Storage>(&self, storage: &E, state: &State) -> Result<(), CheckpointError> {
        let mut writing = self.begin(storage, state.height()).await?;
        for (key, value) in state.entries() {
            writing.push(key, value).await?;
        }
        writing.finish(state).await
    }

    /// Begins to write the checkpoint at `height`, entry by entry, in place of one that may be there.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) async fn begin<E: Storage>(
        &self,
        storage: &E,
        height: Height,
    ) -> Result<Writing<E::Blob>, CheckpointError> {
        let (blob, _) = storage.open(&self.partition, &height.0.to_be_bytes()).await?;
        blob.resize(0).await?;
        Ok(Writing { blob, offset: HEADER as u64, hasher: Sha256::new(), chunk: Vec::with_capacity(CHUNK) })
    }

    /// Whether the checkpoint at `height` has the bytes that were written.
    ///
    /// # Errors
    /// When it has not, or the storage fails.
    pub(crate) async fn check<E: Storage>(&self, storage: &E, height: Height) -> Result<(), CheckpointError> {
        let (blob, length) = storage.open(&self.partition, &height.0.to_be_bytes()).await?;
        let mut reading = Reading::begin(blob, length, height).await?;
        while reading.next_chunk().await? {
            reading.chunk.clear();
        }
        reading.finish().await.map(drop)
    }

    /// Reads the checkpoint at `height` and checks that it is whole and has the root it claims.
    ///
    /// # Errors
    /// When it is not, or the storage fails.
    pub async fn read<E: Storage>(
        &self,
        storage: &E,
        chain: &ChainId,
        height: Height,
    ) -> Result<State, CheckpointError> {
        let (blob, length) = storage.open(&self.partition, &height.0.to_be_bytes()).await?;
        let mut reading = Reading::begin(blob, length, height).await?;
        let mut rebuild = Rebuild::default();
        let wrong = |problem: StateError| damaged(&problem.to_string());
        while reading.next_chunk().await? {
            let mut reader = ledger::Reader::new(&reading.chunk);
            let mut left = reader.remaining();
            // The last entry may go on in the next chunk.
            while let (Ok(key), Ok(value)) = (read_field(&mut reader), read_field(&mut reader)) {
                rebuild.push(key, value).map_err(wrong)?;
                left = reader.remaining();
            }
            if left > ENTRY_BYTES_MAX {
                return Err(damaged("holds an entry that is none"));
            }
            reading.chunk.drain(..reading.chunk.len() - left);
        }
        if !reading.chunk.is_empty() {
            return Err(damaged("ends inside an entry"));
        }
        let header = reading.finish().await?;
        let hash = |at: usize| Hash(header[at..at + 32].try_into().expect("thirty-two bytes"));
        let timestamp = Timestamp(number(&header, 88));
        let state = rebuild.finish(chain, height, hash(24), timestamp).map_err(wrong)?;
        if state.root() != hash(56) {
            return Err(damaged("does not have the root it claims"));
        }
        Ok(state)
    }

    /// Removes all but the newest `kept`.
    pub async fn prune<E: Storage>(&self, storage: &E, kept: usize) {
        for height in self.heights(storage).await.into_iter().skip(kept) {
            if let Err(problem) = storage.remove(&self.partition, Some(&height.0.to_be_bytes())).await {
                warn!(height = height.0, %problem, "an old checkpoint cannot be removed");
            }
        }
    }
}

/// A checkpoint that is being written.
pub(crate) struct Writing<B> {
    blob: B,
    offset: u64,
    hasher: Sha256,
    chunk: Vec<u8>,
}

impl<B: Blob> Writing<B> {
    /// Adds the next entry, in the order of keys.
    pub(crate) async fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), CheckpointError> {
        ledger::codec::write_bytes(key, &mut self.chunk);
        ledger::codec::write_bytes(value, &mut self.chunk);
        if self.chunk.len() >= CHUNK {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), CheckpointError> {
        self.hasher.update(&self.chunk);
        let length = self.chunk.len() as u64;
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.blob.write_at(self.offset, chunk, WriteOptions::default()).await?;
        self.offset += length;
        Ok(())
    }

    /// All entries are there: they are those of `state`. The header, without which it is no checkpoint, is written last.
    pub(crate) async fn finish(mut self, state: &State) -> Result<(), CheckpointError> {
        self.flush().await?;
        let header = header(state, self.offset - HEADER as u64);
        self.hasher.update(&header);
        self.blob.write_at(self.offset, self.hasher.finalize().to_vec(), WriteOptions::default()).await?;
        self.blob.write_at(0, header, WriteOptions::default()).await?;
        Ok(self.blob.sync().await?)
    }
}

/// A checkpoint that is being read, a chunk at a time.
struct Reading<B> {
    blob: B,
    header: Vec<u8>,
    hasher: Sha256,
    at: u64,
    /// Where the entries end.
    end: u64,
    /// What was read and not taken yet.
    chunk: Vec<u8>,
}

impl<B: Blob> Reading<B> {
    async fn begin(blob: B, length: u64, height: Height) -> Result<Self, CheckpointError> {
        if length < HEADER as u64 {
            return Err(damaged("shorter than its header"));
        }
        let header = blob.read_at(0, HEADER, ReadOptions::default()).await?.coalesce().as_ref().to_vec();
        let end = check_header(&header, height)?;
        if length < end.saturating_add(32) {
            return Err(damaged("shorter than it says"));
        }
        Ok(Self { blob, header, hasher: Sha256::new(), at: HEADER as u64, end, chunk: Vec::new() })
    }

    /// Adds what follows to the chunk; whether there was anything.
    async fn next_chunk(&mut self) -> Result<bool, CheckpointError> {
        let length = (self.end - self.at).min(CHUNK as u64) as usize;
        if length == 0 {
            return Ok(false);
        }
        let bytes = self.blob.read_at(self.at, length, ReadOptions::default()).await?.coalesce();
        self.hasher.update(bytes.as_ref());
        self.chunk.extend_from_slice(bytes.as_ref());
        self.at += length as u64;
        Ok(true)
    }

    /// Everything was read: the header, if the checksum fits.
    async fn finish(self) -> Result<Vec<u8>, CheckpointError> {
        let sum = self.blob.read_at(self.end, 32, ReadOptions::default()).await?.coalesce();
        let expected = self.hasher.chain_update(&self.header).finalize();
        if sum.as_ref() != expected.as_slice() {
            return Err(damaged("fails its checksum"));
        }
        Ok(self.header)
    }
}

/// One half of an entry.
fn read_field<'a>(reader: &mut ledger::Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = u32::read(reader)? as usize;
    reader.take(length)
}

/// Where the entries end, as a header says that is one.
fn check_header(header: &[u8], height: Height) -> Result<u64, CheckpointError> {
    if header[..8] != MAGIC {
        return Err(damaged("not a checkpoint of this version"));
    }
    if number(header, 8) != height.0 {
        return Err(damaged("belongs to another height"));
    }
    (HEADER as u64).checked_add(number(header, 16)).ok_or_else(|| damaged("longer than any file"))
}

/// Whether these bytes are the whole checkpoint at `height`.
pub(crate) fn check(bytes: &[u8], height: Height) -> Result<(), CheckpointError> {
    let header = bytes.get(..HEADER).ok_or_else(|| damaged("shorter than its header"))?;
    let end = usize::try_from(check_header(header, height)?).map_err(|_| damaged("longer than memory"))?;
    let (before, sum) = bytes.split_at_checked(end).ok_or_else(|| damaged("shorter than it says"))?;
    let expected = Sha256::new().chain_update(&before[HEADER..]).chain_update(header).finalize();
    if sum != expected.as_slice() {
        return Err(damaged("fails its checksum"));
    }
    Ok(())
}

fn damaged(reason: &str) -> CheckpointError {
    CheckpointError::Damaged(reason.to_owned())
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Magic, height, body length, block digest, root, timestamp, genesis hash.
fn header(state: &State, body: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.extend(MAGIC);
    out.extend(state.height().0.to_be_bytes());
    out.extend(body.to_be_bytes());
    out.extend(state.digest().0);
    out.extend(state.root().0);
    out.extend(state.timestamp().0.to_be_bytes());
    out.extend(state.genesis_hash().0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};
    use ledger::{Amount, Genesis, GenesisBalance, GenesisValidator, SecretKey};

    fn state() -> State {
        let key = |seed: u8| SecretKey::from_bytes([seed; 32]).public();
        let validator = GenesisValidator {
            name: "n0".into(),
            key: key(100),
            address: "127.0.0.1:1".into(),
            region: "local".into(),
            capacity: 1,
            supervisor: None,
        };
        State::genesis(&Genesis {
            version: ledger::genesis::VERSION,
            chain_id: "devnet-store".parse().expect("good"),
            byzantine_budget: 0,
            timestamp_ms: 1,
            validators: vec![validator],
            balances: (1..50).map(|seed| GenesisBalance { account: key(seed), amount: Amount(7) }).collect(),
            tasks: ledger::TaskLimits::default(),
            epochs: ledger::EpochLimits::default(),
            certified: ledger::Certified::default(),
        })
    }

    /// Writes a checkpoint, overwrites four bytes at each offset, and reads it again.
    fn read_after(damage: &[u64]) -> Result<State, CheckpointError> {
        let damage = damage.to_vec();
        deterministic::Runner::seeded(1).start(|context| async move {
            let (checkpoints, state) = (Checkpoints::new("a-"), state());
            checkpoints.write(&context, &state).await.expect("simulated disk");
            {
                let (blob, _) = context.open("a-checkpoints", &[0; 8]).await.expect("written");
                for offset in damage {
                    blob.write_at(offset, vec![0xee; 4], WriteOptions::SYNC).await.expect("simulated disk");
                }
            }
            checkpoints.read(&context, state.chain(), state.height()).await
        })
    }

    #[test]
    fn a_checkpoint_read_back_is_the_same_state() {
        let read = read_after(&[]).expect("whole");
        let written = state();
        assert_eq!(
            (read.root(), read.digest(), read.timestamp()),
            (written.root(), written.digest(), written.timestamp())
        );
        assert_eq!(read.total(), written.total());
    }

    #[test]
    fn four_wrong_bytes_anywhere_are_noticed() {
        for offset in [0, 9, 17, 30, 60, 90, 100, HEADER as u64, HEADER as u64 + 300] {
            assert!(matches!(read_after(&[offset]), Err(CheckpointError::Damaged(_))), "offset {offset}");
        }
    }

    #[test]
    fn only_the_newest_are_kept_and_nodes_do_not_see_each_other() {
        deterministic::Runner::seeded(1).start(|context| async move {
            let (one, other) = (Checkpoints::new("a-"), Checkpoints::new("b-"));
            let entries: Vec<_> = state().entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            for height in 1..=4 {
                let at = State::from_entries(
                    state().chain(),
                    Height(height),
                    Hash([9; 32]),
                    Timestamp(height),
                    entries.clone(),
                );
                one.write(&context, &at.expect("our own entries")).await.expect("simulated disk");
            }
            one.prune(&context, 2).await;
            assert_eq!(one.heights(&context).await, [Height(4), Height(3)]);
            assert!(other.heights(&context).await.is_empty());
        });
    }
}
