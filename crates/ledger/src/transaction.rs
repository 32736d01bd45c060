//! What does somebody ask the chain to do?
//!
//! A transaction is one signed order of one account. Chain, nonce and expiry are signed along, so it takes effect at
//! most once, on one chain, and not long after its sender gave up on it. To add a kind: a variant of [`Kind`], its tag,
//! its size, its units and its name here, and what it does in `state`.

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    digest,
    types::{Amount, ChainId, Height, Nonce, PublicKey, Signature, TxId},
};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::fmt;

/// The version of the transaction format.
pub const VERSION: u16 = 1;

/// The most bytes an encoded transaction takes: the fields at their longest, and the largest kind.
pub const SIZE_MAX: usize = FIXED_SIZE + ChainId::BYTES_MAX + KIND_SIZE_MAX;

/// The least bytes an encoded transaction takes.
pub const SIZE_MIN: usize = FIXED_SIZE + 1 + KIND_SIZE_MIN;

/// Version, chain length, account, nonce, expiry, signature.
const FIXED_SIZE: usize = 2 + 4 + 32 + 8 + 8 + 64;
const KIND_SIZE_MIN: usize = TRANSFER_SIZE;
const KIND_SIZE_MAX: usize = TRANSFER_SIZE;
/// Tag, recipient, amount.
const TRANSFER_SIZE: usize = 1 + 32 + 8;

const TRANSFER: u8 = 0;

/// One signed order of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The format, [`VERSION`].
    pub version: u16,
    /// The only chain on which it counts.
    pub chain: ChainId,
    /// Who orders.
    pub account: PublicKey,
    /// How many transactions of this account come before it.
    pub nonce: Nonce,
    /// The last height at which it may be included.
    pub expires: Height,
    /// What is ordered.
    pub kind: Kind,
    /// The account's signature over all of the above.
    pub signature: Signature,
}

/// What a transaction orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Give to another account.
    Transfer {
        /// Who receives.
        to: PublicKey,
        /// How much; at least 1.
        amount: Amount,
    },
}

/// An Ed25519 secret key. It is wiped from memory when dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl Transaction {
    /// Writes and signs an order of the account that `key` controls.
    pub fn sign(key: &SecretKey, chain: ChainId, nonce: Nonce, expires: Height, kind: Kind) -> Self {
        let signature = Signature::ZERO;
        let mut unsigned = Self { version: VERSION, chain, account: key.public(), nonce, expires, kind, signature };
        unsigned.signature = key.sign(&unsigned.signed_bytes());
        unsigned
    }

    /// The hash of the whole transaction. The signature is part of it: who checked an id has checked its signature.
    pub fn id(&self) -> TxId {
        TxId(digest::hash(digest::TRANSACTION, &[&self.encode()]))
    }

    /// Whether the account signed this.
    ///
    /// Strict verification: a signature cannot be altered into another valid one, and weak keys, under which one
    /// signature fits many messages, are refused.
    pub fn verify_signature(&self) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature.0);
        VerifyingKey::from_bytes(&self.account.0)
            .is_ok_and(|key| key.verify_strict(&self.signed_bytes(), &signature).is_ok())
    }

    /// How many bytes the encoding takes.
    pub fn size(&self) -> usize {
        FIXED_SIZE + self.chain.as_str().len() + self.kind.size()
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = digest::TRANSACTION_SIGNATURE.to_vec();
        self.write_unsigned(&mut bytes);
        bytes
    }

    fn write_unsigned(&self, out: &mut Vec<u8>) {
        self.version.write(out);
        self.chain.write(out);
        self.account.write(out);
        self.nonce.write(out);
        self.expires.write(out);
        self.kind.write(out);
    }
}

impl Encode for Transaction {
    fn write(&self, out: &mut Vec<u8>) {
        self.write_unsigned(out);
        self.signature.write(out);
    }
}

impl Decode for Transaction {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: read_version(r, "transaction", VERSION)?,
            chain: ChainId::read(r)?,
            account: PublicKey::read(r)?,
            nonce: Nonce::read(r)?,
            expires: Height::read(r)?,
            kind: Kind::read(r)?,
            signature: Signature::read(r)?,
        })
    }
}

/// A version is read before anything else: what follows in another version is not ours to guess.
pub(crate) fn read_version(r: &mut Reader<'_>, what: &'static str, expected: u16) -> Result<u16, DecodeError> {
    let got = u16::read(r)?;
    if got != expected {
        return Err(DecodeError::Version { what, expected, got });
    }
    Ok(got)
}

