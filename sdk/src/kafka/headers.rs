//! Kafka's headers as a carrier of contexts.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::{from_ref, null};
use std::slice;

use ::rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_headers_t};
use ::rdkafka::message::{BorrowedHeaders, Header, OwnedHeaders};
use ::rdkafka::types::RDKafkaRespErr;
use opentelemetry::propagation::{Extractor, Injector};

/// Adds headers to those that are there.
pub(super) struct HeaderInjector(pub(super) Option<OwnedHeaders>);

impl Injector for HeaderInjector {
    fn set(&mut self, key: &str, value: String) {
        let headers = self.0.take().unwrap_or_default();
        let value = Some(&value);
        self.0 = Some(headers.insert(Header { key, value }));
    }
}

/// Reads headers, whatever is in them.
pub(super) struct HeaderExtractor<'a>(pub(super) &'a BorrowedHeaders);

impl Extractor for HeaderExtractor<'_> {
    /// The last header of this name, as Kafka's own `lastHeader`, in any case: HTTP is where the
    /// names come from.
    fn get(&self, key: &str) -> Option<&str> {
        let named = RawHeaders::new(self.0)
            .filter(|(name, _)| name.to_bytes().eq_ignore_ascii_case(key.as_bytes()));
        let (_, value) = named.last()?;
        str::from_utf8(value?).ok()
    }

    fn keys(&self) -> Vec<&str> {
        RawHeaders::new(self.0)
            .filter_map(|(name, _)| name.to_str().ok())
            .collect()
    }
}

/// The headers as librdkafka has them. Names are bytes in Kafka, and [`Headers::try_get`] panics when
/// they are not text: a foreign producer must not be able to stop a consumer that never looked at
/// the headers itself.
///
/// [`Headers::try_get`]: ::rdkafka::message::Headers::try_get
struct RawHeaders<'a> {
    headers: *const rd_kafka_headers_t,
    position: usize,
    owner: PhantomData<&'a BorrowedHeaders>,
}

impl<'a> RawHeaders<'a> {
    fn new(headers: &'a BorrowedHeaders) -> Self {
        Self {
            // A reference to `BorrowedHeaders` is the address of librdkafka's headers: rdkafka has
            // no other way to make one.
            headers: from_ref(headers).cast(),
            position: 0,
            owner: PhantomData,
        }
    }
}

impl<'a> Iterator for RawHeaders<'a> {
    type Item = (&'a CStr, Option<&'a [u8]>);

    #[expect(unsafe_code, reason = "rdkafka's own accessor panics on foreign bytes")]
    fn next(&mut self) -> Option<Self::Item> {
        let (mut name, mut value, mut length) = (null(), null(), 0);
        // SAFETY: the headers live as long as `owner`, and librdkafka checks the position.
        let error = unsafe {
            rd_kafka_header_get_all(
                self.headers,
                self.position,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            )
        };
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        self.position += 1;
        // SAFETY: librdkafka ends each name with a zero, and neither name nor value moves while the
        // headers are borrowed.
        let name = unsafe { CStr::from_ptr(name) };
        let value = (!value.is_null())
            // SAFETY: as above; the length is the value's.
            .then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), length) });
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::rdkafka::bindings::rd_kafka_header_add;
    use proptest::collection::vec;
    use proptest::prelude::any;

    #[expect(unsafe_code, reason = "rdkafka takes only text for a name")]
    fn add(headers: &OwnedHeaders, name: &[u8], value: &[u8]) {
        let raw: *const rd_kafka_headers_t = from_ref(headers.as_borrowed()).cast();
        // SAFETY: the headers are ours alone, and librdkafka copies name and value.
        let error = unsafe {
            rd_kafka_header_add(
                raw.cast_mut(),
                name.as_ptr().cast(),
                name.len().try_into().unwrap(),
                value.as_ptr().cast(),
                value.len().try_into().unwrap(),
            )
        };
        assert_eq!(error, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    }

    #[test]
    fn what_is_injected_is_extracted_and_the_programs_headers_stay() {
        let own = OwnedHeaders::new().insert(Header {
            key: "shop",
            value: Some("corner"),
        });
        let mut injector = HeaderInjector(Some(own));
        injector.set("traceparent", "00-1".to_owned());
        let headers = injector.0.unwrap();
        let extractor = HeaderExtractor(headers.as_borrowed());
        assert_eq!(extractor.get("Traceparent"), Some("00-1"));
        assert_eq!(extractor.get("shop"), Some("corner"));
        assert_eq!(extractor.get("absent"), None);
        assert_eq!(extractor.keys(), ["shop", "traceparent"]);
    }

    #[test]
    fn the_last_of_equal_headers_counts() {
        let headers = OwnedHeaders::new();
        add(&headers, b"b3", b"0");
        add(&headers, b"b3", b"1");
        assert_eq!(HeaderExtractor(headers.as_borrowed()).get("b3"), Some("1"));
    }

    #[test]
    fn a_header_without_a_value_is_none() {
        let value = None::<&str>;
        let headers = OwnedHeaders::new().insert(Header { key: "b3", value });
        assert_eq!(HeaderExtractor(headers.as_borrowed()).get("b3"), None);
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_harm_nobody(foreign in vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20)), 0..8)) {
            let headers = OwnedHeaders::new();
            for (name, value) in &foreign {
                add(&headers, name, value);
            }
            add(&headers, b"traceparent", b"00-1");
            let extractor = HeaderExtractor(headers.as_borrowed());
            assert_eq!(extractor.get("traceparent"), Some("00-1"));
            for key in extractor.keys() {
                let _ = extractor.get(key);
            }
        }
    }
}
