//! Do the files of the storage begin as they must?
//!
//! The runtime gives every file a page of its own before what is kept in it, and refuses a file in which that page is
//! damaged, with all that is behind. Whoever asked for the file then ends, at every start. So before the runtime is there,
//! such files are moved out of the storage: what was in them is missing then, and that can be repaired.

use commonware_cryptography::Crc32;
use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};
use tracing::warn;

/// Bytes before what is kept in a file.
pub(super) const HEADER: u64 = 4_096;
/// What such a page begins with, up to its checksum: a mark, the version of this layout, and that of the content.
const START: [u8; 8] = [b'C', b'W', b'I', b'K', 0, 1, 0, 0];
/// Files set aside that are kept, the newest.
const KEPT_MAX: usize = 16;

/// What is wrong with the page that a file of this length begins with.
pub(super) fn complaint(page: &[u8], length: u64) -> Option<&'static str> {
    if length < START.len() as u64 {
        // Made a moment ago: the runtime goes on from there.
        return None;
    }
    let (Some(start), Some(check)) = (page.get(..8), page.get(8..12)) else { return Some("it is cut short") };
    if start != START {
        return Some("it does not begin like a file of ours");
    }
    if Crc32::checksum(start).to_be_bytes() != check {
        return Some("its header fails its checksum");
    }
    if length < HEADER {
        return Some("its header is cut short");
    }
    page[12..].iter().any(|byte| *byte != 0).then_some("its header holds what it must not hold")
}

/// The first page of a file, or as much of it as there is, and the length of all of it.
pub(super) fn first_page(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut page = Vec::new();
    file.take(HEADER).read_to_end(&mut page)?;
    Ok((page, length))
}

/// The files of a storage: their partition, their name, and where they are.
pub(super) fn files(storage: &Path) -> io::Result<Vec<(String, String, PathBuf)>> {
    let mut files = Vec::new();
    let partitions = match fs::read_dir(storage) {
        Ok(partitions) => partitions,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(problem) => return Err(problem),
    };
    for partition in partitions {
        let partition = partition?;
        if !partition.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(partition.path())? {
            let file = file?;
            if file.file_type()?.is_file() {
                let name = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
                files.push((name(partition.file_name()), name(file.file_name()), file.path()));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Moves files with a damaged header from `storage` to `aside`. Gives what was done, in words.
pub(super) fn set_aside(storage: &Path, aside: &Path) -> io::Result<Vec<String>> {
    let mut done = Vec::new();
    for (partition, name, path) in files(storage)? {
        let (page, length) = first_page(&path)?;
        let Some(complaint) = complaint(&page, length) else { continue };
        fs::create_dir_all(aside)?;
        let target = free(aside, &format!("{partition}-{name}"))?;
        fs::rename(&path, &target)?;
        fs::File::open(aside)?.sync_all()?;
        let what = format!("{partition}/{name}: {complaint}; moved to {}", target.display());
        warn!("damage on the disk: {what}");
        done.push(what);
    }
    if !done.is_empty() {
        keep_newest(aside)?;
    }
    Ok(done)
}

/// A name that is not taken.
fn free(aside: &Path, name: &str) -> io::Result<PathBuf> {
    for number in 0..=u64::MAX {
        let path = aside.join(format!("{name}.{number}"));
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn keep_newest(aside: &Path) -> io::Result<()> {
    let mut kept = Vec::new();
    for file in fs::read_dir(aside)? {
        let file = file?;
        kept.push((file.metadata()?.modified()?, file.path()));
    }
    kept.sort();
    for (_, path) in kept.iter().rev().skip(KEPT_MAX) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Vec<u8> {
        let mut page = vec![0; 4_096];
        page[..8].copy_from_slice(&START);
        page[8..12].copy_from_slice(&Crc32::checksum(&START).to_be_bytes());
        page
    }

    #[test]
    fn any_flipped_byte_of_a_header_is_noticed() {
        assert_eq!(complaint(&page(), 9_000), None);
        for at in 0..page().len() {
            let mut damaged = page();
            damaged[at] ^= 0x08;
            assert!(complaint(&damaged, 9_000).is_some(), "byte {at}");
        }
        assert!(complaint(&page()[..100], 100).is_some());
        assert_eq!(complaint(&[], 0), None);
    }

    #[test]
    fn a_file_that_the_runtime_makes_begins_as_it_must() {
        use commonware_runtime::{Runner as _, Storage as _, tokio};
        let folder = std::env::temp_dir().join(format!("unsplit-headers-{}", std::process::id()));
        let (storage, aside) = (folder.join("storage"), folder.join("aside"));
        let config = tokio::Config::new().with_storage_directory(&storage);
        tokio::Runner::new(config).start(|context| async move {
            context.open("some", b"file").await.expect("a disk");
        });
        assert_eq!(set_aside(&storage, &aside).expect("a disk"), Vec::<String>::new());
        let (_, _, path) = files(&storage).expect("a disk").remove(0);
        let mut bytes = fs::read(&path).expect("a disk");
        bytes[2_000] = 1;
        fs::write(&path, bytes).expect("a disk");
        assert_eq!(set_aside(&storage, &aside).expect("a disk").len(), 1);
        assert!(!path.exists() && fs::read_dir(&aside).expect("a disk").count() == 1);
        fs::remove_dir_all(&folder).expect("our own folder");
    }
}
