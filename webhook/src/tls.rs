//! What is served: one certificate with its key, swapped without a restart.

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a certificate and its key cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificate's text.
    #[error("no PEM certificate: {0}")]
    Certificate(String),
    /// The key's text.
    #[error("no PEM private key: {0}")]
    Key(String),
    /// Key and certificate do not belong together, or the key is of an unknown kind.
    #[error("certificate and key do not fit: {0}")]
    Fit(#[source] rustls::Error),
    /// The certificate's contents.
    #[error("no X.509 certificate: {0}")]
    X509(String),
    /// The certificate's time is over.
    #[error("certificate expired {0} seconds ago")]
    Expired(u64),
}

/// A certificate chain with its key.
#[derive(Clone, Debug)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
    /// When it begins and ends to be valid.
    pub validity: Validity,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: SystemTime,
    /// The last moment.
    pub until: SystemTime,
}

impl Validity {
    /// Reads it from a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PairError> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| PairError::X509(error.to_string()))?;
        let time =
            |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let validity = parsed.validity();
        Ok(Self { from: time(validity.not_before.timestamp()), until: time(validity.not_after.timestamp()) })
    }

    /// Whether two thirds of the time are over: time for a new one. `life` is what it should be: where somebody
    /// has made it shorter since, what is too old by the new rule is due, too.
    pub fn is_due(&self, life: Duration, now: SystemTime) -> bool {
        let life = self.until.duration_since(self.from).unwrap_or_default().min(life);
        now >= self.from + life * 2 / 3
    }
}

/// Reads the certificates of a PEM text.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| PairError::Certificate(error.to_string()))?;
    if all.is_empty() { Err(PairError::Certificate("there is none".to_owned())) } else { Ok(all) }
}

impl Pair {
    /// Reads a pair from PEM texts and checks that it can be served now.
    pub fn parse(chain: &str, key: &str, now: SystemTime) -> Result<Self, PairError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| PairError::Key(error.to_string()))?;
        let leaf =
            chain.first().cloned().ok_or_else(|| PairError::Certificate("there is none".to_owned()))?;
        let validity = Validity::of(&leaf)?;
        if let Ok(over) = now.duration_since(validity.until) {
            return Err(PairError::Expired(over.as_secs()));
        }
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(PairError::Fit)?;
        Ok(Self { key: Arc::new(key), leaf, validity })
    }

    /// Whether both serve the same certificate.
    pub fn same(&self, other: &Self) -> bool {
        self.leaf == other.leaf
    }
}

/// The provider of cryptography, everywhere the same.
pub fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// The pair in use; connections in flight keep the one they began with.
#[derive(Debug, Default)]
pub struct Serving(ArcSwapOption<Pair>);

impl Serving {
    /// Serves a pair from the next handshake on.
    pub fn swap(&self, pair: Pair) {
        self.0.store(Some(Arc::new(pair)));
    }

    /// The pair in use.
    pub fn current(&self) -> Option<Arc<Pair>> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|pair| Arc::clone(&pair.key))
    }
}

/// TLS 1.2 and 1.3 with whatever is served at the time.
pub fn server_config(serving: Arc<Serving>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    // The API server offers nothing else to a webhook behind a Service (pkg/util/webhook/client.go).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Go's client does not resume without a cache, which the API server's webhook client has not: state for
    // nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
