//! Who the caller is, and what the next one is told.

use spanloom_wire::SpanId;
use spanloom_wire::context::{
    Caller, Format, Outgoing, Restart, SamplingState, TraceState, inject_in_kind,
};

use crate::config::Propagation;
use crate::host::{Host, MapKind, Status};
use crate::request::Request;

/// What came in.
#[derive(Debug, Default)]
pub(crate) struct Incoming<'a> {
    /// Who called, if a format says so validly.
    pub(crate) caller: Option<Caller>,
    /// The caller's `tracestate`; empty unless the caller spoke W3C.
    pub(crate) tracestate: TraceState<'a>,
    /// Whether there was a `traceparent` that could not be used.
    pub(crate) is_broken: bool,
}

impl<'a> Incoming<'a> {
    /// Reads the request in the first configured format that is valid.
    pub(crate) fn read(request: &Request<'a>, propagation: &Propagation) -> Self {
        let mut incoming = Self::default();
        for format in &propagation.extract {
            if *format != Format::TraceContext {
                incoming.caller = format.extract(&mut |name| request.joined(name));
            } else {
                match request.context() {
                    Ok(extracted) => {
                        incoming.caller = Some(Caller::from(extracted.context));
                        incoming.tracestate = extracted.tracestate;
                    }
                    Err(Restart::Missing) => {}
                    Err(_) => incoming.is_broken = true,
                }
            }
            if incoming.caller.is_some() {
                break;
            }
        }
        incoming
    }

    /// Whether the caller asked to keep the trace whatever samplers say.
    pub(crate) fn is_debug(&self) -> bool {
        self.caller
            .is_some_and(|caller| caller.sampling == SamplingState::Debug)
    }
}

/// Tells the next one. All changes of headers are made here, in one burst, since after the first
/// Envoy looks for the route anew.
///
/// # Errors
/// The last failure of the host; the other headers are set all the same.
pub(crate) fn send(
    host: &mut impl Host,
    request: &Request<'_>,
    propagation: &Propagation,
    outgoing: &Outgoing,
    tracestate: &TraceState<'_>,
) -> Result<(), Status> {
    let mut result = Ok(());
    let mut says_w3c = false;
    let mut set = |name: &'static str, value: Option<&[u8]>| {
        says_w3c |= name == "traceparent";
        let set = match value {
            Some(value) => host.replace_header(MapKind::RequestHeaders, name, value),
            None => host.remove_header(MapKind::RequestHeaders, name),
        };
        if set.is_err() {
            result = set;
        }
    };
    inject_in_kind(
        &propagation.inject,
        &propagation.extract,
        outgoing,
        |name| request.joined(name),
        &mut set,
    );
    // Without a traceparent of ours, a tracestate would belong to nobody.
    let tracestate = if says_w3c { tracestate.as_str() } else { "" };
    let came = request.joined("tracestate");
    let is_empty = tracestate.trim_matches([' ', '\t', ',']).is_empty();
    let set = match came.as_deref() {
        None if is_empty => Ok(()),
        Some(_) if is_empty => host.remove_header(MapKind::RequestHeaders, "tracestate"),
        Some(came) if came == tracestate.as_bytes() => Ok(()),
        _ => host.replace_header(MapKind::RequestHeaders, "tracestate", tracestate.as_bytes()),
    };
    result.and(set)
}

/// Whether the caller's own headers say all that there is to say of a request that gets no span: an
/// unsampled caller's context passes on as it is, for then no header has to change, and Envoy need
/// not look for the route again. A list that was dropped or rewritten, or a version that is not
/// ours, does not pass.
pub(crate) fn passes_untouched(
    request: &Request<'_>,
    incoming: &Incoming<'_>,
    tracestate: &TraceState<'_>,
) -> bool {
    let Some(context) = incoming.caller.as_ref().and_then(Caller::context) else {
        return false;
    };
    let came = request.joined("tracestate").unwrap_or_default();
    !context.flags.is_sampled()
        && request.traceparent == context.to_traceparent()
        && *came == *tracestate.as_str().as_bytes()
}

/// The parent as formats name it that say whose child the sender is.
pub(crate) fn parent_of(incoming: &Incoming<'_>) -> Option<SpanId> {
    let context = incoming.caller.as_ref()?.context()?;
    Some(context.span_id)
}
