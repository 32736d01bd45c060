//! Is a store whole, as far as its files alone tell?
//!
//! Reads and changes nothing. What a start would find, it finds too, except what only the engine can judge: values of its
//! caches are held against the checksums that their index leads to, and no further.

use super::{StartError, folder::Folder, headers};
use crate::{
    archive::{
        identity,
        record::{self, Place, Source, is_damage},
    },
    chain::Block,
    guard,
    integrity::{BLOCKS, CERTIFICATES, PAGE, is_page_whole, is_sealed, page_content},
    note, store, sync,
    validator::chain_identity,
};
use commonware_codec::Decode as _;
use commonware_consensus::Block as _;
use commonware_cryptography::Digestible as _;
use commonware_runtime::Error;
use futures::FutureExt as _;
use ledger::Height;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Damage told of one part, at most.
const DAMAGE_MAX: usize = 100;
/// Bytes of an entry in the index of a cache: where it belongs, its key, and where its value is.
const ENTRY: usize = 52;

/// What was found in a store.
#[derive(Clone, Debug, Serialize)]
pub struct StoreReport {
    /// `unsplit.store/1`.
    pub schema: &'static str,
    /// Where it is.
    pub dir: PathBuf,
    /// Whether nothing is damaged and nothing is missing.
    pub whole: bool,
    /// Bytes read.
    pub bytes: u64,
    /// Part by part.
    pub parts: Vec<PartReport>,
    /// Damaged pieces that were found before and are kept.
    pub quarantined: usize,
}

/// A part of a store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PartReport {
    /// Its name.
    pub name: String,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The first and the last height, where there are heights.
    pub heights: Option<(u64, u64)>,
    /// What is damaged or missing.
    pub damage: Vec<String>,
}

impl PartReport {
    fn complain(&mut self, what: String) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(what);
        }
    }
}

/// Looks at the store in a validator's data directory, which must not be in use.
///
/// # Errors
/// When the directory is not one, is in use, or cannot be read.
pub fn verify(dir: &Path) -> Result<StoreReport, StartError> {
    let folder = Folder::look(dir)?;
    let storage = folder.storage();
    let failed = |problem: io::Error| StartError::Failed(format!("{}: {problem}", storage.display()));
    let mut store = Reader {
        chain: chain_identity(&folder.namespace()?),
        parts: BTreeMap::new(),
        digests: BTreeMap::new(),
        floors: BTreeMap::new(),
    };
    let mut quarantined = 0;
    for (partition, name, path) in headers::files(&storage).map_err(failed)? {
        if partition == "quarantine" {
            quarantined += 1;
            continue;
        }
        store.file(&partition, &name, &path).map_err(failed)?;
    }
    store.walk();
    store.caches(&storage).map_err(failed)?;
    let parts: Vec<PartReport> = store.parts.into_values().collect();
    let bytes = parts.iter().map(|part| part.bytes).sum();
    let whole = parts.iter().all(|part| part.damage.is_empty());
    Ok(StoreReport { schema: "unsplit.store/1", dir: dir.to_owned(), whole, bytes, parts, quarantined })
}

struct Reader {
    chain: [u8; 32],
    parts: BTreeMap<String, PartReport>,
    /// What the records of an archive say, by height: which digest, and for blocks which parent.
    digests: BTreeMap<&'static str, Digests>,
    /// Where archives begin.
    floors: BTreeMap<&'static str, u64>,
}

type Digests = BTreeMap<u64, ([u8; 32], Option<[u8; 32]>)>;

/// What is behind the header of a file.
struct Content {
    file: File,
    length: u64,
}

impl Source for Content {
    fn length(&self) -> u64 {
        self.length
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, headers::HEADER + offset)?;
        Ok(bytes)
    }
}

impl Content {
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, headers::HEADER)?;
        Ok(bytes)
    }
}

