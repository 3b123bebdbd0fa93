//! TLS towards clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Where the gate's certificate comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TlsConfig {
    /// A self-signed one, made at start: encryption without a proof of who the server is.
    #[default]
    SelfSigned,
    /// PEM files: the certificate chain and its key.
    Files { certificate: PathBuf, key: PathBuf },
    /// Clients cannot use TLS.
    Off,
}

#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up: {what}: {why}")]
pub struct TlsError {
    what: String,
    why: String,
}

fn error(what: impl Into<String>, why: impl std::fmt::Display) -> TlsError {
    TlsError {
        what: what.into(),
        why: why.to_string(),
    }
}

impl TlsConfig {
    /// What accepts TLS connections; `None` when off.
    pub fn acceptor(&self, host: &str) -> Result<Option<TlsAcceptor>, TlsError> {
        let (chain, key) = match self {
            Self::Off => return Ok(None),
            Self::SelfSigned => {
                let made = rcgen::generate_simple_self_signed([host.to_owned()])
                    .map_err(|e| error("a certificate for the gate", e))?;
                let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
                (vec![made.cert.der().clone()], PrivateKeyDer::from(key))
            }
            Self::Files { certificate, key } => {
                let at = |p: &PathBuf| p.display().to_string();
                let chain = CertificateDer::pem_file_iter(certificate)
                    .and_then(Iterator::collect)
                    .map_err(|e| error(at(certificate), e))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| error(at(key), e))?;
                (chain, key)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| error("the protocol versions", e))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| error("the certificate and its key", e))?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}
