//! The OTLP exporter for an endpoint.

use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::{
    Compression, ExporterBuildError, Protocol as OtlpProtocol, SpanExporter, WithExportConfig,
    WithHttpConfig, WithTonicConfig,
};

use crate::error::Error;
use crate::export::tls;
use crate::settings::{Endpoint, Protocol};

/// Builds the exporter. Must be called inside the runtime that will drive it.
pub(crate) fn exporter(endpoint: &Endpoint) -> Result<SpanExporter, Error> {
    let built = match endpoint.protocol {
        Protocol::Grpc => grpc(endpoint)?,
        Protocol::HttpProtobuf => http(endpoint, OtlpProtocol::HttpBinary)?,
        Protocol::HttpJson => http(endpoint, OtlpProtocol::HttpJson)?,
    };
    built.map_err(|source| Error::Exporter {
        endpoint: endpoint.url.clone(),
        source,
    })
}

type Built = Result<SpanExporter, ExporterBuildError>;

fn grpc(endpoint: &Endpoint) -> Result<Built, Error> {
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
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint.url)
        .with_timeout(endpoint.timeout)
        .with_metadata(MetadataMap::from_headers(headers));
    if endpoint.is_gzipped {
        builder = builder.with_compression(Compression::Gzip);
    }
    if endpoint.url.starts_with("https:") {
        builder = builder.with_tls_config(tls::for_grpc(&endpoint.tls)?);
    }
    Ok(builder.build())
}

fn http(endpoint: &Endpoint, protocol: OtlpProtocol) -> Result<Built, Error> {
    // The client is named, because a feature that another crate turns on would change the default.
    let client = HyperClient::new(tls::connector(&endpoint.tls)?, endpoint.timeout, None);
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(protocol)
        .with_endpoint(&endpoint.url)
        .with_timeout(endpoint.timeout)
        .with_headers(endpoint.headers.iter().cloned().collect());
    if endpoint.is_gzipped {
        builder = builder.with_compression(Compression::Gzip);
    }
    Ok(builder.build())
}
