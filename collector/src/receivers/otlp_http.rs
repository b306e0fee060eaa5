//! OTLP over HTTP: `POST /v1/traces`, protobuf or JSON by `Content-Type`.
//!
//! Source: the OTLP specification, "OTLP/HTTP". The answer has the request's encoding, and every
//! 4xx and 5xx body is a `google.rpc.Status` in it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use prost::Message;
use serde_json::json;

use super::{body, otlp_json};
use crate::admission::{Budget, Charge};
use crate::grpc::RpcStatus;
use crate::pipeline::Intake;
use crate::reason::{Failure, Reason};
use crate::receivers::otlp_grpc;

/// The receiver: answers requests of one listener.
pub struct OtlpHttp {
    intake: Arc<Intake>,
    budget: Budget,
    traces_path: String,
    body_bytes_max: usize,
}

/// What a refused sender is told.
struct Refusal {
    status: StatusCode,
    failure: Failure,
}

impl OtlpHttp {
    /// A receiver of bodies of at most `body_bytes_max`, as sent and inflated, at `traces_path`.
    pub const fn new(
        intake: Arc<Intake>,
        budget: Budget,
        traces_path: String,
        body_bytes_max: usize,
    ) -> Self {
        Self {
            intake,
            budget,
            traces_path,
            body_bytes_max,
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let encoding = Encoding::of(request.headers());
        let outcome = self.export(request, encoding).await;
        // A sender of an unknown type gets protobuf, which the specification takes as the default.
        Ok(response(encoding.unwrap_or(Encoding::Protobuf), outcome))
    }

    async fn export(
        &self,
        request: Request<Incoming>,
        encoding: Option<Encoding>,
    ) -> Result<(), Refusal> {
        let (request, _charge) = self.read(request, encoding).await.map_err(|refusal| {
            let failure = self.intake.refused(refusal.failure);
            Refusal { failure, ..refusal }
        })?;
        Ok(self.intake.take(request, None).await?)
    }

    async fn read(
        &self,
        request: Request<Incoming>,
        encoding: Option<Encoding>,
    ) -> Result<(Bytes, Charge), Refusal> {
        if request.uri().path() != self.traces_path {
            let message = format!("no such path; spans go to {}", self.traces_path);
            return Err(unsupported(StatusCode::NOT_FOUND, message));
        }
        if request.method() != Method::POST {
            let message = format!("method {} is not allowed; use POST", request.method());
            return Err(unsupported(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        let Some(encoding) = encoding else {
            let message = "the content type must be application/x-protobuf or application/json";
            return Err(unsupported(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                message.to_owned(),
            ));
        };
        let is_gzip = is_gzip(request.headers())?;
        let hears_early = hears_early(&request);
        let mut body = request.into_body();
        let read = body::in_time(self.read_body(&mut body)).await;
        if read.is_err() && !hears_early {
            body::discard(&mut body, self.body_bytes_max).await;
        }
        let (body, charge) = read?;
        let (body, charge) = match is_gzip {
            true => body::gunzip(body, self.body_bytes_max, charge).await?,
            false => (body, charge),
        };
        let n_bytes = body.len();
        Ok(match encoding {
            Encoding::Protobuf => (body, charge),
            // JSON is always the longer form, so the charge covers what comes of it.
            Encoding::Json => {
                let to_protobuf = move || otlp_json::to_protobuf(&body);
                (body::off_thread(n_bytes, to_protobuf).await?, charge)
            }
        })
    }

    async fn read_body(&self, body: &mut Incoming) -> Result<(Bytes, Charge), Failure> {
        let limit = self.body_bytes_max;
        let expected = match body.size_hint().exact() {
            Some(n_bytes) => usize::try_from(n_bytes).unwrap_or(usize::MAX),
            None => limit,
        };
        if expected > limit {
            return Err(body::too_large(limit));
        }
        let is_exact = body.size_hint().exact().is_some();
        let mut charge = self.budget.charge(expected)?;
        let Some(first) = body::next_data(body).await? else {
            charge.shrink_to(0);
            return Ok((Bytes::new(), charge));
        };
        let capacity = if is_exact { expected } else { 0 };
        let whole = body::read_rest(body, first, capacity, limit).await?;
        charge.shrink_to(whole.len());
        Ok((whole, charge))
    }
}

/// Whether the sender hears an answer that comes before it has sent everything: HTTP/2 has streams
/// for that, and `Expect: 100-continue` is made for it. An HTTP/1.1 sender without it goes on
/// writing, and loses the answer when we close the connection on it.
fn hears_early<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 || request.headers().contains_key(header::EXPECT)
}

fn unsupported(status: StatusCode, message: String) -> Refusal {
    Refusal {
        status,
        failure: Failure::new(Reason::Unsupported, message),
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let message = format!("content-encoding {other} is not known; known: identity, gzip");
            Err(unsupported(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            status: status_of(failure.reason),
            failure,
        }
    }
}

/// The status that tells a sender what to do: throttling is 429 where we are the cause and 503
/// where something behind us is; both are retryable, and nothing else here is (OTLP specification,
/// "OTLP/HTTP Response").
pub fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::Malformed => StatusCode::BAD_REQUEST,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::Incomplete | Reason::SenderGone => StatusCode::REQUEST_TIMEOUT,
        Reason::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Reason::Stopping | Reason::DestinationUnavailable | Reason::StoreFailed => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::DestinationRejected | Reason::PartialSuccess => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// The encoding that `Content-Type` names, whatever its parameters and case.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type
            .split(';')
            .next()
            .unwrap_or(content_type)
            .trim();
        if media_type.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Encoding::Protobuf)
        } else if media_type.eq_ignore_ascii_case("application/json") {
            Some(Encoding::Json)
        } else {
            None
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Encoding::Protobuf => HeaderValue::from_static("application/x-protobuf"),
            Encoding::Json => HeaderValue::from_static("application/json"),
        }
    }

