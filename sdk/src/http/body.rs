//! A response body that ends its span when it ends itself.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Buf;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use pin_project_lite::pin_project;

use super::Role;

pin_project! {
    /// The body `B`, with the span of its request. The span ends when the last frame has been
    /// read, when reading fails, or when the body is dropped because the peer is gone.
    #[derive(Debug)]
    pub struct TracedBody<B: Body> {
        #[pin]
        inner: B,
        span: Option<Context>,
        n_bytes: i64,
        role: Role,
    }

    impl<B: Body> PinnedDrop for TracedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let is_whole = this.inner.is_end_stream();
            if let Some(span) = this.span.take() {
                if !is_whole {
                    fail(&span, "cancelled", "the body was dropped before its end");
                }
                finish(&span, *this.role, *this.n_bytes);
            }
        }
    }
}

impl<B: Body> TracedBody<B> {
    /// Hands the span over to the body.
    pub(crate) fn new(inner: B, span: Context, role: Role) -> Self {
        // A body without frames may never be polled, and its length is known now.
        let is_empty = inner.is_end_stream();
        if is_empty {
            finish(&span, role, 0);
        }
        Self {
            inner,
            span: (!is_empty).then_some(span),
            n_bytes: 0,
            role,
        }
    }
}

impl<B: Body<Error: Into<Box<dyn StdError + Send + Sync>>>> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        // A body that is computed while it is read makes spans too.
        let attached = this.span.clone().map(Context::attach);
        let frame = ready!(this.inner.poll_frame(task));
        drop(attached);
        match &frame {
            Some(Ok(frame)) => {
                let n_bytes = frame.data_ref().map_or(0, Buf::remaining);
                *this.n_bytes += i64::try_from(n_bytes).unwrap_or(i64::MAX);
                if let (Some(trailers), Some(span)) = (frame.trailers_ref(), &this.span) {
                    this.role.record_trailers(span, trailers);
                }
            }
            Some(Err(_)) => {
                if let Some(span) = this.span.take() {
                    fail(&span, "body", "reading the body failed");
                    finish(&span, *this.role, *this.n_bytes);
                }
            }
            None => {
                if let Some(span) = this.span.take() {
                    finish(&span, *this.role, *this.n_bytes);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Marks the span as failed, with a short type for counting and a sentence for reading.
pub(crate) fn fail(
    context: &Context,
    error_type: &'static str,
    description: impl Into<Cow<'static, str>>,
) {
    let span = context.span();
    span.set_attribute(KeyValue::new("error.type", error_type));
    span.set_status(Status::error(description));
}

fn finish(context: &Context, role: Role, n_bytes: i64) {
    let span = context.span();
    if !role.is_grpc() {
        span.set_attribute(KeyValue::new("http.response.body.size", n_bytes));
    }
    span.end();
}
