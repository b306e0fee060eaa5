//! One request: from its headers to its span.

use spanloom_wire::context::{Caller, Outgoing, Parent, TraceContext};
use spanloom_wire::{Timestamp, TraceId};

use super::root::Tracer;
use crate::config::{Direction, Sampling};
use crate::header_block::Headers;
use crate::host::{Host, MapKind, Status};
use crate::metrics::{Counter, Counters};
use crate::propagation::{self, Incoming};
use crate::random::Random;
use crate::request::{Request, is_grpc};
use crate::response_flags::ResponseFlags;
use crate::sampling::{self, Candidate};
use crate::span::{Identity, Recording};
use crate::{outcome, property};

/// A header block that is longer is not kept until the end of its request.
const BLOCK_BYTES_MAX: usize = 16 * 1024;

/// A request in flight.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) root_id: u32,
    pub(super) state: State,
}

/// What has become of a request so far.
#[derive(Debug)]
pub(super) enum State {
    /// Its headers have not come to the filter, and never will if it was refused before.
    Fresh,
    /// It is not sampled, but sent on with this identity.
    Passed(Identity, Timestamp),
    /// It is sampled.
    Recorded(Box<Recording>),
    /// Nothing is left to do.
    Over,
}

/// What a request is treated with.
pub(super) struct Tools<'a, H> {
    pub(super) host: &'a mut H,
    pub(super) counters: &'a mut Counters,
    pub(super) random: &'a mut Random,
    pub(super) tracer: &'a mut Tracer,
    /// Whether there is room to keep the headers of one request more.
    pub(super) keeps_headers: bool,
    /// Whether a body may follow the headers.
    pub(super) has_body: bool,
}

/// The request's headers are here: continue or start its trace, and tell the next one.
pub(super) fn begin(tools: &mut Tools<'_, impl Host>) -> State {
    // Drawn first: whether a new trace is sampled is seen by its id.
    let trace_id = tools.random.trace_id();
    if let Some(identity) = pass_unseen(tools, trace_id) {
        return State::Passed(identity, Timestamp::default());
    }
    let Ok(block) = tools.host.header_block(MapKind::RequestHeaders) else {
        tools.counters.add(Counter::HostErrors, 1);
        return State::Over;
    };
    trace(tools, block, trace_id, None)
}

/// The request is over: what its span is to be made of, if it is to have one.
pub(super) fn finish(state: State, tools: &mut Tools<'_, impl Host>) -> Option<Box<Recording>> {
    match state {
        State::Recorded(recording) => Some(recording),
        State::Passed(identity, start) => keep(tools, identity, start),
        State::Fresh => finish_late(tools),
        State::Over => None,
    }
}

/// The cheap way for the many: a request without a trace, whose new trace is not sampled. Two looks
/// at absent headers cost a fraction of reading them all. Nothing that needs the other headers may
/// be configured.
fn pass_unseen(tools: &mut Tools<'_, impl Host>, trace_id: TraceId) -> Option<Identity> {
    let tracer = &tools.tracer;
    let is_simple = tracer.propagates()
        && tracer.speaks_w3c_only()
        && !tracer.settings.sampling.keeps_some()
        && sampling::is_dropped_unseen(&tracer.settings.sampling, trace_id);
    if !is_simple || has_header(tools.host, "traceparent") {
        return None;
    }
    let context = TraceContext::root(trace_id, tools.random.span_id(), false);
    let sent = tools.host.replace_header(
        MapKind::RequestHeaders,
        "traceparent",
        &context.to_traceparent(),
    );
    let dropped = match has_header(tools.host, "tracestate") {
        true => tools
            .host
            .remove_header(MapKind::RequestHeaders, "tracestate"),
        false => Ok(()),
    };
    if sent.and(dropped).is_err() {
        tools.counters.add(Counter::HostErrors, 1);
    }
    Some(Identity {
        context,
        parent: None,
    })
}

fn has_header(host: &mut impl Host, name: &str) -> bool {
    host.header(MapKind::RequestHeaders, name) != Err(Status::NotFound)
}

