//! Whom does a validator hear, and how is it itself?
//!
//! A row goes to every validator at each heartbeat. It is signed, so that it can be shown to others as its sender's word;
//! and nothing but a row is signed under its namespace, so it can never pass for a vote or a transaction.

use commonware_codec::DecodeExt as _;
use commonware_cryptography::{
    Signer as _, Verifier as _,
    ed25519::{PrivateKey, PublicKey, Signature},
};
use ledger::{Decode, DecodeError, Encode, Height, Reader, View, codec::write_count, genesis::VALIDATORS_MAX};

const VERSION_BYTES_MAX: usize = 32;

/// Duty, executor, five counters, and the numbers before them.
const FIXED_BYTES: usize = 5 * 8 + 8 + 1 + 1 + 4 * 2 + 4 + VERSION_BYTES_MAX + 4;

const HEARING_BYTES: usize = 2 + 2 + 4 + 2;

const SIGNATURE_BYTES: usize = 64;

/// The most bytes of a signed row among so many validators.
pub const fn row_bytes_max(validators: usize) -> usize {
    FIXED_BYTES + HEARING_BYTES * validators + SIGNATURE_BYTES
}

/// What one validator says at one heartbeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// When the sender started, milliseconds since the Unix epoch: tells one run of it from the next.
    pub started_ms: u64,
    /// Counts the rows of one run, from 1.
    pub sequence: u64,
    /// When it was sent by the sender's clock, milliseconds since the Unix epoch.
    pub sent_ms: u64,
    /// The sender's epoch.
    pub epoch: u64,
    /// Newest finalized and applied height.
    pub height: Height,
    /// Newest view seen.
    pub view: View,
    /// Whether the sender signs votes.
    pub voting: bool,
    /// How the sender finds itself.
    pub vitals: Vitals,
    /// The sender's program version.
    pub version: String,
    /// Whom it hears, by their places in the roster as far as the sender knows that; its own place means nothing.
    pub hearings: Vec<Hearing>,
}

/// How a validator finds itself. Milliseconds saturate at 65,535.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Vitals {
    /// How much later than asked its event loop woke, at most, since the last row.
    pub lag_ms: u16,
    /// How long its vote guard took to become durable, at most, since the last row.
    pub disk_ms: u16,
    /// Tasks that it runs.
    pub running: u16,
    /// Tasks leased to it that wait for a slot.
    pub waiting: u16,
    /// What became of the last work with a known answer that it gave itself.
    pub executor: Canary,
}

/// What became of work with a known answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Canary {
    /// None was done yet.
    #[default]
    Untested,
    /// It was done, and right.
    Well,
    /// It was not done in time.
    Wedged,
    /// It was done, and wrong.
    Wrong,
}

/// How one validator hears another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hearing {
    /// How long ago, in milliseconds; 65,535 stands for longer or never.
    pub age_ms: u16,
    /// The round trip time in units of 100 µs; 65,535 stands for unknown.
    pub rtt: u16,
    /// The sequence of the newest row from it, its lowest 32 bits; 0 if none came.
    pub echo: u32,
    /// For how long that row was held before this one was sent, in milliseconds.
    pub held_ms: u16,
}

impl Hearing {
    /// Nothing was ever heard.
    pub const NEVER: Self = Self { age_ms: u16::MAX, rtt: u16::MAX, echo: 0, held_ms: u16::MAX };
}

impl Row {
    /// The signed message.
    pub fn sign(&self, key: &PrivateKey, namespace: &[u8]) -> Vec<u8> {
        let mut bytes = self.encode();
        let signature = key.sign(&signed_under(namespace), &bytes);
        bytes.extend_from_slice(signature.as_ref());
        bytes
    }

    /// How the sender hears the validator in this place; one that it does not know of, never.
    pub fn hearing(&self, place: usize) -> Hearing {
        self.hearings.get(place).copied().unwrap_or(Hearing::NEVER)
    }

    /// Reads a message, if `from` signed it and it speaks of so many validators at least: of those of the genesis. A sender may
    /// know of more than this validator does, or of fewer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(message: &[u8], from: &PublicKey, namespace: &[u8], validators: usize) -> Result<Self, RowError> {
        let (bytes, signature) = message.split_last_chunk::<SIGNATURE_BYTES>().ok_or(RowError::Short)?;
        let signature = Signature::decode(bytes::Bytes::copy_from_slice(signature)).map_err(|_| RowError::Signature)?;
        if !from.verify(&signed_under(namespace), bytes, &signature) {
            return Err(RowError::Signature);
        }
        let row = Self::decode(bytes)?;
        if row.hearings.len() < validators {
            return Err(RowError::Validators { expected: validators, got: row.hearings.len() });
        }
        Ok(row)
    }
}

impl Row {
    /// What a message says, whoever signed it: to see whether it is worth a look at its signature.
    pub fn claimed(message: &[u8]) -> Option<Self> {
        Self::decode(message.split_last_chunk::<SIGNATURE_BYTES>()?.0).ok()
    }

    /// Whether this comes after another of its sender: later in one run of it, or in another run. That one may have begun
    /// earlier by its own clock, which was set back since.
    pub const fn follows(&self, other: &Self) -> bool {
        self.started_ms != other.started_ms || self.sequence > other.sequence
    }
}

/// Why a message is no row of its sender.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RowError {
    /// There is not even room for a signature.
    #[error("it is shorter than a signature")]
    Short,
    /// Its sender did not sign it.
    #[error("its signature is not its sender's")]
    Signature,
    /// Not a row.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is of another set of validators.
    #[error("it speaks of {got} validators, there are at least {expected}")]
    Validators {
        /// How many there are at least.
        expected: usize,
        /// Of how many it speaks.
        got: usize,
    },
}

