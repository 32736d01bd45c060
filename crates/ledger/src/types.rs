//! Which words do all of us share?
//!
//! Ids, times and amounts each have a type of their own, so that a height is never taken for a nonce.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    digest,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The most faulty validators that a set of `n` survives: `(n - 1) / 3`.
pub const fn faults(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// How many of `n` validators decide: `n - f`, which is `2f + 1` only when `n = 3f + 1`.
pub const fn quorum(n: usize) -> usize {
    n - faults(n)
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Encode for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
        }

        impl Decode for $name {
            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                u64::read(r).map(Self)
            }
        }
    )*};
}

integers! {
    /// How many blocks lie between a block and the genesis block.
    Height,
    /// A span of heights with one validator set.
    Epoch,
    /// An attempt of the engine to agree on a block, within an epoch.
    View,
    /// How many transactions of an account took effect before this one.
    Nonce,
    /// A sum of the smallest unit of value.
    Amount,
    /// Milliseconds since the Unix epoch.
    Timestamp,
    /// How many tasks the chain took before this one. It names the task in everything validators say about it.
    TaskNumber,
    /// A fencing token: every lease has a greater one than all leases before it, so an order under an old lease is
    /// recognized whatever its sender believes. (M. Kleppmann, "How to do distributed locking", 2016.)
    Token,
    /// How many words of one validator about another, or about itself, took effect before this one.
    Sequence,
    /// How many verdicts there were of a validator, this one included.
    VerdictNumber,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its height.
    pub height: Height,
    /// Its time.
    pub timestamp: Timestamp,
}

impl Height {
    /// The height of the block that follows; none after the last one that can be counted.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The height so many blocks later, or the last one that can be counted.
    pub const fn after(self, blocks: u64) -> Self {
        Self(self.0.saturating_add(blocks))
    }
}

