//! Where damaged bytes are kept, for whoever wants to know what happened to the disk.
//!
//! Each is a file of its own in the partition `quarantine`: a length, a line of JSON that says what it is, then the bytes.
//! The newest are kept, within limits on their number and size.

use super::{Damage, pages::hex};
use crate::blobs::numbers;
use commonware_runtime::{Blob as _, Error, ReadOptions, Storage, WriteOptions};
use serde::Serialize;
use tracing::warn;

/// Pieces kept.
const PIECES_MAX: usize = 64;
/// Bytes kept of one piece.
pub(crate) const PIECE_BYTES_MAX: usize = 1 << 20;

/// What a piece is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Label {
    /// The partition that it was in.
    pub(crate) partition: String,
    /// The file in it, hex.
    pub(crate) file: String,
    /// Where in the file.
    pub(crate) offset: u64,
    /// How long it was; less may be kept.
    pub(crate) length: u64,
    /// What is wrong with it.
    pub(crate) damage: &'static str,
}

impl Label {
    /// A piece of the file of this name: where it begins and how long it is, and what is wrong with it.
    pub(crate) fn new(partition: &str, name: &[u8], (offset, length): (u64, u64), damage: Damage) -> Self {
        Self { partition: partition.to_owned(), file: hex(name), offset, length, damage: damage.name() }
    }
}

/// The kept pieces of one node.
#[derive(Clone, Debug)]
pub(crate) struct Quarantine {
    partition: String,
}

impl Quarantine {
    /// `prefix` comes before the name of the partition.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { partition: format!("{prefix}quarantine") }
    }

    /// Keeps a copy, and says under what name. A disk that does not take it costs the copy only.
    pub(crate) async fn keep<E: Storage>(&self, storage: &E, label: &Label, bytes: &[u8]) -> Option<String> {
        match self.write(storage, label, bytes).await {
            Ok(name) => Some(name),
            Err(problem) => {
                warn!(partition = label.partition, file = label.file, %problem, "damaged bytes are not kept");
                None
            }
        }
    }

    async fn write<E: Storage>(&self, storage: &E, label: &Label, bytes: &[u8]) -> Result<String, Error> {
        let mut numbers = numbers(storage, &self.partition).await?;
        let number = numbers.last().map_or(0, |newest| newest + 1);
        numbers.push(number);
        let line = serde_json::to_vec(label).expect("plain fields");
        let mut out = u32::try_from(line.len()).expect("a line").to_be_bytes().to_vec();
        out.extend(line);
        out.extend(&bytes[..bytes.len().min(PIECE_BYTES_MAX)]);
        let (blob, _) = storage.open(&self.partition, &number.to_be_bytes()).await?;
        blob.resize(0).await?;
        blob.write_at(0, out, WriteOptions::SYNC).await?;
        for old in numbers.iter().rev().skip(PIECES_MAX) {
            storage.remove(&self.partition, Some(&old.to_be_bytes())).await?;
        }
        Ok(format!("{}/{number:016x}", self.partition))
    }
}

/// The first bytes of a blob, as many as are kept of a piece; what cannot be read is left out.
pub(crate) async fn first_bytes<B: commonware_runtime::Blob>(blob: &B, length: u64) -> Vec<u8> {
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
    match blob.read_at(0, length, ReadOptions::default()).await {
        Ok(bytes) => bytes.coalesce().as_ref().to_vec(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};

    #[test]
    fn the_newest_pieces_are_kept_and_no_more() {
        deterministic::Runner::default().start(|context| async move {
            let quarantine = Quarantine::new("a-");
            for offset in 0..PIECES_MAX as u64 + 5 {
                let label = Label { partition: "p".into(), file: "00".into(), offset, length: 3, damage: "rot" };
                let name = quarantine.keep(&context, &label, b"abc").await;
                assert_eq!(name, Some(format!("a-quarantine/{offset:016x}")));
            }
            assert_eq!(numbers(&context, "a-quarantine").await.expect("a simulated disk").len(), PIECES_MAX);
            let (_, length) = context.open("a-quarantine", &5_u64.to_be_bytes()).await.expect("the oldest kept");
            assert!(length > 3);
        });
    }
}
