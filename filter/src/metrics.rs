//! What the filter counts: Envoy shows it as `wasmcustom.spanloom.*`.
//!
//! A worker counts in its own memory and tells the host on each tick, so that a request pays no
//! host call for it. Envoy adds up what its workers tell under one name.

use crate::host::Host;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// What is counted. The spans that are lost each have a reason here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Counter {
            /// Every counter with its name in the statistics and its description.
            pub const ALL: &[(Counter, &str, &str)] = &[
                $((Counter::$variant, concat!("spanloom.", $name), concat!($($doc),*)),)*
            ];
        }
    };
}

counters! {
    /// Ticks of exporting workers: grows once an interval and worker while tracing is alive.
    Heartbeat = "heartbeat",
    /// Spans that were finished: each is exported or dropped in the end.
    SpansAccepted = "spans_accepted",
    /// Spans that the collector confirmed.
    SpansExported = "spans_exported",
    /// Spans lost because the buffer was full.
    DroppedBufferFull = "spans_dropped.buffer_full",
    /// Spans that the collector refused for good.
    DroppedRefused = "spans_dropped.refused",
    /// Spans that the collector rejected out of a request that it took.
    DroppedRejected = "spans_dropped.rejected",
    /// Spans given up after the last retry.
    DroppedRetriesExhausted = "spans_dropped.retries_exhausted",
    /// Spans lost because the filter was replaced before it could export them.
    DroppedShutdown = "spans_dropped.shutdown",
    /// Requests left untraced because too many were in flight.
    StreamsRefused = "streams_refused",
    /// Export requests that were sent, retries included.
    ExportRequests = "export_requests",
    /// Export requests that failed and were to be tried again.
    ExportRetries = "export_retries",
    /// Export requests that found no cluster of the configured name.
    ClusterMissing = "export_cluster_missing",
    /// Configurations that were refused: requests pass through untraced.
    ConfigurationErrors = "configuration_errors",
    /// Requests whose trace context was broken, so that their trace started anew.
    ContextRestarted = "context_restarted",
    /// Host calls that failed in a way that the host's documentation does not allow for.
    HostErrors = "host_errors",
}

const N: usize = Counter::ALL.len();

/// Counts that the host has not heard of yet, and the host's ids of the counters.
#[derive(Debug)]
pub(crate) struct Counters {
    untold: [i64; N],
    ids: [Option<u32>; N],
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            untold: [0; N],
            ids: [None; N],
        }
    }

    pub(crate) fn add(&mut self, counter: Counter, n: u64) {
        if let Some(untold) = self.untold.get_mut(counter as usize) {
            *untold = untold.saturating_add_unsigned(n);
        }
    }

    /// Tells the host. What it does not take is told again.
    pub(crate) fn tell(&mut self, host: &mut impl Host) {
        let counters = self.untold.iter_mut().zip(&mut self.ids).zip(Counter::ALL);
        for ((untold, id), (_, name, _)) in counters {
            if *untold == 0 {
                continue;
            }
            if id.is_none() {
                *id = host.define_counter(name).ok();
            }
            if let Some(id) = *id
                && host.increment_counter(id, *untold).is_ok()
            {
                *untold = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_every_counter() {
        let readme = include_str!("../README.md");
        for (_, name, doc) in Counter::ALL {
            let name = name.strip_prefix("spanloom.").unwrap();
            let row = format!("| `{name}` | {} |", doc.trim());
            assert!(readme.contains(&row), "{row}");
        }
    }
}
