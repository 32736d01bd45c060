//! What is final, and is every byte of it still what was written?
//!
//! An [`Archive`] holds one kind of thing by height: blocks, or certificates. It is the engine's store for it, in place of
//! the engine's own, which takes whatever follows a damaged byte for a torn write and drops it without a word. Here every
//! record is checked when it is read, at the start and by the scrub; one that is damaged is not there, its neighbours are,
//! and its height is noted as missing until [`crate::repair`] has it again.

pub(crate) mod record;

use crate::{
    blobs::numbers,
    chain::{Block, Digest},
    integrity::{Damage, Finding, Label, Quarantine},
    progress::Progress,
    scheme::Scheme,
};
use commonware_codec::CodecShared;
use commonware_consensus::{
    Heightable as _,
    marshal::store::{Blocks, Certificates},
    simplex::types::Finalization,
    types::Height,
};
use commonware_runtime::{Blob, Error, Handle, ReadOptions, Storage, WriteOptions};
use commonware_storage::{archive::Identifier, rmap::RMap};
use commonware_utils::sync::{AsyncMutex, Mutex};
use record::{Head, ITEMS, Kind, Place, Scan, Source, Wound};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Bytes that wait for a sync, at most, before they are written.
const BUFFER: usize = 256 << 10;

/// In an archive that need not hold every height, so many may be missing however few there are.
const FEW: u64 = 16;

/// What an archive is called and how its values are read.
#[derive(Clone, Debug)]
pub(crate) struct Settings<C> {
    /// Comes before the names of all partitions.
    pub(crate) prefix: String,
    /// What it holds, which is the name of its partition.
    pub(crate) name: &'static str,
    /// The chain.
    pub(crate) chain: [u8; 32],
    /// How values are decoded.
    pub(crate) codec: C,
}

impl<C> Settings<C> {
    fn partition(&self) -> String {
        format!("{}{}", self.prefix, self.name)
    }
}

/// What the checksums of an archive are bound to, sections apart.
pub(crate) fn identity(chain: &[u8; 32], name: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"unsplit archive").chain_update(chain).chain_update(name).finalize().into()
}

/// The heights that an archive should have and has not. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    heights: Arc<Mutex<BTreeSet<u64>>>,
    /// Moves with every change, here or elsewhere.
    changes: Progress,
}

impl Missing {
    pub(crate) fn add(&self, heights: impl IntoIterator<Item = u64>) {
        self.heights.lock().extend(heights);
        self.changes.step();
    }

    pub(crate) fn remove(&self, height: u64) {
        if self.heights.lock().remove(&height) {
            self.changes.step();
        }
    }

    pub(crate) fn contains(&self, height: u64) -> bool {
        self.heights.lock().contains(&height)
    }

    pub(crate) fn len(&self) -> usize {
        self.heights.lock().len()
    }

    /// The greatest first: what is above says what is below.
    pub(crate) fn downward(&self) -> Vec<u64> {
        self.heights.lock().iter().rev().copied().collect()
    }
}

/// See the module. Clones are the same archive.
pub(crate) struct Archive<E: Storage, V: CodecShared> {
    shared: Arc<Shared<E, V>>,
}

impl<E: Storage, V: CodecShared> Clone for Archive<E, V> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// Both that a node has.
pub(crate) struct Archives<E: Storage> {
    pub(crate) blocks: Archive<E, Block>,
    pub(crate) certificates: Archive<E, Finalization<Scheme, Digest>>,
}

impl<E: Storage> Clone for Archives<E> {
    fn clone(&self) -> Self {
        Self { blocks: self.blocks.clone(), certificates: self.certificates.clone() }
    }
}

struct Shared<E: Storage, V: CodecShared> {
    storage: E,
    settings: Settings<V::Cfg>,
    identity: [u8; 32],
    state: Mutex<State<E::Blob>>,
    /// Held while files change, so that only one task appends. Reads do not wait for it.
    turn: AsyncMutex<()>,
    missing: Missing,
}

