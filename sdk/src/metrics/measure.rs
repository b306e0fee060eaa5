//! One request or call, from its start to its end.

use std::sync::Arc;
use std::time::Instant;

use ::http::uri::Authority;
use ::http::{Request, StatusCode, Version, header};
use opentelemetry::trace::{SpanBuilder, SpanContext};
use opentelemetry::{KeyValue, time};

use super::histogram::Exemplar;
use super::series::{Series, Text};
use super::totals::unix_nano;
use super::{Instrument, Metrics};
use crate::http::{Role, known_method, protocol_version};
use crate::settings::ExemplarFilter;

/// A request, a query or a message under way. It is counted when it is finished.
#[derive(Debug)]
pub(crate) struct Measure {
    metrics: Arc<Metrics>,
    start: Instant,
    series: Series,
}

impl Measure {
    /// Starts the clock.
    pub(crate) fn start(metrics: &Arc<Metrics>, series: Series) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            start: Instant::now(),
            series,
        }
    }

    /// Starts the clock of what this span is about.
    pub(crate) fn of_call(
        metrics: &Arc<Metrics>,
        instrument: Instrument,
        span: &SpanBuilder,
    ) -> Self {
        Self::start(metrics, Series::of(instrument, instrument.labels(span)))
    }

    /// The server, for who does not know it from the request.
    pub(crate) fn of_server(mut self, address: &Arc<str>, port: u16) -> Self {
        if let Text::None = self.series.server {
            self.series.server = Text::Shared(Arc::clone(address));
            self.series.port = port;
        }
        self
    }

    pub(crate) fn of_request<B>(metrics: &Arc<Metrics>, role: Role, request: &Request<B>) -> Self {
        let mut series = Series::new(role);
        let uri = request.uri();
        if role.is_grpc() {
            series.name = uri
                .path_and_query()
                .map_or(Text::None, |path| Text::Path(path.clone()));
        } else {
            series.method = known_method(request.method());
        }
        match role {
            Role::HttpServer => {
                series.scheme = match uri.scheme_str() {
                    Some("https") => "https",
                    _ => "http",
                };
                series.name = route(request);
                series.version = protocol_version(request.version()).unwrap_or("");
            }
            Role::HttpClient | Role::GrpcClient => {
                let from_header = || {
                    let host = request.headers().get(header::HOST)?;
                    Authority::try_from(host.as_bytes()).ok()
                };
                if let Some(authority) = uri.authority().cloned().or_else(from_header) {
                    let default = if uri.scheme_str() == Some("https") {
                        443
                    } else {
                        80
                    };
                    series.port = authority.port_u16().unwrap_or(default);
                    series.server = Text::Host(authority);
                }
            }
            Role::GrpcServer => {}
        }
        Self::start(metrics, series)
    }

    pub(crate) fn on_head(&mut self, status: StatusCode, version: Version) {
        if !self.series.instrument.is_grpc() {
            self.series.status = status.as_u16();
            self.series.version = protocol_version(version).unwrap_or("");
        }
    }

    pub(crate) fn on_code(&mut self, code: &'static str) {
        self.series.code = code;
        let role = self.series.instrument.role();
        if role == Some(Role::GrpcServer) && code == "UNIMPLEMENTED" {
            // Anybody can ask for any name.
            self.series.name = Text::Static("_OTHER");
        }
    }

    pub(crate) fn fail(&mut self, error_type: &'static str) {
        self.series.error = error_type;
    }

    /// One more attribute of a call that is no request.
    pub(crate) fn label(&mut self, label: KeyValue) {
        self.series.labels.push(label);
    }

    /// Counts the request, and shows its span where that is to be shown.
    pub(crate) fn finish(self, span: &SpanContext) {
        let duration_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let is_shown = match self.metrics.filter {
            ExemplarFilter::TraceBased => span.is_sampled(),
            ExemplarFilter::AlwaysOn => true,
            ExemplarFilter::AlwaysOff => false,
        };
        let exemplar = is_shown.then(|| Exemplar {
            time_unix_nano: unix_nano(time::now()),
            duration_ns,
            trace_id: span.trace_id(),
            span_id: span.span_id(),
        });
        self.metrics.record(self.series, duration_ns, exemplar);
    }
}

#[cfg(feature = "axum")]
fn route<B>(request: &Request<B>) -> Text {
    let route = request.extensions().get::<axum::extract::MatchedPath>();
    route.map_or(Text::None, |route| Text::Route(route.clone()))
}

#[cfg(not(feature = "axum"))]
fn route<B>(_request: &Request<B>) -> Text {
    Text::None
}
