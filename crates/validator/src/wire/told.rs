//! What goes over the channel of rows: one's own row, or those of others.
//!
//! A row is its sender's word whoever brings it: it is signed. So whoever hears two that do not hear each other can pass on
//! what they say. What is passed on says only what its senders said; a liar among those that pass on can hold a row back and
//! bring it late, and no more, and [`Told::held_ms`] with the time in the row itself bounds how late.

use super::row_bytes_max;
use ledger::{Decode, DecodeError, Encode, Reader, codec::write_count, genesis::VALIDATORS_MAX};

/// Rows in one message: all but those of its sender and its receiver.
pub const TOLD_MAX: usize = 16;

/// A message on the channel of rows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// Its sender's row, signed.
    Own(Vec<u8>),
    /// Rows of others.
    Others(Vec<Told>),
}

/// A row that is passed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Whose it is, by its place in the roster.
    pub about: u32,
    /// How long those that passed it on had it, in milliseconds.
    pub held_ms: u16,
    /// The row, signed.
    pub row: Vec<u8>,
}

/// The most bytes of a message with rows of so many bytes each.
pub const fn said_bytes_max(row_bytes_max: usize) -> usize {
    1 + 4 + TOLD_MAX * (4 + 2 + 4 + row_bytes_max)
}

impl Encode for Said {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Own(row) => {
                out.push(0);
                out.extend_from_slice(row);
            }
            Self::Others(told) => {
                out.push(1);
                write_count(told.len(), out);
                told.iter().for_each(|told| told.write(out));
            }
        }
    }
}

impl Decode for Said {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::read(r)? {
            0 => Ok(Self::Own(r.take(r.remaining())?.to_vec())),
            1 => {
                let count = r.count("rows passed on", TOLD_MAX, 4 + 2 + 4)?;
                (0..count).map(|_| Told::read(r)).collect::<Result<_, _>>().map(Self::Others)
            }
            got => Err(DecodeError::Tag { what: "row message", got }),
        }
    }
}

impl Encode for Told {
    fn write(&self, out: &mut Vec<u8>) {
        self.about.write(out);
        out.extend_from_slice(&self.held_ms.to_be_bytes());
        ledger::codec::write_bytes(&self.row, out);
    }
}

impl Decode for Told {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (about, held_ms) = (u32::read(r)?, u16::read(r)?);
        Ok(Self { about, held_ms, row: r.bytes("row passed on", row_bytes_max(VALIDATORS_MAX))?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_reads_back_and_garbage_does_not() {
        let told = |about| Told { about, held_ms: 300, row: vec![7; 90] };
        for said in [Said::Own(vec![1, 2, 3]), Said::Others((0..TOLD_MAX as u32).map(told).collect())] {
            let bytes = said.encode();
            assert!(bytes.len() <= said_bytes_max(90));
            assert_eq!(Said::decode(&bytes), Ok(said));
        }
        let message = Said::Others(vec![told(1)]).encode();
        assert!((0..message.len()).all(|end| Said::decode(&message[..end]).is_err()));
        assert!(Said::decode(&[1, 0xff, 0xff, 0xff, 0xff]).is_err(), "a count is not trusted");
        assert!(Said::decode(&[2]).is_err());
    }
}