struct State<B> {
    sections: BTreeMap<u64, Section<B>>,
    entries: BTreeMap<u64, Entry>,
    /// The first bytes of a digest, and the height.
    keys: BTreeSet<(u64, u64)>,
    ranges: RMap,
    floor: u64,
    /// Damaged records that were come upon since the start, and are still to be covered.
    wounds: Vec<(u64, Wound)>,
}

struct Section<B> {
    blob: Arc<B>,
    /// Bytes in the file.
    written: u64,
    /// Bytes that survive a power cut.
    durable: u64,
    /// Bytes that follow.
    buffer: Vec<u8>,
}

impl<B> Section<B> {
    const fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }
}

#[derive(Clone, Copy)]
struct Entry {
    offset: u64,
    total: u32,
    key: u64,
}

fn key_of(digest: &[u8; 32]) -> u64 {
    u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"))
}

struct Reader<B> {
    blob: Arc<B>,
    length: u64,
}

impl<B: Blob> Source for Reader<B> {
    fn length(&self) -> u64 {
        self.length
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        Ok(self.blob.read_at(offset, length, ReadOptions::default()).await?.coalesce().as_ref().to_vec())
    }
}

/// What opening an archive found.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Heights that were there, and are damaged.
    lost: BTreeSet<u64>,
    /// Sections in which nobody knows what was damaged.
    lost_sections: BTreeSet<u64>,
    /// Each damaged part.
    pub(crate) findings: Vec<Finding>,
}

