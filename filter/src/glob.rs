//! Patterns in which `*` stands for any text.

/// A pattern from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// A pattern of this text.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the whole of `text` is of this pattern. Time grows with the product of both lengths
    /// at worst: a mismatch goes back to the last star only.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let mut pieces = self.0.as_bytes().split(|byte| *byte == b'*');
        let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            // There is no star.
            return rest.is_empty();
        };
        for piece in pieces {
            let found = match piece.len() {
                0 => Some(0),
                length => rest.windows(length).position(|window| window == piece),
            };
            let behind = found.and_then(|at| rest.get(at.saturating_add(piece.len())..));
            match behind {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, matches) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/live", false),
            ("/api/*", "/api/", true),
            ("/api/*", "/api", false),
            ("*.shop", "cart.shop", true),
            ("*.shop", "cart.shop:80", false),
            ("/a/*/c/*", "/a/b/c/d", true),
            ("/a/*/c/*", "/a/b/d", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                matches,
                "{pattern} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_text_with_parts_replaced_by_stars_matches(parts in proptest::collection::vec("[ab]{0,3}", 1..6)) {
            let text = parts.join("");
            let starred: Vec<&str> =
                parts.iter().enumerate().map(|(i, part)| if i % 2 == 0 { &**part } else { "*" }).collect();
            prop_assert!(Glob::new(&starred.concat()).matches(text.as_bytes()));
        }
    }
}
