//! From ended spans to the collector: a bounded queue, and one thread that empties it.

use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;

mod command;
mod console;
mod limit;
mod otlp;
mod queue;
mod thread;
pub(crate) mod tls;

pub(crate) use command::{Command, Commands, commands};
pub(crate) use console::{Console, Nowhere};
pub(crate) use otlp::exporter;
pub(crate) use thread::{Beside, ExportThread};

#[cfg(feature = "testing")]
use crate::settings::BatchSettings;
#[cfg(feature = "testing")]
use crate::testing::Sink;
use crate::trace::Recorded;

/// Who takes ended spans.
#[derive(Debug)]
pub(crate) enum Export {
    /// The queue and its thread.
    Thread(ExportThread),
    /// The thread that ends the span, before `end` returns: for tests.
    #[cfg(feature = "testing")]
    Here(Sink, BatchSettings),
}

impl Export {
    /// Takes an ended span, or drops it when the queue is full.
    #[inline]
    pub(crate) fn push(&self, span: Box<Recorded>) {
        match self {
            Self::Thread(thread) => thread.push(span),
            #[cfg(feature = "testing")]
            Self::Here(sink, settings) => sink.keep(settings.prepare(*span)),
        }
    }

    /// Sends everything that waits now.
    pub(crate) fn flush(&self, wait: Duration) -> OTelSdkResult {
        match self {
            Self::Thread(thread) => thread.flush(wait),
            #[cfg(feature = "testing")]
            Self::Here(..) => Ok(()),
        }
    }

    /// Sends everything that waits and takes no more, or gives up after `timeout`.
    pub(crate) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        match self {
            Self::Thread(thread) => thread.shutdown(timeout),
            #[cfg(feature = "testing")]
            Self::Here(..) => Ok(()),
        }
    }
}
