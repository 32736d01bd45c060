//! One section of an archive, byte by byte.
//!
//! A section is a file that is only appended to: records of a head, a body and a checksum. Both checksums cover what the
//! archive is (chain and kind), which section this is and at which offset the record is, so that bytes read from the wrong
//! place are damage like any other. The head has a checksum of its own: where only the body is damaged, it is still known
//! which height that was and where the next record begins. A head also says how much of the file was durable when it was
//! written: damage below that is rot, damage above is a torn write.
//!
//! Damage inside a file is covered with a void, a head that says how many bytes to pass over. Nothing else is ever
//! overwritten.

use commonware_runtime::Error;
use sha2::{Digest as _, Sha256};
use std::future::Future;

/// Heights in one section.
pub(crate) const ITEMS: u64 = 4_096;
/// Bytes of a head.
pub(crate) const HEAD: usize = 68;
/// Bytes of a record's checksum, which comes after its body.
const CHECK: usize = 32;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// What a disk loses at once: where a read fails, this much is given up.
const SECTOR: usize = 4_096;
const MAGIC: [u8; 4] = *b"usr1";
/// Where the fields of a head end and its checksum begins.
const FIELDS: usize = HEAD - 8;
/// Stands for a height in a void over bytes of which nobody knows what they were.
const UNKNOWN: u64 = u64::MAX;

/// What a record is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// What the archive is for.
    Value,
    /// Bytes to pass over: they were damaged.
    Void,
    /// Nothing below this height is kept any more.
    Floor,
}

/// The head of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) height: u64,
    pub(crate) digest: [u8; 32],
    /// Bytes of the body.
    pub(crate) length: u32,
    /// How much of the file was durable when this was written.
    pub(crate) durable: u64,
}

impl Head {
    /// Bytes of the whole record.
    pub(crate) const fn total(&self) -> u64 {
        let check = match self.kind {
            Kind::Value | Kind::Floor => CHECK as u64,
            Kind::Void => 0,
        };
        HEAD as u64 + self.length as u64 + check
    }
}

/// Which file: what all checksums in it are bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Chain and kind of the archive.
    pub(crate) identity: [u8; 32],
    /// Which section.
    pub(crate) section: u64,
}

impl Place {
    fn hasher(&self, offset: u64) -> Sha256 {
        let hasher = Sha256::new().chain_update(self.identity);
        hasher.chain_update(self.section.to_be_bytes()).chain_update(offset.to_be_bytes())
    }

    /// A whole record, to be written at `offset`.
    pub(crate) fn encode(&self, offset: u64, head: &Head, body: &[u8]) -> Vec<u8> {
        assert_eq!(head.length as usize, body.len(), "a head says how long its body is");
        let mut out = self.head(offset, head);
        out.extend(body);
        let check = self.hasher(offset).chain_update(&out).finalize();
        out.extend(check);
        out
    }

    /// The head of a void over `from..to`, of which the height is known or not.
    pub(crate) fn void(&self, from: u64, to: u64, height: Option<u64>) -> Option<Vec<u8>> {
        let length = u32::try_from(to.checked_sub(from)?.checked_sub(HEAD as u64)?).ok()?;
        let height = height.unwrap_or(UNKNOWN);
        Some(self.head(from, &Head { kind: Kind::Void, height, digest: [0; 32], length, durable: 0 }))
    }

    fn head(&self, offset: u64, head: &Head) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + head.length as usize + CHECK);
        out.extend(MAGIC);
        out.push(match head.kind {
            Kind::Value => 1,
            Kind::Void => 2,
            Kind::Floor => 3,
        });
        out.extend([0; 3]);
        out.extend(head.height.to_be_bytes());
        out.extend(head.digest);
        out.extend(head.length.to_be_bytes());
        out.extend(head.durable.to_be_bytes());
        let check = self.hasher(offset).chain_update(&out).finalize();
        out.extend(&check[..8]);
        out
    }

    /// The head at `offset`, if these bytes begin with one.
    pub(crate) fn parse(&self, offset: u64, bytes: &[u8]) -> Option<Head> {
        let bytes = bytes.get(..HEAD)?;
        let kind = match bytes[..8] {
            [b'u', b's', b'r', b'1', 1, 0, 0, 0] => Kind::Value,
            [b'u', b's', b'r', b'1', 2, 0, 0, 0] => Kind::Void,
            [b'u', b's', b'r', b'1', 3, 0, 0, 0] => Kind::Floor,
            _ => return None,
        };
        if self.hasher(offset).chain_update(&bytes[..FIELDS]).finalize()[..8] != bytes[FIELDS..] {
            return None;
        }
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Some(Head {
            kind,
            height: number(8),
            digest: bytes[16..48].try_into().expect("thirty-two bytes"),
            length: u32::from_be_bytes(bytes[48..52].try_into().expect("four bytes")),
            durable: number(52),
        })
    }

    /// The head and body of the whole record in `bytes`, read at `offset`, if it is whole.
    pub(crate) fn open<'a>(&self, offset: u64, bytes: &'a [u8]) -> Option<(Head, &'a [u8])> {
        let head = self.parse(offset, bytes)?;
        let (content, check) = bytes.split_at_checked(HEAD + head.length as usize)?;
        let whole = self.hasher(offset).chain_update(content).finalize()[..] == *check;
        whole.then(|| (head, &content[HEAD..]))
    }
}