fn signed_under(namespace: &[u8]) -> Vec<u8> {
    [namespace, b"/row"].concat()
}

impl Encode for Row {
    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.started_ms, self.sequence, self.sent_ms, self.epoch] {
            number.write(out);
        }
        self.height.write(out);
        self.view.write(out);
        out.push(u8::from(self.voting));
        self.vitals.write(out);
        ledger::codec::write_bytes(self.version.as_bytes(), out);
        write_count(self.hearings.len(), out);
        self.hearings.iter().for_each(|hearing| hearing.write(out));
    }
}

impl Decode for Row {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (started_ms, sequence, sent_ms, epoch) = (u64::read(r)?, u64::read(r)?, u64::read(r)?, u64::read(r)?);
        let (height, view) = (Height::read(r)?, View::read(r)?);
        let voting = match u8::read(r)? {
            0 => false,
            1 => true,
            got => return Err(DecodeError::Tag { what: "duty", got }),
        };
        let vitals = Vitals::read(r)?;
        let version = r.text("program version", VERSION_BYTES_MAX)?.to_owned();
        let count = r.count("hearings", VALIDATORS_MAX, HEARING_BYTES)?;
        let hearings = (0..count).map(|_| Hearing::read(r)).collect::<Result<_, _>>()?;
        Ok(Self { started_ms, sequence, sent_ms, epoch, height, view, voting, vitals, version, hearings })
    }
}

impl Encode for Vitals {
    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.lag_ms, self.disk_ms, self.running, self.waiting] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(match self.executor {
            Canary::Untested => 0,
            Canary::Well => 1,
            Canary::Wedged => 2,
            Canary::Wrong => 3,
        });
    }
}

impl Decode for Vitals {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (lag_ms, disk_ms, running, waiting) = (short(r)?, short(r)?, short(r)?, short(r)?);
        let executor = match u8::read(r)? {
            0 => Canary::Untested,
            1 => Canary::Well,
            2 => Canary::Wedged,
            3 => Canary::Wrong,
            got => return Err(DecodeError::Tag { what: "canary", got }),
        };
        Ok(Self { lag_ms, disk_ms, running, waiting, executor })
    }
}

impl Encode for Hearing {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.age_ms.to_be_bytes());
        out.extend_from_slice(&self.rtt.to_be_bytes());
        self.echo.write(out);
        out.extend_from_slice(&self.held_ms.to_be_bytes());
    }
}

impl Decode for Hearing {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { age_ms: short(r)?, rtt: short(r)?, echo: u32::read(r)?, held_ms: short(r)? })
    }
}

fn short(r: &mut Reader<'_>) -> Result<u16, DecodeError> {
    r.array::<2>().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &[u8] = b"a chain";

    fn row(validators: usize) -> Row {
        let hearing = Hearing { age_ms: 12, rtt: 30, echo: 7, held_ms: 400 };
        Row {
            started_ms: 1,
            sequence: 2,
            sent_ms: 3,
            epoch: 0,
            height: Height(7),
            view: View(9),
            voting: true,
            vitals: Vitals { lag_ms: 1, disk_ms: 2, running: 3, waiting: 4, executor: Canary::Wedged },
            version: "v".repeat(VERSION_BYTES_MAX),
            hearings: vec![hearing; validators],
        }
    }

    fn key(seed: u64) -> PrivateKey {
        PrivateKey::from_seed(seed)
    }

    #[test]
    fn a_row_is_its_senders_word_about_those_of_the_genesis_at_least() {
        let (row, message) = (row(4), row(4).sign(&key(1), NAMESPACE));
        let open =
            |from: u64, namespace, validators| Row::open(&message, &key(from).public_key(), namespace, validators);
        assert_eq!((row.hearing(3).echo, row.hearing(4)), (7, Hearing::NEVER));
        assert_eq!(open(1, NAMESPACE, 3), Ok(row.clone()), "its sender knows of one more");
        assert_eq!(open(1, NAMESPACE, 4), Ok(row));
        assert_eq!(open(2, NAMESPACE, 4), Err(RowError::Signature));
        assert_eq!(open(1, b"another", 4), Err(RowError::Signature));
        assert_eq!(open(1, NAMESPACE, 5), Err(RowError::Validators { expected: 5, got: 4 }));
    }

    #[test]
    fn a_row_follows_the_one_before_it_and_any_of_another_run() {
        let first = row(4);
        let at = |started_ms, sequence| Row { started_ms, sequence, ..row(4) };
        assert!(at(1, 3).follows(&first) && !at(1, 2).follows(&first) && !at(1, 1).follows(&first));
        assert!(at(2, 1).follows(&first) && at(0, 1).follows(&first), "whatever its clock says");
    }

    #[test]
    fn the_longest_row_has_the_size_that_is_announced() {
        let message = row(100).sign(&key(1), NAMESPACE);
        assert_eq!(message.len(), row_bytes_max(100));
    }

    #[test]
    fn a_damaged_row_is_refused_and_never_a_panic() {
        let message = row(4).sign(&key(1), NAMESPACE);
        for at in 0..message.len() {
            let mut damaged = message.clone();
            damaged[at] ^= 1;
            assert!(Row::open(&damaged, &key(1).public_key(), NAMESPACE, 4).is_err(), "byte {at}");
            assert!(Row::open(&message[..at], &key(1).public_key(), NAMESPACE, 4).is_err(), "cut at {at}");
            drop(Row::decode(&damaged[..at]));
        }
    }
}
