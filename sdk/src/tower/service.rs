//! The service and the future that all layers share.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use ::http::{HeaderName, HeaderValue, Request, Response};
use ::http_body::Body;
use ::tower::Service;
use opentelemetry::trace::{SpanBuilder, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use pin_project_lite::pin_project;

use crate::http::{Call, Role, TracedBody};
use crate::metrics::Measure;
use crate::panic::recording_panics;
use crate::trace::SpanSource;

/// What a layer gives to its services.
#[derive(Clone, Debug)]
pub(crate) struct Tracing {
    pub(crate) spans: SpanSource,
    pub(crate) role: Role,
    pub(crate) sends_traceresponse: bool,
    /// Whom requests go to that do not say it.
    pub(crate) server: Option<(Arc<str>, u16)>,
}

impl Tracing {
    pub(crate) fn new(scope: &'static str, role: Role) -> Arc<Self> {
        Arc::new(Self {
            spans: SpanSource::installed(scope),
            role,
            sends_traceresponse: false,
            server: None,
        })
    }

    /// Starts the span of a request, and its clock. A server continues what the request says, a
    /// client writes into it.
    fn start<B>(&self, request: &mut Request<B>) -> Call {
        let metrics = self.spans.metrics();
        let measure = metrics.map(|metrics| Measure::of_request(metrics, self.role, request));
        let measure = measure.map(|measure| match &self.server {
            Some((address, port)) => measure.of_server(address, *port),
            None => measure,
        });
        let context = if self.role.is_server() {
            let caller = self.spans.extract(&HeaderExtractor(request.headers()));
            self.spans.start(|| self.role.span(request), &caller)
        } else {
            let context = self
                .spans
                .start(|| self.span_of_client(request), &Context::current());
            self.spans
                .inject(&context, &mut HeaderInjector(request.headers_mut()));
            context
        };
        Call::new(context, self.role, measure)
    }

    fn span_of_client<B>(&self, request: &Request<B>) -> SpanBuilder {
        let mut span = self.role.span(request);
        if let (Some((address, port)), Some(attributes)) = (&self.server, &mut span.attributes)
            && attributes
                .iter()
                .all(|known| known.key.as_str() != "server.address")
        {
            attributes.push(KeyValue::new("server.address", Arc::clone(address)));
            attributes.push(KeyValue::new("server.port", i64::from(*port)));
        }
        span
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
        let call = self.tracing.start(&mut request);
        let attached = call.context().clone().attach();
        let inner = self.inner.call(request);
        drop(attached);
        ResponseFuture {
            inner,
            call: Some(call),
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
        call: Option<Call>,
        tracing: Arc<Tracing>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(mut call) = this.project().call.take() {
                call.fail("cancelled", "the request was dropped before its response");
                call.end(None);
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
        let context = this.call.as_ref().map(Call::context);
        let attached = context.cloned().map(Context::attach);
        let polled = recording_panics(this.call, || this.inner.poll(task));
        drop(attached);
        let result = ready!(polled);
        let Some(mut call) = this.call.take() else {
            unreachable!("a future is not polled after it is ready");
        };
        Poll::Ready(match result {
            Ok(response) => Ok(on_response(response, call, this.tracing)),
            Err(error) => {
                call.fail("_OTHER", error.to_string());
                call.end(None);
                Err(error)
            }
        })
    }
}

fn on_response<B>(
    mut response: Response<B>,
    mut call: Call,
    tracing: &Tracing,
) -> Response<TracedBody<B>>
where
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    call.on_head(response.status(), response.version(), response.headers());
    if tracing.sends_traceresponse
        && let Some(value) = traceresponse(call.context())
    {
        response
            .headers_mut()
            .insert(HeaderName::from_static("traceresponse"), value);
    }
    response.map(|body| TracedBody::new(body, call))
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
