//! What keeps tracing alive, and ends it in order.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::error::Error;
use crate::trace::TracerProvider;

/// Keep it in a variable until the end of `main`: dropping it sends what is still waiting, for at
/// most the time that [`Builder::flush_timeout`](crate::Builder::flush_timeout) allows.
///
/// `let _ = spanloom::init()` drops it at once, which ends tracing before it has begun; write
/// `let _tracing = ...`.
#[must_use = "tracing ends when the guard is dropped; keep it until the end of main"]
#[derive(Debug)]
pub struct Guard {
    provider: TracerProvider,
    flush_timeout: Duration,
    is_shut_down: bool,
}

impl Guard {
    pub(crate) fn new(provider: TracerProvider, flush_timeout: Duration) -> Self {
        Self {
            provider,
            flush_timeout,
            is_shut_down: false,
        }
    }

    /// Sends every span that has ended, and waits until that has worked or failed.
    ///
    /// # Errors
    ///
    /// [`Error::NotDelivered`] when a batch failed or the time did not suffice.
    pub fn flush(&self) -> Result<(), Error> {
        delivered(self.provider.flush(self.flush_timeout))
    }

    /// Like dropping the guard, but says whether every span was delivered.
    ///
    /// # Errors
    ///
    /// [`Error::NotDelivered`] when the last batch failed or the time did not suffice.
    pub fn shutdown(mut self) -> Result<(), Error> {
        self.is_shut_down = true;
        delivered(self.provider.shutdown(self.flush_timeout))
    }

    /// The source of tracers, for code that wants it handed over rather than global.
    #[must_use]
    pub fn tracer_provider(&self) -> &TracerProvider {
        &self.provider
    }

    /// The layer that turns `tracing` spans into OpenTelemetry spans, for a subscriber that the
    /// program builds itself.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        crate::bridge::layer(self.provider.tracer("tracing"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.is_shut_down {
            return;
        }
        if let Err(error) = delivered(self.provider.shutdown(self.flush_timeout)) {
            tracing::warn!(target: "spanloom", error = &error as &dyn std::error::Error, "at the end");
        }
    }
}

/// A second shutdown, by a program that holds the SDK's provider too, is no loss.
fn delivered(result: OTelSdkResult) -> Result<(), Error> {
    match result {
        Ok(()) | Err(OTelSdkError::AlreadyShutdown) => Ok(()),
        Err(error) => Err(Error::NotDelivered(error)),
    }
}
