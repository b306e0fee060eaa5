//! Trace and span ids: `Copy`, never all zero.
//!
//! W3C Trace Context level 2, sections 3.2.2.3 and 3.2.2.4, and OTLP's `trace.proto` agree that an
//! id of only zero bytes is invalid, so a value of these types always is a usable id.

use std::fmt;
use std::str::FromStr;

/// Why some text or bytes are not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidId {
    /// The input has another length than the id.
    Length,
    /// The text holds something else than hexadecimal digits.
    Digit,
    /// Every byte is zero, which the specifications reserve for "no id".
    Zero,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidId::Length => "an id of the wrong length",
            InvalidId::Digit => "an id with a character that is not a hexadecimal digit",
            InvalidId::Zero => "an id of only zeros",
        })
    }
}

impl std::error::Error for InvalidId {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $n_bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $n_bytes]);

        impl $name {
            /// The id with these bytes, most significant first; `None` for all zeros.
            pub const fn from_bytes(bytes: [u8; $n_bytes]) -> Option<Self> {
                let mut rest = bytes.as_slice();
                while let [byte, more @ ..] = rest {
                    if *byte != 0 {
                        return Some(Self(bytes));
                    }
                    rest = more;
                }
                None
            }

            /// The id in these bytes, as OTLP and Jaeger's protobuf carry it.
            ///
            /// # Errors
            /// Another length than the id's, or only zeros.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidId> {
                let bytes = bytes.try_into().map_err(|_| InvalidId::Length)?;
                Self::from_bytes(bytes).ok_or(InvalidId::Zero)
            }

            /// The id in this hexadecimal text of full length, in either case.
            ///
            /// # Errors
            /// Another length, a character that is no digit, or only zeros.
            pub fn from_hex(text: &[u8]) -> Result<Self, InvalidId> {
                if text.len() != 2 * $n_bytes {
                    return Err(InvalidId::Length);
                }
                let mut bytes = [0; $n_bytes];
                let mut seen = 0;
                for (byte, [high, low]) in bytes.iter_mut().zip(text.as_chunks().0) {
                    let (high, low) = (hex_code(*high), hex_code(*low));
                    seen |= high | low;
                    *byte = high << 4 | low & 15;
                }
                if seen > 15 {
                    return Err(InvalidId::Digit);
                }
                Self::from_bytes(bytes).ok_or(InvalidId::Zero)
            }

            /// The id in hexadecimal text, in either case, that may have lost its leading zeros.
            pub(crate) fn from_short_hex(text: &[u8]) -> Option<Self> {
                if text.len() > 2 * $n_bytes {
                    return None;
                }
                let mut bytes = [0; $n_bytes];
                for (byte, digits) in bytes.iter_mut().rev().zip(text.rchunks(2)) {
                    *byte = match digits {
                        [digit] => hex_value(*digit)?,
                        pair => hex_byte(pair)?,
                    };
                }
                Self::from_bytes(bytes)
            }

            /// The bytes, most significant first.
            pub const fn to_bytes(self) -> [u8; $n_bytes] {
                self.0
            }

            /// The lower-case hexadecimal digits, as every text header carries them.
            pub fn to_hex(self) -> [u8; 2 * $n_bytes] {
                let mut text = [0; 2 * $n_bytes];
                for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(self.0) {
                    *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
                }
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::from_hex(text.as_bytes())
            }
        }
    };
}

id! {
    /// The id that all spans of one trace share: 16 bytes, not all zero.
    TraceId, 16
}

id! {
    /// The id of one span within its trace: 8 bytes, not all zero.
    SpanId, 8
}

/// The value of each byte as a hexadecimal digit in either case; 255 for what is none.
const HEX_CODES: [u8; 256] = {
    let mut codes = [u8::MAX; 256];
    let mut rest = codes.as_mut_slice();
    let mut byte = 0;
    while let [code, more @ ..] = rest {
        *code = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => u8::MAX,
        };
        byte = byte.wrapping_add(1);
        rest = more;
    }
    codes
};

fn hex_code(digit: u8) -> u8 {
    HEX_CODES
        .get(usize::from(digit))
        .copied()
        .unwrap_or(u8::MAX)
}

/// The value of one hexadecimal digit in either case.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    Some(hex_code(digit)).filter(|value| *value < 16)
}

/// The value of two hexadecimal digits in either case.
pub(crate) fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else {
        return None;
    };
    Some(hex_value(*high)? << 4 | hex_value(*low)?)
}

/// The lower-case hexadecimal digit of a value below 16.
pub(crate) const fn hex_digit(value: u8) -> u8 {
    match value {
        0..=9 => b'0' + value,
        _ => b'a' - 10 + value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_prints_lower_case() {
        let id: TraceId = "0AF7651916CD43DD8448EB211C80319C".parse().unwrap();
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(TraceId::from_hex(&id.to_hex()), Ok(id));
    }

    #[test]
    fn short_hex_is_filled_with_zeros_from_the_left() {
        let id = SpanId::from_bytes([0, 0, 0, 0, 0, 0, 0x0a, 0xbc]);
        for text in ["abc", "0ABC", "0000000000000abc"] {
            assert_eq!(SpanId::from_short_hex(text.as_bytes()), id, "{text}");
        }
        for text in ["", "0", "00000000000000abc", "ab-", "-ab"] {
            assert_eq!(SpanId::from_short_hex(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        assert_eq!(SpanId::from_hex(b"00"), Err(InvalidId::Length));
        assert_eq!(SpanId::from_hex(b"00f067aa0ba902bg"), Err(InvalidId::Digit));
        assert_eq!(SpanId::from_hex(b"0000000000000000"), Err(InvalidId::Zero));
        assert_eq!(TraceId::from_slice(&[1; 8]), Err(InvalidId::Length));
        assert_eq!(TraceId::from_slice(&[0; 16]), Err(InvalidId::Zero));
    }
}
