//! What can go wrong when tracing starts or stops. Spans themselves never fail: a program that
//! traces badly must still do its work.

use std::path::PathBuf;

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::error::OTelSdkError;
use tracing_subscriber::util::TryInitError;

/// Why [`init`](crate::init), [`Guard::flush`](crate::Guard::flush) or
/// [`Guard::shutdown`](crate::Guard::shutdown) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system gave no thread (or no event loop) to export from.
    #[error("cannot start the export thread")]
    ExportThread(#[source] std::io::Error),
    /// The OTLP exporter refuses its settings, mostly for its endpoint.
    #[error("cannot export to OTEL_EXPORTER_OTLP_ENDPOINT {endpoint:?}")]
    Exporter {
        /// The endpoint as it was understood.
        endpoint: String,
        /// What the exporter says.
        #[source]
        source: ExporterBuildError,
    },
    /// A certificate or a key cannot be used.
    #[error("cannot use {path:?}, which {variable} names")]
    Tls {
        /// The variable that names the file.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another part of the program has installed a `tracing` subscriber, and there can be only
    /// one. Build with [`Builder::without_subscriber`](crate::Builder::without_subscriber) and
    /// add [`Guard::layer`](crate::Guard::layer) to that subscriber instead.
    #[error("a tracing subscriber is already installed; use Builder::without_subscriber")]
    Subscriber(#[source] TryInitError),
    /// Not every span, or not every figure, reached its destination in time.
    #[error("spans or metrics were not delivered")]
    NotDelivered(#[source] OTelSdkError),
}
