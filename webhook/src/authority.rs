//! Our own certificate authority: makes and renews what all replicas share. Pure, but for the random keys.

use crate::tls::{Pair, PairError, Validity, certificates, provider};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::{RootCertStore, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the replicas share, as PEM texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The authorities that clients are to trust: the newest first, then older ones that are still valid.
    pub bundle: String,
    /// The key of the newest authority.
    pub bundle_key: String,
    /// The serving certificate.
    pub leaf: String,
    /// Its key.
    pub leaf_key: String,
}

/// For whom, and for how long.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The name that clients connect to: `<service>.<namespace>.svc`.
    pub dns_name: String,
    /// Life of an authority.
    pub ca: Duration,
    /// Life of a serving certificate; never beyond its authority's.
    pub leaf: Duration,
}

/// Authorities are never more than this in a bundle: the newest, the one before, and one that somebody's
/// deleted Secret left behind.
const MOST_AUTHORITIES: usize = 3;

/// Common name of our authorities, followed by the second of their making.
const AUTHORITY: &str = "firstlight-webhook-ca";

/// What to do with what is shared now.
#[derive(Debug)]
pub enum Renewal {
    /// Nothing: it is good for a while.
    Keep,
    /// Share this instead.
    Replace(Shared, Reason),
}

/// Why something is replaced.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was nothing.
    First,
    /// Two thirds of a life are over.
    Due,
    /// What was there cannot be used; the sentence says why.
    Bad(String),
}

/// Looks at what is shared and makes what is missing, bad, or due.
pub fn renew(shared: Option<&Shared>, terms: &Terms, now: SystemTime) -> Result<Renewal, rcgen::Error> {
    let Some(shared) = shared else {
        return Ok(Renewal::Replace(fresh("", terms, now)?, Reason::First));
    };
    let authority = match Authority::read(shared) {
        Ok(authority) => authority,
        Err(problem) => {
            return Ok(Renewal::Replace(fresh(&shared.bundle, terms, now)?, Reason::Bad(problem)));
        }
    };
    if authority.validity.is_due(terms.ca, now) {
        return Ok(Renewal::Replace(fresh(&shared.bundle, terms, now)?, Reason::Due));
    }
    let reason = match check_leaf(shared, terms, now) {
        Err(problem) => Reason::Bad(problem),
        Ok(pair) if pair.validity.is_due(terms.leaf, now) => Reason::Due,
        Ok(_) => return Ok(Renewal::Keep),
    };
    let (leaf, leaf_key) = authority.issue(terms, now)?;
    Ok(Renewal::Replace(Shared { leaf, leaf_key, ..shared.clone() }, reason))
}

/// The union of two bundles, newest first, without what has expired or is not ours.
pub fn merge(one: &str, other: &str, now: SystemTime) -> String {
    let mut all: Vec<(SystemTime, CertificateDer<'static>)> = [one, other]
        .iter()
        .flat_map(|pem| certificates(pem).unwrap_or_default())
        .filter_map(|certificate| {
            let validity = Validity::of(&certificate).ok()?;
            (validity.until > now && is_ours(&certificate)).then_some((validity.from, certificate))
        })
        .collect();
    // The order must not depend on who asks: two replicas would overwrite one another for ever.
    all.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.as_ref().cmp(right.1.as_ref())));
    all.dedup();
    all.truncate(MOST_AUTHORITIES);
    all.iter().map(|(_, certificate)| pem(certificate)).collect()
}

fn is_ours(certificate: &CertificateDer<'_>) -> bool {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| {
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        name.is_some_and(|name| name.starts_with(AUTHORITY))
    })
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// A new authority with a first certificate; older authorities stay trusted until they expire, since their
/// certificates are served until every API server knows the new one.
fn fresh(old: &str, terms: &Terms, now: SystemTime) -> Result<Shared, rcgen::Error> {
    let authority = Authority::make(terms, now)?;
    let (leaf, leaf_key) = authority.issue(terms, now)?;
    let older = merge("", old, now);
    let older = certificates(&older).unwrap_or_default();
    let bundle = std::iter::once(authority.certificate.clone())
        .chain(older.iter().take(MOST_AUTHORITIES - 1).map(pem))
        .collect();
    Ok(Shared { bundle, bundle_key: authority.key.serialize_pem(), leaf, leaf_key })
}

fn check_leaf(shared: &Shared, terms: &Terms, now: SystemTime) -> Result<Pair, String> {
    let pair = Pair::parse(&shared.leaf, &shared.leaf_key, now).map_err(|error| error.to_string())?;
    verify(&shared.leaf, &shared.bundle, &terms.dns_name, now)?;
    Ok(pair)
}

/// Checks a serving certificate as the API server will.
pub fn verify(leaf: &str, bundle: &str, dns_name: &str, now: SystemTime) -> Result<(), String> {
    let text = |error: PairError| error.to_string();
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle).map_err(text)? {
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    let chain = certificates(leaf).map_err(text)?;
    let (leaf, between) = chain.split_first().ok_or("there is no certificate")?;
    let name = ServerName::try_from(dns_name).map_err(|error| format!("{dns_name:?}: {error}"))?;
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
        .build()
        .map_err(|error| error.to_string())?
        .verify_server_cert(leaf, between, &name, &[], UnixTime::since_unix_epoch(since))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

struct Authority {
    certificate: String,
    key: KeyPair,
    validity: Validity,
}

impl Authority {
    fn read(shared: &Shared) -> Result<Self, String> {
        let key = KeyPair::from_pem(&shared.bundle_key)
            .map_err(|error| format!("key of the authority: {error}"))?;
        let all = certificates(&shared.bundle).map_err(|error| format!("authority: {error}"))?;
        let newest = all.first().ok_or("there is no authority")?;
        let certificate = pem(newest);
        // The key fits if the pair can be served: an authority is a certificate like any other.
        let pair = Pair::parse(&certificate, &shared.bundle_key, UNIX_EPOCH)
            .map_err(|error| format!("authority: {error}"))?;
        Ok(Self { certificate, key, validity: pair.validity })
    }

    fn make(terms: &Terms, now: SystemTime) -> Result<Self, rcgen::Error> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{AUTHORITY} {seconds}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let validity = span(terms.ca, now);
        params.not_before = validity.from.into();
        params.not_after = validity.until.into();
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key, validity })
    }

    /// A serving certificate and its key.
    fn issue(&self, terms: &Terms, now: SystemTime) -> Result<(String, String), rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key)?;
        let mut params = CertificateParams::new(vec![terms.dns_name.clone()])?;
        params.distinguished_name.push(DnType::CommonName, "firstlight-webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let validity = span(terms.leaf, now);
        params.not_before = validity.from.max(self.validity.from).into();
        params.not_after = validity.until.min(self.validity.until).into();
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// From a moment ago, for clocks that are behind ours.
fn span(life: Duration, now: SystemTime) -> Validity {
    let slack = (life / 10).min(Duration::from_mins(5));
    Validity { from: now - slack, until: now + life }
}

#[cfg(test)]
mod tests;
