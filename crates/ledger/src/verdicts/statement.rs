//! What does one validator say about another, and how long does it count?

use crate::{
    codec::{Decode, DecodeError, Encode, Reader, read_flag},
    types::{Height, NodeId, Sequence, Timestamp},
};

/// How long a suspicion stands unless it is repeated, in milliseconds of lease time: the word of an accuser that crashed
/// does not stand for ever.
pub const STANDS_MS: u64 = 600_000;

/// What is wrong with a validator, in the eyes of another. Earlier ones come first where a verdict has to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Nothing is heard of it.
    Link,
    /// Its process does not run, or does not answer.
    Process,
    /// It takes no part in consensus.
    Consensus,
    /// It does no work, or does it wrong.
    Executor,
    /// Its disk is too slow.
    Disk,
    /// Its clock is off.
    Clock,
}

/// What an accuser saw, coarse enough to be short and to tell nobody's exact timing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// For how long nothing was heard, in tenths of a second; `u16::MAX` for that and longer, nearly two hours.
    pub silent_tenths: u16,
    /// A figure whose meaning the reason gives: for people who look, it weighs nothing.
    pub detail: u16,
}

/// One that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// What is wrong.
    pub reason: Reason,
    /// What was seen.
    pub evidence: Evidence,
    /// The block since which it stands; a repetition changes the rest and not this.
    pub since: Height,
    /// The lease time after which it lapses.
    pub until: Timestamp,
    /// Whether it was ever part of a verdict, or agreed with one that stood.
    pub has_agreed: bool,
}

/// A suspicion with the name of who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accusation {
    /// Who says so.
    pub accuser: NodeId,
    /// What it says.
    pub suspicion: Suspicion,
}

/// What the chain keeps of one validator's words about another. The number outlives them, so that none is said twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) next: Sequence,
    pub(crate) standing: Option<Suspicion>,
}

impl Reason {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [Self::Link, Self::Process, Self::Consensus, Self::Executor, Self::Disk, Self::Clock];

    /// The word for it in logs, metrics and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Process => "process",
            Self::Consensus => "consensus",
            Self::Executor => "executor",
            Self::Disk => "disk",
            Self::Clock => "clock",
        }
    }

    /// Whether the accused refutes it by speaking: it was said to be gone, and what is gone signs nothing. A sick executor,
    /// disk or clock keeps nobody from talking, so there the accusers have to be content.
    pub const fn is_refuted_by_speaking(self) -> bool {
        match self {
            Self::Link | Self::Process | Self::Consensus => true,
            Self::Executor | Self::Disk | Self::Clock => false,
        }
    }
}

impl Evidence {
    /// Rounds a silence down to what is told of it.
    pub fn of(silent_ms: u64, detail: u16) -> Self {
        Self { silent_tenths: u16::try_from(silent_ms / 100).unwrap_or(u16::MAX), detail }
    }

    /// For how long nothing was heard, in milliseconds, as far as it is told.
    pub const fn silent_ms(&self) -> u64 {
        self.silent_tenths as u64 * 100
    }
}

/// The reason that most of these have; of several, the one that comes first. `None` of nobody.
pub(crate) fn most_frequent(reasons: &[Reason]) -> Option<Reason> {
    let count = |reason: &Reason| reasons.iter().filter(|other| *other == reason).count();
    // The last of equal maxima is taken, so they are looked at in reverse.
    let present = Reason::ALL.into_iter().rev().filter(|reason| count(reason) > 0);
    present.max_by_key(count)
}

impl Encode for Reason {
    fn write(&self, out: &mut Vec<u8>) {
        let tag: u8 = match self {
            Self::Link => 0,
            Self::Process => 1,
            Self::Consensus => 2,
            Self::Executor => 3,
            Self::Disk => 4,
            Self::Clock => 5,
        };
        tag.write(out);
    }
}

impl Decode for Reason {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let got = u8::read(r)?;
        Self::ALL.get(usize::from(got)).copied().ok_or(DecodeError::Tag { what: "reason", got })
    }
}

impl Encode for Evidence {
    fn write(&self, out: &mut Vec<u8>) {
        self.silent_tenths.write(out);
        self.detail.write(out);
    }
}

impl Decode for Evidence {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { silent_tenths: u16::read(r)?, detail: u16::read(r)? })
    }
}

impl Encode for Suspicion {
    fn write(&self, out: &mut Vec<u8>) {
        self.reason.write(out);
        self.evidence.write(out);
        self.since.write(out);
        self.until.write(out);
        u8::from(self.has_agreed).write(out);
    }
}

impl Decode for Suspicion {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            reason: Reason::read(r)?,
            evidence: Evidence::read(r)?,
            since: Height::read(r)?,
            until: Timestamp::read(r)?,
            has_agreed: read_flag(r, "whether a suspicion has agreed")?,
        })
    }
}

impl Encode for Statement {
    fn write(&self, out: &mut Vec<u8>) {
        self.next.write(out);
        u8::from(self.standing.is_some()).write(out);
        if let Some(standing) = &self.standing {
            standing.write(out);
        }
    }
}

impl Decode for Statement {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let next = Sequence::read(r)?;
        let stands = read_flag(r, "whether a suspicion stands")?;
        Ok(Self { next, standing: if stands { Some(Suspicion::read(r)?) } else { None } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_reason_is_told_and_of_equals_the_first() {
        use Reason::{Clock, Disk, Executor, Link};
        let check = |reasons: &[Reason], expected| assert_eq!(most_frequent(reasons), expected);
        check(&[], None);
        check(&[Disk], Some(Disk));
        check(&[Disk, Link], Some(Link));
        check(&[Disk, Link, Disk], Some(Disk));
        check(&[Clock, Executor, Clock, Executor, Link], Some(Executor));
    }

    #[test]
    fn a_silence_is_told_in_tenths_of_a_second_as_far_as_they_go() {
        for (ms, tenths) in [(0, 0), (99, 0), (100, 1), (6_553_599, 65_535), (6_553_600, 65_535), (u64::MAX, 65_535)] {
            assert_eq!(Evidence::of(ms, 7), Evidence { silent_tenths: tenths, detail: 7 });
        }
        assert_eq!(Evidence::of(1_234, 0).silent_ms(), 1_200);
    }

    #[test]
    fn whatever_is_said_reads_back_and_nothing_else_does() {
        for reason in Reason::ALL {
            assert_eq!(Reason::decode(&reason.encode()), Ok(reason));
        }
        assert_eq!(Reason::decode(&[6]), Err(DecodeError::Tag { what: "reason", got: 6 }));
        let suspicion = Suspicion {
            reason: Reason::Disk,
            evidence: Evidence::of(1_000, 5),
            since: Height(3),
            until: Timestamp(4),
            has_agreed: true,
        };
        for standing in [None, Some(suspicion)] {
            let statement = Statement { next: Sequence(9), standing };
            let mut bytes = statement.encode();
            assert_eq!(Statement::decode(&bytes), Ok(statement));
            bytes[8] = 2;
            assert_eq!(Statement::decode(&bytes), Err(DecodeError::Tag { what: "whether a suspicion stands", got: 2 }));
        }
    }
}
