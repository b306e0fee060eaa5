//! A span from the request's headers to its end.

use std::borrow::Cow;

use spanloom_wire::context::{TraceContext, TraceState};
use spanloom_wire::otlp::{AttributesWriter, SpanKind, SpanWriter, StatusCode};
use spanloom_wire::{SpanId, Timestamp, baggage};

use crate::config::{AttributeSettings, Direction, Settings, Source};
use crate::facts::{Fact, Facts};
use crate::header_block::Headers;
use crate::host::{Host, MapKind};
use crate::outcome::Outcome;
use crate::property;
use crate::request::{Request, text};
use crate::semconv::{envoy, stable};
use crate::url::split_target;

/// A span that has begun.
///
/// What the headers say is written at once, as bytes: at the end other filters may have changed
/// them, and one growing buffer is all that a request keeps.
#[derive(Debug)]
pub(crate) struct Recording {
    /// A `Span` message so far.
    bytes: Vec<u8>,
    /// The method, or the procedure of a gRPC call.
    name: Cow<'static, str>,
    /// The place of the template that the path is of.
    template: Option<usize>,
    is_grpc: bool,
    start: Timestamp,
}

/// Who the span is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<SpanId>,
}

impl Recording {
    /// Begins a span with what the request's headers say.
    pub(crate) fn begin(
        settings: &Settings,
        direction: Direction,
        request: &Request<'_>,
        identity: &Identity,
        tracestate: &TraceState<'_>,
        start: Timestamp,
    ) -> Self {
        let mut bytes = Vec::with_capacity(1024);
        let mut writer = SpanWriter::message(&mut bytes);
        write_identity(&mut writer, identity);
        writer.trace_state(tracestate.as_str());
        writer.kind(match direction {
            Direction::Inbound => SpanKind::Server,
            Direction::Outbound => SpanKind::Client,
        });
        writer.start(start);
        writer.attributes(|attributes| {
            if settings.semconv.is_stable() {
                stable::request(attributes, settings, direction, request);
            }
            if settings.semconv.is_envoy() {
                envoy::request(attributes, settings, request);
            }
            write_chosen(attributes, &settings.attributes, request);
        });
        let is_grpc = request.is_grpc();
        let mut template = None;
        if !is_grpc && !settings.route_templates.is_empty() {
            let target = String::from_utf8_lossy(request.target);
            let path = split_target(&target).0;
            template = settings
                .route_templates
                .iter()
                .position(|route| route.matches(path));
        }
        let name = request.name(settings.attributes.bytes_max);
        Self {
            bytes,
            name,
            template,
            is_grpc,
            start,
        }
    }

    /// Whether the request is a gRPC call.
    pub(crate) const fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// Ends the span: a whole `Span` message.
    pub(crate) fn finish(
        self,
        host: &mut impl Host,
        settings: &Settings,
        direction: Direction,
        facts: &Facts<'_>,
        ending: &Ending<'_>,
    ) -> Vec<u8> {
        let Self {
            mut bytes,
            name,
            template,
            is_grpc,
            start,
        } = self;
        let outcome = ending.outcome;
        let template = template.and_then(|at| settings.route_templates.get(at));
        let route = match template {
            Some(template) => Some(Cow::Borrowed(template.as_str())),
            None => facts
                .bytes(Fact::RouteName)
                .and_then(|name| settings.route_name.route(name))
                .map(|route| text(route, settings.attributes.bytes_max)),
        };
        let mut writer = SpanWriter::message(&mut bytes);
        writer.end(ending.end.max(start));
        match &route {
            Some(route) if !is_grpc => writer.name(&[&*name, " ", &**route].concat()),
            _ => writer.name(&name),
        }
        if outcome.error_type(direction).is_some() {
            writer.status(StatusCode::Error, "");
        }
        writer.attributes(|attributes| {
            if let Some(route) = &route {
                attributes.attribute("http.route", &**route);
            }
            if settings.semconv.is_stable() {
                stable::response(attributes, direction, facts, outcome);
            }
            if settings.semconv.is_envoy() {
                envoy::response(attributes, direction, facts, outcome);
            }
            if let Some(reason) = ending.reason {
                attributes.attribute("spanloom.sampling.reason", reason);
            }
            write_chosen_late(host, attributes, &settings.attributes);
        });
        bytes
    }
}

