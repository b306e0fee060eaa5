//! One place in the proxy's configuration that the filter stands at.

use spanloom_wire::context::Format;

use crate::config::{Direction, Mode, Settings};
use crate::host::Host;
use crate::sampling::Limiter;
use crate::{property, resource};

/// A root.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) id: u32,
    /// `None` before a configuration came, and with a wrong one: requests pass through.
    pub(super) tracer: Option<Tracer>,
}

/// How a root traces.
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(crate) settings: Settings,
    /// A `Resource` message.
    pub(crate) resource: Vec<u8>,
    pub(crate) limiter: Limiter,
}

impl Tracer {
    pub(crate) fn new(host: &mut impl Host, settings: Settings) -> Self {
        let resource = resource::write(host, &settings);
        Self {
            settings,
            resource,
            limiter: Limiter::default(),
        }
    }

    /// The direction of the stream at hand; a listener that does not say is taken for an inbound
    /// one. Asked for each stream: where nothing else differs, Envoy lets the listeners of both
    /// directions share a root.
    pub(crate) fn direction(&self, host: &mut impl Host) -> Direction {
        self.settings.direction.unwrap_or_else(|| {
            match property::number(host, property::LISTENER_DIRECTION) {
                Some(2) => Direction::Outbound,
                _ => Direction::Inbound,
            }
        })
    }

    pub(crate) fn propagates(&self) -> bool {
        self.settings.mode == Mode::Propagate
    }

    pub(crate) fn says_traceresponse(&self) -> bool {
        self.settings.propagation.traceresponse && self.propagates()
    }

    /// Whether W3C's is the only format that comes and goes.
    pub(crate) fn speaks_w3c_only(&self) -> bool {
        let propagation = &self.settings.propagation;
        propagation.extract == [Format::TraceContext]
            && propagation.inject == [Format::TraceContext]
    }
}
