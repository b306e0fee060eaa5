//! The little of gRPC that a unary call with opaque bytes needs: message framing, statuses, and
//! the rich details that carry `RetryInfo`. Source: "gRPC over HTTP/2" (PROTOCOL-HTTP2.md) and
//! `google/rpc/{status,error_details}.proto`.
//!
//! We do not use a gRPC library on this path. It would read a body before we could charge it to the
//! budget, copy it once on each side, and report an oversize message as `OUT_OF_RANGE`, which
//! senders retry for ever.

use std::time::Duration;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue};
use prost::Message;

/// Path of the one method.
pub const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A message's prefix: one byte of flags, four of length.
pub const PREFIX_BYTES: usize = 5;

/// The status codes of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are gRPC's own; statuscodes.md explains them"
)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Code; 17] = [
        Code::Ok,
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
    ];

    fn from_number(number: usize) -> Code {
        Self::ALL.get(number).copied().unwrap_or(Code::Unknown)
    }

    /// What a proxy's bare HTTP status means (gRPC's http-grpc-status-mapping.md).
    pub fn from_http(status: http::StatusCode) -> Code {
        match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
    /// `RetryInfo.retry_delay`, where the server sent one.
    pub retry_delay: Option<Duration>,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_delay: None,
        }
    }

    /// The status as headers or trailers.
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(3);
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !self.message.is_empty() {
            headers.insert("grpc-message", percent_encoded(&self.message));
        }
        if self.retry_delay.is_some() {
            let details = BASE64.encode(self.to_rpc_status().encode_to_vec());
            if let Ok(value) = HeaderValue::try_from(details) {
                headers.insert("grpc-status-details-bin", value);
            }
        }
        headers
    }

    /// The status in these headers or trailers; `None` if they hold none.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let number = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = headers
            .get("grpc-message")
            .map_or(&[] as &[u8], HeaderValue::as_bytes);
        let retry_delay = headers
            .get("grpc-status-details-bin")
            .and_then(|details| BASE64.decode(details.as_bytes()).ok())
            .and_then(|details| RpcStatus::decode(details.as_slice()).ok())
            .and_then(|status| status.retry_delay());
        Some(Self {
            code: Code::from_number(number),
            message: percent_decoded(message),
            retry_delay,
        })
    }

    /// The status as the message that OTLP/HTTP puts into bodies.
    pub fn to_rpc_status(&self) -> RpcStatus {
        let details = self.retry_delay.map(|delay| Any {
            type_url: RETRY_INFO.to_owned(),
            value: RetryInfo {
                retry_delay: Some(RpcDuration {
                    seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                    nanos: delay.subsec_nanos() as i32,
                }),
            }
            .encode_to_vec(),
        });
        RpcStatus {
            code: self.code as i32,
            message: self.message.clone(),
            details: details.into_iter().collect(),
        }
    }
}

/// gRPC senders leave the padding out; readers take both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// What happened, for people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// More, by type.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

impl RpcStatus {
    fn retry_delay(&self) -> Option<Duration> {
        let details = self.details.iter().find(|any| any.type_url == RETRY_INFO)?;
        let delay = RetryInfo::decode(details.value.as_slice())
            .ok()?
            .retry_delay?;
        let seconds = u64::try_from(delay.seconds).ok()?;
        let nanos = u32::try_from(delay.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000)?;
        Some(Duration::new(seconds, nanos))
    }
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// Which message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Its bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// Set when not everything was taken, or with a warning.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// `ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// How many spans were not taken; never to be sent again.
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    /// Why, or a warning.
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// A prefix for a message of this many bytes, not compressed.
pub fn message_prefix(n_bytes: u32) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = n_bytes.to_be_bytes();
    [0, a, b, c, d]
}

/// The time that a `grpc-timeout` header leaves; `None` for none or a malformed one.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

fn percent_encoded(message: &str) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(text).expect("only printable ASCII was pushed")
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(decoded)) if byte == b'%' => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_have_their_numbers() {
        for (number, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
        }
        assert_eq!(Code::from_number(99), Code::Unknown);
    }

    #[test]
    fn a_timeout_is_read_in_every_unit_and_nonsense_is_none() {
        let parsed = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(parsed("10S"), Some(Duration::from_secs(10)));
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            parsed("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for nonsense in ["", "S", "10", "10s", "-1S", "123456789S", "+1S"] {
            assert_eq!(parsed(nonsense), None, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn a_status_survives_the_headers(
            code in 0usize..17, message in ".{0,40}", delay in prop::option::of(0u64..1 << 40)
        ) {
            let status = Status {
                code: Code::from_number(code),
                message,
                retry_delay: delay.map(Duration::from_nanos),
            };
            prop_assert_eq!(Status::from_headers(&status.to_headers()), Some(status));
        }

        #[test]
        fn foreign_headers_never_panic(
            message in "[ -~]{0,40}", details in "[ -~]{0,60}", timeout_text in "[ -~]{0,12}"
        ) {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static("14"));
            headers.insert("grpc-message", HeaderValue::try_from(message).unwrap());
            headers.insert("grpc-status-details-bin", HeaderValue::try_from(details).unwrap());
            headers.insert("grpc-timeout", HeaderValue::try_from(timeout_text).unwrap());
            let _ = timeout(&headers);
            prop_assert_eq!(Status::from_headers(&headers).unwrap().code, Code::Unavailable);
        }
    }
}