impl<E: Storage, V: CodecShared + 'static> Archive<E, V> {
    /// Reads all there is, puts damaged parts into quarantine and opens what is whole. `processed` is the height up to which
    /// everything was durable once: what is damaged below is rot, however it looks.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) async fn open(
        storage: E,
        settings: Settings<V::Cfg>,
        quarantine: &Quarantine,
        processed: u64,
        changes: Progress,
    ) -> Result<(Self, Opened), Error> {
        let identity = identity(&settings.chain, settings.name);
        let state = State {
            sections: BTreeMap::new(),
            entries: BTreeMap::new(),
            keys: BTreeSet::new(),
            ranges: RMap::new(),
            floor: 0,
            wounds: Vec::new(),
        };
        let (state, turn) = (Mutex::new(state), AsyncMutex::new(()));
        let missing = Missing { heights: Arc::default(), changes };
        let shared = Shared { storage, settings, identity, state, turn, missing };
        let archive = Self { shared: Arc::new(shared) };
        let mut opened = Opened::default();
        let sections = numbers(&archive.shared.storage, &archive.shared.settings.partition()).await?;
        for section in sections {
            archive.open_section(section, quarantine, processed, &mut opened).await?;
        }
        archive.shared.state.lock().forget_below_floor();
        Ok((archive, opened))
    }

    async fn open_section(
        &self,
        section: u64,
        quarantine: &Quarantine,
        processed: u64,
        opened: &mut Opened,
    ) -> Result<(), Error> {
        let (shared, partition) = (&self.shared, self.shared.settings.partition());
        let (blob, length) = match shared.storage.open(&partition, &section.to_be_bytes()).await {
            Ok((blob, length)) => (Arc::new(blob), length),
            Err(problem) if is_unreadable(&problem) => {
                // The runtime does not give out what is behind a damaged header.
                shared.storage.remove(&partition, Some(&section.to_be_bytes())).await?;
                opened.lost_sections.insert(section);
                let heights = Some((section * ITEMS, section * ITEMS + ITEMS - 1));
                let part = shared.settings.name.to_owned();
                opened.findings.push(Finding {
                    part,
                    damage: Damage::Rot,
                    heights,
                    kept: None,
                    what: problem.to_string(),
                });
                return Ok(());
            }
            Err(problem) => return Err(problem),
        };
        let reader = Reader { blob: blob.clone(), length };
        let Scan { values, wounds, lost, lost_unknown, floor } = record::scan(&reader, self.place(section)).await?;
        opened.lost.extend(lost);
        if lost_unknown {
            opened.lost_sections.insert(section);
        }
        {
            let mut state = shared.state.lock();
            state.floor = state.floor.max(floor);
            for value in values.into_iter().filter(|value| value.height / ITEMS == section) {
                let entry = Entry { offset: value.offset, total: value.total, key: key_of(&value.digest) };
                state.add(value.height, entry);
            }
            let whole = Section { blob, written: length, durable: length, buffer: Vec::new() };
            state.sections.insert(section, whole);
        }
        for wound in wounds {
            // What was acknowledged was durable before: it cannot be torn.
            let held = |height| shared.state.lock().entries.contains_key(&height);
            let below = (section * ITEMS..(section + 1) * ITEMS).take_while(|height| *height <= processed);
            let was_durable = match wound.height {
                Some(height) => height <= processed,
                None => below.into_iter().any(|height| height > 0 && !held(height)),
            };
            let wound = Wound { torn: wound.torn && !was_durable, ..wound };
            match wound.height {
                Some(height) if !held(height) => {
                    opened.lost.insert(height);
                }
                Some(_) => {}
                None => {
                    opened.lost_sections.insert(section);
                }
            }
            opened.findings.push(self.dress(section, &wound, quarantine).await?);
        }
        Ok(())
    }

    /// Keeps the bytes of a wound and covers it, so that it is passed over from now on.
    async fn dress(&self, section: u64, wound: &Wound, quarantine: &Quarantine) -> Result<Finding, Error> {
        let shared = &self.shared;
        let (blob, end) = {
            let state = shared.state.lock();
            let held = state.sections.get(&section).expect("a wound is in an open section");
            (held.blob.clone(), held.end())
        };
        let damage = if wound.torn { Damage::Torn } else { Damage::Rot };
        let span = (wound.from, wound.to - wound.from);
        let label = Label::new(&shared.settings.partition(), &section.to_be_bytes(), span, damage);
        let length = usize::try_from(label.length).unwrap_or(usize::MAX).min(crate::integrity::PIECE_BYTES_MAX);
        // A sector that cannot be read has no bytes to keep.
        let bytes = match blob.read_at(wound.from, length, ReadOptions::default()).await {
            Ok(bytes) => bytes.coalesce().as_ref().to_vec(),
            Err(problem) if record::is_damage(&problem) => Vec::new(),
            Err(problem) => return Err(problem),
        };
        let kept = quarantine.keep(&shared.storage, &label, &bytes).await;
        if wound.to >= end {
            blob.resize(wound.from).await?;
            blob.sync().await?;
            let mut state = shared.state.lock();
            let held = state.sections.get_mut(&section).expect("still open");
            (held.written, held.durable) = (wound.from, wound.from);
        } else if let Some(void) = self.place(section).void(wound.from, wound.to, wound.height) {
            blob.write_at(wound.from, void, WriteOptions::SYNC).await?;
        }
        let heights = wound.height.map(|height| (height, height));
        let what = format!("{} bytes at {} of {}/{}", label.length, label.offset, label.partition, label.file);
        Ok(Finding { part: shared.settings.name.to_owned(), damage, heights, kept, what })
    }

    /// Notes every height up to `processed` that is not held as missing, and says so where nothing that was found explains
    /// it. Not all heights have a certificate (`is_complete` is false), so a few that are missing mean nothing there.
    pub(crate) fn expect(&self, opened: &Opened, processed: u64, is_complete: bool) -> Option<Finding> {
        let (floor, missing) = {
            let state = self.shared.state.lock();
            let floor = state.floor.max(1);
            (floor, absent(&state.ranges, floor, processed))
        };
        let (first, last) = (*missing.first()?, *missing.last()?);
        let known = |height: &u64| opened.lost.contains(height) || opened.lost_sections.contains(&(height / ITEMS));
        let is_told = if is_complete {
            missing.iter().any(|height| !known(height))
        } else {
            let many = missing.len() as u64 > FEW.max((processed - floor) / 2);
            many && opened.findings.is_empty()
        };
        self.shared.missing.add(missing.iter().copied());
        let what = format!("{} of the heights {first} to {last} are not there", missing.len());
        let part = self.shared.settings.name.to_owned();
        let hole = Finding { part, damage: Damage::Hole, heights: Some((first, last)), kept: None, what };
        Some(hole).filter(|_| is_told)
    }

    /// What is missing.
    pub(crate) fn missing(&self) -> &Missing {
        &self.shared.missing
    }

    /// Nothing below this height is kept.
    pub(crate) fn floor(&self) -> u64 {
        self.shared.state.lock().floor
    }

    pub(crate) fn holds(&self, height: u64) -> bool {
        self.shared.state.lock().entries.contains_key(&height)
    }

    /// The greatest height held that is not above `height`.
    pub(crate) fn held_below(&self, height: u64) -> Option<u64> {
        self.shared.state.lock().entries.range(..=height).next_back().map(|(height, _)| *height)
    }

    /// The least height held from `height` on, and how many bytes it takes.
    pub(crate) fn held_from(&self, height: u64) -> Option<(u64, u64)> {
        let state = self.shared.state.lock();
        state.entries.range(height..).next().map(|(height, entry)| (*height, u64::from(entry.total)))
    }

    fn place(&self, section: u64) -> Place {
        Place { identity: self.shared.identity, section }
    }

    /// The value at `height` and its digest, if it is there and whole. If it is damaged it is missing from now on.
    pub(crate) async fn read(&self, height: u64) -> Result<Option<([u8; 32], V)>, Error> {
        let shared = &self.shared;
        let section = height / ITEMS;
        let (blob, entry) = {
            let state = shared.state.lock();
            let Some(entry) = state.entries.get(&height).copied() else { return Ok(None) };
            let held = state.sections.get(&section).expect("an entry is in an open section");
            match entry.offset.checked_sub(held.written) {
                Some(at) => {
                    let at = usize::try_from(at).expect("a buffer fits into memory");
                    let bytes = &held.buffer[at..at + entry.total as usize];
                    let value = self.decode(height, entry.offset, bytes);
                    return Ok(Some(value.expect("a buffer holds what was put into it")));
                }
                None => (held.blob.clone(), entry),
            }
        };
        let value = match blob.read_at(entry.offset, entry.total as usize, ReadOptions::default()).await {
            Ok(bytes) => self.decode(height, entry.offset, bytes.coalesce().as_ref()),
            Err(problem) if record::is_damage(&problem) => None,
            Err(problem) => return Err(problem),
        };
        if value.is_none() {
            self.lose(height, entry);
        }
        Ok(value)
    }

    fn decode(&self, height: u64, offset: u64, bytes: &[u8]) -> Option<([u8; 32], V)> {
        let (head, body) = self.place(height / ITEMS).open(offset, bytes)?;
        let body = bytes::Bytes::copy_from_slice(body);
        let value = V::decode_cfg(body, &self.shared.settings.codec).ok()?;
        (head.height == height && head.kind == Kind::Value).then_some((head.digest, value))
    }

    /// A damaged record was come upon.
    fn lose(&self, height: u64, entry: Entry) {
        {
            let mut state = self.shared.state.lock();
            // Another reader may have been first, or it was pruned meanwhile.
            let same = state.entries.get(&height).is_some_and(|known| known.offset == entry.offset);
            if !same {
                return;
            }
            state.remove(height);
            let to = entry.offset + u64::from(entry.total);
            let wound = Wound { from: entry.offset, to, height: Some(height), torn: false };
            state.wounds.push((height / ITEMS, wound));
        }
        self.shared.missing.add([height]);
    }

    /// Takes a value that is whole and does not belong: it is missing from now on.
    pub(crate) fn reject(&self, height: u64) {
        let entry = self.shared.state.lock().entries.get(&height).copied();
        if let Some(entry) = entry {
            self.lose(height, entry);
        }
    }

    /// Puts what was come upon since the last time into quarantine.
    pub(crate) async fn dress_wounds(&self, quarantine: &Quarantine) -> Result<Vec<Finding>, Error> {
        let wounds = std::mem::take(&mut self.shared.state.lock().wounds);
        let mut findings = Vec::new();
        for (section, wound) in wounds {
            let _turn = self.shared.turn.lock().await;
            // It may have been pruned meanwhile.
            if self.shared.state.lock().sections.contains_key(&section) {
                self.flush(section).await?;
                findings.push(self.dress(section, &wound, quarantine).await?);
            }
        }
        Ok(findings)
    }

    /// Adds a value, unless the height is held.
    pub(crate) async fn insert(&self, height: u64, digest: [u8; 32], value: &V) -> Result<(), Error> {
        let shared = &self.shared;
        let _turn = shared.turn.lock().await;
        if self.holds(height) {
            return Ok(());
        }
        if height < self.floor() {
            shared.missing.remove(height);
            return Ok(());
        }
        let section = height / ITEMS;
        self.ensure(section).await?;
        let body = value.encode();
        let full = {
            let mut state = shared.state.lock();
            let held = state.sections.get_mut(&section).expect("ensured");
            let (offset, length) = (held.end(), u32::try_from(body.len()).expect("values are far smaller than 4 GiB"));
            let head = Head { kind: Kind::Value, height, digest, length, durable: held.durable };
            let record = self.place(section).encode(offset, &head, &body);
            let total = u32::try_from(record.len()).expect("values are far smaller than 4 GiB");
            held.buffer.extend(record);
            let full = held.buffer.len() >= BUFFER;
            state.add(height, Entry { offset, total, key: key_of(&digest) });
            full
        };
        shared.missing.remove(height);
        if full {
            self.flush(section).await?;
        }
        Ok(())
    }

    async fn ensure(&self, section: u64) -> Result<(), Error> {
        if self.shared.state.lock().sections.contains_key(&section) {
            return Ok(());
        }
        let (blob, _) = self.shared.storage.open(&self.shared.settings.partition(), &section.to_be_bytes()).await?;
        blob.resize(0).await?;
        let held = Section { blob: Arc::new(blob), written: 0, durable: 0, buffer: Vec::new() };
        let mut state = self.shared.state.lock();
        let floor = state.floor;
        state.sections.insert(section, held);
        if floor > 0 {
            self.note_floor(&mut state, section, floor);
        }
        Ok(())
    }

    fn note_floor(&self, state: &mut State<E::Blob>, section: u64, floor: u64) {
        let held = state.sections.get_mut(&section).expect("open");
        let head = Head { kind: Kind::Floor, height: floor, digest: [0; 32], length: 0, durable: held.durable };
        let record = self.place(section).encode(held.end(), &head, &[]);
        held.buffer.extend(record);
    }

    /// Writes what waits in a section. The caller has the turn.
    async fn flush(&self, section: u64) -> Result<(), Error> {
        let (blob, at, bytes) = {
            let state = self.shared.state.lock();
            let Some(held) = state.sections.get(&section) else { return Ok(()) };
            (held.blob.clone(), held.written, held.buffer.clone())
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let length = bytes.len();
        // The buffer stays until the file has it: reads go on meanwhile.
        blob.write_at(at, bytes, WriteOptions::default()).await?;
        if let Some(held) = self.shared.state.lock().sections.get_mut(&section) {
            held.buffer.drain(..length);
            held.written += length as u64;
        }
        Ok(())
    }

    /// Begins to make everything durable that was added so far.
    pub(crate) async fn begin_sync(&self) -> Result<Handle<()>, Error> {
        let shared = self.shared.clone();
        let _turn = self.shared.turn.lock().await;
        // One that is being synced already counts too: the handle must cover what that sync covers.
        let dirty: Vec<u64> = {
            let state = shared.state.lock();
            state.sections.iter().filter(|(_, held)| held.end() > held.durable).map(|(number, _)| *number).collect()
        };
        let mut syncs = Vec::new();
        for section in dirty {
            self.flush(section).await?;
            let (blob, written) = {
                let state = shared.state.lock();
                let Some(held) = state.sections.get(&section) else { continue };
                (held.blob.clone(), held.written)
            };
            syncs.push((section, written, blob.start_sync().await));
        }
        Ok(Handle::from_future(async move {
            for (section, written, sync) in syncs {
                sync.await?;
                if let Some(held) = shared.state.lock().sections.get_mut(&section) {
                    held.durable = held.durable.max(written);
                }
            }
            Ok(())
        }))
    }

    /// Makes everything durable that was added so far.
    pub(crate) async fn finish_sync(&self) -> Result<(), Error> {
        self.begin_sync().await?.await
    }

    /// Keeps nothing below `height` any more, and asks for nothing there.
    pub(crate) async fn begin_at(&self, height: u64) -> Result<(), Error> {
        self.cut(height).await
    }

    /// Removes the sections that are wholly below `min`.
    async fn cut(&self, min: u64) -> Result<(), Error> {
        let shared = &self.shared;
        {
            let _turn = shared.turn.lock().await;
            let newest = {
                let mut state = shared.state.lock();
                if min <= state.floor {
                    return Ok(());
                }
                state.floor = min;
                state.sections.last_key_value().map(|(number, _)| *number)
            };
            match newest.filter(|section| *section >= min / ITEMS) {
                Some(section) => self.note_floor(&mut shared.state.lock(), section, min),
                // All there is goes: what says so must stay.
                None => self.ensure(min / ITEMS).await?,
            }
            // A file goes when all of it is below; nobody is given what is below before.
            shared.state.lock().forget_below_floor();
        }
        self.finish_sync().await?;
        let _turn = shared.turn.lock().await;
        let old: Vec<u64> = {
            let state = shared.state.lock();
            state.sections.range(..min / ITEMS).map(|(number, _)| *number).collect()
        };
        for section in old {
            shared.storage.remove(&shared.settings.partition(), Some(&section.to_be_bytes())).await?;
            shared.state.lock().remove_section(section);
        }
        let gone: Vec<u64> = shared.missing.heights.lock().range(..min).copied().collect();
        gone.into_iter().for_each(|height| shared.missing.remove(height));
        Ok(())
    }

    /// The height under which a digest may be found.
    fn heights_of(&self, digest: &[u8; 32]) -> Vec<u64> {
        let key = key_of(digest);
        self.shared.state.lock().keys.range((key, 0)..=(key, u64::MAX)).map(|(_, height)| *height).collect()
    }

    async fn find(&self, id: Identifier<'_, Digest>) -> Result<Option<V>, Error> {
        match id {
            Identifier::Index(height) => Ok(self.read(height).await?.map(|(_, value)| value)),
            Identifier::Key(digest) => {
                for height in self.heights_of(&digest.0) {
                    if let Some((_, value)) = self.read(height).await?.filter(|(found, _)| *found == digest.0) {
                        return Ok(Some(value));
                    }
                }
                Ok(None)
            }
        }
    }

    fn last(&self) -> Option<Height> {
        self.shared.state.lock().ranges.last_index().map(Height::new)
    }
}

