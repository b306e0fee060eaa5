//! CLIENT spans for [`reqwest`]: `send_traced()` instead of `send()`.

use std::error::Error as StdError;
use std::mem::take;
use std::sync::LazyLock;

use ::reqwest::{Client, Error, Request, RequestBuilder, Response, ResponseBuilderExt};
use opentelemetry::trace::{FutureExt, SpanBuilder, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderInjector;

use crate::http::{self, Call, Role, TracedBody};
use crate::metrics::{Measure, Series, Text};
use crate::trace::{SpanSource, TracerProvider};

/// Sends a request with a span around it.
pub trait SendTraced {
    /// Sends the request, its context in its headers, in a CLIENT span that ends with the
    /// response's body.
    ///
    /// # Errors
    ///
    /// As for [`RequestBuilder::send`].
    fn send_traced(self) -> impl Future<Output = Result<Response, Error>> + Send;

    /// The same, in a span of this provider rather than of the one that
    /// [`init`](crate::init) installed.
    ///
    /// # Errors
    ///
    /// As for [`RequestBuilder::send`].
    fn send_traced_by(
        self,
        provider: &TracerProvider,
    ) -> impl Future<Output = Result<Response, Error>> + Send;
}

impl SendTraced for RequestBuilder {
    async fn send_traced(self) -> Result<Response, Error> {
        static SPANS: LazyLock<SpanSource> = LazyLock::new(|| SpanSource::installed(SCOPE));
        let (client, request) = self.build_split();
        execute(&SPANS, &client, request?).await
    }

    async fn send_traced_by(self, provider: &TracerProvider) -> Result<Response, Error> {
        let mut spans = SpanSource::installed(SCOPE);
        spans.fix(provider);
        let (client, request) = self.build_split();
        execute(&spans, &client, request?).await
    }
}

const SCOPE: &str = "spanloom::reqwest";

async fn execute(
    spans: &SpanSource,
    client: &Client,
    mut request: Request,
) -> Result<Response, Error> {
    let metrics = spans.metrics();
    let measure = metrics.map(|metrics| Measure::start(metrics, series(&request)));
    let context = spans.start(|| span(&request), &Context::current());
    spans.inject(&context, &mut HeaderInjector(request.headers_mut()));
    // Ends the call if the caller loses interest while it waits.
    let call = Call::new(context.clone(), Role::HttpClient, measure);
    let mut unanswered = Unanswered(Some(call));
    let result = client.execute(request).with_context(context).await;
    let Some(mut call) = unanswered.0.take() else {
        unreachable!("only the end of this function and its drop take the call");
    };
    match result {
        Ok(response) => Ok(on_response(response, call)),
        Err(error) => {
            call.fail(error_type(&error), describe(&error));
            call.end(None);
            Err(error)
        }
    }
}

struct Unanswered(Option<Call>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(mut call) = self.0.take() {
            let description = "the request was dropped before its response";
            call.fail("cancelled", description);
            call.end(None);
        }
    }
}

/// What the request is counted under.
fn series(request: &Request) -> Series {
    let url = request.url();
    let mut series = Series::new(Role::HttpClient);
    series.method = http::known_method(request.method());
    series.server = url
        .host_str()
        .map_or(Text::None, |host| Text::Owned(host.into()));
    series.port = url.port_or_known_default().unwrap_or(0);
    series
}

fn span(request: &Request) -> SpanBuilder {
    let url = request.url();
    let mut attributes = Vec::with_capacity(6);
    http::method_attributes(request.method(), &mut attributes);
    if let Some(host) = url.host_str() {
        attributes.push(KeyValue::new("server.address", host.to_owned()));
    }
    if let Some(port) = url.port_or_known_default() {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
    attributes.push(KeyValue::new("url.full", redacted(url)));
    // Without a template of the path a name with the path in it would have too many values.
    SpanBuilder::from_name(http::span_name(request.method(), None))
        .with_kind(SpanKind::Client)
        .with_attributes(attributes)
}

/// The URL without the user's name, password and signatures.
fn redacted(url: &::reqwest::Url) -> String {
    let mut url = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Neither fails on a URL that has them.
        let _ = url.set_username("REDACTED");
        let _ = url.set_password(Some("REDACTED"));
    }
    if let Some(query) = url.query() {
        let query = http::redact_query(query).into_owned();
        url.set_query(Some(&query));
    }
    url.into()
}

fn on_response(response: Response, mut call: Call) -> Response {
    call.on_head(response.status(), response.version(), response.headers());
    if let Some(version) = http::protocol_version(response.version()) {
        call.context()
            .span()
            .set_attribute(KeyValue::new("network.protocol.version", version));
    }
    // The conversion back takes the URL from an extension that only a builder can make.
    let mut url = ::http::Response::builder()
        .url(response.url().clone())
        .body(());
    let response = ::http::Response::<::reqwest::Body>::from(response);
    let mut response = response.map(|body| ::reqwest::Body::wrap(TracedBody::new(body, call)));
    if let Ok(url) = &mut url {
        response.extensions_mut().extend(take(url.extensions_mut()));
    }
    Response::from(response)
}

/// What `error.type` says: few values, for counting.
fn error_type(error: &Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else if error.is_redirect() {
        "redirect"
    } else {
        "_OTHER"
    }
}

/// The error with its causes, without the URL, which is in `url.full` already and redacted there.
fn describe(error: &Error) -> String {
    let mut words = String::from("the request failed");
    let mut source = StdError::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
