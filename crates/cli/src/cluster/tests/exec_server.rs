//! The other side of an exec: an API server that says what it was told, as a container's streams and its status.

use crate::cluster::connect::block_on;
use futures::SinkExt as _;
use http::HeaderValue;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// The subprotocol of Kubernetes ≥ 1.30; its frames begin with the number of a stream.
const PROTOCOL: &str = "v5.channel.k8s.io";
const OUT: u8 = 1;
const ERR: u8 = 2;
const STATUS: u8 = 3;

/// Serves one exec; what was asked, and what came of `work`.
pub(super) fn asked<T>(
    out: &str,
    err: &str,
    status: &str,
    work: impl AsyncFnOnce(Client) -> T,
) -> (String, T) {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?).parse()?;
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut asked = String::new();
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let greet = |request: &Request, mut response: Response| {
                asked = request.uri().to_string();
                let protocol = HeaderValue::from_static(PROTOCOL);
                response.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, protocol);
                Ok(response)
            };
            let mut socket = accept_hdr_async(stream, greet).await.unwrap();
            let frame = |stream: u8, text: &[u8]| Message::binary([&[stream], text].concat());
            for part in out.as_bytes().chunks(1000) {
                socket.send(frame(OUT, part)).await.unwrap();
            }
            if !err.is_empty() {
                socket.send(frame(ERR, err.as_bytes())).await.unwrap();
            }
            socket.send(frame(STATUS, status.as_bytes())).await.unwrap();
            asked
        };
        let client = Client::try_from(Config::new(address))?;
        Ok(tokio::join!(serve, work(client)))
    })
    .unwrap()
}
