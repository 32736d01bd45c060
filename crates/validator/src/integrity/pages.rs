//! Are the pages of an engine's journal whole?
//!
//! The engine checks them too, but takes the first bad one for the end of a torn write, drops what follows, and tells nobody.

use super::{Damage, Finding, Label, Quarantine, quarantine::first_bytes};
use crate::{
    archive::{is_unreadable, record::is_damage},
    blobs::names,
};
use commonware_cryptography::Crc32;
use commonware_runtime::{Blob as _, Error, ReadOptions, Storage};

/// Bytes of a page with its footer, which holds two checksums: one for the page as it is, and one for it as it was before
/// it was written again.
pub(crate) const PAGE: usize = 4_096;
const FOOTER: usize = 12;

/// What is on a page, by the checksum that covers more of it and fits. `None` if neither fits.
pub(crate) fn page_content(page: &[u8]) -> Option<&[u8]> {
    let (body, footer) = page.split_at_checked(PAGE - FOOTER)?;
    let contents = footer.chunks_exact(FOOTER / 2).filter_map(|slot| {
        let length = usize::from(u16::from_be_bytes([slot[0], slot[1]]));
        let check = u32::from_be_bytes([slot[2], slot[3], slot[4], slot[5]]);
        body.get(..length).filter(|body| length > 0 && Crc32::checksum(body) == check)
    });
    contents.max_by_key(|content| content.len())
}

/// Whether these bytes end with a checksum over all that comes before, as the engine's metadata and values do.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(content, check)| Crc32::checksum(content).to_be_bytes() == *check)
}

/// Whether either checksum fits.
pub(crate) fn is_page_whole(page: &[u8]) -> bool {
    page_content(page).is_some()
}

/// Looks at all files of a partition of the engine that are made of pages, and keeps those that are damaged.
pub(super) async fn inspect<E: Storage>(
    storage: &E,
    part: &str,
    partition: &str,
    quarantine: &Quarantine,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for name in names(storage, partition).await? {
        let (blob, length) = match storage.open(partition, &name).await {
            Ok(opened) => opened,
            // Whoever opens the whole of it comes upon this again, and tells it.
            Err(problem) if is_unreadable(&problem) => continue,
            Err(problem) => return Err(problem),
        };
        let mut bad = None;
        let pages = length.div_ceil(PAGE as u64);
        for page in 0..pages {
            let offset = page * PAGE as u64;
            let size = usize::try_from(length - offset).unwrap_or(usize::MAX).min(PAGE);
            let whole = match blob.read_at(offset, size, ReadOptions::default()).await {
                Ok(bytes) => is_page_whole(bytes.coalesce().as_ref()),
                Err(problem) if is_damage(&problem) => false,
                Err(problem) => return Err(problem),
            };
            if !whole {
                bad = Some(page);
                break;
            }
        }
        let Some(page) = bad else { continue };
        // Only the last page is ever written again, so only there it can be a torn write.
        let damage = if page + 1 == pages { Damage::Torn } else { Damage::Rot };
        let label = Label::new(partition, &name, (page * PAGE as u64, length), damage);
        let kept = quarantine.keep(storage, &label, &first_bytes(&blob, length).await).await;
        let what = format!("page {page} of {pages} of {partition}/{} fails its checksum", label.file);
        findings.push(Finding { part: part.to_owned(), damage, heights: None, kept, what });
    }
    Ok(findings)
}

pub(super) fn hex(name: &[u8]) -> String {
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}
