//! `key1=value1,key2=value2` with percent-encoded values, as `OTEL_RESOURCE_ATTRIBUTES` and
//! `OTEL_EXPORTER_OTLP_HEADERS` have it. The format is W3C Baggage without properties.

use std::fmt;

use crate::percent::decode as percent_decode;

/// Why a list cannot be read. The specification wants the whole list refused then, since a half
/// of it may say something else than was meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    NoEqualsSign(String),
    EmptyKey,
    BadPercentEncoding(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEqualsSign(item) => write!(out, "{item:?} has no equals sign"),
            Self::EmptyKey => write!(out, "a key is empty"),
            // The value may be a secret of a header, so only its key is shown.
            Self::BadPercentEncoding(key) => {
                write!(out, "the value of {key:?} has a stray percent sign")
            }
        }
    }
}

/// Reads a list; empty items between commas are skipped, and the last of equal keys wins.
pub(super) fn parse(list: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for item in list
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| Problem::NoEqualsSign(item.to_owned()))?;
        let bad = || Problem::BadPercentEncoding(key.trim().to_owned());
        let key = percent_decode(key.trim()).ok_or_else(bad)?;
        let value = percent_decode(value.trim()).ok_or_else(bad)?;
        if key.is_empty() {
            return Err(Problem::EmptyKey);
        }
        match pairs.iter_mut().find(|(earlier, _)| *earlier == key) {
            Some(pair) => pair.1 = value,
            None => pairs.push((key, value)),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(list: &str) -> Vec<(String, String)> {
        parse(list).unwrap()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn values_are_percent_decoded_and_keep_equals_signs() {
        assert_eq!(
            pairs("team=web%20shop, note=a=b ,,euro=%E2%82%AC"),
            [
                pair("team", "web shop"),
                pair("note", "a=b"),
                pair("euro", "\u{20ac}")
            ]
        );
    }

    #[test]
    fn the_last_of_equal_keys_wins() {
        assert_eq!(pairs("a=1,b=2,a=3"), [pair("a", "3"), pair("b", "2")]);
    }

    #[test]
    fn a_broken_list_is_refused_as_a_whole() {
        assert_eq!(parse("a=1,b"), Err(Problem::NoEqualsSign("b".to_owned())));
        assert_eq!(parse("a=1,=2"), Err(Problem::EmptyKey));
        for broken in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(
                parse(broken),
                Err(Problem::BadPercentEncoding("a".to_owned())),
                "{broken}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn an_encoded_value_comes_back(value in ".*") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(pairs(&format!("k={encoded}")), [pair("k", &value)]);
        }
    }
}
