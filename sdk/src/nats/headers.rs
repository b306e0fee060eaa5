//! NATS' headers as a carrier of contexts.

use std::str::FromStr;

use ::async_nats::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};

/// Adds headers to those that are there.
pub(super) struct HeaderInjector(pub(super) Option<HeaderMap>);

impl Injector for HeaderInjector {
    fn set(&mut self, key: &str, value: String) {
        // What NATS forbids in a header is left out; `insert` would panic on the bare strings.
        if let (Ok(key), Ok(value)) = (HeaderName::from_str(key), HeaderValue::from_str(&value)) {
            self.0.get_or_insert_default().insert(key, value);
        }
    }
}

/// Reads headers, whatever is in them.
pub(super) struct HeaderExtractor<'a>(pub(super) &'a HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    /// In any case: HTTP, where the names come from, knows none.
    fn get(&self, key: &str) -> Option<&str> {
        let mut headers = self.0.iter();
        let (_, values) = headers.find(|(name, _)| name_of(name).eq_ignore_ascii_case(key))?;
        values.last().map(HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name_of(name)).collect()
    }
}

fn name_of(name: &HeaderName) -> &str {
    name.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_injected_is_extracted_and_the_programs_headers_stay() {
        let mut own = HeaderMap::new();
        own.insert("shop", "corner");
        let mut injector = HeaderInjector(Some(own));
        injector.set("traceparent", "00-1".to_owned());
        let headers = injector.0.unwrap();
        let extractor = HeaderExtractor(&headers);
        assert_eq!(extractor.get("Traceparent"), Some("00-1"));
        assert_eq!(extractor.get("shop"), Some("corner"));
        assert_eq!(extractor.get("absent"), None);
        let mut keys = extractor.keys();
        keys.sort_unstable();
        assert_eq!(keys, ["shop", "traceparent"]);
    }

    proptest::proptest! {
        #[test]
        fn no_name_and_no_value_makes_it_panic(key: String, value: String) {
            let mut injector = HeaderInjector(None);
            injector.set(&key, value.clone());
            if let Some(headers) = injector.0 {
                assert_eq!(HeaderExtractor(&headers).get(&key), Some(&*value));
            }
        }
    }
}
