//! `selftest`: is the installation good? One line a check; `helm test` runs it.

use crate::args;
use anyhow::{Context as _, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One attempt at the webhook takes no longer.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Between two attempts: a service that was just made is on its way to the node.
const PAUSE: Duration = Duration::from_millis(500);

/// What to check.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Pool configuration, YAML.
    #[arg(long, env = "FIRSTLIGHT_CONFIG", default_value = "/etc/firstlight/pools.yaml")]
    config: PathBuf,
    /// HOST:PORT of the webhook's service; without it the webhook is not asked.
    #[arg(long)]
    connect: Option<Target>,
    /// Name that the webhook's certificate must carry; default: HOST.
    #[arg(long)]
    server_name: Option<String>,
    /// Seconds after which a webhook that did not answer has failed.
    #[arg(long, default_value_t = 15)]
    timeout_seconds: u64,
}

/// Where the webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // From the right: an IPv6 address has colons of its own, with or without brackets.
        let found = text.rsplit_once(':').and_then(|(host, port)| {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
        });
        let (host, port) = found.ok_or("wanted HOST:PORT, such as 10.96.0.7:443")?;
        Ok(Self { host, port })
    }
}

/// Does all checks and prints them; whether all are well.
pub fn run(args: &Args) -> bool {
    let mut well = true;
    let mut say = |result: Result<String, String>| {
        let (mark, text) = match &result {
            Ok(text) => ("ok     ", text),
            Err(text) => ("FAILED ", text),
        };
        well &= result.is_ok();
        // Nobody may be reading; the exit code tells as well.
        let _ = writeln!(std::io::stdout(), "{mark} {text}");
    };
    let yaml = std::fs::read_to_string(&args.config).map_err(|error| error.to_string());
    match args::pools(&args.config, yaml) {
        Ok(pools) => {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            say(Ok(format!("{}: pools: {names}", args.config.display())));
        }
        Err(mistakes) => mistakes.into_iter().for_each(|mistake| say(Err(mistake))),
    }
    if let Some(target) = &args.connect {
        let name = args.server_name.as_deref().unwrap_or(&target.host);
        let Target { host, port } = target;
        say(webhook(target, name, Duration::from_secs(args.timeout_seconds))
            .map(|answer| format!("webhook at {host}:{port}: {answer}"))
            .map_err(|error| format!("webhook at {host}:{port}: {error:#}")));
    }
    well
}

/// Asks until there is an answer, or the time is over.
fn webhook(target: &Target, name: &str, patience: Duration) -> Result<String> {
    let name = ServerName::try_from(name.to_owned()).with_context(|| format!("no server name: {name:?}"))?;
    let end = Instant::now() + patience;
    loop {
        match handshake(target, &name) {
            Err(_) if Instant::now() + PAUSE < end => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

fn handshake(target: &Target, name: &ServerName<'static>) -> Result<String> {
    let addresses =
        (target.host.as_str(), target.port).to_socket_addrs().context("cannot resolve the name")?;
    let mut last = None;
    let mut stream = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, ATTEMPT) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let Some(mut stream) = stream else {
        match last {
            Some(error) => return Err(error).context("cannot connect; are the webhook's pods ready?"),
            None => bail!("the name has no address"),
        }
    };
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.set_write_timeout(Some(ATTEMPT))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NameOnly(provider)))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name.clone())?;
    connection.complete_io(&mut stream).context("connected, but the TLS handshake failed")?;
    connection.send_close_notify();
    let _ = connection.complete_io(&mut stream);
    Ok(format!("answers with a certificate for {}", name.to_str()))
}

/// Takes every certificate with the right name whose key the server has. By whom it is signed stands in the
/// webhook configuration, which only the API server reads here: nothing is sent that would need that trust.
#[derive(Debug)]
struct NameOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for NameOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_addresses_of_both_kinds_are_targets() {
        for (text, host) in [
            ("firstlight-webhook.firstlight-system.svc:443", "firstlight-webhook.firstlight-system.svc"),
            ("10.96.0.7:443", "10.96.0.7"),
            ("fd00::7:443", "fd00::7"),
            ("[fd00::7]:443", "fd00::7"),
        ] {
            assert_eq!(text.parse(), Ok(Target { host: host.to_owned(), port: 443 }));
        }
        for text in ["", "webhook", ":443", "webhook:", "webhook:https", "$(WEBHOOK_SERVICE_HOST)"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_target_panics(text in ".{0,40}") {
            let _ = text.parse::<Target>();
        }
    }
}
