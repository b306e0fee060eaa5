//! OTLP over gRPC: one method, opaque messages.
//!
//! Statuses follow the OTLP specification ("OTLP/gRPC Response") and the table in
//! `CONFIGURATION.md`. Every refusal is a trailers-only answer: no message, the status in headers.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body;
use crate::admission::{Budget, Charge};
use crate::grpc::{self, Code, Status};
use crate::pipeline::Intake;
use crate::reason::{Failure, Reason};

/// The receiver: answers requests of one listener.
pub struct OtlpGrpc {
    intake: Arc<Intake>,
    budget: Budget,
    message_bytes_max: usize,
}

impl OtlpGrpc {
    /// A receiver that takes messages of at most `message_bytes_max`, as sent and inflated.
    pub const fn new(intake: Arc<Intake>, budget: Budget, message_bytes_max: usize) -> Self {
        Self {
            intake,
            budget,
            message_bytes_max,
        }
    }

    /// Answers one call.
    ///
    /// # Errors
    /// Never.
    pub async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Infallible> {
        if !is_grpc(request.headers()) {
            // gRPC over HTTP/2, "Requests": so that clients of another kind see an HTTP error.
            let mut response = Response::new(Reply::EMPTY);
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Ok(response);
        }
        let mut response = match self.export(request).await {
            Ok(()) => Response::new(Reply::success()),
            Err(failure) => {
                let mut response = Response::new(Reply::EMPTY);
                *response.headers_mut() = status_of(failure).to_headers();
                let encodings = HeaderValue::from_static("identity,gzip");
                response
                    .headers_mut()
                    .insert("grpc-accept-encoding", encodings);
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        Ok(response)
    }

    async fn export(&self, request: Request<Incoming>) -> Result<(), Failure> {
        let deadline = grpc::timeout(request.headers()).map(|timeout| Instant::now() + timeout);
        let (message, _charge) = self
            .read(request)
            .await
            .map_err(|failure| self.intake.refused(failure))?;
        self.intake.take(message, deadline).await
    }

    async fn read(&self, request: Request<Incoming>) -> Result<(Bytes, Charge), Failure> {
        if request.method() != Method::POST || request.uri().path() != grpc::EXPORT_PATH {
            let message = format!("{} is not a method of this server", request.uri().path());
            return Err(Failure::new(Reason::Unsupported, message));
        }
        let encoding = Encoding::of(request.headers())?;
        let mut body = request.into_body();
        let (is_compressed, message, charge) = body::in_time(self.read_message(&mut body)).await?;
        match encoding {
            _ if !is_compressed => Ok((message, charge)),
            Encoding::Gzip => body::gunzip(message, self.message_bytes_max, charge).await,
            Encoding::Identity => Err(Failure::new(
                Reason::Malformed,
                "the message is marked as compressed, but grpc-encoding does not say how",
            )),
        }
    }

    /// The one message of a unary call: whether it is compressed, its bytes, their charge.
    async fn read_message<B>(&self, body: &mut B) -> Result<(bool, Bytes, Charge), Failure>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut first = body::next_data(body).await?.ok_or_else(cut_off)?;
        if first.len() < grpc::PREFIX_BYTES {
            // Rare: a sender that writes the prefix in a frame of its own, or in several.
            let mut joined = BytesMut::from(first);
            while joined.len() < grpc::PREFIX_BYTES {
                let more = body::next_data(body).await?.ok_or_else(cut_off)?;
                joined.extend_from_slice(&more);
            }
            first = joined.freeze();
        }
        let flags = first.get_u8();
        let n_bytes = first.get_u32() as usize;
        if flags > 1 {
            return Err(Failure::new(
                Reason::Malformed,
                "the message has an unknown flag",
            ));
        }
        if n_bytes > self.message_bytes_max {
            return Err(body::too_large(self.message_bytes_max));
        }
        let charge = self.budget.charge(n_bytes)?;
        let message = body::read_rest(body, first, n_bytes, n_bytes)
            .await
            .map_err(|failure| match failure.reason {
                Reason::TooLarge => Failure::new(
                    Reason::Malformed,
                    "a unary call has one message, and there is more after it",
                ),
                _ => failure,
            })?;
        if message.len() < n_bytes {
            return Err(cut_off());
        }
        Ok((flags == 1, message, charge))
    }
}

fn cut_off() -> Failure {
    Failure::new(Reason::Malformed, "the gRPC message is cut off")
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    matches!(
        content_type,
        Some(b"application/grpc" | b"application/grpc+proto")
    )
}

#[derive(Clone, Copy)]
enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Encoding::Identity),
            Some(b"gzip") => Ok(Encoding::Gzip),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let message = format!("grpc-encoding {other} is not known; known: identity, gzip");
                Err(Failure::new(Reason::Unsupported, message))
            }
        }
    }
}