    /// `ExportTraceServiceResponse` without fields: everything was taken.
    const fn success(self) -> Bytes {
        match self {
            Encoding::Protobuf => Bytes::new(),
            Encoding::Json => Bytes::from_static(b"{}"),
        }
    }

    fn rpc_status(self, status: &RpcStatus) -> Bytes {
        match self {
            Encoding::Protobuf => status.encode_to_vec().into(),
            Encoding::Json => json!({ "code": status.code, "message": status.message })
                .to_string()
                .into(),
        }
    }
}

fn response(encoding: Encoding, outcome: Result<(), Refusal>) -> Response<Full<Bytes>> {
    let mut response = match outcome {
        Ok(()) => Response::new(Full::new(encoding.success())),
        Err(Refusal { status, failure }) => {
            let retry_after = failure.retry_after;
            // The delay travels in its own header; details in the body would say it twice.
            let rpc_status = otlp_grpc::status_of(Failure {
                retry_after: None,
                ..failure
            })
            .to_rpc_status();
            let mut response = Response::new(Full::new(encoding.rpc_status(&rpc_status)));
            *response.status_mut() = status;
            if let Some(delay) = retry_after {
                // Whole seconds, rounded up: "0" would say "at once".
                let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, encoding.content_type());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_is_read_with_its_parameters_and_in_any_case() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            Encoding::of(&headers)
        };
        assert_eq!(of("application/json"), Some(Encoding::Json));
        assert_eq!(of("Application/JSON; charset=utf-8"), Some(Encoding::Json));
        assert_eq!(of("application/x-protobuf ;v=1"), Some(Encoding::Protobuf));
        assert_eq!(of("text/plain"), None);
        assert_eq!(of(""), None);
        assert_eq!(Encoding::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_delay_is_rounded_up_to_whole_seconds() {
        let failure = Failure::new(Reason::Overloaded, "full")
            .retry_after(std::time::Duration::from_millis(1200));
        let response = response(Encoding::Json, Err(failure.into()));
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
