//! Certificates: the collector's is verified, and ours is shown when it wants one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::routing::post;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use spanloom::opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use spanloom::tower::ServerLayer;
use spanloom::{Error, Guard};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use tokio_rustls::server::TlsStream;

use crate::metrics::request_through;

/// An authority, and a certificate by it for `localhost` that both sides show.
struct Files {
    _folder: TempDir,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

fn files() -> Files {
    let mut of_authority = CertificateParams::default();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = of_authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(of_authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Files {
        authority: write("authority.pem", authority.pem()),
        certificate: write("certificate.pem", leaf.pem()),
        key: write("key.pem", key.serialize_pem()),
        _folder: folder,
    }
}

/// A port that wants a certificate of the authority, behind which anything answers 200.
async fn listen(files: &Files, protocol: &[u8]) -> SocketAddr {
    let certificates = |path| {
        CertificateDer::pem_file_iter(path)
            .unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&files.authority));
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            certificates(&files.certificate),
            PrivateKeyDer::from_pem_file(&files.key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TlsListener {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    // An empty gRPC message after its five bytes of framing, which is an empty answer as well.
    let answer = || async {
        (
            [("content-type", "application/grpc"), ("grpc-status", "0")],
            &[0_u8; 5][..],
        )
    };
    let app = axum::Router::new()
        .route("/v1/traces", post(|| async {}))
        .route("/v1/metrics", post(|| async {}))
        .route(
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            post(answer),
        )
        .route(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            post(answer),
        );
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Who shows no certificate is not let in.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn start(variables: Vec<(&'static str, String)>) -> Result<Guard, Error> {
    let lookup = move |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    };
    spanloom::builder().environment(lookup).start()
}

/// Sends a span and a request's duration, as far as there is an exporter for each, and says whether
/// they arrived.
async fn send(variables: Vec<(&'static str, String)>) -> Result<(), Error> {
    let sent = tokio::task::spawn_blocking(move || {
        let guard = start(variables)?;
        let provider = guard.tracer_provider();
        provider.tracer("test").start("one").end();
        request_through(ServerLayer::new().with_tracer_provider(provider));
        guard.shutdown()
    });
    sent.await.unwrap()
}

#[tokio::test]
async fn both_sides_show_their_certificates_over_every_protocol() {
    let files = files();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (grpc, http) = (("grpc", &b"h2"[..]), ("http/protobuf", &b"http/1.1"[..]));
    let traces = "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY";
    let metrics = "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY";
    for ((name, protocol), key) in [
        (grpc, traces),
        (http, traces),
        (grpc, metrics),
        (http, metrics),
    ] {
        let address = listen(&files, protocol).await;
        let endpoint = format!("https://localhost:{}", address.port());
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", name.to_owned()),
        ];
        if key == metrics {
            variables.push(("OTEL_TRACES_EXPORTER", "none".to_owned()));
            variables.push(("OTEL_METRICS_EXPORTER", "otlp".to_owned()));
        }
        assert!(
            send(variables.clone()).await.is_err(),
            "{name}: an unknown authority"
        );
        variables.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", path(&files.authority)));
        assert!(
            send(variables.clone()).await.is_err(),
            "{name}: no certificate of ours"
        );
        variables.push((
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            path(&files.certificate),
        ));
        variables.push((key, path(&files.key)));
        let sent = send(variables).await;
        assert!(
            sent.is_ok(),
            "{name}: {:?}",
            sent.map_err(|e| std::error::Error::source(&e).map(ToString::to_string))
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = files();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let why = |variables: &[(&'static str, String)]| {
        let mut variables = variables.to_vec();
        variables.push((
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://localhost:4318".to_owned(),
        ));
        start(variables).map(drop).unwrap_err().to_string()
    };
    let missing = why(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem".to_owned())]);
    assert_eq!(
        missing,
        r#"cannot use "/nowhere.pem", which OTEL_EXPORTER_OTLP_CERTIFICATE names"#
    );
    let no_certificate = why(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", path(&files.key))]);
    assert!(
        no_certificate.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        "{no_certificate}"
    );
    let lonely = why(&[("OTEL_EXPORTER_OTLP_CLIENT_KEY", path(&files.key))]);
    assert!(lonely.contains("OTEL_EXPORTER_OTLP_CLIENT_KEY"), "{lonely}");
}
