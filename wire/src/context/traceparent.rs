//! `traceparent` (W3C Trace Context level 2, section 3.2): version, trace id, parent id, flags.

use std::fmt;

use super::{TraceContext, TraceFlags, trim};
use crate::id::hex_byte;
use crate::{InvalidId, SpanId, TraceId};

/// How long a `traceparent` of version 00 is.
pub const TRACEPARENT_BYTES: usize = 55;

/// Why a `traceparent` is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidTraceparent {
    /// It does not begin with two digits of a version, other than `ff`.
    Version,
    /// Its trace id is missing or broken.
    TraceId(InvalidId),
    /// Its parent id is missing or broken.
    SpanId(InvalidId),
    /// Its flags are missing or not two digits.
    Flags,
    /// It is of version 00 and goes on after the flags.
    Trailing,
    /// It has an upper-case digit.
    Case,
}

impl fmt::Display for InvalidTraceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidTraceparent::Version => "a traceparent without a valid version",
            InvalidTraceparent::TraceId(_) => "a traceparent without a valid trace-id",
            InvalidTraceparent::SpanId(_) => "a traceparent without a valid parent-id",
            InvalidTraceparent::Flags => "a traceparent without valid flags",
            InvalidTraceparent::Trailing => "a traceparent that is too long for its version",
            InvalidTraceparent::Case => "a traceparent with an upper-case digit",
        })
    }
}

impl std::error::Error for InvalidTraceparent {}

impl TraceContext {
    /// Reads the value of one `traceparent` header.
    ///
    /// Version 00 is read exactly. A later version may go on after the flags, behind a dash; it is
    /// read for what version 00 knows (section 3.2.4).
    ///
    /// # Errors
    /// Why the value is not to be used, and the trace to be restarted.
    pub fn from_traceparent(value: &[u8]) -> Result<Self, InvalidTraceparent> {
        let value = trim(value);
        let mut rest = value;
        let version = hex_byte(field(&mut rest, 2)).ok_or(InvalidTraceparent::Version)?;
        if version == 0xff {
            return Err(InvalidTraceparent::Version);
        }
        let trace_id = TraceId::from_hex(field(&mut rest, 32));
        let trace_id = trace_id.map_err(InvalidTraceparent::TraceId)?;
        let span_id = SpanId::from_hex(field(&mut rest, 16));
        let span_id = span_id.map_err(InvalidTraceparent::SpanId)?;
        let (flags, more) = match rest.split_at_checked(2) {
            Some((flags, more @ ([] | [b'-', ..]))) => (flags, more),
            _ => return Err(InvalidTraceparent::Flags),
        };
        let flags = hex_byte(flags).ok_or(InvalidTraceparent::Flags)?;
        if version == 0 && !more.is_empty() {
            return Err(InvalidTraceparent::Trailing);
        }
        // The digits were read in either case, since other formats allow that.
        let digits = value.iter().take(TRACEPARENT_BYTES);
        if digits.fold(false, |upper, byte| upper | byte.is_ascii_uppercase()) {
            return Err(InvalidTraceparent::Case);
        }
        Ok(Self {
            trace_id,
            span_id,
            flags: TraceFlags::from_bits(flags),
        })
    }

    /// The value of a `traceparent` header, of version 00.
    pub fn to_traceparent(self) -> [u8; TRACEPARENT_BYTES] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        if let Some(field) = value.get_mut(3..35) {
            field.copy_from_slice(&self.trace_id.to_hex());
        }
        if let Some(field) = value.get_mut(36..52) {
            field.copy_from_slice(&self.span_id.to_hex());
        }
        if let Some(digit) = value.last_mut() {
            *digit += self.flags.bits();
        }
        value
    }
}

