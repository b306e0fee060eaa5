//! What the collector's answer means for the batch (OTLP specification 1.9, "Failures" of both
//! transports).

use crate::config::Protocol;
use crate::header_block::Headers;
use crate::host::{BufferKind, Host, MapKind};

/// The part of an answer that is read at most; the messages in question are small.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// The longest pause that a server's word is taken for.
const RETRY_AFTER_MS_MAX: u64 = 600_000;
/// How much of the server's own words goes to the log.
const MESSAGE_BYTES_MAX: usize = 200;

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The request was taken, except some of its spans; maybe with a word of advice.
    Accepted {
        n_rejected: u64,
        message: Option<String>,
    },
    /// The same request may be taken later.
    Retry { after_ms: Option<u64>, why: String },
    /// The same request would be refused again.
    Refused { why: String },
}

/// Reads the answer of the call that the host reports now.
pub(super) fn read(
    host: &mut impl Host,
    protocol: Protocol,
    n_headers: u32,
    body_length: usize,
) -> Answer {
    if n_headers == 0 {
        // The host says no more: a timeout, a reset, no connection.
        return Answer::Retry {
            after_ms: None,
            why: "no answer".to_owned(),
        };
    }
    let headers = host
        .header_block(MapKind::CallResponseHeaders)
        .unwrap_or_default();
    let trailers = match protocol {
        Protocol::Grpc => host
            .header_block(MapKind::CallResponseTrailers)
            .unwrap_or_default(),
        Protocol::Http => Vec::new(),
    };
    let body_length = body_length.min(BODY_BYTES_MAX);
    let body = match body_length {
        0 => Vec::new(),
        _ => host
            .buffer(BufferKind::CallResponseBody, body_length)
            .unwrap_or_default(),
    };
    let headers = Headers::new(&headers);
    match protocol {
        Protocol::Grpc => grpc(&headers, &Headers::new(&trailers), &body),
        Protocol::Http => http(&headers, &body),
    }
}

fn grpc(headers: &Headers<'_>, trailers: &Headers<'_>, body: &[u8]) -> Answer {
    // An answer without a message has its status among the headers.
    let get = |name| trailers.get(name).or_else(|| headers.get(name));
    let Some(code) = get(b"grpc-status").and_then(decimal) else {
        return from_http_status(headers, "an answer that is not gRPC");
    };
    if code == 0 {
        // The message stands behind gRPC's frame.
        return accepted(body.get(5..).unwrap_or_default());
    }
    let message = printable(get(b"grpc-message").unwrap_or_default());
    let why = format!("grpc-status {code} {message}");
    let after_ms = get(b"grpc-status-details-bin").and_then(retry_info_ms);
    match code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
        1 | 4 | 10 | 11 | 14 | 15 => Answer::Retry { after_ms, why },
        // RESOURCE_EXHAUSTED is for good unless the server names a time.
        8 if after_ms.is_some() => Answer::Retry { after_ms, why },
        _ => Answer::Refused { why },
    }
}

fn http(headers: &Headers<'_>, body: &[u8]) -> Answer {
    match headers.get(b":status").and_then(decimal) {
        Some(200..=299) => accepted(body),
        _ => from_http_status(headers, ""),
    }
}

fn from_http_status(headers: &Headers<'_>, remark: &str) -> Answer {
    let status = headers
        .get(b":status")
        .and_then(decimal)
        .unwrap_or_default();
    let why = format!("status {status} {remark}").trim_end().to_owned();
    match status {
        429 | 502..=504 => {
            let seconds = headers.get(b"retry-after").and_then(decimal);
            let after_ms = seconds.map(|s| s.saturating_mul(1000).min(RETRY_AFTER_MS_MAX));
            Answer::Retry { after_ms, why }
        }
        _ => Answer::Refused { why },
    }
}

/// Reads an `ExportTraceServiceResponse`: `partial_success` (1) with `rejected_spans` (1) and
/// `error_message` (2).
fn accepted(response: &[u8]) -> Answer {
    let mut n_rejected = 0;
    let mut message = None;
    for field in Fields(response) {
        let (1, Field::Bytes(partial_success)) = field else {
            continue;
        };
        for field in Fields(partial_success) {
            match field {
                // A negative number, which a server could write, is no count.
                (1, Field::Number(n)) => n_rejected = n.min(u64::from(u32::MAX)),
                (2, Field::Bytes(text)) if !text.is_empty() => message = Some(printable(text)),
                _ => {}
            }
        }
    }
    if n_rejected > 0 && message.is_none() {
        message = Some(format!("{n_rejected} spans rejected"));
    }
    Answer::Accepted {
        n_rejected,
        message,
    }
}

/// The pause in the `google.rpc.RetryInfo` among the details (3) of a base64 `google.rpc.Status`.
fn retry_info_ms(details: &[u8]) -> Option<u64> {
    let status = from_base64(details)?;
    let details = Fields(&status).filter_map(|field| match field {
        (3, Field::Bytes(any)) => Some(any),
        _ => None,
    });
    for any in details {
        let text = |wanted| {
            Fields(any).find_map(|field| match field {
                (number, Field::Bytes(bytes)) if number == wanted => Some(bytes),
                _ => None,
            })
        };
        if !text(1).is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo")) {
            continue;
        }
        let Some((1, Field::Bytes(delay))) = Fields(text(2)?).next() else {
            return Some(0);
        };
        let number = |wanted| {
            Fields(delay).find_map(|field| match field {
                (number, Field::Number(n)) if number == wanted => Some(n),
                _ => None,
            })
        };
        let seconds_ms = number(1).unwrap_or_default().saturating_mul(1000);
        let nanos_ms = number(2).unwrap_or_default() / 1_000_000;
        return Some(seconds_ms.saturating_add(nanos_ms).min(RETRY_AFTER_MS_MAX));
    }
    None
}

