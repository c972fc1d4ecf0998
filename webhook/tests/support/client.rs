//! Asks as the API server does: TLS with the caBundle and the Service's name, HTTP/1.1, keep-alive.

use super::api_server::HOOK;
use axum::body::Body;
use firstlight_webhook::tls::{certificates, provider};
use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

pub const POD: &str = include_str!("../../benches/reviews/pod.json");
pub const POD_WITH_MANAGED_FIELDS: &str = include_str!("../../benches/reviews/pod-managed-fields.json");

#[derive(Debug)]
pub struct Connection {
    pub sender: SendRequest<Body>,
    /// The certificate that was served.
    pub certificate: Vec<u8>,
    _driver: JoinSet<()>,
}

pub fn trusting(bundle: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle).unwrap_or_default() {
        roots.add(authority).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

impl Connection {
    pub async fn open(address: SocketAddr, connector: &TlsConnector) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let tls = connector.connect(ServerName::try_from(HOOK)?, stream).await?;
        let served = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = served.map(|one| one.as_ref().to_vec()).unwrap_or_default();
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, certificate, _driver: driver })
    }

    pub async fn post(&mut self, body: impl Into<Body>) -> anyhow::Result<Response<Incoming>> {
        let request = Request::post("/mutate/pods")
            .header(header::HOST, HOOK)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.into())?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Whether a pod that asks is answered with a patch.
    pub async fn mutates(&mut self) -> anyhow::Result<bool> {
        let response = self.post(POD).await?;
        let status = response.status();
        let body = text(response).await?;
        anyhow::ensure!(status == 200, "{status}: {body}");
        Ok(body.contains("\"patch\":"))
    }
}

pub async fn text(response: Response<Incoming>) -> anyhow::Result<String> {
    let body = axum::body::to_bytes(Body::new(response.into_body()), 1 << 20).await?;
    Ok(String::from_utf8(body.to_vec())?)
}

/// GET over plain HTTP: status and text.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return (0, "closed".to_owned()) };
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).is_err() {
        return (0, "cut off".to_owned());
    }
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}
