//! An API server made of answers; what it was not told, it forbids.

use crate::cluster::connect::block_on;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The answers, by path without query: status and body.
#[derive(Default)]
pub(super) struct ApiServer(BTreeMap<String, (u16, String)>);

/// What came of it, and what was asked: paths with queries.
pub(super) struct Asked<T> {
    pub(super) result: T,
    pub(super) requests: Vec<String>,
}

pub(super) fn list_of(kind: &str, items: &[Value]) -> Value {
    json!({"kind": format!("{kind}List"), "apiVersion": "v1", "metadata": {}, "items": items})
}

impl ApiServer {
    #[expect(clippy::needless_pass_by_value, reason = "a caller's json! reads better without an ampersand")]
    pub(super) fn with(mut self, path: &str, body: Value) -> Self {
        self.0.insert(path.to_owned(), (200, body.to_string()));
        self
    }

    pub(super) fn without(mut self, path: &str) -> Self {
        self.0.remove(path);
        self
    }

    /// Answers with a code and text, as the proxy passes on what is not Kubernetes' own.
    pub(super) fn failing(mut self, path: &str, code: u16, text: &str) -> Self {
        self.0.insert(path.to_owned(), (code, text.to_owned()));
        self
    }

    /// Serves `work`.
    pub(super) fn asked<T>(self, work: impl AsyncFnOnce(Client) -> T) -> Asked<T> {
        let forbidden = json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no",
            "reason": "Forbidden", "metadata": {}});
        let mut requests = Vec::new();
        let result = block_on(async {
            let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
            let server = async {
                while let Some((request, send)) = handle.next_request().await {
                    requests.push(request.uri().to_string());
                    let answer = self.0.get(request.uri().path()).cloned();
                    let (status, body) = answer.unwrap_or_else(|| (403, forbidden.to_string()));
                    let body = Body::from(body.into_bytes());
                    send.send_response(Response::builder().status(status).body(body).unwrap());
                }
            };
            let client = Client::new(service, "default");
            tokio::select! {
                result = work(client) => Ok(result),
                () = server => panic!("the client went away"),
            }
        });
        Asked { result: result.unwrap(), requests }
    }
}
