//! Is what would be started what it should be?

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use api::Releases;
use ledger::Hash;

use crate::{failure::Failure, files::sha256};

/// The hashes of programs and models that may run. Of what the list is empty, everything may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Certified {
    programs: Vec<Hash>,
    models: Vec<Hash>,
}

impl Certified {
    /// What the chain certifies, and what the operator certifies for this host: 64 hex digits each, in either case.
    pub(super) fn new(chain: &ledger::Certified, own: &[String]) -> Result<Self, Failure> {
        let own = own.iter().map(|hash| parse(hash)).collect::<Result<Vec<Hash>, Failure>>()?;
        let with = |chain: &[Hash]| [chain, &own].concat();
        Ok(Self { programs: with(&chain.programs), models: with(&chain.models) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.models.is_empty()
    }
}

/// What the chain certifies, as its validator says it; nothing if that makes no sense.
pub(super) fn from_chain(releases: &Releases) -> Option<ledger::Certified> {
    let hashes = |texts: &[String]| texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<Hash>>>();
    Some(ledger::Certified { programs: hashes(&releases.programs)?, models: hashes(&releases.models)? })
}

fn parse(hash: &str) -> Result<Hash, Failure> {
    let help = "write the 64 hex digits that `sha256sum FILE` prints";
    hash.to_ascii_lowercase().parse().map_err(|_| Failure::usage(format!("{hash:?} is no SHA-256"), help))
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
        let program = std::slice::from_ref(&self.program);
        let checked =
            check_hashes(program, &self.certified.programs)? + check_hashes(&self.models, &self.certified.models)?;
        if checked == 0 {
            return Ok("the store can be read; no hash is certified, so none was compared".into());
        }
        Ok(format!("the store can be read; {} certified", crate::output::counted(checked, "file")))
    }
}

/// How many hashes were compared.
fn check_hashes(paths: &[PathBuf], certified: &[Hash]) -> Result<usize, Failure> {
    if certified.is_empty() {
        return Ok(0);
    }
    for path in paths {
        let hash = sha256(path).map_err(Failure::file("read", path))?;
        if !certified.contains(&hash) {
            return Err(Failure::refused(
                format!("{} has SHA-256 {hash}, which is not certified", shown(path).display()),
                "install a certified release, or add this hash with --certified if you know where the file comes from",
            ));
        }
    }
    Ok(paths.len())
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
            certified: Certified::new(&ledger::Certified::default(), &certified).expect("hashes"),
        }
    }

    #[test]
    fn hashes_are_read_in_either_case_and_nothing_else_is() {
        assert_eq!(parse(&ABC.to_uppercase()).expect("a hash").to_string(), ABC);
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
    fn what_the_chain_certifies_may_run_and_a_model_is_no_program() {
        let folder = folder("chain");
        let abc: Hash = ABC.parse().expect("a hash");
        let verify = |programs: &[Hash], models: &[Hash]| {
            let chain = ledger::Certified { programs: programs.to_vec(), models: models.to_vec() };
            let certified = Certified::new(&chain, &[]).expect("no hash of our own");
            Files { certified, ..files(&folder, &[], &["model"]) }.verify()
        };
        assert!(verify(&[abc], &[]).expect("no model is certified").ends_with("; 1 file certified"));
        let failure = verify(&[abc], &[abc]).expect_err("another model");
        assert!(failure.message.contains("model has SHA-256"), "{}", failure.message);
        let abd = sha256(&folder.join("model")).expect("our own file");
        assert!(verify(&[abc], &[abd]).expect("both are certified").ends_with("; 2 files certified"));
        assert_eq!(verify(&[abd], &[abd]).expect_err("a model in the place of the program").exit, Exit::Refused);
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
