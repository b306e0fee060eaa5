//! W3C Baggage: looking up chosen keys. The header itself passes through a mesh untouched.
//!
//! ```
//! use spanloom_wire::baggage;
//!
//! let header = b"tenant=caf%C3%A9;ttl=5, user = alice";
//! assert_eq!(baggage::get(header, "tenant").as_deref(), Some("caf\u{e9}"));
//! assert_eq!(baggage::get(header, "user").as_deref(), Some("alice"));
//! ```

use std::borrow::Cow;

use crate::context::trim;
use crate::percent;

/// How many members are looked at: as many as everybody has to carry (section 3.3.2).
pub const MEMBERS_MAX: usize = 64;
/// How much of the header is looked at: as much as everybody has to carry (section 3.3.2).
pub const BYTES_MAX: usize = 8192;

/// The value of this key in a `baggage` header, or in several that are joined with commas.
///
/// The value is percent-decoded, and what is not UTF-8 in it becomes U+FFFD. Properties behind a
/// semicolon are left out. Where a key stands twice the last one counts, as in the SDKs. A member
/// that is cut off by [`BYTES_MAX`] is not seen.
pub fn get<'a>(header: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
    let value = members(header)
        .filter(|(k, _)| *k == key.as_bytes())
        .last()?
        .1;
    Some(match percent::decoded(value) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

/// The members as (key, value still encoded).
fn members(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let whole = header.get(..=BYTES_MAX).map_or(header, |seen| {
        let end = seen
            .iter()
            .rposition(|byte| *byte == b',')
            .unwrap_or_default();
        seen.get(..end).unwrap_or_default()
    });
    whole
        .split(|byte| *byte == b',')
        .take(MEMBERS_MAX)
        .filter_map(|member| {
            let member = member.split(|byte| *byte == b';').next()?;
            let equals = member.iter().position(|byte| *byte == b'=')?;
            let (key, value) = member.split_at_checked(equals)?;
            Some((trim(key), trim(value.strip_prefix(b"=")?)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, key: &str, value: Option<&str>) {
        assert_eq!(get(header.as_bytes(), key).as_deref(), value);
    }

    #[test]
    fn chosen_keys_are_found_among_others() {
        let header = "a=1,b=2,ab=3";
        check(header, "a", Some("1"));
        check(header, "b", Some("2"));
        check(header, "ab", Some("3"));
        check(header, "c", None);
        check(header, "A", None);
    }

    #[test]
    fn whitespace_and_properties_are_left_out() {
        check("a = 1 ; ttl=5;secure ,\tb\t=\t2\t", "a", Some("1"));
        check("a = 1 ; ttl=5;secure ,\tb\t=\t2\t", "b", Some("2"));
        check("a=1;b=2", "b", None);
    }

    #[test]
    fn values_are_percent_decoded() {
        check("a=%20x%2Cy%3Bz%25", "a", Some(" x,y;z%"));
        check("a=100%", "a", Some("100%"));
    }

    #[test]
    fn what_is_not_utf_8_is_replaced() {
        check("a=x%ff", "a", Some("x\u{fffd}"));
        assert_eq!(get(b"a=x\xff", "a").as_deref(), Some("x\u{fffd}"));
    }

    #[test]
    fn values_may_be_empty_and_hold_equals_signs() {
        check("a=,b=x=y", "a", Some(""));
        check("a=,b=x=y", "b", Some("x=y"));
    }

    #[test]
    fn members_without_a_value_are_skipped() {
        check("a,,;,=,b=1", "a", None);
        check("a,,;,=,b=1", "b", Some("1"));
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        check("a=1,a=2", "a", Some("2"));
    }

    #[test]
    fn nothing_is_copied_unless_it_has_to_be() {
        assert!(matches!(get(b"a=plain", "a"), Some(Cow::Borrowed("plain"))));
    }

    #[test]
    fn sixty_four_members_are_looked_at() {
        let header: Vec<_> = (1..=65).map(|i| format!("k{i}={i}")).collect();
        check(&header.join(","), "k64", Some("64"));
        check(&header.join(","), "k65", None);
    }

    #[test]
    fn eight_kibibytes_are_looked_at_in_whole_members() {
        let long = "x".repeat(BYTES_MAX - "a=1,b=".len());
        let fits = format!("a=1,b={long}");
        assert_eq!(fits.len(), BYTES_MAX);
        check(&fits, "b", Some(&long));
        check(&format!("{fits},c=3"), "b", Some(&long));
        check(&format!("{fits},c=3"), "c", None);
        check(&format!("{fits}x"), "a", Some("1"));
        check(&format!("{fits}x"), "b", None);
    }
}
