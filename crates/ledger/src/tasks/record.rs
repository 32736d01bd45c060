//! A task as it is stored.

use super::order::{self, Policy, REASON_BYTES_MAX, RETRIES_MAX, read_region, read_text, write_region};
use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader},
    types::{AccountId, Executor, Hash, Height, NodeId, Place, Region, TaskId, TaskNumber, Timestamp, Token},
};

/// What the chain knows of a task. Its payload is an entry of its own, and gone when the task is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// How many tasks came before it.
    pub number: TaskNumber,
    /// Who ordered it.
    pub account: AccountId,
    /// What its submitter calls it.
    pub id: TaskId,
    /// What kind of program does it.
    pub executor: Executor,
    /// How much of a validator's capacity it takes.
    pub units: u32,
    /// How long a lease lasts, in milliseconds.
    pub lease_ms: u32,
    /// How many more leases there are after the first one ends without a result.
    pub retries: u8,
    /// The block time after which it has failed.
    pub deadline: Timestamp,
    /// What becomes of it while its holder is cut off.
    pub policy: Policy,
    /// Where it is done if somebody there can take it.
    pub region: Option<Region>,
    /// The lease time at which it last began to wait for a holder.
    pub waits_since: Timestamp,
    /// The block that holds its submission.
    pub submitted: Height,
    /// The length of its payload.
    pub payload_bytes: u32,
    /// The SHA-256 of its payload.
    pub payload_sha256: Hash,
    /// Whose leases ended without a result, in this order.
    pub lost_by: Vec<NodeId>,
    /// Why the last of them ended, or why the task failed; empty if none did.
    pub reason: String,
    /// Where it stands.
    pub state: TaskState,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Nobody has it.
    Pending,
    /// A validator is at it.
    Leased(Lease),
    /// It is done.
    Done(Done),
    /// It will not be done: the deadline passed, or enough leases ended without a result.
    Failed {
        /// Since this block.
        at: Height,
    },
    /// Its submitter wants it no more.
    Cancelled {
        /// Since this block.
        at: Height,
    },
}

/// The right of one validator to complete a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub holder: NodeId,
    /// What tells it from all other leases: greater than the tokens before it.
    pub token: Token,
    /// It runs out in the first block that is later *and* higher than this. Its timestamp is *lease time*, which stands still
    /// in a halt; [`State::lease_left_ms`](crate::State::lease_left_ms) says what is left of it.
    pub until: Place,
    /// How often it was renewed.
    pub renewals: u32,
}

/// How a task was done. The result itself is in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// By whom.
    pub by: NodeId,
    /// Under which lease.
    pub token: Token,
    /// In which block.
    pub at: Height,
    /// The SHA-256 of the result.
    pub sha256: Hash,
    /// The length of the result.
    pub bytes: u64,
    /// Where the result is, if it is not in the block.
    pub kept_at: Option<String>,
}

impl TaskState {
    /// The word for it in logs, metrics and the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased(_) => "leased",
            Self::Done(_) => "done",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Since which block nothing more can happen to it.
    pub const fn finished(&self) -> Option<Height> {
        match self {
            Self::Pending | Self::Leased(_) => None,
            Self::Done(Done { at, .. }) | Self::Failed { at } | Self::Cancelled { at } => Some(*at),
        }
    }

    /// Whether nothing more can happen to it.
    pub const fn is_finished(&self) -> bool {
        self.finished().is_some()
    }
}