/// Takes a field of so many digits and the dash behind it; where there is no dash, all that is left,
/// whose length then says what is wrong.
fn field<'a>(rest: &mut &'a [u8], n_digits: usize) -> &'a [u8] {
    let (digits, after) = match rest.split_at_checked(n_digits) {
        Some((digits, [b'-', after @ ..])) => (digits, after),
        _ => (*rest, &[][..]),
    };
    *rest = after;
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn parse(value: &str) -> Result<TraceContext, InvalidTraceparent> {
        TraceContext::from_traceparent(value.as_bytes())
    }

    #[track_caller]
    fn check_accepted(value: &str, written: &str) {
        let context = parse(value).unwrap();
        assert_eq!(context.trace_id.to_string(), TRACE);
        assert_eq!(context.span_id.to_string(), SPAN);
        assert_eq!(
            std::str::from_utf8(&context.to_traceparent()).unwrap(),
            written
        );
    }

    #[track_caller]
    fn check_refused(value: &str, why: InvalidTraceparent) {
        assert_eq!(parse(value), Err(why));
    }

    #[test]
    fn version_00_round_trips() {
        for flags in ["00", "01", "02", "03"] {
            let value = format!("00-{TRACE}-{SPAN}-{flags}");
            check_accepted(&value, &value);
        }
    }

    #[test]
    fn whitespace_around_is_ignored() {
        let value = format!("00-{TRACE}-{SPAN}-01");
        for (before, after) in [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t")] {
            check_accepted(&format!("{before}{value}{after}"), &value);
        }
    }

    #[test]
    fn unknown_flags_are_sent_as_zero() {
        check_accepted(
            &format!("00-{TRACE}-{SPAN}-ff"),
            &format!("00-{TRACE}-{SPAN}-03"),
        );
        check_accepted(
            &format!("00-{TRACE}-{SPAN}-fc"),
            &format!("00-{TRACE}-{SPAN}-00"),
        );
    }

    #[test]
    fn later_version_is_read_for_what_we_know_and_sent_as_00() {
        let written = format!("00-{TRACE}-{SPAN}-01");
        check_accepted(&format!("cc-{TRACE}-{SPAN}-01"), &written);
        check_accepted(&format!("cc-{TRACE}-{SPAN}-01-"), &written);
        check_accepted(
            &format!("01-{TRACE}-{SPAN}-09-what-THE-future.brings"),
            &written,
        );
    }

    #[test]
    fn later_version_needs_a_dash_after_the_flags() {
        check_refused(
            &format!("cc-{TRACE}-{SPAN}-01.what"),
            InvalidTraceparent::Flags,
        );
        check_refused(&format!("cc-{TRACE}-{SPAN}-011"), InvalidTraceparent::Flags);
    }

    #[test]
    fn later_version_that_is_too_short_restarts() {
        check_refused(&format!("cc-{TRACE}-{SPAN}-0"), InvalidTraceparent::Flags);
        check_refused(&format!("cc-{TRACE}-{SPAN}"), InvalidTraceparent::Flags);
        check_refused("cc", InvalidTraceparent::TraceId(InvalidId::Length));
    }

    #[test]
    fn version_00_must_end_after_the_flags() {
        check_refused(&format!("00-{TRACE}-{SPAN}-01."), InvalidTraceparent::Flags);
        check_refused(
            &format!("00-{TRACE}-{SPAN}-01-"),
            InvalidTraceparent::Trailing,
        );
        check_refused(
            &format!("00-{TRACE}-{SPAN}-01-what"),
            InvalidTraceparent::Trailing,
        );
    }

    #[test]
    fn version_ff_restarts() {
        check_refused(
            &format!("ff-{TRACE}-{SPAN}-01"),
            InvalidTraceparent::Version,
        );
    }

    #[test]
    fn version_that_cannot_be_read_restarts() {
        for version in [".0", "0.", "000", "0000", "0", "", "00 ", "0\u{e9}"] {
            check_refused(
                &format!("{version}-{TRACE}-{SPAN}-01"),
                InvalidTraceparent::Version,
            );
        }
        check_refused("", InvalidTraceparent::Version);
    }

    #[test]
    fn trace_id_of_zeros_restarts() {
        let why = InvalidTraceparent::TraceId(InvalidId::Zero);
        check_refused(&format!("00-{}-{SPAN}-01", "0".repeat(32)), why);
    }

    #[test]
    fn trace_id_with_another_character_or_length_restarts() {
        let digit = InvalidTraceparent::TraceId(InvalidId::Digit);
        check_refused(&format!("00-.{}-{SPAN}-01", &TRACE[1..]), digit);
        check_refused(&format!("00-{}.-{SPAN}-01", &TRACE[1..]), digit);
        let length = InvalidTraceparent::TraceId(InvalidId::Length);
        check_refused(&format!("00-{TRACE}0-{SPAN}-01"), length);
        check_refused(&format!("00-{}-{SPAN}-01", &TRACE[1..]), length);
    }

    #[test]
    fn parent_id_of_zeros_restarts() {
        let why = InvalidTraceparent::SpanId(InvalidId::Zero);
        check_refused(&format!("00-{TRACE}-{}-01", "0".repeat(16)), why);
    }

    #[test]
    fn parent_id_with_another_character_or_length_restarts() {
        let digit = InvalidTraceparent::SpanId(InvalidId::Digit);
        check_refused(&format!("00-{TRACE}-.{}-01", &SPAN[1..]), digit);
        check_refused(&format!("00-{TRACE}-{}.-01", &SPAN[1..]), digit);
        let length = InvalidTraceparent::SpanId(InvalidId::Length);
        check_refused(&format!("00-{TRACE}-{SPAN}0-01"), length);
        check_refused(&format!("00-{TRACE}-{}-01", &SPAN[1..]), length);
    }

    #[test]
    fn flags_with_another_character_or_length_restart() {
        for flags in [".0", "0.", "001", "1", ""] {
            check_refused(
                &format!("00-{TRACE}-{SPAN}-{flags}"),
                InvalidTraceparent::Flags,
            );
        }
    }

    #[test]
    fn upper_case_restarts() {
        let (trace, span) = (TRACE.to_uppercase(), SPAN.to_uppercase());
        check_refused(&format!("00-{trace}-{SPAN}-01"), InvalidTraceparent::Case);
        check_refused(&format!("00-{TRACE}-{span}-01"), InvalidTraceparent::Case);
        check_refused(&format!("00-{TRACE}-{SPAN}-0A"), InvalidTraceparent::Case);
        check_refused(&format!("CC-{TRACE}-{SPAN}-01"), InvalidTraceparent::Case);
    }
}
