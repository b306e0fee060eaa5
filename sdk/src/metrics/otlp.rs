//! Figures to a collector, over each protocol of OTLP.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use opentelemetry_http::HttpClient;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint as TonicEndpoint};

use crate::error::Error;
use crate::export::tls;
use crate::settings::{Endpoint, Protocol};

/// Upstream's exporter takes nothing but upstream's aggregation, so this is one of our own, by the
/// same settings. There is no retry: the next export has what this one has not delivered.
pub(super) struct OtlpMetrics {
    transport: Transport,
    headers: HeaderMap,
}

enum Transport {
    Grpc(MetricsServiceClient<Channel>),
    Http {
        client: Box<dyn HttpClient>,
        endpoint: Endpoint,
    },
}

impl OtlpMetrics {
    /// Must be called inside the runtime that will drive it.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self, Error> {
        let headers = endpoint.headers.iter().filter_map(|(key, value)| {
            let name = HeaderName::try_from(key).ok()?;
            Some((name, HeaderValue::try_from(value).ok()?))
        });
        Ok(Self {
            headers: headers.collect(),
            transport: match endpoint.protocol {
                Protocol::Grpc => Transport::Grpc(grpc(endpoint)?),
                Protocol::HttpProtobuf | Protocol::HttpJson => http_transport(endpoint)?,
            },
        })
    }

    /// Sends them once. The error is a sentence for the log.
    pub(super) async fn send(
        &mut self,
        request: ExportMetricsServiceRequest,
    ) -> Result<(), String> {
        let answer = match &mut self.transport {
            Transport::Grpc(client) => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
                let answer = client.export(request).await;
                answer.map_err(|error| error.to_string())?.into_inner()
            }
            Transport::Http { client, endpoint } => {
                let request = http_request(endpoint, &self.headers, &request)?;
                let response = client.send_bytes(request).await;
                let response = response.map_err(|error| error.to_string())?;
                if !response.status().is_success() {
                    return Err(format!("the collector answered with {}", response.status()));
                }
                // An answer that says nothing of use has still taken the figures.
                let body = response.into_body();
                match endpoint.protocol {
                    Protocol::HttpJson => serde_json::from_slice(&body).unwrap_or_default(),
                    _ => ExportMetricsServiceResponse::decode(body).unwrap_or_default(),
                }
            }
        };
        if let Some(partial) = answer
            .partial_success
            .filter(|all| all.rejected_data_points > 0)
        {
            // Sending them again would not help.
            tracing::warn!(
                target: "spanloom", n_rejected = partial.rejected_data_points,
                message = partial.error_message, "the collector refused figures"
            );
        }
        Ok(())
    }
}

fn grpc(endpoint: &Endpoint) -> Result<MetricsServiceClient<Channel>, Error> {
    let refused = |error: &dyn std::error::Error| refused(endpoint, error);
    let channel = TonicEndpoint::from_shared(endpoint.url.clone());
    let mut channel = channel
        .map_err(|error| refused(&error))?
        .timeout(endpoint.timeout);
    if endpoint.url.starts_with("https:") {
        let config = tls::for_grpc(&endpoint.tls)?;
        channel = channel
            .tls_config(config)
            .map_err(|error| refused(&error))?;
    }
    let client = MetricsServiceClient::new(channel.connect_lazy());
    Ok(match endpoint.is_gzipped {
        true => client.send_compressed(CompressionEncoding::Gzip),
        false => client,
    })
}

fn http_transport(endpoint: &Endpoint) -> Result<Transport, Error> {
    let uri = endpoint.url.parse::<http::Uri>();
    let uri = uri.map_err(|error| refused(endpoint, &error))?;
    if uri.host().is_none() {
        return Err(refused(endpoint, &std::io::Error::other("it has no host")));
    }
    let connector = tls::connector(&endpoint.tls)?;
    Ok(Transport::Http {
        client: Box::new(HyperClient::new(connector, endpoint.timeout, None)),
        endpoint: endpoint.clone(),
    })
}

fn refused(endpoint: &Endpoint, error: &dyn std::error::Error) -> Error {
    Error::Exporter {
        endpoint: endpoint.url.clone(),
        source: ExporterBuildError::InvalidConfiguration(error.to_string()),
    }
}

fn http_request(
    endpoint: &Endpoint,
    headers: &HeaderMap,
    request: &ExportMetricsServiceRequest,
) -> Result<http::Request<Bytes>, String> {
    let (content, mut body) = match endpoint.protocol {
        Protocol::HttpJson => {
            let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
            ("application/json", body)
        }
        _ => ("application/x-protobuf", request.encode_to_vec()),
    };
    let mut builder = http::Request::post(&endpoint.url).header(header::CONTENT_TYPE, content);
    if endpoint.is_gzipped {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let deflated = gzip.write_all(&body).and_then(|()| gzip.finish());
        body = deflated.map_err(|error| error.to_string())?;
        builder = builder.header(header::CONTENT_ENCODING, "gzip");
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(body.into()).map_err(|error| error.to_string())
}
