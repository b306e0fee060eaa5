//! The OTLP exporter for an endpoint.

use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol as OtlpProtocol, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};

use crate::error::Error;
use crate::settings::{Endpoint, Protocol};

/// Builds the exporter. Must be called inside the runtime that will drive it.
pub(crate) fn exporter(endpoint: &Endpoint) -> Result<SpanExporter, Error> {
    let built = match endpoint.protocol {
        Protocol::Grpc => grpc(endpoint),
        Protocol::HttpProtobuf => http(endpoint),
    };
    built.map_err(|source| Error::Exporter {
        endpoint: endpoint.url.clone(),
        source,
    })
}

fn grpc(endpoint: &Endpoint) -> Result<SpanExporter, ExporterBuildError> {
    let headers: http::HeaderMap = endpoint
        .headers
        .iter()
        .filter_map(|(key, value)| {
            Some((
                http::HeaderName::try_from(key).ok()?,
                http::HeaderValue::try_from(value).ok()?,
            ))
        })
        .collect();
    SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint.url)
        .with_timeout(endpoint.timeout)
        .with_metadata(MetadataMap::from_headers(headers))
        .build()
}

fn http(endpoint: &Endpoint) -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder()
        .with_http()
        // Named, because a feature that another crate turns on would change the default client.
        .with_http_client(HyperClient::with_default_connector(endpoint.timeout, None))
        .with_protocol(OtlpProtocol::HttpBinary)
        .with_endpoint(&endpoint.url)
        .with_timeout(endpoint.timeout)
        .with_headers(endpoint.headers.iter().cloned().collect())
        .build()
}
