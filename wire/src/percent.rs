//! Percent-decoding (RFC 3986, section 2.1), for header values.

use std::borrow::Cow;

use crate::id::hex_byte;

/// `text` with each `%` and two digits replaced by their byte; other percent signs stay. Allocates
/// only where there is something to replace.
pub(crate) fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let encoded = match (first, after.split_first_chunk::<2>()) {
            (b'%', Some((digits, after))) => hex_byte(digits).map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = encoded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_encoded_and_leaves_the_rest() {
        for (text, decoded_text) in [
            ("plain", "plain"),
            ("a%3Ab%3a", "a:b:"),
            ("%25%32", "%2"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%%41", "%A"),
        ] {
            assert_eq!(
                *decoded(text.as_bytes()),
                *decoded_text.as_bytes(),
                "{text}"
            );
        }
    }
}