impl Epoch {
    /// The epoch that follows, or the last one that can be counted.
    pub const fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Timestamp {
    /// The time so many milliseconds later, or the last one that can be counted.
    pub const fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

impl Nonce {
    /// The nonce that follows; none after the last one that can be counted.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl Sequence {
    /// The number of the word that follows, or the last one that can be counted.
    pub const fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl VerdictNumber {
    /// The number of the verdict that follows, or the last one that can be counted.
    pub const fn after(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Amount {
    /// The sum, if it can be counted.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// What is left, if there is enough.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// Why text is not a hash, key or signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is written as {expected} hex digits, not {got:?}")]
pub struct HexError {
    what: &'static str,
    expected: usize,
    got: String,
}

macro_rules! bytes {
    ($($(#[$doc:meta])* $name:ident($count:literal, $what:literal)),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $count]);

        impl $name {
            /// All bytes zero: nobody and nothing.
            pub const ZERO: Self = Self([0; $count]);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let error = || HexError { what: $what, expected: 2 * $count, got: abridged(text) };
                from_hex(text).map(Self).ok_or_else(error)
            }
        }

        impl TryFrom<String> for $name {
            type Error = HexError;

            fn try_from(text: String) -> Result<Self, HexError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Encode for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
        }

        impl Decode for $name {
            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                r.array().map(Self)
            }
        }
    )*};
}

bytes! {
    /// A SHA-256 hash, written as 64 hex digits.
    Hash(32, "a hash"),
    /// An Ed25519 public key, written as 64 hex digits. It is the id of an account and of a validator alike.
    PublicKey(32, "a public key"),
    /// An Ed25519 signature, written as 128 hex digits.
    Signature(64, "a signature"),
}

impl Hash {
    /// Plain SHA-256, which others compute too: of payloads and results.
    pub fn of(bytes: &[u8]) -> Self {
        digest::sha256(bytes)
    }
}

/// A public key where it stands for the account that it controls.
pub type AccountId = PublicKey;

/// A public key where it stands for the validator that signs with it.
pub type NodeId = PublicKey;

/// The hash of a whole transaction, its signature included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TxId(pub Hash);

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TxId {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        text.parse().map(Self)
    }
}

impl Encode for TxId {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

impl Decode for TxId {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Hash::read(r).map(Self)
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($what:literal, $max:literal, $allowed:ident, $rule:literal)),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest one in bytes.
            pub const BYTES_MAX: usize = $max;

            pub(crate) const RULE: &'static str = $rule;

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn new(text: &str) -> Option<Self> {
                let holds = (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all($allowed);
                holds.then(|| Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::new(text).ok_or_else(|| TextError { what: $what, rule: Self::RULE, got: abridged(text) })
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.as_ref().to_owned()
            }
        }

        impl Encode for $name {
            fn write(&self, out: &mut Vec<u8>) {
                codec::write_bytes(self.0.as_bytes(), out);
            }
        }

        impl Decode for $name {
            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let text = r.text($what, Self::BYTES_MAX)?;
                Self::new(text).ok_or(DecodeError::Text { what: $what, rule: Self::RULE })
            }
        }
    )*};
}

texts! {
    /// The name of a chain.
    ChainId("chain id", 64, is_label_byte, "1 to 64 of a-z, 0-9 and -"),
    /// What its submitter calls a task; unique among the submitter's tasks.
    TaskId("task id", 64, is_id_byte, "1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `:` and -"),
    /// The name of the kind of program that does a task.
    Executor("executor", 32, is_label_byte, "1 to 32 of a-z, 0-9 and -"),
    /// Where a validator stands.
    Region("region", 32, is_label_byte, "1 to 32 of a-z, 0-9 and -"),
}

/// Why text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}, not {got:?}")]
pub struct TextError {
    what: &'static str,
    rule: &'static str,
    got: String,
}

impl ChainId {
    /// Whether faults may be injected: only a chain that was named for it allows that.
    pub fn is_devnet(&self) -> bool {
        self.0.contains("devnet")
    }
}

const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

const fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')
}

/// Whether text is a name that is safe in a path, a label and a command line alike.
pub(crate) fn is_label(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(is_label_byte)
}

/// What a message repeats of text from outside: enough to find it, never all of a megabyte.
pub(crate) fn abridged(text: &str) -> String {
    const SHOWN_MAX: usize = 160;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    if digits.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(bytes)
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_third_less_one_may_fail_and_the_rest_decides() {
        let table = [(0, 0, 0), (1, 0, 1), (3, 0, 3), (4, 1, 3), (6, 1, 5), (7, 2, 5), (10, 3, 7), (200, 66, 134)];
        for (n, f, decides) in table {
            assert_eq!((faults(n), quorum(n)), (f, decides), "n = {n}");
        }
    }

    #[test]
    fn a_chain_id_is_a_label_of_at_most_64_bytes() {
        for good in ["a", "unsplit-devnet-1", &"x".repeat(64)] {
            assert_eq!(good.parse::<ChainId>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "Upper", "under_score", "späce", "a b", "a/b", &"x".repeat(65)] {
            assert!(bad.parse::<ChainId>().is_err(), "{bad:?}");
            let mut bytes = Vec::new();
            codec::write_bytes(bad.as_bytes(), &mut bytes);
            assert!(ChainId::decode(&bytes).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wrong_chain_id_is_repeated_with_the_rule() {
        let error = "My Chain".parse::<ChainId>().expect_err("capital letters are refused");
        assert_eq!(error.to_string(), r#"chain id must be 1 to 64 of a-z, 0-9 and -, not "My Chain""#);
    }

    #[test]
    fn only_a_chain_named_devnet_is_one() {
        let chain = |text: &str| text.parse::<ChainId>().expect("a chain id");
        assert!(chain("my-devnet-3").is_devnet());
        assert!(!chain("mainnet").is_devnet());
    }

    #[test]
    fn hex_of_another_length_or_alphabet_is_refused() {
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<Hash>().is_err(), "{bad:?}");
        }
        let error = "xyz".parse::<PublicKey>().expect_err("not hex");
        assert_eq!(error.to_string(), r#"a public key is written as 64 hex digits, not "xyz""#);
    }

    #[test]
    fn a_message_never_repeats_a_megabyte() {
        let error = "ß".repeat(1 << 20).parse::<Hash>().expect_err("too long");
        assert!(error.to_string().len() < 500);
    }

    proptest! {
        #[test]
        fn hex_and_bytes_are_two_ways_to_write_the_same(bytes: [u8; 32]) {
            let hash = Hash(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
            prop_assert_eq!(hash.to_string().to_uppercase().parse(), Ok(hash));
            prop_assert_eq!(Hash::decode(&hash.encode()), Ok(hash));
        }
    }
}
