//! Everything that the module remembers, and the callbacks that change it.
//!
//! A worker of Envoy has one VM with one memory. In it live roots, one for each place in the
//! configuration that the filter stands at (a sidecar of Istio has an inbound and an outbound one),
//! and under each root a stream for each request in flight.

mod root;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::config::Settings;
use crate::connections::Connections;
use crate::export::{Hands, Pipeline};
use crate::host::{BufferKind, Host, LogLevel};
use crate::metrics::{Counter, Counters};
use crate::random::Random;
use root::{Root, Tracer};
use stream::{State, Stream, Tools};

/// More requests in flight than this in one worker pass untraced.
const STREAMS_MAX: usize = 65_536;
/// The headers of so many requests in flight are kept; of others they are read again at the end.
const HEADERS_KEPT_MAX: usize = 4_096;
/// Envoy's own limit of a configuration is far above what a sane one needs.
const CONFIGURATION_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Vm {
    random: Option<Random>,
    counters: Counters,
    pipelines: Vec<Pipeline>,
    connections: Connections,
    roots: Vec<Root>,
    /// A span while it is written, so that none needs memory of its own.
    span: Vec<u8>,
    streams: HashMap<u32, Stream, BuildHasherDefault<IdHasher>>,
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
            connections: Connections::new(),
            roots: Vec::new(),
            span: Vec::new(),
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
                    state: State::Fresh,
                },
            );
        } else {
            self.counters.add(Counter::StreamsRefused, 1);
        }
    }

    /// A root gets its configuration. A wrong one leaves it passing requests through.
    pub fn on_configure(&mut self, host: &mut impl Host, root_id: u32, length: usize) {
        let length = length.min(CONFIGURATION_BYTES_MAX);
        let json = match length {
            0 => Ok(Vec::new()),
            _ => host.buffer(BufferKind::PluginConfiguration, length),
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
        let tracer = Tracer::new(host, settings);
        let export = &tracer.settings.export;
        if host.set_tick_period(export.batch_interval_ms).is_err() {
            self.counters.add(Counter::HostErrors, 1);
        }
        match self
            .pipelines
            .iter_mut()
            .find(|pipeline| pipeline.export == *export)
        {
            Some(pipeline) => pipeline.join(root_id),
            None => {
                let mut pipeline = Pipeline::new(export.clone());
                pipeline.join(root_id);
                self.pipelines.push(pipeline);
            }
        }
        if let Some(root) = self.roots.iter_mut().find(|root| root.id == root_id) {
            root.tracer = Some(tracer);
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
        self.pipelines.retain(|pipeline| !pipeline.is_unused());
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
        let is_taken =
            |pipeline: &mut Pipeline| pipeline.on_answer(&mut hands, token, n_headers, body_length);
        // An answer that no pipeline waits for came later than its call was given up.
        let _was_awaited = self.pipelines.iter_mut().any(is_taken);
        self.pipelines.retain(|pipeline| !pipeline.is_unused());
        // The answer may have let the last root go: then no tick comes that could tell.
        self.counters.tell(host);
    }

    /// Request headers arrived.
    pub fn on_request_headers(&mut self, host: &mut impl Host, id: u32, has_body: bool) {
        let keeps_headers = self.streams.len() < HEADERS_KEPT_MAX;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let root = self.roots.iter_mut().find(|root| root.id == stream.root_id);
        let tracer = root.and_then(|root| root.tracer.as_mut());
        if let (Some(tracer), Some(random)) = (tracer, &mut self.random) {
            let counters = &mut self.counters;
            stream.state = stream::begin(&mut Tools {
                host,
                counters,
                random,
                tracer,
                keeps_headers,
                has_body,
            });
        }
    }

    /// Response headers are to be sent.
    pub fn on_response_headers(&mut self, host: &mut impl Host, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let root = self.roots.iter().find(|root| root.id == stream.root_id);
        let tracer = root.and_then(|root| root.tracer.as_ref());
        if tracer.is_some_and(Tracer::says_traceresponse) && stream.state.respond(host).is_err() {
            self.counters.add(Counter::HostErrors, 1);
        }
    }

    /// A request is over, whether or not its headers ever came to the filter.
    pub fn on_log(&mut self, host: &mut impl Host, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let root_id = stream.root_id;
        let root = self.roots.iter_mut().find(|root| root.id == root_id);
        let tracer = root.and_then(|root| root.tracer.as_mut());
        let (Some(tracer), Some(random)) = (tracer, &mut self.random) else {
            return;
        };
        let counters = &mut self.counters;
        let state = std::mem::replace(&mut stream.state, State::Over);
        let mut tools = Tools {
            host,
            counters,
            random,
            tracer,
            keeps_headers: false,
            has_body: true,
        };
        let Some(recording) = stream::finish(state, &mut tools) else {
            return;
        };
        self.span.clear();
        recording.write(
            &mut self.span,
            host,
            &tracer.settings,
            &mut self.connections,
        );
        counters.add(Counter::SpansAccepted, 1);
        let export = &tracer.settings.export;
        let pipeline = self
            .pipelines
            .iter_mut()
            .find(|pipeline| pipeline.export == *export);
        let Some(pipeline) = pipeline else {
            counters.add(Counter::DroppedShutdown, 1);
            return;
        };
        if !pipeline.push(&tracer.resource, &self.span) {
            counters.add(Counter::DroppedBufferFull, 1);
        }
        if pipeline.is_full() {
            let now = host.now();
            pipeline.flush(&mut Hands {
                host,
                counters,
                random,
                now,
                context_id: id,
            });
        }
    }

    /// A context is to end. False when a root still waits for the collector: it ends by
    /// [`Host::done`].
    pub fn on_done(&mut self, host: &mut impl Host, id: u32) -> bool {
        // Streams are many and roots few.
        if self.streams.remove(&id).is_some() {
            return true;
        }
        if !self.roots.iter().any(|root| root.id == id) {
            return true;
        }
        self.roots.retain(|root| root.id != id);
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
        self.pipelines.retain(|pipeline| !pipeline.is_unused());
        self.counters.tell(host);
        is_done
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
