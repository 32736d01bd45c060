//! A short record that outlives a crash at any moment.
//!
//! It has two places, and is always written to the one that holds the older version: a write that is cut short, or a place
//! that rots, leaves the other. Each version carries its number and a checksum over all of it.

use crate::blobs::numbers;
use commonware_runtime::{Blob as _, Error, ReadOptions, Storage, WriteOptions};
use sha2::{Digest as _, Sha256};
use tracing::warn;

const MAGIC: [u8; 8] = *b"usnote_1";
/// Magic, version.
const HEADER: usize = 8 + 8;
const CHECK: usize = 32;
const PLACES: u64 = 2;
/// No honest record comes near this; a larger one is not read into memory.
const BYTES_MAX: u64 = 16 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Note {
    partition: String,
    version: u64,
}

impl Note {
    /// Opens the record in `partition`; the answer is what it says, if it was ever written.
    pub(crate) async fn open<E: Storage>(storage: &E, partition: String) -> (Self, Option<Vec<u8>>) {
        let mut newest: Option<(u64, Vec<u8>)> = None;
        for place in 0..PLACES {
            match read(storage, &partition, place).await {
                Ok(Some((version, _))) if newest.as_ref().is_some_and(|(newest, _)| *newest > version) => {}
                Ok(Some(found)) => newest = Some(found),
                Ok(None) => {}
                Err(problem) => warn!(partition, place, %problem, "a copy of a record cannot be read"),
            }
        }
        let version = newest.as_ref().map_or(0, |(version, _)| *version);
        (Self { partition, version }, newest.map(|(_, bytes)| bytes))
    }

    /// Has the record say `bytes`, durably.
    ///
    /// # Errors
    /// When the storage fails; the record then says what it said before.
    pub(crate) async fn write<E: Storage>(&mut self, storage: &E, bytes: &[u8]) -> Result<(), Error> {
        let version = self.version + 1;
        let mut record = [MAGIC.as_slice(), &version.to_be_bytes(), bytes].concat();
        let check = Sha256::digest(&record);
        record.extend_from_slice(&check);
        let (blob, _) = storage.open(&self.partition, &(version % PLACES).to_be_bytes()).await?;
        blob.resize(record.len() as u64).await?;
        blob.write_at(0, record, WriteOptions::default()).await?;
        blob.sync().await?;
        self.version = version;
        Ok(())
    }
}

async fn read<E: Storage>(storage: &E, partition: &str, place: u64) -> Result<Option<(u64, Vec<u8>)>, Error> {
    if !numbers(storage, partition).await?.contains(&place) {
        return Ok(None);
    }
    let (blob, length) = storage.open(partition, &place.to_be_bytes()).await?;
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= BYTES_MAX) else { return Ok(None) };
    let bytes = blob.read_at(0, length, ReadOptions::default()).await?.coalesce();
    Ok(parse(bytes.as_ref()))
}

/// Whether these are the bytes of a whole copy.
pub(crate) fn is_whole(record: &[u8]) -> bool {
    parse(record).is_some()
}

/// The version and what it says, of a record that is whole.
fn parse(record: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (body, check) = record.split_at_checked(record.len().checked_sub(CHECK)?)?;
    let (header, bytes) = body.split_at_checked(HEADER)?;
    let is_whole = header[..8] == MAGIC && Sha256::digest(body).as_slice() == check;
    let version = u64::from_be_bytes(header[8..].try_into().ok()?);
    is_whole.then(|| (version, bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};

    const PARTITION: &str = "note";

    async fn says(context: &deterministic::Context) -> Option<Vec<u8>> {
        Note::open(context, PARTITION.into()).await.1
    }

    #[test]
    fn a_record_says_what_was_written_last_and_nothing_before_that() {
        deterministic::Runner::default().start(|context| async move {
            let (mut note, before) = Note::open(&context, PARTITION.into()).await;
            assert_eq!(before, None);
            for text in ["one", "", "a third that is longer"] {
                note.write(&context, text.as_bytes()).await.expect("a write");
                assert_eq!(says(&context).await.as_deref(), Some(text.as_bytes()));
            }
        });
    }

    #[test]
    fn damage_anywhere_in_the_newest_leaves_the_one_before() {
        deterministic::Runner::default().start(|context| async move {
            let (mut note, _) = Note::open(&context, PARTITION.into()).await;
            note.write(&context, b"older").await.expect("a write");
            note.write(&context, b"newer").await.expect("a write");
            let (blob, length) = context.open(PARTITION, &0_u64.to_be_bytes()).await.expect("the second place");
            for at in 0..length {
                let byte = blob.read_at(at, 1, ReadOptions::default()).await.expect("a byte").coalesce();
                let (good, bad) = (byte.as_ref()[0], byte.as_ref()[0] ^ 1);
                blob.write_at(at, vec![bad], WriteOptions::SYNC).await.expect("a write");
                assert_eq!(says(&context).await.as_deref(), Some(b"older".as_slice()), "byte {at}");
                blob.write_at(at, vec![good], WriteOptions::SYNC).await.expect("a write");
            }
            for cut in 0..length {
                blob.resize(cut).await.expect("a cut");
                assert_eq!(says(&context).await.as_deref(), Some(b"older".as_slice()), "{cut} bytes");
            }
            drop(blob);
            let (mut note, _) = Note::open(&context, PARTITION.into()).await;
            note.write(&context, b"newest").await.expect("a write");
            assert_eq!(says(&context).await.as_deref(), Some(b"newest".as_slice()));
        });
    }
}
