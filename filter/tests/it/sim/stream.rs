//! A request with everything that Envoy will ever know of it, and what is readable of it when.

use std::collections::BTreeMap;

use super::property::{Value, path};

/// A header map: names in lower case, in the order of arrival.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Headers in which a trace's context travels, in all formats that the filter speaks.
pub(crate) const CONTEXT: &[&str] = &[
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "grpc-trace-bin",
];

/// The headers that the filter has no business with.
pub(crate) fn without_context(headers: &Pairs) -> Pairs {
    let is_context = |name: &[u8]| CONTEXT.iter().any(|known| known.as_bytes() == name);
    let others = headers.iter().filter(|pair| !is_context(&pair.0));
    others.cloned().collect()
}

/// A header map of texts.
pub(crate) fn pairs(texts: &[(&str, &str)]) -> Pairs {
    let bytes = |text: &str| text.as_bytes().to_vec();
    texts
        .iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect()
}

/// The first value of a header as text.
pub(crate) fn first<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|pair| pair.0 == name.as_bytes())?;
    Some(std::str::from_utf8(&found.1).expect("only asked for headers that are text"))
}

/// The byte form of a header map: a count, the lengths, then names and values with a zero byte after
/// each.
pub(super) fn encode(pairs: &Pairs) -> Vec<u8> {
    let word = |n: usize| u32::try_from(n).expect("a scenario fits").to_le_bytes();
    let mut block = word(pairs.len()).to_vec();
    for (name, value) in pairs {
        block.extend(word(name.len()));
        block.extend(word(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(text);
        block.push(0);
    }
    block
}

/// The inverse of [`encode`]; `None` when it is not one.
pub(super) fn decode(block: &[u8]) -> Option<Pairs> {
    let word = |at: usize| {
        let bytes = block.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let n = word(0)?;
    let mut at = 4 + 8 * n;
    let mut next = |length: usize| {
        let text = block.get(at..at + length)?.to_vec();
        at += length + 1;
        (block.get(at - 1) == Some(&0)).then_some(text)
    };
    (0..n)
        .map(|i| Some((next(word(4 + 8 * i)?)?, next(word(8 + 8 * i)?)?)))
        .collect()
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Pairs,
    pub(crate) response: Pairs,
    pub(crate) trailers: Pairs,
    /// Properties of the stream by path.
    pub(crate) properties: BTreeMap<Vec<u8>, Value>,
}

impl Exchange {
    /// A request that is answered with 200 by the upstream.
    pub(crate) fn get(target: &str) -> Self {
        let exchange = Self {
            request: pairs(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "cart.shop:8080"),
                (":path", target),
                ("user-agent", "curl/8"),
                ("x-request-id", "4b7f2a8e-2a5e-9f5c-8a51-1f0a5c2c4d11"),
            ]),
            response: Vec::new(),
            trailers: Vec::new(),
            properties: BTreeMap::new(),
        };
        let exchange = exchange
            .property("request.protocol", Value::text("HTTP/2"))
            .property("request.size", Value::Int(0))
            .property("source.address", Value::text("10.1.2.3:40000"))
            .property("destination.port", Value::Int(8080))
            .property("xds.route_name", Value::text("default"))
            .property("xds.cluster_name", Value::text("inbound|8080||"))
            .property("upstream.address", Value::text("10.4.5.6:8080"))
            .property("upstream.request_attempt_count", Value::Int(1));
        exchange.answered(200)
    }

    /// A gRPC call, `/package.Service/Method`, that the upstream answers with this status in its
    /// trailers.
    pub(crate) fn grpc(procedure: &str, status: u32) -> Self {
        let mut exchange = Self::get(procedure).header("content-type", "application/grpc");
        exchange.request[0].1 = b"POST".to_vec();
        exchange.trailers = pairs(&[("grpc-status", &status.to_string())]);
        exchange.property("response.grpc_status", Value::Int(status.into()))
    }

    /// The same with a header more.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let pair = (name.as_bytes().to_vec(), value.as_ref().to_vec());
        self.request.push(pair);
        self
    }

    /// The same with another property.
    pub(crate) fn property(mut self, dotted: &str, value: Value) -> Self {
        self.properties.insert(path(dotted), value);
        self
    }

    /// The same without a property.
    pub(crate) fn without_property(mut self, dotted: &str) -> Self {
        self.properties.remove(&path(dotted));
        self
    }

    /// The same with this status from the upstream.
    pub(crate) fn answered(mut self, status: u16) -> Self {
        self.response = pairs(&[
            (":status", &status.to_string()),
            ("content-type", "text/plain"),
            ("x-envoy-upstream-service-time", "4"),
        ]);
        self.property("response.code", Value::Int(status.into()))
            .property("response.flags", Value::Int(0))
            .property("response.code_details", Value::text("via_upstream"))
            .property("response.size", Value::Int(512))
    }

    /// Whether the request goes on after its headers.
    pub(super) fn has_body(&self) -> bool {
        self.properties.get(&path("request.size")) != Some(&Value::Int(0))
    }

    /// The same, answered by Envoy itself: there is no upstream.
    pub(crate) fn refused(self, status: u16, flags: i64, details: &str) -> Self {
        let mut exchange = self
            .answered(status)
            .property("response.flags", Value::Int(flags))
            .property("response.code_details", Value::text(details));
        exchange
            .response
            .retain(|pair| pair.0 != b"x-envoy-upstream-service-time");
        exchange
            .properties
            .retain(|path, _| !path.starts_with(b"upstream\0"));
        exchange
    }
}

