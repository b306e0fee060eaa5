//! Everything that the module remembers, and the callbacks that change it.
//!
//! A worker of Envoy has one VM with one memory. In it live roots, one for each place in the
//! configuration that the filter stands at (a sidecar of Istio has an inbound and an outbound one),
//! and under each root a stream for each request in flight.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use spanloom_wire::context::{Restart, TraceContext};
use spanloom_wire::otlp::{SpanKind, SpanWriter, StatusCode};
use spanloom_wire::{SpanId, Timestamp};

use crate::config::{Direction, Settings};
use crate::export::{Hands, Pipeline};
use crate::host::{BufferKind, Host, LogLevel, MapKind};
use crate::metrics::{Counter, Counters};
use crate::outcome::Outcome;
use crate::random::Random;
use crate::request::Request;
use crate::{property, resource, sampling};

/// More requests in flight than this in one worker pass untraced.
const STREAMS_MAX: usize = 65_536;
/// Envoy's own limit of a configuration is far above what a sane one needs.
const CONFIGURATION_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Vm {
    random: Option<Random>,
    counters: Counters,
    pipelines: Vec<Pipeline>,
    roots: Vec<Root>,
    streams: HashMap<u32, Stream, BuildHasherDefault<IdHasher>>,
}

/// One place in the proxy's configuration.
#[derive(Debug)]
struct Root {
    id: u32,
    /// `None` before a configuration came, and with a wrong one: requests pass through.
    tracer: Option<Tracer>,
}

/// How a root traces.
#[derive(Debug)]
struct Tracer {
    settings: Settings,
    /// A `Resource` message.
    resource: Vec<u8>,
}

/// One request.
#[derive(Debug)]
struct Stream {
    root_id: u32,
    /// The span if the request is recorded.
    recording: Option<Box<Recording>>,
}

/// A span that has begun.
#[derive(Debug)]
struct Recording {
    /// A `Span` message so far: ids, times that are known, and the request's attributes.
    span: Vec<u8>,
    name: std::borrow::Cow<'static, str>,
    is_grpc: bool,
    direction: Direction,
    start: Timestamp,
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

impl Vm {
    /// A VM before its first callback.
    pub const fn new() -> Self {
        Self {
            random: None,
            counters: Counters::new(),
            pipelines: Vec::new(),
            roots: Vec::new(),
            streams: HashMap::with_hasher(BuildHasherDefault::new()),
        }
    }

    /// A root (without a parent) or a stream begins.
    pub fn on_context_create(&mut self, id: u32, parent_id: u32) {
        if parent_id == 0 {
            self.roots.push(Root { id, tracer: None });
        } else if self.streams.len() < STREAMS_MAX {
            self.streams.insert(
                id,
                Stream {
                    root_id: parent_id,
                    recording: None,
                },
            );
        } else {
            self.counters.add(Counter::StreamsRefused, 1);
        }
    }

    /// A root gets its configuration. A wrong one leaves it passing requests through.
    pub fn on_configure(&mut self, host: &mut impl Host, root_id: u32, length: usize) {
        let json = match length {
            0 => Ok(Vec::new()),
            _ => host.buffer(
                BufferKind::PluginConfiguration,
                length.min(CONFIGURATION_BYTES_MAX),
            ),
        };
        let json = json.map_err(|status| format!("unreadable: {status:?}"));
        let settings = json.and_then(|json| Settings::parse(&json));
        let random = Random::from_host(host).map_err(|status| format!("no randomness: {status:?}"));
        match settings.and_then(|settings| Ok((settings, random?))) {
            Ok((settings, random)) => {
                self.random.get_or_insert(random);
                self.configure(host, root_id, settings);
            }
            Err(fault) => {
                let line = format!("spanloom: requests pass untraced: configuration: {fault}");
                host.log(LogLevel::Error, &line);
                self.counters.add(Counter::ConfigurationErrors, 1);
            }
        }
        self.counters.tell(host);
    }

    fn configure(&mut self, host: &mut impl Host, root_id: u32, settings: Settings) {
        let resource = resource::write(host, &settings);
        if host
            .set_tick_period(settings.export.batch_interval_ms)
            .is_err()
        {
            self.counters.add(Counter::HostErrors, 1);
        }
        let pipeline = self
            .pipelines
            .iter_mut()
            .find(|p| p.export == settings.export);
        match pipeline {
            Some(pipeline) => pipeline.join(root_id),
            None => {
                let mut pipeline = Pipeline::new(settings.export.clone());
                pipeline.join(root_id);
                self.pipelines.push(pipeline);
            }
        }
        if let Some(root) = self.roots.iter_mut().find(|root| root.id == root_id) {
            root.tracer = Some(Tracer { settings, resource });
        }
    }

