//! Encryption to the collector: the system's authorities or a given file, and a certificate to
//! show when the collector wants one.

use std::error::Error as StdError;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::error::Error;
use crate::settings::TlsFiles;

const AUTHORITIES: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

/// For the gRPC client.
pub(crate) fn for_grpc(files: &TlsFiles) -> Result<ClientTlsConfig, Error> {
    let mut config = ClientTlsConfig::new();
    config = match &files.authorities {
        // Read once more as certificates, because tonic takes a file without any in silence.
        Some(path) => {
            certificates(AUTHORITIES, path)?;
            config.ca_certificate(Certificate::from_pem(read(AUTHORITIES, path)?))
        }
        None => config.with_native_roots(),
    };
    if let Some((certificate, key)) = identity(files)? {
        let pem = |variable, path| read(variable, path);
        config = config.identity(Identity::from_pem(
            pem(CERTIFICATE, certificate)?,
            pem(KEY, key)?,
        ));
    }
    Ok(config)
}

/// For the HTTP client, which takes `http` addresses too.
pub(crate) fn connector(files: &TlsFiles) -> Result<HttpsConnector<HttpConnector>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions of TLS")
        .with_root_certificates(roots(files)?);
    let config = match identity(files)? {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let secret = PrivateKeyDer::from_pem_slice(&read(KEY, key)?);
            let secret = secret.map_err(|source| unusable(KEY, key, source))?;
            config
                .with_client_auth_cert(certificates(CERTIFICATE, certificate)?, secret)
                .map_err(|source| unusable(CERTIFICATE, certificate, source))?
        }
    };
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build())
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &files.authorities else {
        // A container without any is common and harmless while the collector is near: what cannot
        // be verified then fails at the first export, with a message that says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in certificates(AUTHORITIES, path)? {
        roots
            .add(certificate)
            .map_err(|source| unusable(AUTHORITIES, path, source))?;
    }
    Ok(roots)
}

/// The files of certificate and key, if the two are there. One without the other is a slip.
fn identity(files: &TlsFiles) -> Result<Option<(&Path, &Path)>, Error> {
    let lonely = |variable, path: &PathBuf| {
        Err(unusable(
            variable,
            path,
            format!("{CERTIFICATE} and {KEY} go together"),
        ))
    };
    match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(certificate), None) => lonely(CERTIFICATE, certificate),
        (None, Some(key)) => lonely(KEY, key),
    }
}

fn certificates(
    variable: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(variable, path)?).collect();
    let certificates = certificates.map_err(|source| unusable(variable, path, source))?;
    if certificates.is_empty() {
        return Err(unusable(variable, path, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| unusable(variable, path, source))
}

fn unusable(
    variable: &'static str,
    path: &Path,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    Error::Tls {
        variable,
        path: path.to_owned(),
        source: source.into(),
    }
}
