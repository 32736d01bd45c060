//! When did something happen?
//!
//! Deciders count on a clock that never goes back and never jumps. Its origin means nothing: only differences do.

/// A point in time: microseconds on a monotonic clock with any origin.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub u64);

impl Moment {
    /// Microseconds since `earlier`; 0 if that is later.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many microseconds later, or the end of time.
    #[inline]
    #[must_use]
    pub const fn after(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards_and_has_an_end() {
        assert_eq!(Moment(7).since(Moment(5)), 2);
        assert_eq!(Moment(5).since(Moment(7)), 0);
        assert_eq!(Moment(5).after(2), Moment(7));
        assert_eq!(Moment(5).after(u64::MAX), Moment(u64::MAX));
    }
}
