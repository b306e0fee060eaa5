//! AMQP's headers as a carrier of contexts.

use ::lapin::types::{AMQPValue, FieldTable, ShortString};
use opentelemetry::propagation::{Extractor, Injector};

/// Adds headers to those that are there.
pub(super) struct HeaderInjector(pub(super) Option<FieldTable>);

impl Injector for HeaderInjector {
    fn set(&mut self, key: &str, value: String) {
        // AMQP allows names of 255 bytes, which only baggage in Jaeger's format could exceed.
        if let Ok(key) = ShortString::try_new(key) {
            let headers = self.0.get_or_insert_default();
            headers.insert(key, AMQPValue::LongString(value.into()));
        }
    }
}

/// Reads those headers that are text.
pub(super) struct HeaderExtractor<'a>(pub(super) &'a FieldTable);

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let headers = self.0.inner();
        // Nearly always as we write it, but HTTP, where the names come from, knows no case.
        let value = headers.get(key).or_else(|| {
            let mut headers = headers.iter();
            let found = headers.find(|(name, _)| name.as_str().eq_ignore_ascii_case(key));
            found.map(|(_, value)| value)
        });
        match value? {
            AMQPValue::LongString(text) => str::from_utf8(text.as_bytes()).ok(),
            AMQPValue::ShortString(text) => Some(text.as_str()),
            AMQPValue::ByteArray(bytes) => str::from_utf8(bytes.as_slice()).ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        let headers = self.0.inner();
        headers.keys().map(ShortString::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::any;

    #[test]
    fn what_is_injected_is_extracted_and_the_programs_headers_stay() {
        let mut own = FieldTable::default();
        own.insert("x-delay".into(), AMQPValue::LongInt(5));
        let mut injector = HeaderInjector(Some(own));
        injector.set("traceparent", "00-1".to_owned());
        injector.set(&"k".repeat(256), "too long".to_owned());
        let headers = injector.0.unwrap();
        let extractor = HeaderExtractor(&headers);
        assert_eq!(extractor.get("Traceparent"), Some("00-1"));
        assert_eq!(extractor.get("x-delay"), None);
        assert_eq!(extractor.keys(), ["traceparent", "x-delay"]);
        assert_eq!(headers.inner()["x-delay"], AMQPValue::LongInt(5));
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_harm_nobody(value in vec(any::<u8>(), 0..40)) {
            let mut headers = FieldTable::default();
            headers.insert("b3".into(), AMQPValue::LongString(value.clone().into()));
            headers.insert("b4".into(), AMQPValue::ByteArray(value.clone().into()));
            let extractor = HeaderExtractor(&headers);
            assert_eq!(extractor.get("b3"), str::from_utf8(&value).ok());
            assert_eq!(extractor.get("b4"), str::from_utf8(&value).ok());
        }
    }
}
