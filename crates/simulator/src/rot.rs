//! What rots on the disk of a node that is down, and where?

use commonware_runtime::{Blob as _, Error, ReadOptions, Storage as _, WriteOptions, deterministic::Context};
use rand::{RngExt as _, rngs::StdRng};
use serde::Deserialize;

/// Epochs of which there may be files.
const EPOCHS: u64 = 8;

/// A part of what a node keeps.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Whatever there is, each file as likely as it is long.
    #[default]
    Any,
    /// Finalized blocks.
    Blocks,
    /// Their certificates.
    Certificates,
    /// Saved states.
    Checkpoints,
    /// How far the engine has come.
    Progress,
    /// Blocks and certificates that are not final yet.
    Caches,
    /// The engine's journal of votes.
    Votes,
}

impl Part {
    /// The partitions that it is kept in, without the node's own prefix.
    fn partitions(self) -> Vec<String> {
        let caches = || {
            let names = ["verified", "notarized", "certified", "notarizations", "finalizations"];
            let kinds = ["metadata", "key", "value"];
            let of = |epoch: u64| {
                names.into_iter().flat_map(move |name| {
                    kinds.into_iter().map(move |kind| format!("marshal-cache-cache-{epoch}-{name}-{kind}"))
                })
            };
            let mut partitions: Vec<String> = (0..EPOCHS).flat_map(of).collect();
            partitions.push("marshal-cache-metadata".into());
            partitions
        };
        match self {
            Self::Any => [
                Self::Blocks.partitions(),
                Self::Certificates.partitions(),
                Self::Checkpoints.partitions(),
                Self::Progress.partitions(),
                Self::Caches.partitions(),
                Self::Votes.partitions(),
                vec!["guard-a".into(), "guard-b".into(), "epochs".into(), "journals".into()],
            ]
            .concat(),
            Self::Blocks => vec!["blocks".into()],
            Self::Certificates => vec!["certificates".into()],
            Self::Checkpoints => vec!["checkpoints".into()],
            Self::Progress => vec!["marshal-application-metadata".into()],
            Self::Caches => caches(),
            Self::Votes => (0..EPOCHS).map(|epoch| format!("votes-{epoch}")).collect(),
        }
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rot {
    /// One byte, wherever it falls, is another one.
    Anywhere,
    /// Four bytes at this share of each file, in hundredths, are others.
    At(u8),
    /// Four bytes in the record of this height are others.
    Block(u64),
    /// A part of each file, from this share on, is zeros: its writes never came to the disk.
    Zeros(u8),
    /// Each file ends at this share.
    Cut(u8),
    /// A kilobyte at half of each file is what is at its quarter: it was written to the wrong place.
    Misdirected,
    /// All files are gone.
    Gone,
}

/// Takes all that the node with this prefix keeps.
pub(crate) async fn wipe(context: &Context, prefix: &str) {
    let others = ["snapshot", "changes", "quarantine", "marshal-cache-metadata"].map(String::from);
    for partition in Part::Any.partitions().into_iter().chain(others) {
        match context.remove(&format!("{prefix}{partition}"), None).await {
            Ok(()) | Err(Error::PartitionMissing(_)) => {}
            Err(problem) => panic!("a partition of a stopped node can be removed: {problem}"),
        }
    }
}

/// Rots a part of what the node with this prefix keeps. Gives what was done, in words.
pub(crate) async fn rot(context: &Context, prefix: &str, part: Part, rot: Rot, rng: &mut StdRng) -> Vec<String> {
    let mut files = Vec::new();
    for partition in part.partitions() {
        let partition = format!("{prefix}{partition}");
        if rot == Rot::Gone {
            match context.remove(&partition, None).await {
                Ok(()) | Err(Error::PartitionMissing(_)) => continue,
                Err(problem) => panic!("a partition of a stopped node can be removed: {problem}"),
            }
        }
        let mut names = context.scan(&partition).await.unwrap_or_default();
        names.sort_unstable();
        for name in names {
            let (_, length) = context.open(&partition, &name).await.expect("a file of a stopped node opens");
            if length > 0 {
                files.push(File { partition: partition.clone(), name, length });
            }
        }
    }
    let mut done = Vec::new();
    match rot {
        Rot::Anywhere => {
            let all: u64 = files.iter().map(|file| file.length).sum();
            let mut at = rng.random_range(0..all.max(1));
            for file in &files {
                if at < file.length {
                    let mask = rng.random_range(1..=u8::MAX);
                    file.change(context, at, 1, |byte| byte ^ mask).await;
                    done.push(format!("byte {at} of {} of {}", file.length, file.partition));
                    break;
                }
                at -= file.length;
            }
        }
        Rot::Block(height) => {
            for file in &files {
                if let Some(at) = file.find(context, height).await {
                    file.change(context, at + 100, 4, |byte| byte ^ 0x55).await;
                    done.push(format!("block {height} at {at} of {}", file.partition));
                }
            }
        }
        Rot::At(share) | Rot::Zeros(share) | Rot::Cut(share) => {
            for file in &files {
                let at = (file.length * u64::from(share) / 100).min(file.length.saturating_sub(4));
                match rot {
                    Rot::Cut(_) => file.cut(context, at).await,
                    Rot::Zeros(_) => file.change(context, at, file.length / 8, |_| 0).await,
                    _ => file.change(context, at, 4, |byte| byte ^ 0x55).await,
                }
                done.push(format!("{rot:?}: from byte {at} of {} of {}", file.length, file.partition));
            }
        }
        Rot::Misdirected => {
            for file in &files {
                file.misdirect(context).await;
                done.push(format!("misdirected: {}", file.partition));
            }
        }
        Rot::Gone => done.push(format!("gone: {part:?}")),
    }
    done
}

struct File {
    partition: String,
    name: Vec<u8>,
    length: u64,
}

impl File {
    async fn read(&self, context: &Context, at: u64, length: u64) -> Vec<u8> {
        let (blob, _) = context.open(&self.partition, &self.name).await.expect("a file of a stopped node opens");
        let length = usize::try_from(length.min(self.length - at)).expect("small files");
        blob.read_at(at, length, ReadOptions::default()).await.expect("it can be read").coalesce().as_ref().to_vec()
    }

    async fn change(&self, context: &Context, at: u64, length: u64, change: impl Fn(u8) -> u8) {
        let bytes: Vec<u8> = self.read(context, at, length).await.into_iter().map(change).collect();
        let (blob, _) = context.open(&self.partition, &self.name).await.expect("a file of a stopped node opens");
        blob.write_at(at, bytes, WriteOptions::SYNC).await.expect("it can be written");
    }

    async fn cut(&self, context: &Context, at: u64) {
        let (blob, _) = context.open(&self.partition, &self.name).await.expect("a file of a stopped node opens");
        blob.resize(at).await.expect("it can be cut");
        blob.sync().await.expect("and synced");
    }

    async fn misdirect(&self, context: &Context) {
        let bytes = self.read(context, self.length / 4, 1_024).await;
        let (blob, _) = context.open(&self.partition, &self.name).await.expect("a file of a stopped node opens");
        blob.write_at(self.length / 2, bytes, WriteOptions::SYNC).await.expect("it can be written");
    }

    /// Where the record of a height begins: a mark, a kind, and the height.
    async fn find(&self, context: &Context, height: u64) -> Option<u64> {
        let head = [b"usr1\x01\0\0\0".as_slice(), &height.to_be_bytes()].concat();
        let bytes = self.read(context, 0, self.length).await;
        bytes.windows(head.len()).position(|window| window == head).map(|at| at as u64)
    }
}
