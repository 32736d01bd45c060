//! The act about a disk that forgets: four bytes of a stopped validator's blocks are others when it comes back.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    storm::{Outcome, Storm},
    verdict::{millis_or_null, span_or_never},
};
use crate::failure::Failure;

/// What is expected. More is a miss.
const REPAIRED_MAX: Duration = Duration::from_secs(15);

impl Storm {
    /// Rots the disk of the last validator while it is down.
    pub(super) async fn rot(&mut self) -> Result<(), Failure> {
        let node = self.clients.len() - 1;
        let folder = {
            let mut holder = self.holder.lock().await;
            holder.crash(&[node], None)?;
            holder.record().nodes[node].data_dir.join("storage/blocks")
        };
        self.load.book().died(&[node]);
        let at = damage(&folder).map_err(|problem| Failure::unexpected(format!("{}: {problem}", folder.display())))?;
        let since = Instant::now();
        self.holder.lock().await.restart(&[node]).await?;
        let whole = || async {
            let Ok(status) = self.clients[node].status().await else { return false };
            let store = status.store;
            store.damage_found > 0 && store.repaired > 0 && store.blocks_missing == 0
        };
        let took = self.until(whole).await.then(|| since.elapsed());
        self.load.book().returned(&[node]);
        let found = self.clients[node].status().await.map_or(0, |status| status.store.damage_found);
        let measured = json!({"at_byte": at, "damage_found": found, "repaired_ms": millis_or_null(took)});
        let words = match took {
            Some(_) => format!("found at its start, back after {}", span_or_never(took)),
            None => format!("{found} found, never back"),
        };
        let ok = took.is_some_and(|took| took <= REPAIRED_MAX);
        let name = format!("rot 4 bytes on n{node}'s disk, restart");
        self.act(&name, "found, ≤ 15 s back from peers", since, Outcome { measured, words, ok });
        self.until_at_tip(&[node], since).await;
        Ok(())
    }
}

/// Makes four bytes in the middle of the newest file others, and says where.
fn damage(folder: &Path) -> io::Result<u64> {
    let mut paths = fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let path = paths.pop().ok_or(io::ErrorKind::NotFound)?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let at = file.metadata()?.len() / 2;
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at)?;
    file.write_all_at(&bytes.map(|byte| !byte), at)?;
    Ok(at)
}
