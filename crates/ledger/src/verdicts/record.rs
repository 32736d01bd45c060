//! How does a validator stand, and how did it come to that?

use super::statement::Reason;
use crate::{
    codec::{self, Decode, DecodeError, Encode, Reader, read_flag, read_option, write_option},
    genesis,
    types::{Height, NodeId, Sequence, Timestamp, VerdictNumber},
};
use std::sync::Arc;

/// What a validator on trial has to lead and complete, together, before it is as it was.
pub const TRIAL: u32 = 100;

/// How many changes are kept of each validator. A fall takes three of them (unresponsive, on trial, active), so these
/// hold the five falls after which the dwell grows no more.
pub const CHANGES_MAX: usize = 16;

/// How a validator stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It takes its part.
    #[default]
    Active,
    /// Enough others say that it does not.
    Unresponsive(Verdict),
    /// It came back, and holds one lease at a time until it has shown that it is there.
    Trial {
        /// Blocks and completions that it still has to bring, from 1 to [`TRIAL`].
        left: u32,
    },
}

/// A status without what belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// See [`Status::Active`].
    #[default]
    Active,
    /// See [`Status::Unresponsive`].
    Unresponsive,
    /// See [`Status::Trial`].
    Trial,
}

/// What more than f validators say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How many there were of this validator, this one included.
    pub number: VerdictNumber,
    /// The block that made it.
    pub height: Height,
    /// Lease time then.
    pub at: Timestamp,
    /// For how long it stands at least, in milliseconds of lease time.
    pub dwell_ms: u32,
    /// The most frequent one.
    pub reason: Reason,
    /// Whether more than f were unresponsive at once: then the network is at fault and not the validator.
    pub is_network_event: bool,
    /// Whether a network event happened while it stood, so that no trial comes after it.
    pub is_trial_waived: bool,
    /// Who said so.
    pub accusers: Accusers,
}

/// A set of validators: a bit for each seat, as [`State::members`](crate::State::members) numbers them. Seats that are taken
/// later change nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accusers(Arc<[u8]>);

/// Something that became of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The block in which it did.
    pub height: Height,
    /// Lease time then.
    pub at: Timestamp,
    /// What became of it.
    pub turn: Turn,
}

/// What becomes of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It was found unresponsive.
    Unresponsive(Verdict),
    /// It is back, on trial.
    Trial,
    /// It is back as if nothing had been.
    Active,
    /// It takes no new tasks, because it says so.
    Drained,
    /// It takes tasks again.
    Undrained,
}

/// What the chain keeps of a validator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) status: Status,
    /// How many verdicts there were.
    pub(crate) verdicts: VerdictNumber,
    /// The block since which it is drained.
    pub(crate) drained: Option<Height>,
    /// The number of its next word about that.
    pub(crate) drains: Sequence,
    /// Suspicions of its own that ended without having agreed with enough others.
    pub(crate) diverged: u64,
    /// The last changes but for drains, which could push the others out at will.
    pub(crate) history: Vec<Change>,
}

impl Status {
    /// The status alone.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::Active => Phase::Active,
            Self::Unresponsive(_) => Phase::Unresponsive,
            Self::Trial { .. } => Phase::Trial,
        }
    }
}

impl Phase {
    /// The word for it in logs, metrics and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unresponsive => "unresponsive",
            Self::Trial => "trial",
        }
    }
}

impl Turn {
    /// The word for it in logs, metrics and the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unresponsive(_) => "unresponsive",
            Self::Trial => "trial",
            Self::Active => "active",
            Self::Drained => "drained",
            Self::Undrained => "undrained",
        }
    }
}

impl Verdict {
    /// What is left of its dwell at that lease time, in milliseconds.
    pub const fn dwells_ms(&self, lease_time: Timestamp) -> u64 {
        self.at.0.saturating_add(self.dwell_ms as u64).saturating_sub(lease_time.0)
    }
}

impl Accusers {
    /// The set of these positions among `n`.
    pub(crate) fn of(n: usize, positions: impl Iterator<Item = usize>) -> Self {
        let mut bits = vec![0; n.div_ceil(8)];
        for position in positions {
            bits[position / 8] |= 1_u8 << (position % 8);
        }
        Self(bits.into())
    }

    /// The numbers of their seats.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 8).filter(|position| self.0[position / 8] & (1 << (position % 8)) != 0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether it could have become among `n` seats or fewer.
    fn is_of(&self, n: usize) -> bool {
        self.0.len() <= n.div_ceil(8) && self.positions().all(|position| position < n)
    }
}

impl Record {
    /// Adds to the history, and forgets what is too old for it.
    pub(crate) fn remember(&mut self, change: Change) {
        if self.history.len() == CHANGES_MAX {
            self.history.remove(0);
        }
        self.history.push(change);
    }