/// The callback that a stream is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// None, or one that shows no headers.
    Between,
    RequestHeaders,
    ResponseHeaders,
    Log,
}

/// A stream's context.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) root_id: u32,
    pub(super) phase: Phase,
    pub(super) has_response: bool,
    pub(super) exchange: Exchange,
    pub(super) n_hostcalls: u32,
    pub(super) n_route_cache_clears: u32,
}

impl Stream {
    /// The header map `kind` (`proxy_map_type_t`), if it is there in this phase.
    pub(super) fn map(&self, kind: u32) -> Option<&Pairs> {
        let exchange = &self.exchange;
        match (kind, self.phase) {
            (0, Phase::RequestHeaders | Phase::Log) => Some(&exchange.request),
            (2, Phase::ResponseHeaders | Phase::Log) if self.has_response => {
                Some(&exchange.response)
            }
            (3, Phase::Log) if self.has_response => Some(&exchange.trailers),
            _ => None,
        }
    }

    /// The same to write to: in the log nothing can be changed.
    pub(super) fn map_mut(&mut self, kind: u32) -> Option<&mut Pairs> {
        match (kind, self.phase) {
            (0, Phase::RequestHeaders) => Some(&mut self.exchange.request),
            (2, Phase::ResponseHeaders) => Some(&mut self.exchange.response),
            _ => None,
        }
    }

    /// A property of the stream, if it is known by now.
    pub(super) fn property(&self, path: &[u8]) -> Option<&Value> {
        let is_under = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        let is_known = match self.phase {
            Phase::Log => true,
            _ if is_under(&[b"request\0size", b"response\0size", b"request\0duration"]) => false,
            Phase::ResponseHeaders => true,
            _ => !is_under(&[b"response\0", b"upstream\0"]),
        };
        self.exchange.properties.get(path).filter(|_| is_known)
    }
}

/// What a request has come to.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The request's headers as they went on.
    pub(crate) request: Pairs,
    /// The response's headers as they went back.
    pub(crate) response: Pairs,
    /// Host calls for this request, in all its callbacks.
    pub(crate) n_hostcalls: u32,
    /// How often Envoy had to look for the route anew.
    pub(crate) n_route_cache_clears: u32,
}
