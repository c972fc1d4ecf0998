//! Two replicas, short lives, an API server that learns of a new caBundle late: no review is lost.
#![cfg(test)]
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a test fails by panicking, and uses its part of the support"
)]

mod support {
    pub mod api_server;
    pub mod client;
    pub mod process;
}

use firstlight_webhook::tls::certificates;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use support::api_server::ApiServer;
use support::client::{Connection, trusting};
use support::process::{PATIENCE, Webhook};

/// How late the API server is.
const LAG: Duration = Duration::from_millis(500);

fn authorities(bundle: &str) -> BTreeSet<Vec<u8>> {
    certificates(bundle).unwrap().into_iter().map(|one| one.as_ref().to_vec()).collect()
}

#[tokio::test]
async fn no_review_is_lost_while_certificates_and_authorities_are_replaced() {
    let api = ApiServer::start().await;
    let flags = ["--ca-lifetime=9s", "--leaf-lifetime=6s", "--settle=1500ms", "--reload=200ms"];
    let replicas = [Webhook::start(&api, &flags), Webhook::start(&api, &flags)];
    for replica in &replicas {
        replica.ready().await;
    }
    let mut kept = Vec::new();
    for replica in &replicas {
        kept.push(Connection::open(replica.admission, &trusting(&api.bundle(LAG))).await.unwrap());
    }
    let (mut seen, mut leaves) = (BTreeSet::new(), [BTreeSet::new(), BTreeSet::new()]);
    let (started, mut asked) = (Instant::now(), 0);
    // Three authorities: two replacements, so that an event that comes only once would be missed.
    while seen.len() < 3 || leaves.iter().any(|leaves| leaves.len() < 4) {
        assert!(started.elapsed() < PATIENCE, "{} authorities, {leaves:?}", seen.len());
        let bundle = api.bundle(LAG);
        seen.extend(authorities(&bundle));
        for ((replica, kept), leaves) in replicas.iter().zip(&mut kept).zip(&mut leaves) {
            let fresh = Connection::open(replica.admission, &trusting(&bundle)).await;
            let mut fresh = fresh.unwrap_or_else(|error| {
                panic!("{error:#} after {:?}, {asked} reviews: {}", started.elapsed(), replica.log())
            });
            assert!(fresh.mutates().await.unwrap());
            assert!(kept.mutates().await.unwrap(), "a connection of the first second is still good");
            leaves.insert(fresh.certificate);
            asked += 2;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(asked > 500, "{asked} reviews");
    let writes = api.writes();
    let of = |what: &str| writes.iter().filter(|write| *write == what).count();
    assert_eq!(of("create secret"), 1);
    // Who came second has taken what was there.
    assert!(of("update secret") <= leaves[0].len() + 2, "{writes:?}");
    for replica in &replicas {
        let failures = replica.metric("firstlight_webhook_certificate_failures_total");
        assert!(failures < 5.0, "{failures}: {}", replica.log());
    }
}
