//! The `otlp_http` exporter: OTLP over HTTP, protobuf bodies.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::otlp_grpc::n_rejected;
use super::retry::{AttemptError, Jitter, RetryPolicy, Verdict, with_retries};
use crate::grpc::RpcStatus;
use crate::pipeline::{Batch, Exporter};
use crate::reason::{Failure, chain};

/// A peer's answer beyond this is an error (OTLP specification, "Response size limits").
const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Sends batches to one destination.
pub struct OtlpHttpExporter {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
    policy: RetryPolicy,
    jitter: Jitter,
    stop: CancellationToken,
}

impl OtlpHttpExporter {
    /// An exporter to `uri` that gives each attempt `timeout`; `stop` ends waiting between them.
    pub fn new(
        uri: Uri,
        headers: HeaderMap,
        timeout: Duration,
        policy: RetryPolicy,
        jitter: Jitter,
        stop: CancellationToken,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self {
            client,
            uri,
            headers,
            timeout,
            policy,
            jitter,
            stop,
        }
    }

    async fn attempt(&self, batch: &Batch) -> Result<u64, AttemptError> {
        let mut request = Request::new(Full::new(batch.request.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().clone_from(&self.headers);
        let content_type = HeaderValue::from_static("application/x-protobuf");
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);

        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                retryable(
                    format!("no answer from {}: {}", self.uri, chain(&error)),
                    None,
                )
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await;
            match (head.status, body) {
                (status, Ok(body)) if status.is_success() => Ok(n_rejected(&body.to_bytes())),
                (status, Ok(body)) => Err(self.judged(status, &head.headers, &body.to_bytes())),
                (_, Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                    let message = format!("the answer is larger than {RESPONSE_BYTES_MAX} bytes");
                    Err(AttemptError {
                        message,
                        verdict: Verdict::Final,
                    })
                }
                (_, Err(error)) => Err(retryable(format!("the answer broke off: {error}"), None)),
            }
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                let message = format!("{} did not answer within {:?}", self.uri, self.timeout);
                Err(retryable(message, None))
            })
    }

    /// Only these four may be tried again (OTLP specification, "Retryable Response Codes").
    fn judged(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> AttemptError {
        let reported = RpcStatus::decode(body).unwrap_or_default().message;
        let message = format!("{} answered {status}: {reported}", self.uri);
        match status.as_u16() {
            429 | 502 | 503 | 504 => retryable(message, retry_after(headers)),
            400 => AttemptError {
                message,
                verdict: Verdict::FinalInvalid,
            },
            _ => AttemptError {
                message,
                verdict: Verdict::Final,
            },
        }
    }
}

#[async_trait]
impl Exporter for OtlpHttpExporter {
    async fn export(&self, batch: &Batch) -> Result<u64, Failure> {
        with_retries(
            &self.policy,
            &self.jitter,
            batch.deadline,
            &self.stop,
            || self.attempt(batch),
        )
        .await
    }
}

fn retryable(message: String, delay: Option<Duration>) -> AttemptError {
    AttemptError {
        message,
        verdict: Verdict::Retry(delay),
    }
}

/// The wait that `Retry-After` asks for, in seconds or until a date. A date is compared with the
/// answer's own `Date`, so that neither side's clock has to be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    then.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter() -> OtlpHttpExporter {
        OtlpHttpExporter::new(
            Uri::from_static("http://127.0.0.1:1/v1/traces"),
            HeaderMap::new(),
            Duration::from_secs(1),
            RetryPolicy::default(),
            Jitter::new(1),
            CancellationToken::new(),
        )
    }

    #[test]
    fn statuses_are_retried_as_the_specification_has_it() {
        let exporter = exporter();
        for code in 400..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let expected = match code {
                429 | 502 | 503 | 504 => Verdict::Retry(None),
                400 => Verdict::FinalInvalid,
                _ => Verdict::Final,
            };
            assert_eq!(
                exporter.judged(status, &HeaderMap::new(), b"").verdict,
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let parsed = |retry: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(retry));
            if let Some(date) = date {
                headers.insert(header::DATE, HeaderValue::from_static(date));
            }
            retry_after(&headers)
        };
        assert_eq!(parsed("7", None), Some(Duration::from_secs(7)));
        let (now, then) = (
            "Fri, 21 Nov 2025 10:00:00 GMT",
            "Fri, 21 Nov 2025 10:00:09 GMT",
        );
        assert_eq!(parsed(then, Some(now)), Some(Duration::from_secs(9)));
        assert_eq!(parsed(now, Some(then)), None);
        assert_eq!(parsed(then, None), None);
        assert_eq!(parsed("soon", Some(now)), None);
    }
}
