//! How far is a node trusted?
//!
//! As far as what it did says: completions raise it, leases that ran out and verdicts lower it. Nobody's opinion enters,
//! and a verdict in a network event costs nothing. It weighs who gets how many tasks, and nothing else; never a quorum.
//! The floor keeps everybody in: a validator with a tenth of the weight still gets tasks, and earns its way back with them.

use crate::codec::{Decode, DecodeError, Encode, Reader};

/// Trust in thousandths, from [`Reputation::MIN`] to [`Reputation::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reputation(u16);

/// Something that happened for everybody to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It completed a task.
    Completed,
    /// A lease ran out on it.
    RanOut,
    /// It was found unresponsive, and the network was not at fault.
    Unresponsive,
}

impl Reputation {
    /// What nobody falls below.
    pub const MIN: Self = Self(100);

    /// What everybody starts with and nobody exceeds.
    pub const MAX: Self = Self(1_000);

    /// In thousandths.
    pub const fn per_mille(self) -> u16 {
        self.0
    }

    /// What it is after that: 2 more for a completion, 50 less for a lease that ran out, 100 less for a verdict. So a lease
    /// that ran out is made good by 25 completions.
    #[must_use]
    pub fn after(self, outcome: Outcome) -> Self {
        let Self(now) = self;
        let next = match outcome {
            Outcome::Completed => now.saturating_add(2),
            Outcome::RanOut => now.saturating_sub(50),
            Outcome::Unresponsive => now.saturating_sub(100),
        };
        Self(next).clamp(Self::MIN, Self::MAX)
    }
}

impl Default for Reputation {
    fn default() -> Self {
        Self::MAX
    }
}

impl Encode for Reputation {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

impl Decode for Reputation {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let read = Self(u16::read(r)?);
        if (Self::MIN..=Self::MAX).contains(&read) {
            Ok(read)
        } else {
            Err(DecodeError::Text { what: "reputation", rule: "from 100 to 1000" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: u16, outcomes: &[Outcome], expected: u16) {
        let end = outcomes.iter().fold(Reputation(start), |reputation, outcome| reputation.after(*outcome));
        assert_eq!(end.per_mille(), expected, "{start} after {outcomes:?}");
    }

    #[test]
    fn outcomes_move_it_between_a_tenth_and_the_whole() {
        use Outcome::{Completed, RanOut, Unresponsive};
        check(1_000, &[Completed], 1_000);
        check(999, &[Completed], 1_000);
        check(997, &[Completed], 999);
        check(1_000, &[RanOut], 950);
        check(1_000, &[Unresponsive], 900);
        check(950, &[Completed; 25], 1_000);
        check(150, &[RanOut], 100);
        check(149, &[RanOut], 100);
        check(100, &[Unresponsive, RanOut], 100);
        check(100, &[Completed], 102);
    }

    #[test]
    fn what_is_out_of_bounds_does_not_read_back() {
        for (value, is_good) in [(99_u16, false), (100, true), (1_000, true), (1_001, false)] {
            assert_eq!(Reputation::decode(&value.encode()).is_ok(), is_good, "{value}");
        }
    }
}
