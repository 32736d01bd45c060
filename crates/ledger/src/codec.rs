//! How does a value become bytes, and back?
//!
//! There is one encoding for each value: integers are big-endian and of fixed width, lengths are `u32`, and what may be
//! missing comes behind a byte that says whether it does. Whatever [`Decode`] accepts encodes to the very same bytes, so a digest of the bytes is a digest of the
//! value. Bytes come from strangers: every length is held against a cap *and* against what is left before anything is
//! allocated, and no input panics.

/// Reads values from the front of a byte slice.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

/// A value with one canonical encoding.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn write(&self, out: &mut Vec<u8>);

    /// The encoding on its own.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

/// A value that can be read back from its canonical encoding, and from nothing else.
pub trait Decode: Sized {
    /// Reads one value and leaves the rest to the next reader.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one value that must fill `bytes` to the end.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let value = Self::read(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a value.
    #[error("{needs} more bytes are needed, {has} are left")]
    End {
        /// Bytes the next field takes.
        needs: usize,
        /// Bytes that are left.
        has: usize,
    },
    /// Bytes are left after the value.
    #[error("{left} bytes follow the value")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A length exceeds its cap.
    #[error("{what} is {got} long, at most {max} is allowed")]
    TooLong {
        /// The thing that is too long.
        what: &'static str,
        /// Its claimed length.
        got: usize,
        /// The cap.
        max: usize,
    },
    /// A tag names no variant that this build knows.
    #[error("{what} {got} is not known")]
    Tag {
        /// What the tag chooses.
        what: &'static str,
        /// The tag.
        got: u8,
    },
    /// The format is of another version than this build reads.
    #[error("{what} version {got} is not known, this build reads version {expected}")]
    Version {
        /// What carries the version.
        what: &'static str,
        /// The version this build reads.
        expected: u16,
        /// The version found.
        got: u16,
    },
    /// Text breaks the rule of its field.
    #[error("{what} must be {rule}")]
    Text {
        /// The field.
        what: &'static str,
        /// Its rule.
        rule: &'static str,
    },
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Fails unless everything was read.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = DecodeError::End { needs: count, has: self.bytes.len() };
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(end)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let end = DecodeError::End { needs: N, has: self.bytes.len() };
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(end)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// A count of items, of which each takes at least `item_bytes_min` bytes: never more than the bytes can hold, so that
    /// the caller may allocate for it.
    pub fn count(&mut self, what: &'static str, max: usize, item_bytes_min: usize) -> Result<usize, DecodeError> {
        let got = u32::read(self)? as usize;
        if got > max {
            return Err(DecodeError::TooLong { what, got, max });
        }
        let needs = got.saturating_mul(item_bytes_min);
        if needs > self.remaining() {
            return Err(DecodeError::End { needs, has: self.remaining() });
        }
        Ok(got)
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let count = self.count(what, max, 1)?;
        self.take(count)
    }

    /// UTF-8 behind its length in bytes.
    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes(what, max)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Text { what, rule: "UTF-8" })
    }
}

/// Appends a length or count.
///
/// # Panics
/// If it does not fit in 32 bits. Every cap of ours is far below that.
pub fn write_count(count: usize, out: &mut Vec<u8>) {
    u32::try_from(count).expect("every length of ours is capped far below 2^32").write(out);
}

/// Appends bytes behind their length.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_count(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Reads what is written as one byte, and in one way only.
pub(crate) fn read_flag(r: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match u8::read(r)? {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(DecodeError::Tag { what, got }),
    }
}

/// Appends what may be missing, behind whether it is there.
pub(crate) fn write_option<T: Encode>(value: Option<&T>, out: &mut Vec<u8>) {
    u8::from(value.is_some()).write(out);
    if let Some(value) = value {
        value.write(out);
    }
}

/// Reads what [`write_option`] appends.
pub(crate) fn read_option<T: Decode>(r: &mut Reader<'_>, what: &'static str) -> Result<Option<T>, DecodeError> {
    if read_flag(r, what)? { T::read(r).map(Some) } else { Ok(None) }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Encode for $integer {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl Decode for $integer {
            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                r.array().map(Self::from_be_bytes)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);

impl<const N: usize> Encode for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> Decode for [u8; N] {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        r.array()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_big_endian_and_of_fixed_width() {
        assert_eq!(0x0102_u16.encode(), [1, 2]);
        assert_eq!(1_u64.encode(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(u32::decode(&[0, 0, 1, 0]), Ok(256));
    }

    #[test]
    fn a_value_must_fill_the_bytes_exactly() {
        assert_eq!(u16::decode(&[1]), Err(DecodeError::End { needs: 2, has: 1 }));
        assert_eq!(u16::decode(&[1, 2, 3]), Err(DecodeError::Trailing { left: 1 }));
    }

    #[test]
    fn a_length_is_held_against_its_cap_and_what_is_left() {
        let count = |bytes: &[u8]| Reader::new(bytes).count("list", 2, 3);
        assert_eq!(count(&[0, 0, 0, 2, 9, 9, 9, 9, 9, 9]), Ok(2));
        assert_eq!(count(&[0, 0, 0, 2, 9, 9, 9, 9, 9]), Err(DecodeError::End { needs: 6, has: 5 }));
        assert_eq!(count(&[0, 0, 0, 3, 9]), Err(DecodeError::TooLong { what: "list", got: 3, max: 2 }));
    }

    #[test]
    fn a_length_of_four_billion_allocates_nothing() {
        let mut r = Reader::new(&[0xff; 8]);
        let answer = r.bytes("blob", usize::MAX);
        assert_eq!(answer, Err(DecodeError::End { needs: 0xffff_ffff, has: 4 }));
    }

    #[test]
    fn text_must_be_utf8() {
        let bytes = [0, 0, 0, 2, 0xc3, 0x28];
        let answer = Reader::new(&bytes).text("name", 8);
        assert_eq!(answer, Err(DecodeError::Text { what: "name", rule: "UTF-8" }));
    }
}
