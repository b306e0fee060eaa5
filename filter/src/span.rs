//! The span of a request that is over.

use std::borrow::Cow;

use spanloom_wire::context::TraceContext;
use spanloom_wire::otlp::{AttributesWriter, SpanKind, SpanWriter, StatusCode};
use spanloom_wire::{SpanId, Timestamp, baggage};

use crate::config::{AttributeSettings, Direction, Settings, Source};
use crate::connections::Connections;
use crate::facts::Facts;
use crate::header_block::Headers;
use crate::host::{Host, MapKind};
use crate::outcome::Outcome;
use crate::request::{Request, text};
use crate::semconv::{envoy, stable};
use crate::url::split_target;
use crate::{peers, property};

/// A request whose span is to be written at its end.
///
/// The headers are kept as they came: at the end other filters may have changed them, and only then
/// is it known what else belongs to the span.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) identity: Identity,
    /// The `tracestate` that was sent on.
    pub(crate) tracestate: String,
    /// The header block, unless it is long or many are kept already: then the headers are read
    /// again at the end.
    pub(crate) block: Option<Vec<u8>>,
    pub(crate) start: Timestamp,
    /// Whether a body may have followed the headers.
    pub(crate) has_body: bool,
    /// Why the span is recorded though its trace is not.
    pub(crate) reason: Option<&'static str>,
}

/// Who the span is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<SpanId>,
}

impl Recording {
    /// Appends the whole `Span` message to `out`. Only in `on_log`.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        host: &mut impl Host,
        settings: &Settings,
        connections: &mut Connections,
    ) {
        let end = host.now().max(self.start);
        let block = match &self.block {
            Some(block) => Cow::Borrowed(&**block),
            None => Cow::Owned(
                host.header_block(MapKind::RequestHeaders)
                    .unwrap_or_default(),
            ),
        };
        let request = Request::read(&block);
        let facts = Facts::read(host, connections, settings, &request, self.has_body);
        let direction = facts.direction;
        let outcome = Outcome::read(host, &facts, request.is_grpc());
        let route = route(settings, &request, &facts);

        let mut writer = SpanWriter::message(out);
        write_identity(&mut writer, &self.identity);
        writer.trace_state(&self.tracestate);
        writer.kind(match direction {
            Direction::Inbound => SpanKind::Server,
            Direction::Outbound => SpanKind::Client,
        });
        writer.start(self.start);
        writer.end(end);
        let name = request.name(settings.attributes.bytes_max);
        match &route {
            Some(route) => writer.name(&[&*name, " ", &**route].concat()),
            None => writer.name(&name),
        }
        if outcome.error_type.is_some() {
            writer.status(StatusCode::Error, "");
        }
        writer.attributes(|attributes| {
            if let Some(route) = &route {
                attributes.attribute("http.route", &**route);
            }
            if settings.semconv.is_stable() {
                stable::request(attributes, settings, direction, &request);
                stable::response(attributes, &facts, &outcome);
            }
            if settings.semconv.is_envoy() {
                envoy::request(attributes, settings, &request);
                envoy::response(attributes, &facts, &outcome);
            }
            if settings.attributes.istio_peers {
                peers::write(host, attributes, settings.attributes.bytes_max);
            }
            if let Some(reason) = self.reason {
                attributes.attribute("spanloom.sampling.reason", reason);
            }
            write_chosen(
                host,
                attributes,
                &settings.attributes,
                &request,
                &facts.response(),
            );
        });
    }
}

/// The route of a request that is not a gRPC call: its procedure is all the route that this has.
fn route<'a>(
    settings: &'a Settings,
    request: &Request<'_>,
    facts: &'a Facts,
) -> Option<Cow<'a, str>> {
    if request.is_grpc() {
        return None;
    }
    if !settings.route_templates.is_empty() {
        let target = String::from_utf8_lossy(request.target);
        let path = split_target(&target).0;
        let mut templates = settings.route_templates.iter();
        if let Some(template) = templates.find(|template| template.matches(path)) {
            return Some(Cow::Borrowed(template.as_str()));
        }
    }
    let route = settings.route_name.route(&facts.route_name)?;
    Some(text(route, settings.attributes.bytes_max))
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

/// Attributes that the configuration chose.
fn write_chosen(
    host: &mut impl Host,
    attributes: &mut AttributesWriter<'_>,
    settings: &AttributeSettings,
    request: &Request<'_>,
    response: &Headers<'_>,
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
    for name in &settings.response_headers {
        let values = response
            .clone()
            .filter(|header| header.0 == name.as_bytes());
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
            Source::Literal(value) => Some(Cow::Borrowed(value.as_bytes())),
            Source::Environment(name) => host
                .environment(name)
                .map(|value| Cow::Owned(value.into_bytes())),
            Source::RequestHeader(name) => request.joined(name),
            Source::ResponseHeader(name) => response.get(name.as_bytes()).map(Cow::Borrowed),
            Source::Property(path) => property::bytes(host, path.as_bytes()).map(Cow::Owned),
            Source::Baggage(member) => {
                let header = request.joined("baggage").unwrap_or_default();
                let value = baggage::get(&header, member);
                value.map(|value| Cow::Owned(value.into_owned().into_bytes()))
            }
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