/// The part that a partition belongs to.
fn part_of(partition: &str) -> &'static str {
    match partition {
        BLOCKS => BLOCKS,
        CERTIFICATES => CERTIFICATES,
        "checkpoints" => "checkpoints",
        "guard-a" | "guard-b" => "guard",
        "marshal-application-metadata" => "progress",
        "epochs" | "journals" => "epochs",
        "changes" => "changes",
        _ if partition.starts_with("votes-") => "votes",
        _ if partition.starts_with("marshal-cache-") => "caches",
        _ => "unknown",
    }
}

impl Reader {
    fn file(&mut self, partition: &str, name: &str, path: &Path) -> io::Result<()> {
        let part = self.parts.entry(part_of(partition).to_owned()).or_default();
        part_of(partition).clone_into(&mut part.name);
        let (page, length) = headers::first_page(path)?;
        part.files += 1;
        part.bytes += length;
        if let Some(complaint) = headers::complaint(&page, length) {
            part.complain(format!("{partition}/{name}: {complaint}"));
            return Ok(());
        }
        let content = Content { file: File::open(path)?, length: length.saturating_sub(headers::HEADER) };
        match part_of(partition) {
            archive @ (BLOCKS | CERTIFICATES) => self.section(archive, name, &content),
            "checkpoints" => {
                let height = u64::from_str_radix(name, 16).unwrap_or(u64::MAX);
                part.heights =
                    Some(part.heights.map_or((height, height), |(first, last)| (first.min(height), last.max(height))));
                if let Err(problem) = store::check(&content.bytes()?, Height(height)) {
                    part.complain(format!("{partition}/{name} {problem}"));
                }
                Ok(())
            }
            "guard" => {
                let generation = u64::from_str_radix(name, 16).unwrap_or(u64::MAX);
                if let Some(complaint) = guard::complaint(&content.bytes()?, generation) {
                    part.complain(format!("{partition}/{name}: {complaint}"));
                }
                Ok(())
            }
            "epochs" => {
                if !note::is_whole(&content.bytes()?) {
                    part.complain(format!("{partition}/{name} fails its checksum; there is another copy"));
                }
                Ok(())
            }
            "changes" => {
                let epoch = u64::from_str_radix(name, 16).unwrap_or(u64::MAX);
                if !sync::is_change_whole(epoch, &content.bytes()?) {
                    part.complain(format!("{partition}/{name} fails its checksum; the other validators keep it too"));
                }
                Ok(())
            }
            "unknown" => Ok(()),
            _ if partition.ends_with("metadata") => {
                let bytes = content.bytes()?;
                if !bytes.is_empty() && !is_sealed(&bytes) {
                    part.complain(format!("{partition}/{name} fails its checksum"));
                }
                Ok(())
            }
            _ if partition.ends_with("-value") => Ok(()),
            _ => {
                let bytes = content.bytes()?;
                if let Some(page) = bytes.chunks(PAGE).position(|page| !is_page_whole(page)) {
                    part.complain(format!("page {page} of {partition}/{name} fails its checksum"));
                }
                Ok(())
            }
        }
    }

    fn section(&mut self, archive: &'static str, name: &str, content: &Content) -> io::Result<()> {
        let part = self.parts.get_mut(archive).expect("made before");
        let Ok(section) = u64::from_str_radix(name, 16) else {
            part.complain(format!("{archive}/{name} is no file of an archive"));
            return Ok(());
        };
        let place = Place { identity: identity(&self.chain, archive), section };
        let scanned = record::scan(content, place).now_or_never().expect("files do not wait");
        let scan = match scanned {
            Ok(scan) => scan,
            Err(problem) if is_damage(&problem) => {
                part.complain(format!("{archive}/{name} cannot be read: {problem}"));
                return Ok(());
            }
            Err(problem) => return Err(io::Error::other(problem)),
        };
        for wound in &scan.wounds {
            let height = wound.height.map_or_else(|| "unknown heights".into(), |height| format!("height {height}"));
            let kind = if wound.torn { "torn" } else { "rot" };
            let (from, to) = (wound.from, wound.to);
            part.complain(format!("{archive}/{name}: bytes {from} to {to} ({height}) fail their checksum ({kind})"));
        }
        let floor = self.floors.entry(archive).or_default();
        *floor = scan.floor.max(*floor);
        let held = self.digests.entry(archive).or_default();
        for value in scan.values {
            let mut parent = None;
            if archive == BLOCKS {
                let bytes = content.read(value.offset, value.total as usize).now_or_never().expect("files do not wait");
                let bytes = bytes.map_err(io::Error::other)?;
                let body = place.open(value.offset, &bytes).map(|(_, body)| bytes::Bytes::copy_from_slice(body));
                match body.and_then(|body| Block::decode_cfg(body, &()).ok()) {
                    Some(block) if block.digest().0 == value.digest => parent = Some(block.parent().0),
                    Some(_) | None => {
                        part.complain(format!("block {} is not the one that it is kept as", value.height))
                    }
                }
            }
            held.insert(value.height, (value.digest, parent));
        }
        Ok(())
    }