/// Where a section's bytes come from.
pub(crate) trait Source: Sync {
    /// How many there are.
    fn length(&self) -> u64;

    /// Exactly these.
    fn read(&self, offset: u64, length: usize) -> impl Future<Output = Result<Vec<u8>, Error>> + Send;
}

/// Whether a read failed because of the disk, and not because this process ends.
pub(crate) const fn is_damage(error: &Error) -> bool {
    matches!(error, Error::ReadFailed | Error::Io(_) | Error::BlobInsufficientLength | Error::OffsetOverflow)
}

/// What a section holds.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Scan {
    /// The whole values, in the order of the file.
    pub(crate) values: Vec<Value>,
    /// What cannot be read.
    pub(crate) wounds: Vec<Wound>,
    /// Heights whose records were damaged before.
    pub(crate) lost: Vec<u64>,
    /// Whether bytes were damaged before of which nobody knows what they were.
    pub(crate) lost_unknown: bool,
    /// Nothing below is kept.
    pub(crate) floor: u64,
}

/// Where a whole value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Value {
    pub(crate) height: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) offset: u64,
    pub(crate) total: u32,
}

/// A damaged part of a section.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wound {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Which height it was, where its head is still whole.
    pub(crate) height: Option<u64>,
    /// Whether nothing says that it was ever durable.
    pub(crate) torn: bool,
}

/// Reads a section from end to end.
pub(crate) async fn scan(source: &impl Source, place: Place) -> Result<Scan, Error> {
    let mut window = Window { source, start: 0, bytes: Vec::new() };
    let (mut found, mut offset, mut durable) = (Scan::default(), 0, 0);
    while offset < source.length() {
        let head = place.parse(offset, window.at(offset, HEAD).await?);
        let Some(head) = head else {
            let to = next_head(&mut window, place, offset + 1).await?;
            found.wounds.push(Wound { from: offset, to, height: None, torn: false });
            offset = to;
            continue;
        };
        durable = durable.max(head.durable);
        let to = (offset + head.total()).min(source.length());
        let total = usize::try_from(to - offset).expect("a record is shorter than memory");
        match head.kind {
            Kind::Void if head.height == UNKNOWN => found.lost_unknown = true,
            Kind::Void => found.lost.push(head.height),
            Kind::Value | Kind::Floor => match place.open(offset, window.at(offset, total).await?) {
                Some((Head { kind: Kind::Value, height, digest, .. }, _)) => {
                    let total = u32::try_from(total).expect("a head counts in four bytes");
                    found.values.push(Value { height, digest, offset, total });
                }
                Some((head, _)) => found.floor = found.floor.max(head.height),
                None => {
                    let height = (head.kind == Kind::Value).then_some(head.height);
                    found.wounds.push(Wound { from: offset, to, height, torn: false });
                }
            },
        }
        offset = to;
    }
    for wound in &mut found.wounds {
        wound.torn = wound.from >= durable;
    }
    Ok(found)
}

/// Where the next head begins, from `from` on, or the end.
async fn next_head<S: Source>(window: &mut Window<'_, S>, place: Place, mut from: u64) -> Result<u64, Error> {
    loop {
        let bytes = window.at(from, CHUNK).await?;
        if bytes.len() < HEAD {
            return Ok(window.source.length());
        }
        let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, word)| **word == MAGIC);
        for (at, _) in starts {
            if place.parse(from + at as u64, &bytes[at..]).is_some() {
                return Ok(from + at as u64);
            }
        }
        // A head may begin in the last bytes and end in the next ones.
        from += (bytes.len() - HEAD + 1) as u64;
    }
}

/// A part of a source that is in memory.
struct Window<'a, S> {
    source: &'a S,
    start: u64,
    bytes: Vec<u8>,
}

