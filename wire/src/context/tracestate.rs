//! `tracestate` (W3C Trace Context level 2, section 3.3): what each tracing system on the way has to
//! say about the trace, one member a system, the latest one first.

use std::borrow::Cow;
use std::fmt;

use super::trim;

/// How many members a list may have.
pub const MEMBERS_MAX: usize = 32;
/// How long a key may be.
pub const KEY_BYTES_MAX: usize = 256;
/// How long a value may be.
pub const VALUE_BYTES_MAX: usize = 256;

/// Members longer than this go first where a list must be cut (section 3.3.1.5).
const LONG_MEMBER_BYTES: usize = 128;

/// Why a `tracestate` is not to be used: it is dropped whole, and the parent is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidTraceState {
    /// More than [`MEMBERS_MAX`] members.
    Members,
    /// A member without a `=`.
    Separator,
    /// A key that is empty, too long, or has a character that keys may not have.
    Key,
    /// A value that is empty, too long, or has a character that values may not have.
    Value,
}

impl fmt::Display for InvalidTraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidTraceState::Members => "a tracestate with more than 32 members",
            InvalidTraceState::Separator => "a tracestate with a member that has no value",
            InvalidTraceState::Key => "a tracestate with an invalid key",
            InvalidTraceState::Value => "a tracestate with an invalid value",
        })
    }
}

impl std::error::Error for InvalidTraceState {}

/// A valid list of members. As long as it is not changed it is the bytes that came in, whitespace
/// and empty members included, and borrows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState<'a> {
    text: Cow<'a, str>,
}

impl<'a> TraceState<'a> {
    /// Checks the value of one `tracestate` header, or several values joined with commas.
    ///
    /// # Errors
    /// Why the value is not to be used.
    pub fn parse(value: &'a [u8]) -> Result<Self, InvalidTraceState> {
        Self::checked(Cow::Borrowed(value))
    }

    /// Checks the values of all `tracestate` headers of a request, in order. Allocates only where
    /// there is more than one.
    ///
    /// # Errors
    /// Why the values together are not to be used.
    pub fn from_headers(
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, InvalidTraceState> {
        let mut joined: Option<Cow<'a, [u8]>> = None;
        for value in values {
            match &mut joined {
                None => joined = Some(Cow::Borrowed(value)),
                Some(joined) => {
                    let joined = joined.to_mut();
                    joined.push(b',');
                    joined.extend_from_slice(value);
                }
            }
        }
        Self::checked(joined.unwrap_or_default())
    }

    fn checked(value: Cow<'a, [u8]>) -> Result<Self, InvalidTraceState> {
        check(&value)?;
        // What passed is ASCII, so this is only the way to tell the compiler.
        let text = match value {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        Ok(Self {
            text: text.ok_or(InvalidTraceState::Value)?,
        })
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no member. Such a header should not be sent.
    pub fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }

    /// The members as (key, value), the latest first.
    pub fn members(&self) -> Members<'_> {
        Members { rest: &self.text }
    }

    /// The value of the first member with this key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    /// This list with a member set. A changed or a new member goes left-most, and the right-most
    /// one falls off a list that is full; a member that has this value already stays where it is.
    ///
    /// # Errors
    /// A key or a value that the grammar does not allow.
    pub fn with(&self, key: &str, value: &str) -> Result<TraceState<'a>, InvalidTraceState> {
        if !is_key(key.as_bytes()) {
            return Err(InvalidTraceState::Key);
        }
        if !is_value(value.as_bytes()) {
            return Err(InvalidTraceState::Value);
        }
        if self.get(key) == Some(value) {
            return Ok(self.clone());
        }
        let others = self
            .members()
            .filter(|(k, _)| *k != key)
            .take(MEMBERS_MAX - 1);
        let text_bytes_max = key.len() + value.len() + 2 + self.text.len();
        Ok(Self::write(
            text_bytes_max,
            std::iter::once((key, value)).chain(others),
        ))
    }