/// What is known at the end beside the facts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    pub(crate) end: Timestamp,
    pub(crate) outcome: &'a Outcome,
    /// Why the span is recorded though its trace is not.
    pub(crate) reason: Option<&'static str>,
}

fn write_identity(writer: &mut SpanWriter<'_>, identity: &Identity) {
    /// OTLP's flags beyond those of W3C: it is known whether the parent is remote, and it is.
    const HAS_IS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    writer.trace_id(identity.context.trace_id);
    writer.span_id(identity.context.span_id);
    let mut flags = u32::from(identity.context.flags.bits());
    if let Some(parent) = identity.parent {
        writer.parent_span_id(parent);
        flags |= HAS_IS_REMOTE | IS_REMOTE;
    }
    writer.flags(flags);
}

/// Attributes that the configuration chose from the request.
fn write_chosen(
    attributes: &mut AttributesWriter<'_>,
    settings: &AttributeSettings,
    request: &Request<'_>,
) {
    for name in &settings.request_headers {
        let values = request.all(name.as_bytes());
        write_header(
            attributes,
            "http.request.header.",
            name,
            values,
            settings.bytes_max,
        );
    }
    for (key, source) in &settings.custom {
        match source {
            Source::RequestHeader(name) => {
                if let Some(value) = request.joined(name) {
                    attributes.attribute(key, &*text(&value, settings.bytes_max));
                }
            }
            Source::Baggage(member) => {
                let header = request.joined("baggage").unwrap_or_default();
                if let Some(value) = baggage::get(&header, member) {
                    attributes.attribute(key, &*text(value.as_bytes(), settings.bytes_max));
                }
            }
            Source::Literal(value) => attributes.attribute(key, &**value),
            Source::ResponseHeader(_) | Source::Property(_) | Source::Environment(_) => {}
        }
    }
}

/// Attributes that the configuration chose from the response and the proxy.
fn write_chosen_late(
    host: &mut impl Host,
    attributes: &mut AttributesWriter<'_>,
    settings: &AttributeSettings,
) {
    let is_header = |source: &Source| matches!(source, Source::ResponseHeader(_));
    let reads_headers = !settings.response_headers.is_empty()
        || settings.custom.iter().any(|(_, source)| is_header(source));
    let block = match reads_headers {
        true => host
            .header_block(MapKind::ResponseHeaders)
            .unwrap_or_default(),
        false => Vec::new(),
    };
    let headers = Headers::new(&block);
    for name in &settings.response_headers {
        let values = headers.clone().filter(|header| header.0 == name.as_bytes());
        let values = values.map(|header| header.1);
        write_header(
            attributes,
            "http.response.header.",
            name,
            values,
            settings.bytes_max,
        );
    }
    for (key, source) in &settings.custom {
        let value = match source {
            Source::ResponseHeader(name) => headers.get(name.as_bytes()).map(<[u8]>::to_vec),
            Source::Property(path) => property::bytes(host, path.as_bytes()),
            Source::Environment(name) => host.environment(name).map(String::into_bytes),
            Source::Literal(_) | Source::RequestHeader(_) | Source::Baggage(_) => None,
        };
        if let Some(value) = value {
            attributes.attribute(key, &*text(&value, settings.bytes_max));
        }
    }
}

fn write_header<'h>(
    attributes: &mut AttributesWriter<'_>,
    prefix: &str,
    name: &str,
    values: impl Iterator<Item = &'h [u8]>,
    bytes_max: usize,
) {
    let values: Vec<Cow<'_, str>> = values.map(|value| text(value, bytes_max)).collect();
    if !values.is_empty() {
        let values: Vec<&str> = values.iter().map(|value| &**value).collect();
        attributes.attribute(&[prefix, name].concat(), &*values);
    }
}