/// Standard base64; padding may be missing, as gRPC allows.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut n_bits) = (0u32, 0u32);
    for digit in text.iter().filter(|digit| **digit != b'=') {
        let value = match digit {
            b'A'..=b'Z' => digit.wrapping_sub(b'A'),
            b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits = n_bits.wrapping_add(6);
        if n_bits >= 8 {
            n_bits = n_bits.wrapping_sub(8);
            let [.., byte] = (bits >> n_bits).to_be_bytes();
            bytes.push(byte);
        }
    }
    Some(bytes)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The numbers and byte fields of a protobuf message; ends where it is broken.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            let length = match tag & 7 {
                0 => return Some((tag >> 3, Field::Number(self.varint()?))),
                1 => 8,
                2 => usize::try_from(self.varint()?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (bytes, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if tag & 7 == 2 {
                return Some((tag >> 3, Field::Bytes(bytes)));
            }
        }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Foreign text that is safe in a log line.
fn printable(text: &[u8]) -> String {
    let cut = text.get(..MESSAGE_BYTES_MAX).unwrap_or(text);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    cut.iter()
        .map(|byte| {
            if is_plain(byte) {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header_block;
    use proptest::prelude::*;

    fn check_grpc(trailers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers = header_block::write(&[(":status", "200")]);
        let trailers = header_block::write(trailers);
        grpc(&Headers::new(&headers), &Headers::new(&trailers), body)
    }

    fn check_http(headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http(&Headers::new(&header_block::write(headers)), body)
    }

    fn retry_after(answer: &Answer) -> Option<Option<u64>> {
        match answer {
            Answer::Retry { after_ms, .. } => Some(*after_ms),
            _ => None,
        }
    }

    /// google.rpc.Status { code: 14, details: [RetryInfo { retry_delay: 2.5 s }] }
    const RETRY_INFO: &str =
        "CA4aNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ";

    #[test]
    fn plain_success_is_accepted() {
        let taken = Answer::Accepted {
            n_rejected: 0,
            message: None,
        };
        assert_eq!(check_grpc(&[("grpc-status", "0")], &[0; 5]), taken);
        assert_eq!(check_http(&[(":status", "202")], &[]), taken);
    }

    #[test]
    fn partial_success_is_read() {
        let response = [0x0a, 0x07, 0x08, 0x03, 0x12, 0x03, b'b', b'a', b'd'];
        let some = Answer::Accepted {
            n_rejected: 3,
            message: Some("bad".to_owned()),
        };
        assert_eq!(check_http(&[(":status", "200")], &response), some);
        let framed = [&[0, 0, 0, 0, 9][..], &response].concat();
        assert_eq!(check_grpc(&[("grpc-status", "0")], &framed), some);
    }

    #[test]
    fn only_the_retryable_codes_are_retried() {
        for code in 1..=20 {
            let answer = check_grpc(&[("grpc-status", &code.to_string())], &[]);
            let is_retried = retry_after(&answer).is_some();
            assert_eq!(is_retried, [1, 4, 10, 11, 14, 15].contains(&code), "{code}");
        }
        for status in 300..600 {
            let answer = check_http(&[(":status", &status.to_string())], &[]);
            let is_retried = retry_after(&answer).is_some();
            assert_eq!(
                is_retried,
                [429, 502, 503, 504].contains(&status),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_honoured() {
        let answer = check_http(&[(":status", "429"), ("retry-after", "7")], &[]);
        assert_eq!(retry_after(&answer), Some(Some(7000)));
    }

    #[test]
    fn an_answer_that_is_not_grpc_goes_by_its_status() {
        let headers = header_block::write(&[(":status", "503")]);
        let answer = grpc(&Headers::new(&headers), &Headers::new(&[]), &[]);
        assert!(retry_after(&answer).is_some());
        assert!(matches!(check_grpc(&[], &[]), Answer::Refused { .. }));
    }

    #[test]
    fn retry_info_is_honoured_and_makes_exhaustion_retryable() {
        for code in ["8", "14"] {
            let trailers = [
                ("grpc-status", code),
                ("grpc-status-details-bin", RETRY_INFO),
            ];
            assert_eq!(retry_after(&check_grpc(&trailers, &[])), Some(Some(2500)));
        }
    }

    #[test]
    fn foreign_messages_are_printable() {
        assert_eq!(printable(b"a\nb\xff"), "a?b?");
    }

    proptest! {
        #[test]
        fn arbitrary_answers_are_read(headers: Vec<u8>, trailers: Vec<u8>, body: Vec<u8>) {
            let (headers, trailers) = (Headers::new(&headers), Headers::new(&trailers));
            let _any = grpc(&headers, &trailers, &body);
            let _any = http(&headers, &body);
        }

        #[test]
        fn arbitrary_details_are_read(details in "[A-Za-z0-9+/=]{0,80}", body: Vec<u8>) {
            let _any = retry_info_ms(details.as_bytes());
            let _any = accepted(&body);
        }
    }
}
