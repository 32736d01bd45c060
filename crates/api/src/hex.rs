//! Bytes as text, two digits each.

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use std::fmt::Write as _;

/// Digits in either case, and nothing else.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

/// For `serde(with)`.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all that is written to it");
    }
    serializer.serialize_str(&text)
}

/// For `serde(with)`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    read(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("hex is two digits per byte, without 0x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_pairs_of_digits_in_either_case() {
        assert_eq!(read("00fFa1"), Some(vec![0x00, 0xff, 0xa1]));
        assert_eq!(read(""), Some(vec![]));
        for text in ["0", "0g", "+1", "ä0", "0x00"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