impl Kind {
    /// What it costs every validator to execute this, in microseconds of one core as `benches/state.rs` measures them
    /// among a million accounts, rounded up. Most of a transfer is its signature check.
    pub const fn units(&self) -> u64 {
        match self {
            Self::Transfer { .. } => 80,
        }
    }

    /// The word for it in logs, metrics and the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
        }
    }

    const fn size(&self) -> usize {
        match self {
            Self::Transfer { .. } => TRANSFER_SIZE,
        }
    }
}

impl Encode for Kind {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Transfer { to, amount } => {
                TRANSFER.write(out);
                to.write(out);
                amount.write(out);
            }
        }
    }
}

impl Decode for Kind {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(r)? {
            TRANSFER => Ok(Self::Transfer { to: PublicKey::read(r)?, amount: Amount::read(r)? }),
            got => Err(DecodeError::Tag { what: "transaction kind", got }),
        }
    }
}

impl SecretKey {
    /// Any 32 bytes are a key; whether they are a *secret* is up to where they come from.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes))
    }

    /// The bytes to keep in a file that only its owner can read.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key that others know us by.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Private, so that this key signs transactions and nothing that only looks like one.
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes([seed; 32])
    }

    fn transfer(chain: &str) -> Transaction {
        let kind = Kind::Transfer { to: key(2).public(), amount: Amount(5) };
        Transaction::sign(&key(1), chain.parse().expect("a chain id"), Nonce(3), Height(9), kind)
    }

    #[test]
    fn the_signature_covers_every_field() {
        let good = transfer("test");
        assert!(good.verify_signature());
        let forgeries = [
            Transaction { version: 2, ..good.clone() },
            Transaction { chain: "tesu".parse().expect("a chain id"), ..good.clone() },
            Transaction { account: key(3).public(), ..good.clone() },
            Transaction { nonce: Nonce(4), ..good.clone() },
            Transaction { expires: Height(10), ..good.clone() },
            Transaction { kind: Kind::Transfer { to: key(3).public(), amount: Amount(5) }, ..good.clone() },
            Transaction { kind: Kind::Transfer { to: key(2).public(), amount: Amount(6) }, ..good.clone() },
            Transaction { signature: Signature::ZERO, ..good.clone() },
        ];
        for forged in forgeries {
            assert!(!forged.verify_signature(), "{forged:?}");
            assert_ne!(forged.id(), good.id());
        }
    }

    #[test]
    fn a_weak_key_signs_nothing() {
        // The neutral element as key and R, with s = 0, satisfies the plain equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let forged = Transaction { account: PublicKey(neutral), signature: Signature(signature), ..transfer("test") };
        assert!(!forged.verify_signature());
    }

    #[test]
    fn a_transaction_stays_within_its_sizes() {
        let (shortest, longest) = (transfer("t"), transfer(&"t".repeat(64)));
        assert_eq!(shortest.encode().len(), SIZE_MIN);
        assert_eq!(longest.encode().len(), SIZE_MAX);
        assert_eq!((shortest.size(), longest.size()), (SIZE_MIN, SIZE_MAX));
    }

    #[test]
    fn an_unknown_kind_or_version_is_named() {
        let mut bytes = transfer("test").encode();
        let tag = bytes.len() - 64 - TRANSFER_SIZE;
        bytes[tag] = 200;
        let error = Transaction::decode(&bytes).expect_err("no such kind");
        assert_eq!(error.to_string(), "transaction kind 200 is not known");
        bytes[1] = 7;
        let error = Transaction::decode(&bytes).expect_err("no such version");
        assert_eq!(error.to_string(), "transaction version 7 is not known, this build reads version 1");
    }

    #[test]
    fn a_secret_key_is_not_printed() {
        let key = SecretKey::from_bytes([0xab; 32]);
        let printed = format!("{key:?} {key:#?}");
        assert!(!printed.contains("abab") && !printed.contains("171, 171"), "{printed}");
        assert_eq!(SecretKey::from_bytes(key.to_bytes()).public(), key.public());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_encodes_to_the_same_bytes(flips in prop::collection::vec((0..SIZE_MIN, any::<u8>()), 0..4)) {
            let mut bytes = transfer("t").encode();
            for (at, byte) in flips {
                bytes[at] = byte;
            }
            if let Ok(transaction) = Transaction::decode(&bytes) {
                prop_assert_eq!(transaction.encode(), bytes);
                transaction.verify_signature();
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
            if let Ok(transaction) = Transaction::decode(&bytes) {
                prop_assert_eq!(transaction.encode(), bytes);
            }
        }

        #[test]
        fn a_truncated_transaction_is_refused(keep in 0..SIZE_MIN) {
            prop_assert!(Transaction::decode(&transfer("t").encode()[..keep]).is_err());
        }
    }
}
