//! What is ordered about a task, and by whom?
//!
//! Whoever wants work done submits and cancels. The validator that holds a lease completes, declines or renews it, and
//! names the lease by task and fencing token: such an order fits one lease only, so it needs no nonce, and one that comes
//! too late harms no order after it.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    digest,
    types::{Executor, Hash, TaskId, TaskNumber, Timestamp, Token},
};

/// The most bytes of a payload.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// The most bytes of a result that is kept on the chain.
pub const RESULT_BYTES_MAX: usize = 64 << 10;

/// The most bytes of a reason, or of the place where a result is kept.
pub const REASON_BYTES_MAX: usize = 256;

/// The most retries: a task is leased at most once more.
pub const RETRIES_MAX: u8 = 15;

/// The shortest lease in milliseconds.
pub const LEASE_MS_MIN: u32 = 1_000;

/// The longest lease in milliseconds, an hour. Work that takes longer is renewed.
pub const LEASE_MS_MAX: u32 = 3_600_000;

/// A task as it is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What the submitter calls it.
    pub id: TaskId,
    /// What kind of program does it.
    pub executor: Executor,
    /// What the executor is given.
    pub payload: Vec<u8>,
    /// How much of a validator's capacity it takes, from 1 to [`UNITS_MAX`](super::balance::UNITS_MAX).
    pub units: u32,
    /// How long a validator has, in milliseconds, before it must renew or others may take over.
    pub lease_ms: u32,
    /// How many more leases there are after the first one ends without a result; at most [`RETRIES_MAX`].
    pub retries: u8,
    /// The block time after which the result is of no use: the task has failed then.
    pub deadline: Timestamp,
}

/// The lease that a validator speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The task.
    pub task: TaskNumber,
    /// The token of the lease.
    pub token: Token,
}

/// What came out of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The result itself.
    Inline(Vec<u8>),
    /// The result is elsewhere.
    Kept {
        /// Its SHA-256.
        sha256: Hash,
        /// Its length.
        bytes: u64,
        /// Where: at most [`REASON_BYTES_MAX`] bytes of printable text.
        at: String,
    },
}

impl Submission {
    /// The bytes of the encoding without id, executor and payload.
    pub(crate) const FIXED_SIZE: usize = 4 + 4 + 4 + 4 + 4 + 1 + 8;

    pub(crate) fn size(&self) -> usize {
        Self::FIXED_SIZE + self.id.as_str().len() + self.executor.as_str().len() + self.payload.len()
    }
}

impl Output {
    /// The SHA-256 of the result.
    pub fn sha256(&self) -> Hash {
        match self {
            Self::Inline(bytes) => digest::sha256(bytes),
            Self::Kept { sha256, .. } => *sha256,
        }
    }

    /// How long the result is.
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Kept { bytes, .. } => *bytes,
        }
    }

    pub(crate) const fn size(&self) -> usize {
        match self {
            Self::Inline(bytes) => 1 + 4 + bytes.len(),
            Self::Kept { at, .. } => 1 + 32 + 8 + 4 + at.len(),
        }
    }
}

/// Whether text can be shown to anybody: no line breaks, no other control characters.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Reads a reason or a place.
pub(crate) fn read_text(r: &mut Reader<'_>, what: &'static str) -> Result<String, DecodeError> {
    let text = r.text(what, REASON_BYTES_MAX)?;
    if is_printable(text) {
        Ok(text.to_owned())
    } else {
        Err(DecodeError::Text { what, rule: "free of control characters" })
    }
}

impl Encode for Submission {
    fn write(&self, out: &mut Vec<u8>) {
        self.id.write(out);
        self.executor.write(out);
        codec::write_bytes(&self.payload, out);
        self.units.write(out);
        self.lease_ms.write(out);
        self.retries.write(out);
        self.deadline.write(out);
    }
}

impl Decode for Submission {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: TaskId::read(r)?,
            executor: Executor::read(r)?,
            payload: r.bytes("payload", PAYLOAD_BYTES_MAX)?.to_vec(),
            units: u32::read(r)?,
            lease_ms: u32::read(r)?,
            retries: u8::read(r)?,
            deadline: Timestamp::read(r)?,
        })
    }
}

impl Encode for Claim {
    fn write(&self, out: &mut Vec<u8>) {
        self.task.write(out);
        self.token.write(out);
    }
}

impl Decode for Claim {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { task: TaskNumber::read(r)?, token: Token::read(r)? })
    }
}

const INLINE: u8 = 0;
const KEPT: u8 = 1;

impl Encode for Output {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Inline(bytes) => {
                INLINE.write(out);
                codec::write_bytes(bytes, out);
            }
            Self::Kept { sha256, bytes, at } => {
                KEPT.write(out);
                sha256.write(out);
                bytes.write(out);
                codec::write_bytes(at.as_bytes(), out);
            }
        }
    }
}

impl Decode for Output {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(r)? {
            INLINE => Ok(Self::Inline(r.bytes("result", RESULT_BYTES_MAX)?.to_vec())),
            KEPT => {
                Ok(Self::Kept { sha256: Hash::read(r)?, bytes: u64::read(r)?, at: read_text(r, "place of a result")? })
            }
            got => Err(DecodeError::Tag { what: "result", got }),
        }
    }
}
