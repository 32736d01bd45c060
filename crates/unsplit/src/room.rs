//! Can a validator write into its folder?

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use rustix::fs::statvfs;
use validator::ROOM_MIN;

/// Why not, in words; `None` if it can.
pub(crate) fn refusal(folder: &Path) -> Option<String> {
    let place = folder.display();
    if let Ok(room) = statvfs(folder) {
        let left = room.f_bavail * room.f_frsize;
        if left < ROOM_MIN {
            let (left, needed) = (left >> 20, ROOM_MIN >> 20);
            return Some(format!("the disk that holds {place} is full: {left} MiB are left, a start needs {needed}"));
        }
    }
    match probe(&folder.join("probe")) {
        Ok(()) => None,
        Err(problem) if problem.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("the disk that holds {place} is read-only"))
        }
        Err(problem) => Some(format!("the disk that holds {place} cannot be written: {problem}")),
    }
}

/// Writes and syncs a page, and takes it away again.
fn probe(path: &Path) -> io::Result<()> {
    let written = fs::File::create(path).and_then(|mut file| {
        file.write_all(&[0; 4_096])?;
        file.sync_all()
    });
    let removed = fs::remove_file(path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_written_is_left_as_it_was() {
        let folder = std::env::temp_dir().join(format!("unsplit-room-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        assert_eq!(refusal(&folder), None);
        assert_eq!(fs::read_dir(&folder).expect("our own folder").count(), 0);
        fs::remove_dir(&folder).expect("our own folder");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named_with_the_reason() {
        let refusal = refusal(Path::new("/nowhere/at/all")).expect("there is no such folder");
        assert!(refusal.contains("/nowhere/at/all") && refusal.contains("cannot be written"), "{refusal}");
    }
}
