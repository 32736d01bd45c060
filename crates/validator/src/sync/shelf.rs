//! What does this node have to give?
//!
//! A snapshot is a copy of the state in memory, which costs what changed since; so any height can be one whose next block has
//! a certificate. The newest two are kept, and a third for as long as somebody asks for it. All questions are answered by one
//! task, one after the other: whoever asks much waits, and the node does not.
//!
//! Changes of the set of voters are kept on the disk for ever: there are few, and newcomers follow them from the genesis on.

use super::{
    trust::{Certified, Change, Offer},
    want::Want,
};
use crate::{
    asking::Questions,
    blobs::numbers,
    chain::{Block, Digest},
    scheme::Scheme,
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::simplex::types::Finalization;
use commonware_runtime::{Blob as _, Clock, Error, ReadOptions, Storage, WriteOptions};
use commonware_utils::{
    channel::{mpsc, oneshot},
    sync::Mutex,
};
use ledger::{Epoch, Height, State};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::warn;

/// Snapshots that are kept anyway.
const KEPT: usize = 2;
/// And at most, while somebody asks for them.
const KEPT_MAX: usize = 3;
/// Whoever fetches one and has not asked for so long has given up.
const IN_USE: Duration = Duration::from_secs(60);
/// Questions that wait.
const WAITING_MAX: usize = 256;

struct Slot {
    state: State,
    offer: Bytes,
    tip: Bytes,
    used: Option<SystemTime>,
}

#[derive(Default)]
struct Shelved {
    /// The oldest first.
    slots: VecDeque<Slot>,
    /// Epochs in which a change of the set of voters was decided and is kept.
    changes: BTreeSet<u64>,
}

/// What is given to those who ask. Clones share it.
#[derive(Clone)]
pub(crate) struct Shelf {
    shelved: Arc<Mutex<Shelved>>,
    partition: Arc<str>,
}

impl Shelf {
    /// Finds the changes that were kept. `prefix` comes before the name of their partition.
    pub(crate) async fn open<E: Storage>(storage: &E, prefix: &str) -> Self {
        let partition = format!("{prefix}changes");
        let changes = numbers(storage, &partition).await.unwrap_or_else(|problem| {
            warn!(%problem, "kept changes of the set of validators cannot be listed");
            Vec::new()
        });
        let shelved = Shelved { changes: changes.into_iter().collect(), ..Shelved::default() };
        Self { shelved: Arc::new(Mutex::new(shelved)), partition: partition.into() }
    }

    /// The height of the newest snapshot.
    pub(crate) fn newest(&self) -> Option<Height> {
        self.shelved.lock().slots.back().map(|slot| slot.state.height())
    }

    /// The height of the oldest snapshot: whoever fetches it needs the blocks above.
    pub(crate) fn oldest(&self) -> Option<Height> {
        self.shelved.lock().slots.front().map(|slot| slot.state.height())
    }

    /// Has a snapshot to give: the state after `tip`, before `above`.
    pub(crate) fn put(
        &self,
        state: State,
        tip: &Block,
        above: &Block,
        certificate: Finalization<Scheme, Digest>,
        now: SystemTime,
    ) {
        let certified = Certified { certificate, block: above.clone() };
        let offer = Offer { above: certified, bytes: state.bytes() }.encode();
        let mut shelved = self.shelved.lock();
        shelved.slots.push_back(Slot { state, offer, tip: tip.encode(), used: None });
        while shelved.slots.len() > KEPT {
            let in_use = |slot: &Slot| slot.used.is_some_and(|used| now < used + IN_USE);
            if shelved.slots.len() <= KEPT_MAX && shelved.slots.front().is_some_and(in_use) {
                break;
            }
            shelved.slots.pop_front();
        }
    }

    /// Whether the change that was decided in an epoch is kept.
    pub(crate) fn has_change(&self, epoch: u64) -> bool {
        self.shelved.lock().changes.contains(&epoch)
    }

    /// Keeps a change of the set of voters.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) async fn keep_change<E: Storage>(&self, storage: &E, change: &Change) -> Result<(), Error> {
        let (epoch, bytes) = (change.by.epoch(), change.encode());
        let (blob, _) = storage.open(&self.partition, &epoch.to_be_bytes()).await?;
        let record = [bytes.as_ref(), &check(epoch, &bytes)].concat();
        blob.resize(record.len() as u64).await?;
        blob.write_at(0, record, WriteOptions::default()).await?;
        blob.sync().await?;
        self.shelved.lock().changes.insert(epoch);
        Ok(())
    }

    /// The first change that was decided in this epoch or later.
    async fn change<E: Storage>(&self, storage: &E, from: u64) -> Option<Bytes> {
        let epoch = self.shelved.lock().changes.range(from..).next().copied()?;
        let read = async {
            let (blob, length) = storage.open(&self.partition, &epoch.to_be_bytes()).await?;
            let length = usize::try_from(length).unwrap_or(usize::MAX).min(CHANGE_BYTES_MAX);
            Ok::<_, Error>(blob.read_at(0, length, ReadOptions::default()).await?.coalesce().as_ref().to_vec())
        };
        let record = match read.await {
            Ok(record) => record,
            Err(problem) => {
                warn!(epoch, %problem, "a kept change of the set of validators cannot be read");
                return None;
            }
        };
        let Some(bytes) = content(epoch, &record) else {
            warn!(epoch, "a kept change of the set of validators is damaged, and not given to others");
            self.shelved.lock().changes.remove(&epoch);
            return None;
        };
        Some(Bytes::copy_from_slice(bytes))
    }

    fn offer(&self, above: u64) -> Option<Bytes> {
        let shelved = self.shelved.lock();
        shelved.slots.back().filter(|slot| slot.state.height().0 > above).map(|slot| slot.offer.clone())
    }

    /// Something of the snapshot at a height.
    fn of<T>(&self, height: u64, now: SystemTime, give: impl FnOnce(&Slot) -> T) -> Option<T> {
        let mut shelved = self.shelved.lock();
        let slot = shelved.slots.iter_mut().find(|slot| slot.state.height().0 == height)?;
        slot.used = Some(now);
        Some(give(slot))
    }

    /// What is given to whoever asks; nothing if it is not here.
    pub(super) async fn answer<E: Storage + Clock>(&self, context: &E, want: &Want) -> Option<Bytes> {
        let now = context.current();
        match want {
            Want::Offer { above } => self.offer(*above),
            Want::Tip { height } => self.of(*height, now, |slot| slot.tip.clone()),
            Want::Piece { height, path } => {
                // Outside of the lock: a piece is half a megabyte.
                let state = self.of(*height, now, |slot| slot.state.clone())?;
                state.piece(path).map(Bytes::from)
            }
            Want::Change { from } => self.change(context, *from).await,
        }
    }
}

