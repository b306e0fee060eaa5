//! What the proxy knows about a request that is over, in one host call.
//!
//! Reading a property costs a host call, a look-up by name in the host, and a call back into the
//! module for memory: about a microsecond, and a span needs a dozen. Envoy also evaluates
//! expressions (CEL), and an expression can be a list of properties, for which the host allocates
//! once. A list fails as a whole when one of its parts has no value, as those of the upstream in a
//! response that Envoy made itself: then a list is asked that allows for it, at twice the cost. Where
//! a host has no expressions the properties are read one by one.

use crate::config::Direction;
use crate::header_block::{self, Headers};
use crate::host::Host;

macro_rules! facts {
    ($($variant:ident = $path:literal,)*) => {
        /// A property that is read in `on_log`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fact {
            $($variant,)*
        }

        /// The paths by number of the fact, with dots between their segments.
        const PATHS: &[&str] = &[$($path,)*];
    };
}

facts! {
    ResponseCode = "response.code",
    ResponseFlags = "response.flags",
    ResponseCodeDetails = "response.code_details",
    ResponseSize = "response.size",
    RequestSize = "request.size",
    RequestProtocol = "request.protocol",
    ListenerDirection = "xds.listener_direction",
    RouteName = "xds.route_name",
    ClusterName = "xds.cluster_name",
    SourceAddress = "source.address",
    UpstreamAddress = "upstream.address",
    AttemptCount = "upstream.request_attempt_count",
}

/// How a root reads facts. Each root has its own: Envoy keeps expressions with the root in whose
/// callback they were made, and knows nothing of them in another.
#[derive(Debug, Default)]
pub(crate) enum Reader {
    /// Nobody has asked the host yet.
    #[default]
    Untried,
    /// By expressions.
    Expressions {
        /// The list for requests that went upstream.
        proxied: u32,
        /// The list that allows for absent properties, without those of an upstream.
        local: u32,
    },
    /// One by one.
    Properties,
}

impl Reader {
    /// The facts about the current stream as a block.
    pub(crate) fn read(&mut self, host: &mut impl Host) -> Vec<u8> {
        if matches!(self, Reader::Untried) {
            *self = Self::compile(host).unwrap_or(Reader::Properties);
        }
        if let Reader::Expressions { proxied, local } = *self {
            for token in [proxied, local] {
                if let Ok(block) = host.evaluate(token) {
                    return block;
                }
            }
        }
        let values: Vec<Vec<u8>> = PATHS
            .iter()
            .map(|path| {
                host.property(path.replace('.', "\0").as_bytes())
                    .unwrap_or_default()
            })
            .collect();
        header_block::write_list(&values)
    }

    fn compile(host: &mut impl Host) -> Option<Self> {
        let plain = |path: &&str| (*path).to_owned();
        let guarded = |path: &&str| match path.starts_with("upstream.") {
            // Without an upstream there is nothing to ask whether it has something.
            true => "''".to_owned(),
            false => format!("has({path}) ? {path} : ''"),
        };
        let list = |parts: Vec<String>| format!("[{}]", parts.join(", "));
        let proxied = list(PATHS.iter().map(plain).collect());
        let local = list(PATHS.iter().map(guarded).collect());
        Some(Reader::Expressions {
            proxied: host.create_expression(&proxied).ok()?,
            local: host.create_expression(&local).ok()?,
        })
    }
}

/// The facts about one request; an absent one is empty, which no present one is.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    values: [&'a [u8]; PATHS.len()],
}

impl<'a> Facts<'a> {
    /// Reads the block of a [`Reader`].
    pub(crate) fn new(block: &'a [u8]) -> Self {
        let mut values = [&[][..]; PATHS.len()];
        // A list has its values in the place of names.
        for (value, (listed, _)) in values.iter_mut().zip(Headers::new(block)) {
            *value = listed;
        }
        Self { values }
    }

    /// A fact as bytes.
    pub(crate) fn bytes(&self, fact: Fact) -> Option<&'a [u8]> {
        self.values
            .get(fact as usize)
            .copied()
            .filter(|value| !value.is_empty())
    }

    /// The side of the call; a listener that does not say is taken for an inbound one.
    pub(crate) fn direction(&self) -> Direction {
        match self.number(Fact::ListenerDirection) {
            Some(2) => Direction::Outbound,
            _ => Direction::Inbound,
        }
    }

    /// A fact as a number.
    pub(crate) fn number(&self, fact: Fact) -> Option<i64> {
        Some(i64::from_le_bytes(self.bytes(fact)?.try_into().ok()?))
    }
}
