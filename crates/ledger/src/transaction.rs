//! What does somebody ask the chain to do?
//!
//! A transaction is one signed order of one account. Chain, nonce and expiry are signed along, so it takes effect at
//! most once, on one chain, and not long after its sender gave up on it. To add a kind: a variant of [`Kind`], its tag,
//! its size, its units and its name here, and what it does in `state`.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    digest,
    genesis::Certified,
    roster::{Mark, Request},
    tasks::order::{self, Claim, Output, Submission},
    types::{
        Amount, ChainId, Executor, Height, NodeId, Nonce, PublicKey, Region, Sequence, Signature, TaskId, TxId,
        VerdictNumber,
    },
    verdicts::{Evidence, Reason},
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
/// A cancellation of a task with a short id.
const KIND_SIZE_MIN: usize = 1 + 4 + 1;
/// A submission; a completion has fewer bytes around its result.
const KIND_SIZE_MAX: usize =
    1 + Submission::FIXED_SIZE + TaskId::BYTES_MAX + Executor::BYTES_MAX + order::PAYLOAD_BYTES_MAX + Region::BYTES_MAX;
/// Tag, recipient, amount.
const TRANSFER_SIZE: usize = 1 + 32 + 8;
/// Tag, task, token.
const CLAIM_SIZE: usize = 1 + 8 + 8;

const TRANSFER: u8 = 0;
const SUBMIT_TASK: u8 = 1;
const CANCEL_TASK: u8 = 2;
const COMPLETE_TASK: u8 = 3;
const DECLINE_TASK: u8 = 4;
const RENEW_LEASE: u8 = 5;
const SUSPECT: u8 = 6;
const WITHDRAW: u8 = 7;
const ALIVE: u8 = 8;
const DRAIN: u8 = 9;
const UNDRAIN: u8 = 10;
const CERTIFY: u8 = 11;
const LEAVE: u8 = 12;
const STAY: u8 = 13;
const JOIN: u8 = 14;
const APPROVE: u8 = 15;
const CAUGHT_UP: u8 = 16;
const RETRACT: u8 = 17;

/// One signed order of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The format, [`VERSION`].
    pub version: u16,
    /// The only chain on which it counts.
    pub chain: ChainId,
    /// Who orders.
    pub account: PublicKey,
    /// How many transactions of this account come before it; 0 where [`Kind::is_sequenced`] says that none is needed.
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
    /// Have work done.
    SubmitTask(Submission),
    /// Have no more of it. Only the submitter may.
    CancelTask {
        /// What the submitter calls it.
        id: TaskId,
    },
    /// The work is done. Only the holder of the lease may say so.
    CompleteTask {
        /// Its lease.
        claim: Claim,
        /// What came out.
        output: Output,
    },
    /// The holder cannot do it; the lease ends.
    DeclineTask {
        /// Its lease.
        claim: Claim,
        /// Why, in at most [`order::REASON_BYTES_MAX`] bytes of printable text.
        reason: String,
    },
    /// The holder is still at it; the lease begins anew.
    RenewLease {
        /// Its lease.
        claim: Claim,
        /// How often it was renewed before.
        renewals: u32,
    },
    /// A validator says what is wrong with another, for the first time or again.
    Suspect {
        /// Of whom.
        node: NodeId,
        /// What is wrong.
        reason: Reason,
        /// What was seen.
        evidence: Evidence,
        /// How many words of this sender about that validator came before.
        sequence: Sequence,
    },
    /// A validator takes back what it said of another.
    Withdraw {
        /// Of whom.
        node: NodeId,
        /// How many words of this sender about that validator came before.
        sequence: Sequence,
    },
    /// A validator that was found unresponsive is there.
    Alive {
        /// The verdict that it answers.
        verdict: VerdictNumber,
    },
    /// A validator wants no new tasks; it keeps what it has.
    Drain {
        /// How many words of this sender about that came before.
        sequence: Sequence,
    },
    /// A validator wants tasks again.
    Undrain {
        /// How many words of this sender about that came before.
        sequence: Sequence,
    },
    /// A validator proposes what may run from now on.
    Certify {
        /// The whole list.
        certified: Certified,
        /// How many proposals of this sender came before.
        sequence: Sequence,
    },
    /// A validator wants to be in no later set of validators.
    Leave {
        /// How many words of this sender about that came before.
        sequence: Sequence,
    },
    /// A validator takes back that it wants to leave.
    Stay {
        /// How many words of this sender about that came before.
        sequence: Sequence,
    },
    /// Somebody asks for a seat for the key that signs this.
    Join(Request),
    /// A validator approves of a request for a seat; or, if that says so, has another key take its own.
    Approve {
        /// Whose.
        node: NodeId,
        /// The block that took the request.
        since: Height,
    },
    /// A learner says that it is level with the chain.
    CaughtUp(Mark),
    /// Who asked for a seat takes that back.
    Retract {
        /// The block that took the request.
        since: Height,
    },
}