    /// The timer of a root.
    pub fn on_tick(&mut self, host: &mut impl Host, root_id: u32) {
        let now = host.now();
        if let Some(random) = &mut self.random {
            let counters = &mut self.counters;
            let mut hands = Hands {
                host,
                counters,
                random,
                now,
                context_id: root_id,
            };
            for pipeline in &mut self.pipelines {
                pipeline.on_tick(&mut hands, root_id);
            }
        }
        self.counters.tell(host);
    }

    /// The answer to an export.
    pub fn on_http_call_response(
        &mut self,
        host: &mut impl Host,
        root_id: u32,
        token: u32,
        n_headers: u32,
        body_length: usize,
    ) {
        let now = host.now();
        let Some(random) = &mut self.random else {
            return;
        };
        let counters = &mut self.counters;
        let mut hands = Hands {
            host,
            counters,
            random,
            now,
            context_id: root_id,
        };
        for pipeline in &mut self.pipelines {
            if pipeline.on_answer(&mut hands, token, n_headers, body_length) {
                break;
            }
        }
    }

    /// A context is to end. False when a root still waits for the collector: it ends by
    /// [`Host::done`].
    pub fn on_done(&mut self, host: &mut impl Host, id: u32) -> bool {
        if !self.roots.iter().any(|root| root.id == id) {
            return true;
        }
        let now = host.now();
        let Some(random) = &mut self.random else {
            return true;
        };
        let counters = &mut self.counters;
        let mut hands = Hands {
            host,
            counters,
            random,
            now,
            context_id: id,
        };
        let mut is_done = true;
        for pipeline in &mut self.pipelines {
            is_done &= pipeline.on_root_done(&mut hands, id);
        }
        is_done
    }

    /// A context has ended.
    pub fn on_delete(&mut self, host: &mut impl Host, id: u32) {
        if self.streams.remove(&id).is_some() {
            return;
        }
        self.roots.retain(|root| root.id != id);
        for pipeline in &mut self.pipelines {
            pipeline.on_root_gone(id, &mut self.counters);
        }
        self.pipelines.retain(|pipeline| !pipeline.is_unused());
        self.counters.tell(host);
    }

    /// A request arrives: continue or start its trace, and send the context on.
    pub fn on_request_headers(&mut self, host: &mut impl Host, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let root = self.roots.iter_mut().find(|root| root.id == stream.root_id);
        let (Some(tracer), Some(random)) =
            (root.and_then(|root| root.tracer.as_mut()), &mut self.random)
        else {
            return;
        };
        let Ok(block) = host.header_block(MapKind::RequestHeaders) else {
            self.counters.add(Counter::HostErrors, 1);
            return;
        };
        let request = Request::read(&block);
        let extracted = request.context();
        if matches!(extracted, Err(Restart::Repeated | Restart::Invalid(_))) {
            self.counters.add(Counter::ContextRestarted, 1);
        }
        let extracted = extracted.ok();
        let parent = extracted.as_ref().map(|extracted| extracted.context);
        let trace_id = parent.map_or_else(|| random.trace_id(), |parent| parent.trace_id);
        let is_sampled = sampling::is_sampled(&tracer.settings.sampling, parent, trace_id);
        let span_id = random.span_id();
        let context = match parent {
            Some(parent) => parent.child(span_id, is_sampled),
            None => TraceContext::root(trace_id, span_id, is_sampled),
        };
        let tracestate = extracted
            .map(|extracted| extracted.tracestate)
            .unwrap_or_default();

        let sent = host.replace_header(
            MapKind::RequestHeaders,
            "traceparent",
            &context.to_traceparent(),
        );
        let dropped = match tracestate.is_empty() && request.has_tracestate() {
            true => host.remove_header(MapKind::RequestHeaders, "tracestate"),
            false => Ok(()),
        };
        if sent.and(dropped).is_err() {
            self.counters.add(Counter::HostErrors, 1);
        }
        if !is_sampled {
            return;
        }

        let direction = tracer.direction(host);
        let bytes_max = tracer.settings.attribute_bytes_max;
        let mut span = Vec::with_capacity(1024);
        let mut writer = SpanWriter::message(&mut span);
        write_ids(&mut writer, &context, parent.map(|parent| parent.span_id));
        writer.trace_state(tracestate.as_str());
        writer.kind(kind(direction));
        writer.attributes(|attributes| request.write(attributes, &tracer.settings, direction));
        let start = property::number(host, property::REQUEST_TIME);
        let start = start
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map(Timestamp::from_nanos);
        stream.recording = Some(Box::new(Recording {
            span,
            name: request.name(bytes_max),
            is_grpc: request.is_grpc(),
            direction,
            start: start.unwrap_or_else(|| host.now()),
        }));
    }