    /// Whether what is held is one chain without holes.
    fn walk(&mut self) {
        // What is below where an archive begins is not missed, and may still be in a file.
        let floor = |archive| self.floors.get(archive).copied().unwrap_or(0);
        let floors = [floor(BLOCKS), floor(CERTIFICATES)];
        let [mut blocks, mut certificates] =
            [BLOCKS, CERTIFICATES].map(|archive| self.digests.remove(archive).unwrap_or_default());
        blocks.retain(|height, _| *height >= floors[0]);
        certificates.retain(|height, _| *height >= floors[1]);
        if let Some(part) = self.parts.get_mut(BLOCKS) {
            part.heights = span(&blocks);
            let mut below: Option<(u64, [u8; 32])> = None;
            for (height, (digest, parent)) in &blocks {
                if let Some((before, expected)) = below {
                    if before + 1 < *height && before > 0 {
                        part.complain(format!("blocks {} to {} are missing", before + 1, height - 1));
                    }
                    if before + 1 == *height && parent.is_some_and(|parent| parent != expected) {
                        part.complain(format!("block {height} does not follow block {before}"));
                    }
                }
                below = Some((*height, *digest));
            }
        }
        if let Some(part) = self.parts.get_mut(CERTIFICATES) {
            part.heights = span(&certificates);
            for (height, (digest, _)) in &certificates {
                if blocks.get(height).is_some_and(|(block, _)| block != digest) {
                    part.complain(format!("the certificate of height {height} is for another block"));
                }
            }
        }
    }

    /// Whether the values of the engine's caches are what their index says.
    fn caches(&mut self, storage: &Path) -> io::Result<()> {
        for (partition, name, path) in headers::files(storage)? {
            let Some(cache) = partition.strip_suffix("-key").filter(|name| name.starts_with("marshal-cache-")) else {
                continue;
            };
            let part = self.parts.get_mut("caches").expect("its files were read");
            let values = storage.join(format!("{cache}-value")).join(&name);
            let (page, length) = headers::first_page(&path)?;
            if headers::complaint(&page, length).is_some() {
                continue;
            }
            let index = Content { file: File::open(&path)?, length: length.saturating_sub(headers::HEADER) };
            let pages = index.bytes()?;
            let entries: Vec<u8> = pages.chunks(PAGE).map_while(page_content).flatten().copied().collect();
            let Ok(file) = File::open(&values) else {
                part.complain(format!("{cache}-value/{name} is missing"));
                continue;
            };
            let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
            for entry in entries.chunks_exact(ENTRY) {
                let (index, offset) = (number(&entry[..8]), number(&entry[40..48]));
                let size = u32::from_be_bytes(entry[48..52].try_into().expect("four bytes")) as usize;
                let mut value = vec![0; size.min(64 << 20)];
                let read = file.read_exact_at(&mut value, headers::HEADER.saturating_add(offset));
                if read.is_err() || !is_sealed(&value) {
                    part.complain(format!("the value at {index} of {cache} fails its checksum"));
                }
            }
        }
        Ok(())
    }
}

fn span<V>(held: &BTreeMap<u64, V>) -> Option<(u64, u64)> {
    Some((*held.first_key_value()?.0, *held.last_key_value()?.0))
}
