//! What is ordered about a task, and by whom?
//!
//! Whoever wants work done submits and cancels. The validator that holds a lease completes, declines or renews it, and
//! names the lease by task and fencing token: such an order fits one lease only, so it needs no nonce, and one that comes
//! too late harms no order after it.

use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    digest,
    types::{Executor, Hash, Region, TaskId, TaskNumber, Timestamp, Token, abridged},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

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
    /// What becomes of it while its holder is cut off.
    pub policy: Policy,
    /// Where it is done if somebody there can take it when it is leased; elsewhere otherwise.
    pub region: Option<Region>,
}

/// What becomes of a task while its holder is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// A verdict moves the lease at once: for what can be done twice without harm.
    #[default]
    Replace,
    /// A verdict moves nothing, and the lease runs out as others do: for what should not be done twice, unless it must.
    Wait,
    /// The lease neither moves nor runs out: for what only its holder can go on with. It ends with the task's deadline, by
    /// the holder's decline, or by a cancellation; and once the holder is drained it runs out as others do.
    Keep,
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
    /// The bytes of the encoding without id, executor, payload and region.
    pub(crate) const FIXED_SIZE: usize = 4 + 4 + 4 + 4 + 4 + 1 + 8 + 1 + 4;

    pub(crate) fn size(&self) -> usize {
        let region = self.region.as_ref().map_or(0, |region| region.as_str().len());
        Self::FIXED_SIZE + self.id.as_str().len() + self.executor.as_str().len() + self.payload.len() + region
    }
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Replace, Self::Wait, Self::Keep];

    /// The word for it on the command line and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Wait => "wait",
            Self::Keep => "keep",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why text is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy must be replace, wait or keep, not {got:?}")]
pub struct PolicyError {
    got: String,
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| PolicyError { got: abridged(text) })
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
        self.policy.write(out);
        write_region(self.region.as_ref(), out);
    }
}

/// No region is written as an empty one, which is none.
pub(crate) fn write_region(region: Option<&Region>, out: &mut Vec<u8>) {
    codec::write_bytes(region.map_or(&[], |region| region.as_str().as_bytes()), out);
}

pub(crate) fn read_region(r: &mut Reader<'_>) -> Result<Option<Region>, DecodeError> {
    match r.text("region", Region::BYTES_MAX)? {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| DecodeError::Text { what: "region", rule: Region::RULE }),
    }
}

impl Encode for Policy {
    fn write(&self, out: &mut Vec<u8>) {
        let tag: u8 = match self {
            Self::Replace => 0,
            Self::Wait => 1,
            Self::Keep => 2,
        };
        tag.write(out);
    }
}

impl Decode for Policy {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let got = u8::read(r)?;
        Self::ALL.get(usize::from(got)).copied().ok_or(DecodeError::Tag { what: "policy", got })
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
            policy: Policy::read(r)?,
            region: read_region(r)?,
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