    /// What could not have become of it among `n` validators.
    pub(crate) fn fault(&self, n: usize) -> Option<&'static str> {
        let verdicts = self.history.iter().filter_map(|change| match &change.turn {
            Turn::Unresponsive(verdict) => Some(verdict),
            Turn::Trial | Turn::Active | Turn::Drained | Turn::Undrained => None,
        });
        let present = match &self.status {
            Status::Unresponsive(verdict) => Some(verdict),
            Status::Active | Status::Trial { .. } => None,
        };
        if verdicts.chain(present).any(|verdict| !verdict.accusers.is_of(n)) {
            return Some("has accusers that are no validators");
        }
        if present.is_some_and(|verdict| verdict.number != self.verdicts) {
            return Some("has a verdict that is not its last");
        }
        None
    }
}

/// A bit for each validator.
const ACCUSERS_BYTES_MAX: usize = genesis::VALIDATORS_MAX.div_ceil(8);

impl Encode for Accusers {
    fn write(&self, out: &mut Vec<u8>) {
        codec::write_bytes(&self.0, out);
    }
}

impl Decode for Accusers {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(r.bytes("set of accusers", ACCUSERS_BYTES_MAX)?.into()))
    }
}

impl Encode for Verdict {
    fn write(&self, out: &mut Vec<u8>) {
        self.number.write(out);
        self.height.write(out);
        self.at.write(out);
        self.dwell_ms.write(out);
        self.reason.write(out);
        u8::from(self.is_network_event).write(out);
        u8::from(self.is_trial_waived).write(out);
        self.accusers.write(out);
    }
}

impl Decode for Verdict {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: VerdictNumber::read(r)?,
            height: Height::read(r)?,
            at: Timestamp::read(r)?,
            dwell_ms: u32::read(r)?,
            reason: Reason::read(r)?,
            is_network_event: read_flag(r, "whether a verdict is a network event")?,
            is_trial_waived: read_flag(r, "whether a trial is waived")?,
            accusers: Accusers::read(r)?,
        })
    }
}

const ACTIVE: u8 = 0;
const UNRESPONSIVE: u8 = 1;
const ON_TRIAL: u8 = 2;

impl Encode for Status {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Active => ACTIVE.write(out),
            Self::Unresponsive(verdict) => {
                UNRESPONSIVE.write(out);
                verdict.write(out);
            }
            Self::Trial { left } => {
                ON_TRIAL.write(out);
                left.write(out);
            }
        }
    }
}

impl Decode for Status {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(r)? {
            ACTIVE => Ok(Self::Active),
            UNRESPONSIVE => Verdict::read(r).map(Self::Unresponsive),
            ON_TRIAL => match u32::read(r)? {
                left @ 1..=TRIAL => Ok(Self::Trial { left }),
                _ => Err(DecodeError::Text { what: "what is left of a trial", rule: "from 1 to 100" }),
            },
            got => Err(DecodeError::Tag { what: "status", got }),
        }
    }
}

impl Encode for Change {
    fn write(&self, out: &mut Vec<u8>) {
        self.height.write(out);
        self.at.write(out);
        match &self.turn {
            Turn::Active => ACTIVE.write(out),
            Turn::Unresponsive(verdict) => {
                UNRESPONSIVE.write(out);
                verdict.write(out);
            }
            Turn::Trial => ON_TRIAL.write(out),
            Turn::Drained | Turn::Undrained => panic!("drains are no part of the history"),
        }
    }
}

impl Decode for Change {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (height, at) = (Height::read(r)?, Timestamp::read(r)?);
        let turn = match u8::read(r)? {
            ACTIVE => Turn::Active,
            UNRESPONSIVE => Turn::Unresponsive(Verdict::read(r)?),
            ON_TRIAL => Turn::Trial,
            got => return Err(DecodeError::Tag { what: "change of a status", got }),
        };
        Ok(Self { height, at, turn })
    }
}

impl Encode for Record {
    fn write(&self, out: &mut Vec<u8>) {
        self.status.write(out);
        self.verdicts.write(out);
        write_option(self.drained.as_ref(), out);
        self.drains.write(out);
        self.diverged.write(out);
        codec::write_count(self.history.len(), out);
        self.history.iter().for_each(|change| change.write(out));
    }
}

impl Decode for Record {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        /// Height, time and tag.
        const CHANGE_BYTES_MIN: usize = 8 + 8 + 1;
        let (status, verdicts) = (Status::read(r)?, VerdictNumber::read(r)?);
        let drained = read_option(r, "whether a validator is drained")?;
        let (drains, diverged) = (Sequence::read(r)?, u64::read(r)?);
        let count = r.count("history", CHANGES_MAX, CHANGE_BYTES_MIN)?;
        let history = (0..count).map(|_| Change::read(r)).collect::<Result<_, _>>()?;
        Ok(Self { status, verdicts, drained, drains, diverged, history })
    }
}

/// A validator as everybody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub node: NodeId,
    /// How it stands.
    pub status: Status,
    /// The block since which it is drained: it keeps its leases and gets no new ones.
    pub drained: Option<Height>,
    /// What others say of it now, in the order of their keys.
    pub accusations: Vec<super::Accusation>,
    /// How many suspicions of its own ended without having agreed with enough others.
    pub diverged: u64,
    /// How many verdicts there were of it.
    pub verdicts: VerdictNumber,
    /// The number that its next word about its own drain carries.
    pub next_drain_sequence: Sequence,
    /// The last [`CHANGES_MAX`] changes, the oldest first.
    pub history: Vec<Change>,
}