impl<B> State<B> {
    fn add(&mut self, height: u64, entry: Entry) {
        if self.entries.contains_key(&height) {
            return;
        }
        self.entries.insert(height, entry);
        self.keys.insert((entry.key, height));
        self.ranges.insert(height);
    }

    fn remove(&mut self, height: u64) {
        if let Some(entry) = self.entries.remove(&height) {
            self.keys.remove(&(entry.key, height));
            self.ranges.remove(height, height);
        }
    }

    fn forget_below_floor(&mut self) {
        let below: Vec<u64> = self.entries.range(..self.floor).map(|(height, _)| *height).collect();
        below.into_iter().for_each(|height| self.remove(height));
    }

    fn remove_section(&mut self, section: u64) {
        self.sections.remove(&section);
        let heights: Vec<u64> =
            self.entries.range(section * ITEMS..(section + 1) * ITEMS).map(|(height, _)| *height).collect();
        heights.into_iter().for_each(|height| self.remove(height));
    }
}

/// Whether the runtime refuses to give out a file because of what it says about itself.
pub(crate) const fn is_unreadable(problem: &Error) -> bool {
    matches!(problem, Error::BlobCorrupt(..) | Error::BlobLayoutMismatch { .. } | Error::BlobVersionMismatch { .. })
}