    /// A request is over: finish its span.
    pub fn on_log(&mut self, host: &mut impl Host, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(mut recording) = stream.recording.take() else {
            return;
        };
        let root = self.roots.iter_mut().find(|root| root.id == stream.root_id);
        let (Some(tracer), Some(random)) =
            (root.and_then(|root| root.tracer.as_mut()), &mut self.random)
        else {
            return;
        };
        let pipeline = self
            .pipelines
            .iter_mut()
            .find(|p| p.export == tracer.settings.export);
        let Some(pipeline) = pipeline else {
            return;
        };
        let direction = recording.direction;
        recording.finish(host, direction);

        if pipeline.push(&tracer.resource, &recording.span) {
            self.counters.add(Counter::SpansAccepted, 1);
        } else {
            self.counters.add(Counter::SpansAccepted, 1);
            self.counters.add(Counter::DroppedBufferFull, 1);
        }
        if pipeline.is_full() {
            let now = host.now();
            let counters = &mut self.counters;
            pipeline.flush(&mut Hands {
                host,
                counters,
                random,
                now,
                context_id: id,
            });
        }
    }
}

impl Tracer {
    /// The direction of the stream at hand; a listener that does not say is taken for an inbound
    /// one. Asked for each stream: where nothing else differs, Envoy lets the listeners of both
    /// directions share a root.
    fn direction(&self, host: &mut impl Host) -> Direction {
        self.settings.direction.unwrap_or_else(|| {
            match property::number(host, property::LISTENER_DIRECTION) {
                Some(2) => Direction::Outbound,
                _ => Direction::Inbound,
            }
        })
    }
}

impl Recording {
    fn finish(&mut self, host: &mut impl Host, direction: Direction) {
        let duration = property::number(host, property::REQUEST_DURATION);
        let end = match duration.and_then(|nanos| u64::try_from(nanos).ok()) {
            Some(nanos) => Timestamp::from_nanos(self.start.as_nanos().saturating_add(nanos)),
            None => host.now().max(self.start),
        };
        let outcome = Outcome::read(host, self.is_grpc);
        let error_type = outcome.error_type(direction);
        let route = property::text(host, property::ROUTE_NAME).filter(|name| name.starts_with('/'));

        let mut writer = SpanWriter::message(&mut self.span);
        writer.start(self.start);
        writer.end(end);
        match &route {
            Some(route) if !self.is_grpc => writer.name(&format!("{} {route}", self.name)),
            _ => writer.name(&self.name),
        }
        if error_type.is_some() {
            writer.status(StatusCode::Error, "");
        }
        writer.attributes(|attributes| {
            outcome.write(host, attributes, direction);
            if let Some(error_type) = &error_type {
                attributes.attribute("error.type", &**error_type);
            }
            if let Some(route) = &route {
                attributes.attribute("http.route", &**route);
            }
        });
    }
}

fn write_ids(writer: &mut SpanWriter<'_>, context: &TraceContext, parent: Option<SpanId>) {
    /// OTLP's flags beyond those of W3C: it is known whether the parent is remote, and it is.
    const HAS_IS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    writer.trace_id(context.trace_id);
    writer.span_id(context.span_id);
    let mut flags = u32::from(context.flags.with_sampled(true).bits());
    if let Some(parent) = parent {
        writer.parent_span_id(parent);
        flags |= HAS_IS_REMOTE | IS_REMOTE;
    }
    writer.flags(flags);
}

const fn kind(direction: Direction) -> SpanKind {
    match direction {
        Direction::Inbound => SpanKind::Server,
        Direction::Outbound => SpanKind::Client,
    }
}

/// Context ids are counted up by the host: spreading them over the table is all there is to do.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        // Fibonacci hashing: the table looks at high bits and at low bits.
        let spread = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ spread >> 32;
    }
}
