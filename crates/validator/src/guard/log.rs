//! One copy of the vote record on disk.
//!
//! A copy is a blob named by its generation: a header, then fixed-size records. Every record carries a checksum over
//! identity, generation and position, so that a record read from the wrong place or file is damage, not a vote. It also
//! says how many records were durable when it was written: a bad record that a good one vouches for is rot; any other
//! is a torn write that nothing was ever sent on the strength of. A new generation is complete before the old one goes.

use super::{Book, Kind, Round, Vote, fail};
use crate::blobs::numbers;
use commonware_runtime::{Blob, Error, ReadOptions, Storage, WriteOptions};
use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 8] = *b"usguard1";
const HEADER: usize = 128;
const RECORD: usize = 96;
const CHECK: usize = 32;
/// No honest copy comes near this; a larger file is not read into memory.
const BYTES_MAX: u64 = 64 << 20;

/// One copy, open or not.
pub(super) struct Replica<B> {
    partition: String,
    identity: [u8; 32],
    content: Content,
    generation: u64,
    records: usize,
    blob: Option<B>,
}

enum Content {
    Missing,
    Damaged(String),
    Foreign,
    Whole(Book),
}

impl<B> Replica<B> {
    pub(super) fn book(&self) -> Option<&Book> {
        match &self.content {
            Content::Whole(book) => Some(book),
            Content::Missing | Content::Damaged(_) | Content::Foreign => None,
        }
    }

    pub(super) fn complaint(&self) -> Option<String> {
        match &self.content {
            Content::Whole(_) => None,
            Content::Missing => Some(format!("{} is missing", self.partition)),
            Content::Damaged(reason) => Some(format!("{} is damaged: {reason}", self.partition)),
            Content::Foreign => Some(format!("{} belongs to another key or chain", self.partition)),
        }
    }

    pub(super) const fn is_missing(&self) -> bool {
        matches!(self.content, Content::Missing)
    }

    pub(super) const fn is_foreign(&self) -> bool {
        matches!(self.content, Content::Foreign)
    }

    /// Whether the file says exactly what `book` says and can be appended to.
    pub(super) fn matches(&self, book: &Book) -> bool {
        self.blob.is_some() && self.book() == Some(book)
    }

    pub(super) const fn records(&self) -> usize {
        self.records
    }
}

impl<B: Blob> Replica<B> {
    /// Reads the newest complete generation in `partition`.
    pub(super) async fn load<E: Storage<Blob = B>>(storage: &E, partition: String, identity: [u8; 32]) -> Self {
        let mut copy = Self { partition, identity, content: Content::Missing, generation: 0, records: 0, blob: None };
        let generations = match numbers(storage, &copy.partition).await {
            Ok(generations) => generations,
            Err(problem) => {
                copy.content = Content::Damaged(problem.to_string());
                Vec::new()
            }
        };
        // An incomplete newest generation is a rewrite that a crash cut short; the one before it is then still there.
        for generation in generations.into_iter().rev() {
            copy.generation = copy.generation.max(generation);
            match copy.read(storage, generation).await {
                Ok(content @ Content::Whole(_)) => {
                    copy.content = content;
                    copy.generation = generation;
                    break;
                }
                Ok(content) => copy.content = content,
                Err(problem) => copy.content = Content::Damaged(problem.to_string()),
            }
        }
        copy
    }

    async fn read<E: Storage<Blob = B>>(&mut self, storage: &E, generation: u64) -> Result<Content, Error> {
        let (blob, length) = storage.open(&self.partition, &generation.to_be_bytes()).await?;
        if length > BYTES_MAX {
            return Ok(Content::Damaged(format!("{length} bytes is more than any guard writes")));
        }
        let length = usize::try_from(length).expect("bounded above");
        let bytes = blob.read_at(0, length, ReadOptions::default()).await?.coalesce();
        let (content, records, torn) = parse(bytes.as_ref(), &self.identity, generation);
        self.records = records;
        // A torn tail is overwritten by a rewrite, not appended after.
        self.blob = (!torn).then_some(blob);
        Ok(content)
    }

    /// Appends and syncs.
    pub(super) async fn append(&mut self, votes: &[Vote]) {
        let durable = self.records;
        let mut bytes = Vec::with_capacity(votes.len() * RECORD);
        for vote in votes {
            bytes.extend(encode(vote, &self.identity, self.generation, self.records as u64, durable as u64));
            self.records += 1;
        }
        let offset = HEADER + durable * RECORD;
        let blob = self.blob.as_ref().expect("a copy that is appended to was opened or rewritten");
        if let Err(problem) = blob.write_at(offset as u64, bytes, WriteOptions::SYNC).await {
            fail("append to its record", &problem);
        }
    }

    /// Writes a new generation that says what `book` says, then removes all others.
    pub(super) async fn rewrite<E: Storage<Blob = B>>(&mut self, storage: &E, book: &Book) {
        self.generation += 1;
        self.records = book.votes().count();
        let mut bytes = header(&self.identity, self.generation, self.records as u64, book.floor, book.highest).to_vec();
        for (position, vote) in book.votes().enumerate() {
            bytes.extend(encode(&vote, &self.identity, self.generation, position as u64, 0));
        }
        let name = self.generation.to_be_bytes();
        let written = async {
            let (blob, _) = storage.open(&self.partition, &name).await?;
            blob.resize(0).await?;
            blob.write_at(0, bytes, WriteOptions::default()).await?;
            blob.sync().await?;
            Ok::<_, Error>(blob)
        };
        match written.await {
            Ok(blob) => self.blob = Some(blob),
            Err(problem) => fail("rewrite its record", &problem),
        }
        self.content = Content::Whole(book.clone());
        self.remove_others(storage, &name).await;
    }