/// The status that tells a sender of a failure what to do.
///
/// An oversize request gets no `RetryInfo` and a code that is final without it; overload gets
/// `UNAVAILABLE` with it (OTLP specification, "OTLP/gRPC Throttling").
pub fn status_of(failure: Failure) -> Status {
    let code = match failure.reason {
        Reason::Malformed => Code::InvalidArgument,
        Reason::TooLarge => Code::ResourceExhausted,
        Reason::Unsupported => Code::Unimplemented,
        Reason::Incomplete => Code::DeadlineExceeded,
        Reason::SenderGone => Code::Cancelled,
        Reason::Overloaded
        | Reason::Stopping
        | Reason::DestinationUnavailable
        | Reason::StoreFailed => Code::Unavailable,
        Reason::DestinationRejected | Reason::PartialSuccess => Code::Internal,
    };
    Status {
        code,
        message: failure.message,
        retry_delay: failure.retry_after,
    }
}

/// A response body: the empty message of a success, or nothing.
pub struct Reply {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    const EMPTY: Reply = Reply {
        message: None,
        trailers: None,
    };

    /// An `ExportTraceServiceResponse` without fields: everything was taken.
    fn success() -> Self {
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Self {
            message: Some(Bytes::from_static(&[0; grpc::PREFIX_BYTES])),
            trailers: Some(trailers),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let message = self.message.take().map(Frame::data);
        let frame = message.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;
    use proptest::prelude::*;

    use super::*;

    const MESSAGE_BYTES_MAX: usize = 300;

    fn receiver() -> OtlpGrpc {
        let intake = Arc::new(Intake::new("otlp".to_owned(), Vec::new()));
        OtlpGrpc::new(intake, Budget::new(1000), MESSAGE_BYTES_MAX)
    }

    /// Reads a body that arrives cut at these places.
    fn read(receiver: &OtlpGrpc, body: &[u8], cuts: &[usize]) -> Result<(bool, Bytes), Failure> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces = cuts
            .windows(2)
            .map(|ends| Bytes::copy_from_slice(&body[ends[0]..ends[1]]));
        let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let mut body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>()));
        let reading = receiver.read_message(&mut body);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (is_compressed, message, charge) = runtime.block_on(reading)?;
        assert_eq!(receiver.budget.used_bytes(), message.len());
        drop(charge);
        Ok((is_compressed, message))
    }

    fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
        let mut body = grpc::message_prefix(message.len() as u32).to_vec();
        body[0] = flags;
        body.extend_from_slice(message);
        body
    }

    proptest! {
        #[test]
        fn a_message_is_read_however_its_frames_are_cut(
            message in prop::collection::vec(any::<u8>(), 0..=MESSAGE_BYTES_MAX),
            flags in 0u8..2,
            cuts in prop::collection::vec(any::<usize>(), 0..10),
        ) {
            let (is_compressed, read) = read(&receiver(), &framed(flags, &message), &cuts).unwrap();
            prop_assert_eq!(is_compressed, flags == 1);
            prop_assert_eq!(&read[..], &message[..]);
        }

        #[test]
        fn a_message_that_is_cut_off_or_followed_is_malformed_wherever_it_is_cut(
            message in prop::collection::vec(any::<u8>(), 1..100),
            at in any::<usize>(),
            more in prop::collection::vec(any::<u8>(), 1..20),
            cuts in prop::collection::vec(any::<usize>(), 0..5),
        ) {
            let receiver = receiver();
            let whole = framed(0, &message);
            let failure = read(&receiver, &whole[..at % whole.len()], &cuts).unwrap_err();
            prop_assert_eq!(failure.reason, Reason::Malformed);
            let failure = read(&receiver, &[whole, more].concat(), &cuts).unwrap_err();
            prop_assert_eq!(failure.reason, Reason::Malformed);
            prop_assert_eq!(receiver.budget.used_bytes(), 0);
        }

        #[test]
        fn arbitrary_bodies_never_panic_and_give_their_room_back(
            body in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(any::<usize>(), 0..5),
        ) {
            let receiver = receiver();
            let _ = read(&receiver, &body, &cuts);
            prop_assert_eq!(receiver.budget.used_bytes(), 0);
        }
    }

    #[test]
    fn a_large_message_is_refused_by_its_prefix() {
        let prefix = grpc::message_prefix(MESSAGE_BYTES_MAX as u32 + 1);
        let failure = read(&receiver(), &prefix, &[]).unwrap_err();
        assert_eq!(failure.reason, Reason::TooLarge);
    }
}