/// Continues or starts the trace of a request, and tells the next one unless the request is over,
/// as `late` says with the time at which it began.
fn trace(
    tools: &mut Tools<'_, impl Host>,
    block: Vec<u8>,
    trace_id: TraceId,
    late: Option<Timestamp>,
) -> State {
    let request = &Request::read(&block);
    let incoming = Incoming::read(request, &tools.tracer.settings.propagation);
    if incoming.is_broken {
        tools.counters.add(Counter::ContextRestarted, 1);
    }
    let trace_id = match incoming.caller.map(|caller| caller.parent) {
        Some(Parent::Span(trace_id, _) | Parent::Trace(trace_id)) => trace_id,
        Some(Parent::None) | None => trace_id,
    };
    let candidate = Candidate {
        request,
        direction: tools.tracer.settings.direction,
        caller: incoming.caller.as_ref(),
        trace_id,
        tracestate: &incoming.tracestate,
    };
    let tracer = &mut *tools.tracer;
    let decision = sampling::decide(
        &tracer.settings.sampling,
        &mut tracer.limiter,
        tools.host,
        &candidate,
    );
    let span_id = tools.random.span_id();
    let context = match incoming.caller.as_ref().and_then(Caller::context) {
        Some(parent) => parent.child(span_id, decision.sampled),
        None => TraceContext::root(trace_id, span_id, decision.sampled),
    };
    let identity = Identity {
        context,
        parent: propagation::parent_of(&incoming),
    };
    let tracestate = decision.update(&incoming.tracestate);

    let is_told = tracer.propagates()
        && late.is_none()
        && (decision.sampled
            || !tracer.speaks_w3c_only()
            || !propagation::passes_untouched(request, &incoming, &tracestate));
    if is_told {
        let parent = identity.parent;
        let outgoing = Outgoing {
            context,
            parent,
            debug: incoming.is_debug(),
        };
        let settings = &tracer.settings.propagation;
        if propagation::send(tools.host, request, settings, &outgoing, &tracestate).is_err() {
            tools.counters.add(Counter::HostErrors, 1);
        }
    }
    if !decision.sampled {
        let start = match tracer.settings.sampling.keeps_some() {
            true => late.unwrap_or_else(|| tools.host.now()),
            false => Timestamp::default(),
        };
        return State::Passed(identity, start);
    }
    let start = late.unwrap_or_else(|| tools.host.now());
    let tracestate = tracestate.as_str().to_owned();
    let is_kept = tools.keeps_headers && block.len() <= BLOCK_BYTES_MAX;
    let block = is_kept.then_some(block);
    State::Recorded(Box::new(Recording {
        identity,
        tracestate,
        block,
        start,
        has_body: tools.has_body,
        reason: None,
    }))
}

/// A request that was refused before the filter saw it: its headers are there once more.
fn finish_late(tools: &mut Tools<'_, impl Host>) -> Option<Box<Recording>> {
    let start = property::number(tools.host, property::REQUEST_TIME)?;
    let start = Timestamp::from_nanos(u64::try_from(start).ok()?);
    let block = tools.host.header_block(MapKind::RequestHeaders).ok()?;
    let trace_id = tools.random.trace_id();
    match trace(tools, block, trace_id, Some(start)) {
        State::Recorded(recording) => Some(recording),
        State::Passed(identity, start) => keep(tools, identity, start),
        State::Fresh | State::Over => None,
    }
}

/// A span for a request that is not sampled, if it failed or was slow enough. Whoever stands behind
/// was told that it is not sampled, so the span has no children, and maybe no parent.
fn keep(
    tools: &mut Tools<'_, impl Host>,
    identity: Identity,
    start: Timestamp,
) -> Option<Box<Recording>> {
    let sampling = &tools.tracer.settings.sampling;
    let direction = tools.tracer.settings.direction;
    let reason = if sampling.keeps_errors && has_failed(tools.host, direction) {
        "error"
    } else if is_slow(tools.host, sampling, start) {
        "slow"
    } else {
        return None;
    };
    Some(Box::new(Recording {
        identity,
        tracestate: String::new(),
        block: None,
        start,
        has_body: true,
        reason: Some(reason),
    }))
}

fn is_slow(host: &mut impl Host, sampling: &Sampling, start: Timestamp) -> bool {
    let limit_ms = u128::from(sampling.keeps_slower_than_ms);
    limit_ms > 0 && host.now().since(start).as_millis() > limit_ms
}

fn has_failed(host: &mut impl Host, direction: Option<Direction>) -> bool {
    let status = property::number(host, property::RESPONSE_CODE).filter(|code| *code > 0);
    // Other requests have a gRPC status too, which Envoy makes from HTTP's.
    let content_type = host
        .header(MapKind::RequestHeaders, "content-type")
        .unwrap_or_default();
    let grpc_status = match is_grpc(&content_type) {
        true => {
            let block = host.header_block(MapKind::ResponseHeaders);
            outcome::read_grpc_status(host, Headers::new(&block.unwrap_or_default()))
        }
        false => None,
    };
    let direction = property::direction(host, direction);
    outcome::error_type(direction, status, ResponseFlags::default(), grpc_status).is_some()
}

impl State {
    /// Tells the caller which span answers.
    pub(super) fn respond(&self, host: &mut impl Host) -> Result<(), Status> {
        let identity = match self {
            State::Passed(identity, _) => identity,
            State::Recorded(recording) => &recording.identity,
            State::Fresh | State::Over => return Ok(()),
        };
        let value = identity.context.to_traceparent();
        host.replace_header(MapKind::ResponseHeaders, "traceresponse", &value)
    }
}