    /// This list without the member of this key. Members of other systems should stay.
    #[must_use]
    pub fn without(&self, key: &str) -> TraceState<'a> {
        if self.get(key).is_none() {
            return self.clone();
        }
        Self::write(self.text.len(), self.members().filter(|(k, _)| *k != key))
    }

    /// This list cut to at most so many bytes, by whole members: first those longer than 128 bytes,
    /// then others, each from the right. 512 bytes are what every system should carry.
    #[must_use]
    pub fn fitted(&self, bytes_max: usize) -> TraceState<'a> {
        if self.text.len() <= bytes_max {
            return self.clone();
        }
        let mut members = [None; MEMBERS_MAX];
        let mut bytes = 0;
        for (slot, (key, value)) in members.iter_mut().zip(self.members()) {
            let member_bytes = key.len() + value.len() + 1;
            // Each member counts with a comma; the one comma too many is allowed for below.
            bytes += member_bytes + 1;
            *slot = Some((key, value, member_bytes));
        }
        for only_longer_than in [LONG_MEMBER_BYTES, 0] {
            for slot in members.iter_mut().rev() {
                if bytes <= bytes_max.saturating_add(1) {
                    break;
                }
                if let Some((_, _, member_bytes)) = *slot
                    && member_bytes > only_longer_than
                {
                    bytes -= member_bytes + 1;
                    *slot = None;
                }
            }
        }
        Self::write(
            bytes,
            members
                .into_iter()
                .flatten()
                .map(|(key, value, _)| (key, value)),
        )
    }

    fn write<'m>(bytes: usize, members: impl Iterator<Item = (&'m str, &'m str)>) -> Self {
        let mut text = String::with_capacity(bytes);
        for (key, value) in members {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(key);
            text.push('=');
            text.push_str(value);
        }
        Self {
            text: Cow::Owned(text),
        }
    }
}

/// The members of a [`TraceState`] as (key, value).
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (member, rest) = split(self.rest, b',').unwrap_or((self.rest, ""));
            self.rest = rest;
            if let Some(member) = split(member.trim_ascii(), b'=') {
                return Some(member);
            }
        }
        None
    }
}

