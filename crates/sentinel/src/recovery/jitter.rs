//! How much later than it could, so that those who fail together do not come back together?

/// A number that depends on all three and looks like chance: the same seed gives the same delays, and neither two nodes
/// nor two attempts of one node share theirs.
///
/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014,
/// figure 16), applied once for each part.
const fn mixed(seed: u64, stream: u64, step: u64) -> u64 {
    finalized(finalized(seed ^ finalized(stream)).wrapping_add(step))
}

const fn finalized(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From 0 to `most_ms`, both included, evenly.
pub(super) const fn jitter(seed: u64, stream: u64, step: u64, most_ms: u64) -> u64 {
    let bound = most_ms as u128 + 1;
    // At most `most_ms`, so the value fits.
    ((mixed(seed, stream, step) as u128 * bound) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_delay_and_another_seed_another() {
        assert_eq!(jitter(1, 2, 3, 30_000), jitter(1, 2, 3, 30_000));
        let others = [jitter(2, 2, 3, 30_000), jitter(1, 3, 3, 30_000), jitter(1, 2, 4, 30_000)];
        assert!(others.iter().all(|other| *other != jitter(1, 2, 3, 30_000)), "{others:?}");
    }

    #[test]
    fn delays_reach_both_ends_and_never_past_them() {
        let drawn: std::collections::BTreeSet<u64> = (0..1_000).map(|step| jitter(7, 0, step, 9)).collect();
        assert_eq!(drawn, (0..=9).collect());
        assert_eq!(jitter(7, 0, 0, 0), 0);
        assert!((0..1_000).any(|step| jitter(7, 0, step, u64::MAX) > u64::MAX / 2));
    }
}
