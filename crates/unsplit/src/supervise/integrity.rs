//! Is what would be started what it should be?

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// The hashes of programs and models that may run. Empty: everything may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Certified(Vec<String>);

impl Certified {
    /// The one place where a list of certified hashes is read, wherever it comes from: 64 hex digits each, in either case.
    pub(super) fn parse(hashes: &[String]) -> Result<Self, Failure> {
        let parsed: Result<Vec<String>, Failure> = hashes.iter().map(|hash| parse(hash)).collect();
        parsed.map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse(hash: &str) -> Result<String, Failure> {
    if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(hash.to_ascii_lowercase());
    }
    let help = "write the 64 hex digits that `sha256sum FILE` prints";
    Err(Failure::usage(format!("{hash:?} is no SHA-256"), help))
}

/// What is looked at before a start.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) program: PathBuf,
    pub(super) models: Vec<PathBuf>,
    pub(super) data_dir: PathBuf,
    pub(super) certified: Certified,
}

impl Files {
    /// Looks at everything. Blocks for as long as reading the files takes.
    ///
    /// # Errors
    /// Refused if a hash is not certified; a configuration failure if something is not there or cannot be read.
    pub(super) fn verify(&self) -> Result<String, Failure> {
        check_store(&self.data_dir)?;
        if self.certified.is_empty() {
            return Ok("the store can be read; no hash is certified, so none was compared".into());
        }
        let files: Vec<&PathBuf> = std::iter::once(&self.program).chain(&self.models).collect();
        files.iter().try_for_each(|path| self.check_hash(path))?;
        Ok(format!("the store can be read; {} certified", crate::output::counted(files.len(), "hash")))
    }

    fn check_hash(&self, path: &Path) -> Result<(), Failure> {
        let hash = sha256(path).map_err(Failure::file("read", path))?;
        if self.certified.0.contains(&hash) {
            return Ok(());
        }
        Err(Failure::refused(
            format!("{} has SHA-256 {hash}, which is not certified", shown(path).display()),
            "install a certified release, or add this hash with --certified if you know where the file comes from",
        ))
    }
}

/// `/proc/self/exe` says nothing to people.
fn shown(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The validator verifies what is in its store; here only whether there is one to verify.
fn check_store(data_dir: &Path) -> Result<(), Failure> {
    fs::read_dir(data_dir).map_err(Failure::file("read the folder", data_dir))?;
    let storage = data_dir.join("storage");
    match fs::read_dir(&storage) {
        // A validator that was never started has none yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound && data_dir.join("first-start").exists() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::config(
            format!("there is no {}", storage.display()),
            "restore it from your backup; if it is lost, start the validator by hand once: it fetches everything from its \
             peers and observes first",
        )),
        other => other.map(drop).map_err(Failure::file("read the folder", &storage)),
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let bytes: [u8; 32] = hash.finalize().into();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    /// Of the three letters, from FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("unsplit-integrity-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("storage")).expect("a temporary folder");
        fs::write(folder.join("program"), "abc").expect("our own folder");
        fs::write(folder.join("model"), "abd").expect("our own folder");
        folder
    }

    fn files(folder: &Path, certified: &[&str], models: &[&str]) -> Files {
        let certified: Vec<String> = certified.iter().map(|hash| (*hash).to_owned()).collect();
        Files {
            program: folder.join("program"),
            models: models.iter().map(|model| folder.join(model)).collect(),
            data_dir: folder.to_owned(),
            certified: Certified::parse(&certified).expect("hashes"),
        }
    }

    #[test]
    fn hashes_are_read_in_either_case_and_nothing_else_is() {
        assert_eq!(parse(&ABC.to_uppercase()).expect("a hash"), ABC);
        for wrong in ["", &ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "g"), &format!("sha256:{ABC}")] {
            assert_eq!(parse(wrong).expect_err("no hash").exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn only_what_is_certified_is_started() {
        let folder = folder("hashes");
        files(&folder, &[], &[]).verify().expect("nothing is asked for");
        files(&folder, &[&"0".repeat(64), ABC], &[]).verify().expect("one of two releases");
        let failure = files(&folder, &[ABC], &["model"]).verify().expect_err("another model");
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.contains("model has SHA-256"), "{}", failure.message);
        assert_eq!(files(&folder, &[ABC], &["none"]).verify().expect_err("no model").exit, Exit::Config);
        fs::write(folder.join("program"), "abcd").expect("our own folder");
        assert_eq!(files(&folder, &[ABC], &[]).verify().expect_err("damaged").exit, Exit::Refused);
        fs::remove_dir_all(folder).expect("our own folder");
    }

    #[test]
    fn a_store_that_is_gone_is_never_started_as_if_it_were_new() {
        let folder = folder("store");
        fs::remove_dir(folder.join("storage")).expect("our own folder");
        let failure = files(&folder, &[], &[]).verify().expect_err("it is lost");
        assert_eq!(failure.exit, Exit::Config);
        fs::write(folder.join("first-start"), "").expect("our own folder");
        files(&folder, &[], &[]).verify().expect("it was never started");
        fs::remove_dir_all(&folder).expect("our own folder");
        assert_eq!(files(&folder, &[], &[]).verify().expect_err("nothing there").exit, Exit::Config);
    }
}