/// `text` before and behind the first such byte. On short text this is faster and smaller than
/// `str`'s own search for a character.
pub(crate) fn split(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A key that stands twice is no fault here: the W3C test suite of level 2 wants such a list to be
/// carried on, and a carrier is not the one to choose between another system's two members.
fn check(text: &[u8]) -> Result<(), InvalidTraceState> {
    let mut n_members = 0;
    let members = text.split(|byte| *byte == b',').map(trim);
    for member in members.filter(|member| !member.is_empty()) {
        let equals = member.iter().position(|byte| *byte == b'=');
        let (key, value) = equals
            .and_then(|at| Some((member.get(..at)?, member.get(at + 1..)?)))
            .ok_or(InvalidTraceState::Separator)?;
        if !is_key(key) {
            return Err(InvalidTraceState::Key);
        }
        if !is_value(value) {
            return Err(InvalidTraceState::Value);
        }
        n_members += 1;
        if n_members > MEMBERS_MAX {
            return Err(InvalidTraceState::Members);
        }
    }
    Ok(())
}

/// Section 3.3.1.3.1. Level 1 knew a stricter grammar around `@`; level 2 sees no meaning in it.
fn is_key(key: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= KEY_BYTES_MAX
        && key.first().is_some_and(is_first)
        && key
            .iter()
            .all(|b| is_first(b) || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@'))
}

/// Section 3.3.1.3.2. A leading space belongs to the value, a trailing one does not.
fn is_value(value: &[u8]) -> bool {
    value.len() <= VALUE_BYTES_MAX
        && value.last().is_some_and(|byte| *byte != b' ')
        && value
            .iter()
            .all(|b| matches!(b, b' '..=b'~') && !matches!(b, b',' | b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<TraceState<'_>, InvalidTraceState> {
        TraceState::parse(value.as_bytes())
    }

    fn members(n: usize) -> String {
        (1..=n)
            .map(|i| format!("bar{i:02}={i:02}"))
            .collect::<Vec<_>>()
            .join(",")
    }

    #[track_caller]
    fn check_refused(value: &str, why: InvalidTraceState) {
        assert_eq!(parse(value), Err(why));
    }

    #[test]
    fn a_valid_list_passes_through_byte_for_byte() {
        let value = " foo=1 \t , \t bar=2,,\t,baz= 3 ,";
        let state = parse(value).unwrap();
        assert_eq!(state.as_str(), value);
        assert!(matches!(state.text, Cow::Borrowed(_)));
        let members: Vec<_> = state.members().collect();
        assert_eq!(members, [("foo", "1"), ("bar", "2"), ("baz", " 3")]);
    }

    #[test]
    fn one_header_is_not_copied_and_several_join_in_order() {
        let one = TraceState::from_headers([&b"foo=1"[..]]).unwrap();
        assert!(matches!(one.text, Cow::Borrowed("foo=1")));
        let three = TraceState::from_headers([&b"foo=1,bar=2"[..], b"", b"baz=3"]).unwrap();
        assert_eq!(three.as_str(), "foo=1,bar=2,,baz=3");
        assert!(TraceState::from_headers([]).unwrap().is_empty());
    }

    #[test]
    fn empty_header_is_valid_and_has_no_member() {
        for value in ["", " ", "\t", ",", " , ,\t,"] {
            assert!(parse(value).unwrap().is_empty());
        }
    }

    #[test]
    fn empty_members_do_not_count() {
        let value = format!("{},{}", ",".repeat(100), members(32));
        assert_eq!(parse(&value).unwrap().members().count(), 32);
    }

    #[test]
    fn thirty_two_members_are_kept_and_thirty_three_refused() {
        assert_eq!(parse(&members(32)).unwrap().members().count(), 32);
        check_refused(&members(33), InvalidTraceState::Members);
    }

    #[test]
    fn a_key_that_stands_twice_is_carried_on_and_the_first_one_counts() {
        let twice = TraceState::from_headers([&b"foo=1,bar=3"[..], b"foo=2"]).unwrap();
        assert_eq!(twice.as_str(), "foo=1,bar=3,foo=2");
        assert_eq!(twice.get("foo"), Some("1"));
        assert_eq!(twice.with("foo", "4").unwrap().as_str(), "foo=4,bar=3");
        assert_eq!(twice.without("foo").as_str(), "bar=3");
    }

    #[test]
    fn every_allowed_character_passes() {
        let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/";
        let value: String = (b' '..=b'~')
            .map(char::from)
            .filter(|c| !matches!(c, ',' | '='))
            .collect();
        let header = format!("{key}={value}");
        assert_eq!(parse(&header).unwrap().get(key), Some(&value[..]));
    }

    #[test]
    fn keys_with_other_characters_are_refused() {
        for key in [
            "foo ", "FOO", "foo.bar", "", "_foo", "@foo", "-foo", "f\u{e9}",
        ] {
            check_refused(&format!("{key}=1"), InvalidTraceState::Key);
        }
        assert_eq!(TraceState::parse(b"f\xff=1"), Err(InvalidTraceState::Key));
    }

    #[test]
    fn at_signs_have_no_meaning_at_level_2() {
        for key in ["foo@", "foo@@bar", "foo@bar@baz", "0foo@bar"] {
            assert_eq!(parse(&format!("{key}=1")).unwrap().get(key), Some("1"));
        }
        let key = format!("t@{}", "v".repeat(15));
        assert!(parse(&format!("{key}=1")).is_ok());
    }

    #[test]
    fn keys_end_at_256_characters() {
        assert!(parse(&format!("foo=1,{}=1", "z".repeat(256))).is_ok());
        check_refused(
            &format!("foo=1,{}=1", "z".repeat(257)),
            InvalidTraceState::Key,
        );
    }

    #[test]
    fn values_end_at_256_characters() {
        assert!(parse(&format!("foo={} ", "z".repeat(256))).is_ok());
        check_refused(
            &format!("foo={}", "z".repeat(257)),
            InvalidTraceState::Value,
        );
    }

    #[test]
    fn values_with_other_characters_are_refused() {
        check_refused("foo=bar=baz", InvalidTraceState::Value);
        check_refused("foo=,bar=3", InvalidTraceState::Value);
        check_refused("foo=  ,bar=3", InvalidTraceState::Value);
        check_refused("foo=a\tb", InvalidTraceState::Value);
        check_refused("foo=\u{e9}", InvalidTraceState::Value);
        check_refused("foo=\u{7f}", InvalidTraceState::Value);
    }

    #[test]
    fn a_member_without_a_value_is_refused() {
        check_refused("foo=1,bar", InvalidTraceState::Separator);
    }

    #[test]
    fn a_changed_member_goes_left_most_and_the_others_keep_their_order() {
        let state = parse("a=1, b=2,,ot=th:8,c=3").unwrap();
        assert_eq!(
            state.with("ot", "th:0").unwrap().as_str(),
            "ot=th:0,a=1,b=2,c=3"
        );
        assert_eq!(
            state.with("new", "x").unwrap().as_str(),
            "new=x,a=1,b=2,ot=th:8,c=3"
        );
        assert_eq!(
            TraceState::default().with("ot", "th:0").unwrap().as_str(),
            "ot=th:0"
        );
    }

    #[test]
    fn a_member_set_to_the_value_that_it_has_changes_nothing() {
        let state = parse("a=1, ot=th:8").unwrap();
        assert_eq!(state.with("ot", "th:8").unwrap(), state);
    }

    #[test]
    fn a_new_member_pushes_the_right_most_off_a_full_list() {
        let value = members(32);
        let state = parse(&value).unwrap();
        let with_new = state.with("ot", "th:0").unwrap();
        assert_eq!(with_new.members().count(), 32);
        assert_eq!(with_new.members().next(), Some(("ot", "th:0")));
        assert_eq!(with_new.get("bar32"), None);
        assert_eq!(with_new.get("bar31"), Some("31"));
        let changed = state.with("bar32", "new").unwrap();
        assert_eq!(changed.members().count(), 32);
        assert_eq!(changed.get("bar31"), Some("31"));
    }

    #[test]
    fn a_member_that_the_grammar_forbids_cannot_be_set() {
        let state = TraceState::default();
        assert_eq!(state.with("OT", "1"), Err(InvalidTraceState::Key));
        assert_eq!(state.with("ot", "a,b"), Err(InvalidTraceState::Value));
        assert_eq!(state.with("ot", "a "), Err(InvalidTraceState::Value));
    }

    #[test]
    fn a_removed_member_leaves_the_others_in_order() {
        let state = parse("a=1, b=2,c=3").unwrap();
        assert_eq!(state.without("b").as_str(), "a=1,c=3");
        assert_eq!(state.without("d"), state);
        assert!(parse("a=1").unwrap().without("a").is_empty());
    }

    #[test]
    fn cutting_takes_whole_members_long_ones_first_and_then_from_the_right() {
        let (exactly_128, longer) = ("y".repeat(124), "z".repeat(127));
        let value = format!("a=1,y1=x{exactly_128},z1={longer},b=2,z2={longer},c=3");
        let state = parse(&value).unwrap();
        assert_eq!(state.fitted(value.len()), state);
        let keys = |bytes_max| {
            let fitted = state.fitted(bytes_max);
            assert!(fitted.as_str().len() <= bytes_max);
            fitted
                .members()
                .map(|(key, _)| key.to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(keys(value.len() - 1), "a y1 z1 b c");
        assert_eq!(keys(270), "a y1 b c");
        assert_eq!(keys(140), "a y1 b c");
        assert_eq!(keys(139), "a y1 b");
        assert_eq!(keys(132), "a y1");
        assert_eq!(keys(131), "a");
        assert_eq!(keys(2), "");
    }
}