    async fn remove_others<E: Storage<Blob = B>>(&self, storage: &E, keep: &[u8]) {
        let names = storage.scan(&self.partition).await.unwrap_or_default();
        for name in names.iter().filter(|name| name.as_slice() != keep) {
            if let Err(problem) = storage.remove(&self.partition, Some(name)).await {
                fail("remove its old record", &problem);
            }
        }
    }
}

fn header(identity: &[u8; 32], generation: u64, carried: u64, floor: Round, highest: Round) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..40].copy_from_slice(identity);
    for (slot, value) in [generation, carried, floor.0, floor.1, highest.0, highest.1].into_iter().enumerate() {
        out[40 + slot * 8..48 + slot * 8].copy_from_slice(&value.to_be_bytes());
    }
    let check = Sha256::digest(&out[..HEADER - CHECK]);
    out[HEADER - CHECK..].copy_from_slice(&check);
    out
}

fn encode(vote: &Vote, identity: &[u8; 32], generation: u64, position: u64, durable: u64) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    out[..8].copy_from_slice(&vote.round.0.to_be_bytes());
    out[8..16].copy_from_slice(&vote.round.1.to_be_bytes());
    out[16] = match vote.kind {
        Kind::Notarize => 1,
        Kind::Nullify => 2,
        Kind::Finalize => 3,
    };
    out[17..49].copy_from_slice(&vote.message);
    out[49..57].copy_from_slice(&durable.to_be_bytes());
    let check = record_check(&out[..RECORD - CHECK], identity, generation, position);
    out[RECORD - CHECK..].copy_from_slice(&check);
    out
}

fn record_check(body: &[u8], identity: &[u8; 32], generation: u64, position: u64) -> [u8; CHECK] {
    let mut hasher = Sha256::new();
    hasher.update(identity);
    hasher.update(generation.to_be_bytes());
    hasher.update(position.to_be_bytes());
    hasher.update(body);
    hasher.finalize().into()
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

/// The vote in a record, and how many records were durable when it was written.
fn decode(bytes: &[u8], identity: &[u8; 32], generation: u64, position: u64) -> Option<(Vote, u64)> {
    let (body, check) = bytes.split_at_checked(RECORD - CHECK)?;
    if check != record_check(body, identity, generation, position) {
        return None;
    }
    let kind = match body[16] {
        1 => Kind::Notarize,
        2 => Kind::Nullify,
        3 => Kind::Finalize,
        _ => return None,
    };
    let message = body[17..49].try_into().ok()?;
    Some((Vote { round: (number(&body[..8]), number(&body[8..16])), kind, message }, number(&body[49..57])))
}

/// The content of a file, how many whole records it starts with, and whether it ends in a torn one.
fn parse(bytes: &[u8], identity: &[u8; 32], generation: u64) -> (Content, usize, bool) {
    let damaged = |reason: &str| (Content::Damaged(reason.to_owned()), 0, true);
    let Some((head, body)) = bytes.split_at_checked(HEADER) else { return damaged("the header is incomplete") };
    if head[..8] != MAGIC || Sha256::digest(&head[..HEADER - CHECK])[..] != head[HEADER - CHECK..] {
        return damaged("the header fails its checksum");
    }
    if head[8..40] != identity[..] {
        return (Content::Foreign, 0, true);
    }
    let field = |slot: usize| number(&head[40 + slot * 8..48 + slot * 8]);
    if field(0) != generation {
        return damaged("the header belongs to another generation");
    }
    let records: Vec<Option<(Vote, u64)>> = body
        .chunks(RECORD)
        .enumerate()
        .map(|(position, chunk)| decode(chunk, identity, generation, position as u64))
        .collect();
    let whole = records.iter().take_while(|record| record.is_some()).count();
    let vouched = records.iter().flatten().map(|(_, durable)| *durable).max().unwrap_or(0).max(field(1));
    if (whole as u64) < vouched {
        return damaged(&format!("record {whole} was durable and is not readable now"));
    }
    let mut book = Book { floor: (field(2), field(3)), highest: (field(4), field(5)), ..Book::default() };
    let torn = whole < records.len();
    for (vote, _) in records.into_iter().flatten() {
        book.record(&vote);
    }
    (Content::Whole(book), whole, torn)
}

/// What is wrong with the bytes of a copy, whosever it is.
pub(super) fn complaint(bytes: &[u8], generation: u64) -> Option<String> {
    let Some(identity) = bytes.get(8..40).and_then(|bytes| bytes.try_into().ok()) else {
        return Some("the header is incomplete".into());
    };
    match parse(bytes, &identity, generation) {
        (Content::Damaged(reason), _, _) => Some(reason),
        (Content::Missing | Content::Foreign | Content::Whole(_), _, _) => None,
    }
}
