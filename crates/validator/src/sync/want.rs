//! What is asked for?
//!
//! One channel serves all of it.

use bytes::BufMut;
use commonware_codec::{Buf, EncodeSize, Error, Read, Write};
use commonware_utils::Span;
use ledger::{Decode as _, Path, Reader};
use std::{fmt, time::Duration};

/// A piece on a line of a megabit a second takes four seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// No path is longer, and nothing else is as long.
const BYTES_MAX: usize = 1 + 8 + 2 + 256;

/// What a peer is asked for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Want {
    /// The newest snapshot, if it is above this height: the block above it, with its certificate.
    Offer { above: u64 },
    /// The block that the snapshot at this height is the state after.
    Tip { height: u64 },
    /// A piece of the snapshot at this height.
    Piece { height: u64, path: Path },
    /// The first change of the set of voters that was decided in this epoch or later.
    Change { from: u64 },
}

impl Want {
    fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (tag, number) = match self {
            Self::Offer { above } => (0, above),
            Self::Tip { height } => (1, height),
            Self::Piece { height, .. } => (2, height),
            Self::Change { from } => (3, from),
        };
        out.push(tag);
        ledger::Encode::write(number, &mut out);
        if let Self::Piece { path, .. } = self {
            ledger::Encode::write(path, &mut out);
        }
        out
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let (tag, number) = (u8::read(&mut r).ok()?, u64::read(&mut r).ok()?);
        let want = match tag {
            0 => Self::Offer { above: number },
            1 => Self::Tip { height: number },
            2 => Self::Piece { height: number, path: Path::read(&mut r).ok()? },
            3 => Self::Change { from: number },
            _ => return None,
        };
        r.finish().ok()?;
        Some(want)
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Span for Want {}

impl Write for Want {
    fn write(&self, buf: &mut impl BufMut) {
        let bytes = self.encoded();
        buf.put_u16(u16::try_from(bytes.len()).expect("a path is short"));
        buf.put_slice(&bytes);
    }
}

impl EncodeSize for Want {
    fn encode_size(&self) -> usize {
        2 + self.encoded().len()
    }
}

impl Read for Want {
    type Cfg = ();

    fn read_cfg(buf: &mut impl Buf, (): &()) -> Result<Self, Error> {
        if buf.remaining() < 2 {
            return Err(Error::EndOfBuffer);
        }
        let length = usize::from(buf.get_u16());
        if length > BYTES_MAX {
            return Err(Error::InvalidLength(length));
        }
        if buf.remaining() < length {
            return Err(Error::EndOfBuffer);
        }
        Self::parse(&buf.copy_to_bytes(length)).ok_or(Error::Invalid("want", "not a canonical request"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use commonware_codec::{DecodeExt, Encode as _};

    #[test]
    fn a_want_is_what_it_was_written_as_and_other_bytes_are_none() {
        for want in [
            Want::Offer { above: 7 },
            Want::Tip { height: u64::MAX },
            Want::Piece { height: 3, path: Path::root() },
            Want::Change { from: 0 },
        ] {
            let bytes = want.encode();
            assert_eq!(<Want as DecodeExt<()>>::decode(bytes.clone()).ok(), Some(want));
            assert!(<Want as DecodeExt<()>>::decode(bytes.slice(..bytes.len() - 1)).is_err());
        }
        assert!(<Want as DecodeExt<()>>::decode(Bytes::from_static(&[0, 9, 4, 0, 0, 0, 0, 0, 0, 0, 1])).is_err());
        assert!(<Want as DecodeExt<()>>::decode(Bytes::from_static(&[0xff, 0xff])).is_err());
    }
}
