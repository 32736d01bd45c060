//! Is the evidence sufficient?
//!
//! A sequential test (Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 16, 1945): if
//! the peer is alive, a probe goes unanswered with the probability that it or its answer is lost, so each unanswered one
//! is worth the logarithm of one over that. Enough is as much as a budget of mistakes demands of every single heartbeat:
//! ln(heartbeats in a year / mistakes in a year). The overdue row that began it counts once, for as often as rows are
//! lost or late.
//!
//! The sum assumes that paths fail independently. So probes go out in waves, apart in time, through helpers that differ,
//! no probe counts for more than a loss of one in a hundred would make it, and there is a least number of waves. A loss
//! common to all paths, such as of the peer's only cable, cannot be told from a crash by anybody outside.

use crate::time::Moment;

/// Waves before there can be a verdict, however clean the paths: two moments can fall into one disturbance.
pub(super) const WAVES_MIN: u8 = 3;

/// After so many waves close together, they come with the heartbeats.
pub(super) const WAVES_CLOSE: u8 = 16;

/// The whole, for shares in 16 bits.
pub(super) const WHOLE: u32 = 1 << 16;

/// A message is lost at least this often, as far as evidence goes: 1 in 100.
pub(super) const LOSS_MIN: u32 = WHOLE / 100;

/// Above this loss probes say too little; they are counted as if it were no worse.
pub(super) const LOSS_MAX: u32 = WHOLE / 2;

/// A peer that is being probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// Since when.
    pub(super) since: Moment,
    /// When it is looked at next.
    pub(super) next: Moment,
    /// When the first wave went out.
    pub(super) asked: Moment,
    /// When the latest wave went out.
    pub(super) latest: Moment,
    /// Waves that went out.
    pub(super) waves: u8,
    /// What all waves are worth once they have gone unanswered, thousandths of a nat.
    pub(super) evidence: u32,
    /// How many rows we had from all peers when this began.
    pub(super) rows: u64,
    /// How many others we had heard when this began.
    pub(super) signs: u64,
    /// Where the walk through possible helpers stands, and its step.
    pub(super) helper: u32,
    pub(super) stride: u32,
}

/// What probes are worth if a message about this peer is lost with this share of [`WHOLE`], thousandths of a nat.
pub(super) fn worth(loss: u32, direct: u32, indirect: u32) -> u32 {
    let kept = WHOLE - loss.clamp(LOSS_MIN, LOSS_MAX);
    // There and back, once or through a helper.
    let (two, four) = (times(kept, kept), times(times(kept, kept), times(kept, kept)));
    direct * nats(WHOLE - two) + indirect * nats(WHOLE - four)
}

/// ln(1/share), thousandths.
pub(super) fn nats(share: u32) -> u32 {
    ln_milli(u64::from(WHOLE)) - ln_milli(u64::from(share.max(1)))
}

fn times(a: u32, b: u32) -> u32 {
    u32::try_from((u64::from(a) * u64::from(b)) >> 16).expect("a share of a share is a share")
}

/// ln(x) in thousandths, rounded down, for x >= 1: the binary logarithm bit by bit (Knuth, TAOCP 1, 1.2.2, exercise 25),
/// times ln 2.
pub(super) fn ln_milli(x: u64) -> u32 {
    let whole = x.max(1).ilog2();
    // The mantissa, from 1 to 2, with 31 bits after the point.
    let mut mantissa = if whole > 31 { x >> (whole - 31) } else { x.max(1) << (31 - whole) };
    let mut log2 = u64::from(whole) << 16;
    for bit in (0..16).rev() {
        mantissa = (mantissa * mantissa) >> 31;
        if mantissa >> 32 != 0 {
            mantissa >>= 1;
            log2 |= 1 << bit;
        }
    }
    // ln 2 * 1000 / 2^16 in units of 2^-32.
    u32::try_from((log2 * 45_426_094) >> 32).expect("at most 44,361")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_a_thousandth() {
        for x in [1, 2, 3, 10, 1_000, 65_536, 63_115_200, u64::MAX] {
            let exact = (x as f64).ln() * 1_000.0;
            assert!((exact - f64::from(ln_milli(x))).abs() <= 1.5, "ln {x} = {exact}, not {}", ln_milli(x));
        }
        assert_eq!(ln_milli(0), 0);
    }

    #[test]
    fn an_unanswered_probe_is_worth_less_on_a_worse_path_and_on_a_longer_one() {
        let worth_of = |percent, direct, indirect| worth(WHOLE * percent / 100, direct, indirect);
        // 1 - 0.9^2 = 0.19, 1 - 0.9^4 = 0.3439.
        assert!(worth_of(10, 1, 0).abs_diff(1_661) <= 3, "{}", worth_of(10, 1, 0));
        assert!(worth_of(10, 0, 1).abs_diff(1_067) <= 3, "{}", worth_of(10, 0, 1));
        assert_eq!(worth_of(10, 2, 3), 2 * worth_of(10, 1, 0) + 3 * worth_of(10, 0, 1));
        assert_eq!(worth_of(0, 1, 1), worth_of(1, 1, 1));
        assert!(worth_of(2, 1, 1) < worth_of(1, 1, 1));
        assert_eq!(worth_of(100, 1, 1), worth_of(50, 1, 1));
        assert!(worth_of(100, 1, 1) > 0);
    }
}
