//! A response body that ends its span when it ends itself.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Buf;
use opentelemetry::Context;
use pin_project_lite::pin_project;

use super::Call;

pin_project! {
    /// The body `B`, with the span of its request. The span ends when the last frame has been
    /// read, when reading fails, or when the body is dropped because the peer is gone.
    #[derive(Debug)]
    pub struct TracedBody<B: Body> {
        #[pin]
        inner: B,
        call: Option<Call>,
        n_bytes: i64,
    }

    impl<B: Body> PinnedDrop for TracedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let is_whole = this.inner.is_end_stream();
            if let Some(mut call) = this.call.take() {
                if !is_whole {
                    call.fail("cancelled", "the body was dropped before its end");
                }
                call.end(Some(*this.n_bytes));
            }
        }
    }
}

impl<B: Body> TracedBody<B> {
    /// Hands the span over to the body.
    pub(crate) fn new(inner: B, call: Call) -> Self {
        // A body without frames may never be polled, and its length is known now.
        let mut call = Some(call);
        if inner.is_end_stream()
            && let Some(call) = call.take()
        {
            call.end(Some(0));
        }
        Self {
            inner,
            call,
            n_bytes: 0,
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
        let context = this.call.as_ref().map(Call::context);
        let attached = context.cloned().map(Context::attach);
        let frame = ready!(this.inner.poll_frame(task));
        drop(attached);
        match &frame {
            Some(Ok(frame)) => {
                let n_bytes = frame.data_ref().map_or(0, Buf::remaining);
                *this.n_bytes += i64::try_from(n_bytes).unwrap_or(i64::MAX);
                if let (Some(trailers), Some(call)) = (frame.trailers_ref(), this.call) {
                    call.on_trailers(trailers);
                }
            }
            Some(Err(_)) => {
                if let Some(mut call) = this.call.take() {
                    call.fail("body", "reading the body failed");
                    call.end(Some(*this.n_bytes));
                }
            }
            None => {
                if let Some(call) = this.call.take() {
                    call.end(Some(*this.n_bytes));
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