impl Task {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 32 * self.lost_by.len());
        self.account.write(&mut out);
        self.id.write(&mut out);
        self.executor.write(&mut out);
        self.units.write(&mut out);
        self.lease_ms.write(&mut out);
        self.retries.write(&mut out);
        self.deadline.write(&mut out);
        self.policy.write(&mut out);
        write_region(self.region.as_ref(), &mut out);
        self.waits_since.write(&mut out);
        self.submitted.write(&mut out);
        self.payload_bytes.write(&mut out);
        self.payload_sha256.write(&mut out);
        codec::write_count(self.lost_by.len(), &mut out);
        self.lost_by.iter().for_each(|node| node.write(&mut out));
        codec::write_bytes(self.reason.as_bytes(), &mut out);
        self.state.write(&mut out);
        out
    }

    pub(crate) fn decode(number: TaskNumber, value: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(value);
        let task = Self {
            number,
            account: AccountId::read(&mut r)?,
            id: TaskId::read(&mut r)?,
            executor: Executor::read(&mut r)?,
            units: u32::read(&mut r)?,
            lease_ms: u32::read(&mut r)?,
            retries: u8::read(&mut r)?,
            deadline: Timestamp::read(&mut r)?,
            policy: Policy::read(&mut r)?,
            region: read_region(&mut r)?,
            waits_since: Timestamp::read(&mut r)?,
            submitted: Height::read(&mut r)?,
            payload_bytes: u32::read(&mut r)?,
            payload_sha256: Hash::read(&mut r)?,
            lost_by: read_nodes(&mut r)?,
            reason: r.text("reason", REASON_BYTES_MAX)?.to_owned(),
            state: TaskState::read(&mut r)?,
        };
        r.finish()?;
        if task.payload_bytes as usize > order::PAYLOAD_BYTES_MAX {
            let (got, max) = (task.payload_bytes as usize, order::PAYLOAD_BYTES_MAX);
            return Err(DecodeError::TooLong { what: "payload", got, max });
        }
        Ok(task)
    }
}

fn read_nodes(r: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let count = r.count("validators that had it", usize::from(RETRIES_MAX) + 1, 32)?;
    (0..count).map(|_| NodeId::read(r)).collect()
}

const PENDING: u8 = 0;
const LEASED: u8 = 1;
const DONE: u8 = 2;
const DONE_ELSEWHERE: u8 = 3;
const FAILED: u8 = 4;
const CANCELLED: u8 = 5;

impl Encode for TaskState {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pending => PENDING.write(out),
            Self::Leased(lease) => {
                LEASED.write(out);
                lease.write(out);
            }
            Self::Done(done) => {
                let tag = if done.kept_at.is_none() { DONE } else { DONE_ELSEWHERE };
                tag.write(out);
                done.write(out);
            }
            Self::Failed { at } => {
                FAILED.write(out);
                at.write(out);
            }
            Self::Cancelled { at } => {
                CANCELLED.write(out);
                at.write(out);
            }
        }
    }
}

impl Decode for TaskState {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(r)? {
            PENDING => Ok(Self::Pending),
            LEASED => Lease::read(r).map(Self::Leased),
            DONE => read_done(r, false).map(Self::Done),
            DONE_ELSEWHERE => read_done(r, true).map(Self::Done),
            FAILED => Ok(Self::Failed { at: Height::read(r)? }),
            CANCELLED => Ok(Self::Cancelled { at: Height::read(r)? }),
            got => Err(DecodeError::Tag { what: "task state", got }),
        }
    }
}

impl Encode for Lease {
    fn write(&self, out: &mut Vec<u8>) {
        self.holder.write(out);
        self.token.write(out);
        self.until.height.write(out);
        self.until.timestamp.write(out);
        self.renewals.write(out);
    }
}

impl Decode for Lease {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            holder: NodeId::read(r)?,
            token: Token::read(r)?,
            until: Place { height: Height::read(r)?, timestamp: Timestamp::read(r)? },
            renewals: u32::read(r)?,
        })
    }
}

impl Encode for Done {
    fn write(&self, out: &mut Vec<u8>) {
        self.by.write(out);
        self.token.write(out);
        self.at.write(out);
        self.sha256.write(out);
        self.bytes.write(out);
        if let Some(at) = &self.kept_at {
            codec::write_bytes(at.as_bytes(), out);
        }
    }
}

fn read_done(r: &mut Reader<'_>, is_elsewhere: bool) -> Result<Done, DecodeError> {
    Ok(Done {
        by: NodeId::read(r)?,
        token: Token::read(r)?,
        at: Height::read(r)?,
        sha256: Hash::read(r)?,
        bytes: u64::read(r)?,
        kept_at: if is_elsewhere { Some(read_text(r, "place of a result")?) } else { None },
    })
}