/// What a transaction of a validator speaks about. Only the last word about a thing counts, so whoever keeps transactions
/// for later keeps one for each slot: the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// What one says about another, or takes back.
    Statement {
        /// Who says it.
        accuser: NodeId,
        /// Of whom.
        accused: NodeId,
    },
    /// The answer to a verdict.
    Alive {
        /// Whose.
        node: NodeId,
    },
    /// Whether a validator takes tasks.
    Drain {
        /// Which one.
        node: NodeId,
    },
    /// What a validator proposes to certify.
    Certify {
        /// Which one.
        node: NodeId,
    },
    /// Whether a validator wants to leave.
    Leave {
        /// Which one.
        node: NodeId,
    },
    /// Whether somebody wants a seat.
    Join {
        /// Who.
        node: NodeId,
    },
    /// That a validator approves of somebody.
    Approve {
        /// Which one.
        approver: NodeId,
        /// Of whom.
        node: NodeId,
    },
    /// How far a learner is.
    CaughtUp {
        /// Which one.
        node: NodeId,
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
    /// among a million accounts, rounded up. Most of it is the signature check; the rest is what is written and hashed.
    pub fn units(&self) -> u64 {
        let hashed = |bytes: usize| bytes as u64 / 256;
        match self {
            Self::Transfer { .. } => 80,
            Self::SubmitTask(submission) => 100 + hashed(submission.payload.len()),
            Self::CompleteTask { output, .. } => 100 + hashed(output.size()),
            Self::CancelTask { .. } | Self::DeclineTask { .. } | Self::RenewLease { .. } => 100,
            // A short entry or two each. `Alive` clears what all others said, but takes effect once for each verdict.
            Self::Suspect { .. }
            | Self::Withdraw { .. }
            | Self::Alive { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Certify { .. }
            | Self::Leave { .. }
            | Self::Stay { .. }
            | Self::Approve { .. }
            | Self::CaughtUp(_)
            | Self::Retract { .. } => 100,
            // Held against the name and address of everybody who has or had a seat.
            Self::Join(_) => 400,
        }
    }

    /// The word for it in logs, metrics and the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::SubmitTask(_) => "submit_task",
            Self::CancelTask { .. } => "cancel_task",
            Self::CompleteTask { .. } => "complete_task",
            Self::DeclineTask { .. } => "decline_task",
            Self::RenewLease { .. } => "renew_lease",
            Self::Suspect { .. } => "suspect",
            Self::Withdraw { .. } => "withdraw",
            Self::Alive { .. } => "alive",
            Self::Drain { .. } => "drain",
            Self::Undrain { .. } => "undrain",
            Self::Certify { .. } => "certify",
            Self::Leave { .. } => "leave",
            Self::Stay { .. } => "stay",
            Self::Join(_) => "join",
            Self::Approve { .. } => "approve",
            Self::CaughtUp(_) => "caught_up",
            Self::Retract { .. } => "retract",
        }
    }

    /// Whether the account's nonce orders it. What speaks of a lease is fenced by the token instead, and what validators
    /// say of each other by the number that it carries.
    pub const fn is_sequenced(&self) -> bool {
        match self {
            Self::Transfer { .. } | Self::SubmitTask(_) | Self::CancelTask { .. } => true,
            Self::CompleteTask { .. }
            | Self::DeclineTask { .. }
            | Self::RenewLease { .. }
            | Self::Suspect { .. }
            | Self::Withdraw { .. }
            | Self::Alive { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Certify { .. }
            | Self::Leave { .. }
            | Self::Stay { .. }
            | Self::Join(_)
            | Self::Approve { .. }
            | Self::CaughtUp(_)
            | Self::Retract { .. } => false,
        }
    }

    /// The slot that this takes when `sender` orders it. A newer transaction of a slot replaces an older one; both carry
    /// the same number while the older one has not taken effect.
    pub const fn slot(&self, sender: NodeId) -> Option<Slot> {
        match self {
            Self::Suspect { node, .. } | Self::Withdraw { node, .. } => {
                Some(Slot::Statement { accuser: sender, accused: *node })
            }
            Self::Alive { .. } => Some(Slot::Alive { node: sender }),
            Self::Drain { .. } | Self::Undrain { .. } => Some(Slot::Drain { node: sender }),
            Self::Certify { .. } => Some(Slot::Certify { node: sender }),
            Self::Leave { .. } | Self::Stay { .. } => Some(Slot::Leave { node: sender }),
            Self::Join(_) | Self::Retract { .. } => Some(Slot::Join { node: sender }),
            Self::Approve { node, .. } => Some(Slot::Approve { approver: sender, node: *node }),
            Self::CaughtUp(_) => Some(Slot::CaughtUp { node: sender }),
            Self::Transfer { .. }
            | Self::SubmitTask(_)
            | Self::CancelTask { .. }
            | Self::CompleteTask { .. }
            | Self::DeclineTask { .. }
            | Self::RenewLease { .. } => None,
        }
    }

    /// The lease it speaks of.
    pub const fn claim(&self) -> Option<Claim> {
        match self {
            Self::CompleteTask { claim, .. } | Self::DeclineTask { claim, .. } | Self::RenewLease { claim, .. } => {
                Some(*claim)
            }
            Self::Transfer { .. }
            | Self::SubmitTask(_)
            | Self::CancelTask { .. }
            | Self::Suspect { .. }
            | Self::Withdraw { .. }
            | Self::Alive { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Certify { .. }
            | Self::Leave { .. }
            | Self::Stay { .. }
            | Self::Join(_)
            | Self::Approve { .. }
            | Self::CaughtUp(_)
            | Self::Retract { .. } => None,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Transfer { .. } => TRANSFER_SIZE,
            Self::SubmitTask(submission) => 1 + submission.size(),
            Self::CancelTask { id } => 1 + 4 + id.as_str().len(),
            Self::CompleteTask { output, .. } => CLAIM_SIZE + output.size(),
            Self::DeclineTask { reason, .. } => CLAIM_SIZE + 4 + reason.len(),
            Self::RenewLease { .. } => CLAIM_SIZE + 4,
            Self::Suspect { .. } => 1 + 32 + 1 + 4 + 8,
            Self::Withdraw { .. } => 1 + 32 + 8,
            Self::Alive { .. } | Self::Drain { .. } | Self::Undrain { .. } | Self::Leave { .. } | Self::Stay { .. } => {
                1 + 8
            }
            Self::Join(request) => 1 + request.size(),
            Self::Approve { .. } | Self::CaughtUp(_) => 1 + 32 + 8,
            Self::Retract { .. } => 1 + 8,
            Self::Certify { certified, .. } => 1 + 4 + 4 + 32 * (certified.programs.len() + certified.models.len()) + 8,
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
            Self::SubmitTask(submission) => {
                SUBMIT_TASK.write(out);
                submission.write(out);
            }
            Self::CancelTask { id } => {
                CANCEL_TASK.write(out);
                id.write(out);
            }
            Self::CompleteTask { claim, output } => {
                COMPLETE_TASK.write(out);
                claim.write(out);
                output.write(out);
            }
            Self::DeclineTask { claim, reason } => {
                DECLINE_TASK.write(out);
                claim.write(out);
                codec::write_bytes(reason.as_bytes(), out);
            }
            Self::RenewLease { claim, renewals } => {
                RENEW_LEASE.write(out);
                claim.write(out);
                renewals.write(out);
            }
            Self::Suspect { node, reason, evidence, sequence } => {
                SUSPECT.write(out);
                node.write(out);
                reason.write(out);
                evidence.write(out);
                sequence.write(out);
            }
            Self::Withdraw { node, sequence } => {
                WITHDRAW.write(out);
                node.write(out);
                sequence.write(out);
            }
            Self::Alive { verdict } => {
                ALIVE.write(out);
                verdict.write(out);
            }
            Self::Drain { sequence } => {
                DRAIN.write(out);
                sequence.write(out);
            }
            Self::Undrain { sequence } => {
                UNDRAIN.write(out);
                sequence.write(out);
            }
            Self::Certify { certified, sequence } => {
                CERTIFY.write(out);
                certified.write(out);
                sequence.write(out);
            }
            Self::Leave { sequence } => {
                LEAVE.write(out);
                sequence.write(out);
            }
            Self::Stay { sequence } => {
                STAY.write(out);
                sequence.write(out);
            }
            Self::Join(request) => {
                JOIN.write(out);
                request.write(out);
            }
            Self::Approve { node, since } => {
                APPROVE.write(out);
                node.write(out);
                since.write(out);
            }
            Self::CaughtUp(mark) => {
                CAUGHT_UP.write(out);
                mark.write(out);
            }
            Self::Retract { since } => {
                RETRACT.write(out);
                since.write(out);
            }
        }
    }
}

impl Decode for Kind {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(r)? {
            TRANSFER => Ok(Self::Transfer { to: PublicKey::read(r)?, amount: Amount::read(r)? }),
            SUBMIT_TASK => Submission::read(r).map(Self::SubmitTask),
            CANCEL_TASK => Ok(Self::CancelTask { id: TaskId::read(r)? }),
            COMPLETE_TASK => Ok(Self::CompleteTask { claim: Claim::read(r)?, output: Output::read(r)? }),
            DECLINE_TASK => Ok(Self::DeclineTask { claim: Claim::read(r)?, reason: order::read_text(r, "reason")? }),
            RENEW_LEASE => Ok(Self::RenewLease { claim: Claim::read(r)?, renewals: u32::read(r)? }),
            SUSPECT => Ok(Self::Suspect {
                node: NodeId::read(r)?,
                reason: Reason::read(r)?,
                evidence: Evidence::read(r)?,
                sequence: Sequence::read(r)?,
            }),
            WITHDRAW => Ok(Self::Withdraw { node: NodeId::read(r)?, sequence: Sequence::read(r)? }),
            ALIVE => Ok(Self::Alive { verdict: VerdictNumber::read(r)? }),
            DRAIN => Ok(Self::Drain { sequence: Sequence::read(r)? }),
            UNDRAIN => Ok(Self::Undrain { sequence: Sequence::read(r)? }),
            CERTIFY => Ok(Self::Certify { certified: Certified::read(r)?, sequence: Sequence::read(r)? }),
            LEAVE => Ok(Self::Leave { sequence: Sequence::read(r)? }),
            STAY => Ok(Self::Stay { sequence: Sequence::read(r)? }),
            JOIN => Request::read(r).map(Self::Join),
            APPROVE => Ok(Self::Approve { node: NodeId::read(r)?, since: Height::read(r)? }),
            CAUGHT_UP => Mark::read(r).map(Self::CaughtUp),
            RETRACT => Ok(Self::Retract { since: Height::read(r)? }),
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
    use crate::{
        tasks::order::Policy,
        types::{Hash, TaskNumber, Timestamp, Token},
    };
    use proptest::prelude::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes([seed; 32])
    }

    fn transfer(chain: &str) -> Transaction {
        let kind = Kind::Transfer { to: key(2).public(), amount: Amount(5) };
        Transaction::sign(&key(1), chain.parse().expect("a chain id"), Nonce(3), Height(9), kind)
    }

    fn submission(payload: usize) -> Kind {
        Kind::SubmitTask(Submission {
            id: "i".repeat(TaskId::BYTES_MAX).parse().expect("an id"),
            executor: "e".repeat(Executor::BYTES_MAX).parse().expect("an executor"),
            payload: vec![7; payload],
            units: 1,
            lease_ms: 10_000,
            retries: 3,
            deadline: Timestamp(9),
            policy: Policy::Keep,
            region: Some("r".repeat(Region::BYTES_MAX).parse().expect("a region")),
        })
    }

    /// One of each kind, with outputs of both forms.
    fn kinds() -> Vec<Kind> {
        let claim = Claim { task: TaskNumber(5), token: Token(6) };
        let kept = Output::Kept { sha256: Hash([1; 32]), bytes: 1 << 40, at: "a".repeat(order::REASON_BYTES_MAX) };
        vec![
            Kind::Transfer { to: key(2).public(), amount: Amount(5) },
            submission(3),
            Kind::CancelTask { id: "job-1".parse().expect("an id") },
            Kind::CompleteTask { claim, output: Output::Inline(vec![1; order::RESULT_BYTES_MAX]) },
            Kind::CompleteTask { claim, output: kept },
            Kind::DeclineTask { claim, reason: "no such program".into() },
            Kind::RenewLease { claim, renewals: 2 },
            Kind::Suspect {
                node: key(3).public(),
                reason: Reason::Disk,
                evidence: Evidence::of(1_500, 7),
                sequence: Sequence(4),
            },
            Kind::Withdraw { node: key(3).public(), sequence: Sequence(5) },
            Kind::Alive { verdict: VerdictNumber(6) },
            Kind::Drain { sequence: Sequence(7) },
            Kind::Undrain { sequence: Sequence(8) },
            Kind::Certify {
                certified: Certified { programs: vec![Hash([1; 32]); 2], models: vec![Hash([2; 32])] },
                sequence: Sequence(9),
            },
            Kind::Leave { sequence: Sequence(1) },
            Kind::Stay { sequence: Sequence(2) },
            request(None),
            request(Some(key(3).public())),
            Kind::Approve { node: key(3).public(), since: Height(7) },
            Kind::CaughtUp(Mark { height: Height(8), root: Hash([3; 32]) }),
            Kind::Retract { since: Height(7) },
        ]
    }

    fn request(replaces: Option<NodeId>) -> Kind {
        Kind::Join(Request {
            name: "five".into(),
            address: "host-5:7000".into(),
            region: "local".into(),
            capacity: 2,
            replaces,
        })
    }

    #[test]
    fn what_is_too_long_or_unprintable_is_refused() {
        let claim = Claim { task: TaskNumber(5), token: Token(6) };
        let bad = [
            (submission(order::PAYLOAD_BYTES_MAX + 1), "payload is 65537 long"),
            (
                Kind::CompleteTask { claim, output: Output::Inline(vec![0; order::RESULT_BYTES_MAX + 1]) },
                "result is 65537 long",
            ),
            (Kind::DeclineTask { claim, reason: "x".repeat(257) }, "reason is 257 long"),
            (Kind::DeclineTask { claim, reason: "two\nlines".into() }, "reason must be free of control characters"),
        ];
        for (kind, message) in bad {
            let transaction = Transaction { kind, ..transfer("t") };
            let error = Transaction::decode(&transaction.encode()).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_speaks_of_a_lease_or_a_validator_needs_no_nonce() {
        for kind in kinds() {
            let (speaks_of_lease, slot) = (kind.claim().is_some(), kind.slot(key(1).public()));
            assert_eq!(kind.is_sequenced(), !speaks_of_lease && slot.is_none(), "{}", kind.name());
        }
    }

    #[test]
    fn words_about_the_same_thing_share_a_slot_and_others_do_not() {
        let (me, other) = (key(1).public(), key(3).public());
        let slots: Vec<_> = kinds().iter().filter_map(|kind| kind.slot(me)).collect();
        let statement = Slot::Statement { accuser: me, accused: other };
        let (alive, drain) = (Slot::Alive { node: me }, Slot::Drain { node: me });
        let certify = Slot::Certify { node: me };
        let (leave, join) = (Slot::Leave { node: me }, Slot::Join { node: me });
        let (approve, caught_up) = (Slot::Approve { approver: me, node: other }, Slot::CaughtUp { node: me });
        let of_validators = [statement, statement, alive, drain, drain, certify, leave, leave];
        assert_eq!(slots, [of_validators.as_slice(), &[join, join, approve, caught_up, join]].concat());
        let withdrawal = Kind::Withdraw { node: me, sequence: Sequence(0) };
        assert_eq!(withdrawal.slot(other), Some(Slot::Statement { accuser: other, accused: me }));
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
        let signed = |chain: &str, kind| {
            Transaction::sign(&key(1), chain.parse().expect("a chain id"), Nonce(3), Height(9), kind)
        };
        let shortest = signed("t", Kind::CancelTask { id: "x".parse().expect("an id") });
        let longest = signed(&"t".repeat(64), submission(order::PAYLOAD_BYTES_MAX));
        assert_eq!(shortest.encode().len(), SIZE_MIN);
        assert_eq!(longest.encode().len(), SIZE_MAX);
        for kind in kinds() {
            let transaction = signed("t", kind);
            let bytes = transaction.encode();
            assert_eq!(bytes.len(), transaction.size(), "{}", transaction.kind.name());
            assert!((SIZE_MIN..=SIZE_MAX).contains(&bytes.len()));
            assert_eq!(Transaction::decode(&bytes), Ok(transaction));
        }
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
        fn whatever_is_accepted_encodes_to_the_same_bytes(
            kind in prop::sample::select(kinds()),
            flips in prop::collection::vec((0..SIZE_MIN, any::<u8>()), 0..4),
        ) {
            let mut bytes = Transaction { kind, ..transfer("t") }.encode();
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
        fn a_truncated_transaction_is_refused(keep in 0..transfer("t").size()) {
            prop_assert!(Transaction::decode(&transfer("t").encode()[..keep]).is_err());
        }
    }
}
