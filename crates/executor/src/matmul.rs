//! Which hash does the product of two matrices made from a seed have?
//!
//! Work that costs something, that anyone can repeat to the last bit, and that needs nothing but a seed and a size.
//!
//! The payload is `{"seed": S, "n": N}` with S in 0..2^64 and N in 1..=1024. The 64-bit words of SplitMix64 started
//! at S, each written as 8 bytes with the lowest first, form one stream of bytes. Its first N*N bytes are the matrix
//! A, row by row, each byte a signed 8-bit number; the next N*N bytes are B in the same way, without a gap even if A
//! ends within a word. C = A*B is exact in 32 bits, since no entry exceeds 1024 * 128 * 128 = 2^24. The digest is
//! SHA-256 over the entries of C, row by row, each as 4 bytes with the lowest first, and the result is the text
//! `{"sha256":"<64 hex digits>"}`. In Python:
//!
//! ```python
//! import hashlib, struct
//! def stream(seed):
//!     while True:
//!         seed = (seed + 0x9E3779B97F4A7C15) % 2**64
//!         z = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
//!         z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
//!         yield from (z ^ z >> 31).to_bytes(8, "little")
//! def digest(seed, n):
//!     byte = stream(seed)
//!     a, b = ([[(next(byte) ^ 128) - 128 for _ in range(n)] for _ in range(n)] for _ in range(2))
//!     c = [sum(x * y for x, y in zip(row, column)) for row in a for column in zip(*b)]
//!     return hashlib.sha256(struct.pack(f"<{n * n}i", *c)).hexdigest()
//! ```

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// The largest matrices: about a quarter of a second of one core.
pub const N_MAX: usize = 1024;

/// What a submitter writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload {
    pub(crate) seed: u64,
    pub(crate) n: u64,
}

/// The SHA-256 of the product. Asks before every row whether it is `cancelled`, and if so gives nothing.
///
/// # Panics
///
/// If `n` is not in 1..=[`N_MAX`].
pub fn digest(seed: u64, n: usize, cancelled: &dyn Fn() -> bool) -> Option<[u8; 32]> {
    assert!((1..=N_MAX).contains(&n), "n is {n}, but 1 to {N_MAX} are possible");
    let mut bytes = Bytes::new(seed);
    let a = matrix(n, &mut bytes);
    let b = transposed(n, &matrix(n, &mut bytes));
    let mut hash = Sha256::new();
    let mut line = Vec::with_capacity(4 * n);
    for row in a.chunks_exact(n) {
        if cancelled() {
            return None;
        }
        line.clear();
        line.extend(b.chunks_exact(n).flat_map(|column| dot(row, column).to_le_bytes()));
        hash.update(&line);
    }
    Some(hash.finalize().into())
}

/// The result of the task with this seed and size, for whoever checks one.
///
/// # Panics
///
/// If `n` is not in 1..=[`N_MAX`].
pub fn result(seed: u64, n: usize) -> Vec<u8> {
    shown(&digest(seed, n, &|| false).expect("nobody cancelled it"))
}

/// The digest as a result.
pub(crate) fn shown(digest: &[u8; 32]) -> Vec<u8> {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r#"{{"sha256":"{hex}"}}"#).into_bytes()
}

/// Entries are widened once, here: pairs of 16-bit numbers multiply and add in one instruction on every machine.
fn matrix(n: usize, bytes: &mut Bytes) -> Vec<i16> {
    bytes.take(n * n).map(|byte| i16::from(byte.cast_signed())).collect()
}

fn transposed(n: usize, matrix: &[i16]) -> Vec<i16> {
    (0..n * n).map(|at| matrix[at % n * n + at / n]).collect()
}

/// Wrapping, although nothing here can wrap: overflow checks, which our releases keep, would forbid vector
/// instructions.
fn dot(row: &[i16], column: &[i16]) -> i32 {
    let products = row.iter().zip(column).map(|(&x, &y)| i32::from(x).wrapping_mul(i32::from(y)));
    products.fold(0, i32::wrapping_add)
}

/// The bytes of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014, figure 16, with
/// the constants of Vigna's public-domain version).
struct Bytes {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Bytes {
    fn new(seed: u64) -> Self {
        Self { state: seed, word: [0; 8], used: 8 }
    }

    fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Iterator for Bytes {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.used == self.word.len() {
            self.word = self.next_word().to_le_bytes();
            self.used = 0;
        }
        self.used += 1;
        Some(self.word[self.used - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// The definition, word for word, in 64 bits.
    fn naive(seed: u64, n: usize) -> [u8; 32] {
        let bytes: Vec<i64> = Bytes::new(seed).take(2 * n * n).map(|byte| i64::from(byte.cast_signed())).collect();
        let mut hash = Sha256::new();
        for i in 0..n {
            for j in 0..n {
                let entry: i64 = (0..n).map(|k| bytes[i * n + k] * bytes[n * n + k * n + j]).sum();
                hash.update(i32::try_from(entry).expect("at most 2^24").to_le_bytes());
            }
        }
        hash.finalize().into()
    }

    #[test]
    fn the_stream_is_the_published_one() {
        let mut bytes = Bytes::new(1_234_567);
        let words: Vec<u64> = (0..3).map(|_| bytes.next_word()).collect();
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn one_by_one_is_what_a_pencil_says() {
        // The first word of seed 0 is 0xe220a8397b1dcdaf: A is 0xaf, which is -81, and B is 0xcd, which is -51.
        let product: [u8; 32] = Sha256::digest(4131_i32.to_le_bytes()).into();
        assert_eq!(digest(0, 1, &|| false), Some(product));
    }

    #[test]
    fn fast_and_naive_agree() {
        for (seed, n) in [(0, 1), (1, 2), (2, 3), (u64::MAX, 7), (42, 33)] {
            assert_eq!(digest(seed, n, &|| false), Some(naive(seed, n)), "seed {seed}, n {n}");
        }
    }

    #[test]
    fn results_are_those_of_the_python_reference() {
        let check = |seed, n, hex: &str| {
            assert_eq!(String::from_utf8(result(seed, n)).unwrap(), format!(r#"{{"sha256":"{hex}"}}"#));
        };
        check(7, 3, "d0ea986ed73cfe20719132b6e404fa3187c9086181ceff764f55411d5f0d94ae");
        check(42, 64, "4a9abd3cc8ba9fb48462c3b1706d751f9e1df3f756ecb234ae1ad517ae612882");
        check(u64::MAX, 100, "b722d364b4e4d240763bda6ec7225d7561892379f403fdeb1c364012b8e8524e");
    }

    #[test]
    fn it_looks_before_every_row_whether_it_is_cancelled() {
        let looks = Cell::new(0);
        let cancelled_at = |row| {
            looks.set(0);
            digest(1, 8, &|| {
                looks.set(looks.get() + 1);
                looks.get() > row
            })
        };
        assert_eq!((cancelled_at(3), looks.get()), (None, 4));
        assert_eq!((cancelled_at(8), looks.get()), (Some(naive(1, 8)), 8));
    }

    #[test]
    #[should_panic(expected = "n is 1025, but 1 to 1024 are possible")]
    fn too_large_matrices_are_the_callers_mistake() {
        digest(0, N_MAX + 1, &|| false);
    }
}