impl<S: Source> Window<'_, S> {
    /// The `length` bytes at `offset`, or as many as there are.
    async fn at(&mut self, offset: u64, length: usize) -> Result<&[u8], Error> {
        let left = usize::try_from(self.source.length().saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let held = offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let chunk = length.max(CHUNK).min(left);
            self.bytes = match self.source.read(offset, chunk).await {
                Ok(bytes) => bytes,
                Err(problem) if is_damage(&problem) => self.salvage(offset, chunk).await?,
                Err(problem) => return Err(problem),
            };
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).expect("inside the window");
        Ok(&self.bytes[from..from + length])
    }

    /// What can be read of these bytes, with zeros for the rest.
    async fn salvage(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(length);
        while out.len() < length {
            let part = SECTOR.min(length - out.len());
            match self.source.read(offset + out.len() as u64, part).await {
                Ok(bytes) => out.extend(bytes),
                Err(problem) if is_damage(&problem) => out.resize(out.len() + part, 0),
                Err(problem) => return Err(problem),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    const PLACE: Place = Place { identity: [7; 32], section: 3 };

    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
            let from = usize::try_from(offset).expect("small");
            Ok(self.0[from..from + length].to_vec())
        }
    }

    /// A disk on which one sector cannot be read.
    struct BadSector(Vec<u8>, u64);

    impl Source for BadSector {
        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
            let bad = self.1..self.1 + SECTOR as u64;
            if offset < bad.end && offset + length as u64 > bad.start {
                return Err(Error::ReadFailed);
            }
            let from = usize::try_from(offset).expect("small");
            Ok(self.0[from..from + length].to_vec())
        }
    }

    /// Heights 10, 11, ... with bodies of this length; all but the last were durable when the next was written.
    fn section(count: u64, length: u32) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for height in 10..10 + count {
            let durable = bytes.len() as u64;
            let head = Head { kind: Kind::Value, height, digest: [height as u8; 32], length, durable };
            let record = PLACE.encode(durable, &head, &vec![height as u8; length as usize]);
            bytes.extend(record);
            places.push((durable, bytes.len() as u64));
        }
        (bytes, places)
    }

    fn read(bytes: &[u8]) -> Scan {
        scan(&Bytes(bytes.to_vec()), PLACE).now_or_never().expect("nothing waits").expect("nothing fails")
    }

    fn heights(found: &Scan) -> Vec<u64> {
        found.values.iter().map(|value| value.height).collect()
    }

    #[test]
    fn a_whole_section_is_read_whole() {
        let found = read(&section(5, 300).0);
        assert_eq!(heights(&found), [10, 11, 12, 13, 14]);
        assert_eq!(found.wounds, []);
    }

    #[test]
    fn a_flipped_byte_anywhere_costs_its_record_and_no_other() {
        let (bytes, places) = section(5, 40);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let found = read(&damaged);
            let hit = places.iter().position(|(_, to)| (at as u64) < *to).expect("inside");
            let left: Vec<u64> = (10..15).filter(|height| *height != 10 + hit as u64).collect();
            assert_eq!(heights(&found), left, "byte {at}");
            let [wound] = &found.wounds[..] else { panic!("one wound at byte {at}: {:?}", found.wounds) };
            assert_eq!((wound.from, wound.to), places[hit], "byte {at}");
            assert_eq!(wound.torn, hit == 4, "byte {at}: only the last was never said to be durable");
        }
    }

    #[test]
    fn where_only_the_body_is_damaged_the_height_is_known() {
        let (mut bytes, places) = section(3, 300);
        let at = usize::try_from(places[1].0).expect("small") + HEAD + 9;
        bytes[at] ^= 1;
        assert_eq!(read(&bytes).wounds[0].height, Some(11));
    }

    #[test]
    fn a_file_cut_short_keeps_what_is_before_the_cut() {
        let (bytes, places) = section(4, 100);
        for cut in 0..bytes.len() {
            let found = read(&bytes[..cut]);
            let whole = places.iter().filter(|(_, to)| *to <= cut as u64).count();
            assert_eq!(found.values.len(), whole, "cut at {cut}");
            assert!(found.wounds.len() <= 1);
        }
    }

    #[test]
    fn records_at_the_wrong_place_are_damage() {
        let (bytes, places) = section(3, 100);
        let (from, to) = (usize::try_from(places[0].0).expect("small"), usize::try_from(places[0].1).expect("small"));
        let mut misdirected = bytes.clone();
        misdirected.copy_within(from..to, to);
        assert_eq!(heights(&read(&misdirected)), [10, 12]);
        let other = Place { section: 4, ..PLACE };
        let found = scan(&Bytes(bytes), other).now_or_never().expect("nothing waits").expect("nothing fails");
        assert!(found.values.is_empty(), "another section's file");
    }

    #[test]
    fn a_void_is_passed_over_and_remembers_the_height() {
        let (mut bytes, places) = section(3, 100);
        let (from, to) = places[1];
        let void = PLACE.void(from, to, Some(11)).expect("long enough");
        let at = usize::try_from(from).expect("small");
        bytes[at..at + HEAD].copy_from_slice(&void);
        let found = read(&bytes);
        assert_eq!((heights(&found), found.lost, found.wounds), (vec![10, 12], vec![11], vec![]));
    }

    #[test]
    fn a_sector_that_cannot_be_read_costs_the_records_in_it() {
        let (bytes, places) = section(40, 1_000);
        let bad = BadSector(bytes, 3 * SECTOR as u64);
        let found = scan(&bad, PLACE).now_or_never().expect("nothing waits").expect("salvaged");
        let hit = |(from, to): &&(u64, u64)| *from < 4 * SECTOR as u64 && *to > 3 * SECTOR as u64;
        assert_eq!(found.values.len(), 40 - places.iter().filter(hit).count());
    }

    #[test]
    fn a_large_hole_is_searched_for_the_next_record() {
        let (mut bytes, places) = section(2_000, 1_500);
        let end = usize::try_from(places[1_800].0).expect("small") + 5;
        bytes[100..end].fill(0);
        let found = read(&bytes);
        assert_eq!(found.values.len(), 199);
        assert_eq!(found.wounds.len(), 2, "the first body, and then everything up to the next head");
    }
}