/// The heights in `from..=to` that are in none of the ranges.
fn absent(ranges: &RMap, from: u64, to: u64) -> Vec<u64> {
    let (mut missing, mut next, end) = (Vec::new(), from, to.saturating_add(1));
    for (start, last) in ranges.iter_from(from) {
        missing.extend(next..(*start).min(end));
        next = next.max(last.saturating_add(1));
    }
    missing.extend(next..end);
    missing
}

impl<E: Storage> Blocks for Archive<E, Block> {
    type Block = Arc<Block>;
    type Error = Error;

    async fn put(self, digest: Digest, block: &Arc<Block>) -> Result<Self, Error> {
        self.insert(block.height().get(), digest.0, block).await?;
        Ok(self)
    }

    async fn sync(self) -> Result<Self, Error> {
        self.finish_sync().await?;
        Ok(self)
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), Error> {
        let handle = self.begin_sync().await?;
        Ok((self, handle))
    }

    async fn get(&self, id: Identifier<'_, Digest>) -> Result<Option<Arc<Block>>, Error> {
        Ok(self.find(id).await?.map(Arc::new))
    }

    async fn prune(self, min: Height) -> Result<Self, Error> {
        self.cut(min.get()).await?;
        Ok(self)
    }

    fn missing_items(&self, start: Height, max: usize) -> Vec<Height> {
        self.shared.state.lock().ranges.missing_items(start.get(), max).into_iter().map(Height::new).collect()
    }

