//! One place in the proxy's configuration that the filter stands at.

use spanloom_wire::context::Format;

use crate::config::{Mode, Settings};
use crate::host::Host;
use crate::resource;
use crate::sampling::Limiter;

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
