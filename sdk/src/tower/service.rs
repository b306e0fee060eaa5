//! The service and the future that all layers share.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use ::http::{HeaderName, HeaderValue, Request, Response};
use ::http_body::Body;
use ::tower::Service;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use pin_project_lite::pin_project;

use crate::http::{Role, TracedBody, fail};
use crate::panic::recording_panics;
use crate::trace::SpanSource;

/// What a layer gives to its services.
#[derive(Clone, Debug)]
pub(crate) struct Tracing {
    pub(crate) spans: SpanSource,
    pub(crate) role: Role,
    pub(crate) sends_traceresponse: bool,
}

impl Tracing {
    pub(crate) fn new(scope: &'static str, role: Role) -> Arc<Self> {
        Arc::new(Self {
            spans: SpanSource::installed(scope),
            role,
            sends_traceresponse: false,
        })
    }

    /// Starts the span of a request. A server continues what the request says, a client writes
    /// into it.
    fn start<B>(&self, request: &mut Request<B>) -> Context {
        if self.role.is_server() {
            let caller = self.spans.extract(&HeaderExtractor(request.headers()));
            return self.spans.start(|| self.role.span(request), &caller);
        }
        let context = self
            .spans
            .start(|| self.role.span(request), &Context::current());
        self.spans
            .inject(&context, &mut HeaderInjector(request.headers_mut()));
        context
    }
}

/// A service inside one of our layers.
#[derive(Clone, Debug)]
pub struct TracedService<S> {
    inner: S,
    tracing: Arc<Tracing>,
}

impl<S> TracedService<S> {
    pub(crate) fn new(inner: S, tracing: &Arc<Tracing>) -> Self {
        Self {
            inner,
            tracing: Arc::clone(tracing),
        }
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for TracedService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>> + ToString,
    ResponseBody: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    type Response = Response<TracedBody<ResponseBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let context = self.tracing.start(&mut request);
        let attached = context.clone().attach();
        let inner = self.inner.call(request);
        drop(attached);
        ResponseFuture {
            inner,
            span: Some(context),
            tracing: Arc::clone(&self.tracing),
        }
    }
}

pin_project! {
    /// Resolves to the response, whose body carries the span on.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        span: Option<Context>,
        tracing: Arc<Tracing>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                fail(&span, "cancelled", "the request was dropped before its response");
                span.span().end();
            }
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
    E: ToString,
{
    type Output = Result<Response<TracedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let attached = this.span.clone().map(Context::attach);
        let polled = recording_panics(this.span, || this.inner.poll(task));
        drop(attached);
        let result = ready!(polled);
        let Some(context) = this.span.take() else {
            unreachable!("a future is not polled after it is ready");
        };
        Poll::Ready(match result {
            Ok(response) => Ok(on_response(response, context, this.tracing)),
            Err(error) => {
                fail(&context, "_OTHER", error.to_string());
                context.span().end();
                Err(error)
            }
        })
    }
}

fn on_response<B>(
    mut response: Response<B>,
    context: Context,
    tracing: &Tracing,
) -> Response<TracedBody<B>>
where
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    tracing
        .role
        .record_head(&context, response.status(), response.headers());
    if tracing.sends_traceresponse
        && let Some(value) = traceresponse(&context)
    {
        response
            .headers_mut()
            .insert(HeaderName::from_static("traceresponse"), value);
    }
    response.map(|body| TracedBody::new(body, context, tracing.role))
}

fn traceresponse(context: &Context) -> Option<HeaderValue> {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let flags = span.trace_flags().to_u8();
    let value = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    HeaderValue::try_from(value).ok()
}