    fn next_gap(&self, value: Height) -> (Option<Height>, Option<Height>) {
        let (end, start) = self.shared.state.lock().ranges.next_gap(value.get());
        (end.map(Height::new), start.map(Height::new))
    }

    fn last_index(&self) -> Option<Height> {
        self.last()
    }
}

impl<E: Storage> Certificates for Archive<E, Finalization<Scheme, Digest>> {
    type BlockDigest = Digest;
    type Commitment = Digest;
    type Scheme = Scheme;
    type Error = Error;

    async fn put(
        self,
        height: Height,
        digest: Digest,
        finalization: &Finalization<Scheme, Digest>,
    ) -> Result<Self, Error> {
        self.insert(height.get(), digest.0, finalization).await?;
        Ok(self)
    }

    async fn sync(self) -> Result<Self, Error> {
        self.finish_sync().await?;
        Ok(self)
    }

    async fn start_sync(self) -> Result<(Self, Handle<()>), Error> {
        let handle = self.begin_sync().await?;
        Ok((self, handle))
    }

    async fn get(&self, id: Identifier<'_, Digest>) -> Result<Option<Finalization<Scheme, Digest>>, Error> {
        self.find(id).await
    }

    async fn has(&self, height: Height) -> Result<bool, Error> {
        Ok(self.holds(height.get()))
    }

    async fn prune(self, min: Height) -> Result<Self, Error> {
        self.cut(min.get()).await?;
        Ok(self)
    }

    fn last_index(&self) -> Option<Height> {
        self.last()
    }

    fn ranges_from(&self, from: Height) -> impl Iterator<Item = (Height, Height)> {
        let ranges: Vec<(Height, Height)> = self
            .shared
            .state
            .lock()
            .ranges
            .iter_from(from.get())
            .map(|(start, end)| (Height::new(*start), Height::new(*end)))
            .collect();
        ranges.into_iter()
    }
}

#[cfg(test)]
mod tests;