/// A block, a certificate and a proof come nowhere near.
const CHANGE_BYTES_MAX: usize = 16 << 20;

/// What a kept record says, if it is whole.
fn content(epoch: u64, record: &[u8]) -> Option<&[u8]> {
    let (bytes, sum) = record.split_at_checked(record.len().checked_sub(32)?)?;
    (sum == check(epoch, bytes)).then_some(bytes)
}

/// Whether these are all bytes of a change that is kept.
pub(crate) fn is_change_whole(epoch: u64, record: &[u8]) -> bool {
    content(epoch, record).is_some()
}

fn check(epoch: u64, bytes: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"unsplit change")
        .chain_update(epoch.to_be_bytes())
        .chain_update(bytes)
        .finalize()
        .into()
}

/// The change of the set of voters that `above` certifies, if the epoch at hand decided one that is not kept yet.
pub(crate) fn change_due(shelf: &Shelf, state: &State) -> bool {
    let epoch = state.epoch();
    let next = state.voters_of(Epoch(epoch.0 + 1));
    next.is_some_and(|voters| Some(voters) != state.voters_of(epoch)) && !shelf.has_change(epoch.0)
}

/// Answers the questions of peers.
pub(crate) struct Serving {
    shelf: Shelf,
    inbox: mpsc::Receiver<(Want, oneshot::Sender<Bytes>)>,
}

impl Serving {
    pub(crate) fn new(shelf: Shelf) -> (Self, Questions<Want>) {
        let (questions, inbox) = Questions::new(WAITING_MAX);
        (Self { shelf, inbox }, questions)
    }

    /// Runs until nobody can ask any more.
    pub(crate) async fn run<E: Storage + Clock>(mut self, context: E) {
        while let Some((want, reply)) = self.inbox.recv().await {
            // Who has nothing says so, and is not blamed: dropping the reply tells.
            if let Some(bytes) = self.shelf.answer(&context, &want).await {
                let _ = reply.send(bytes);
            }
        }
    }
}
