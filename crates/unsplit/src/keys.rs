//! Secrets of this machine: signing keys and API tokens.

use std::path::Path;

use ledger::{Hash, PublicKey, SecretKey};

use crate::{failure::Failure, files};

/// A key that nobody else has.
pub(crate) fn generate() -> Result<SecretKey, Failure> {
    Ok(SecretKey::from_bytes(random()?))
}

/// Makes a key and keeps it in a new file, mode 0600.
pub(crate) fn generate_into(path: &Path) -> Result<PublicKey, Failure> {
    let key = generate()?;
    files::write_secret(path, &format!("{}\n", Hash(key.to_bytes())))?;
    Ok(key.public())
}

/// A word that nobody can guess, for a validator's API.
pub(crate) fn token() -> Result<String, Failure> {
    Ok(Hash(random()?).to_string())
}

/// Reads a key file: 32 bytes in hex.
pub(crate) fn load(path: &Path) -> Result<SecretKey, Failure> {
    let text = files::read_secret(path)?;
    let bytes: Hash = text.trim().parse().map_err(|_| {
        // The text itself may be a secret with a typo; it is not repeated.
        let help = "restore the file from a backup; a new key is a new identity";
        Failure::config(format!("{} must hold 64 hex digits", path.display()), help)
    })?;
    Ok(SecretKey::from_bytes(bytes.0))
}

/// A few random hex digits for names.
pub(crate) fn random_word(digits: usize) -> Result<String, Failure> {
    Ok(Hash(random()?).to_string()[..digits].to_owned())
}

fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| Failure::unexpected(format!("the system has no randomness: {error}")))?;
    Ok(bytes)
}
