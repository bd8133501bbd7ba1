//! Sentinels and clusters that speak TLS only.

use cronmill::broker::{Broker, ClaimRequest, Claimed, Endpoint, Owner};

use crate::load::{HANG, message, queue};
use crate::support::Cluster;
use crate::support::redis_sentinel::Sentinel;
use crate::support::redis_server::Options;
use crate::support::tls::Certificates;

fn endpoint(url: &str, certificates: &Certificates) -> Endpoint {
    let endpoint: Endpoint = url.parse().expect("a URL");
    endpoint.with_authority(&certificates.authority).expect("a readable file")
}

/// Stores and claims, and waits on a connection of its own.
async fn use_it(broker: &Broker) {
    for name in ["a", "b", "c"] {
        let (q, owner) = (queue(name), Owner::new("h", 1, "x"));
        broker.enqueue(&message(&q, "1"), None).await.expect("stored");
        assert!(broker.waiter(&q).await.expect("a waiter").wait(HANG).await.expect("it wakes"));
        let request = ClaimRequest { queue: &q, owner: &owner, sequence: 1, max: 1, lease: HANG };
        assert!(
            matches!(broker.claim(&request).await.expect("claimed"), Claimed::Tasks(tasks) if tasks.len() == 1)
        );
    }
    let mut channel = broker.cancellations().await.expect("it listens");
    broker.cancel("1").await.expect("told");
    assert_eq!(tokio::time::timeout(HANG, channel.next()).await.expect("in time").as_deref(), Some("1"));
}

async fn refused_by_others(url: &str) {
    let others = Certificates::shared();
    let error = Broker::connect(&endpoint(url, &others)).await.map(|_| ()).expect_err("another authority");
    let text = format!("{:?}", std::error::Error::source(&error));
    assert!(text.contains("certificate") || text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn a_cluster_is_used_by_tls() {
    let certificates = Certificates::shared();
    let redis = Cluster::start_tls(3, &certificates);
    assert!(redis.url().starts_with("rediss-cluster://"));
    let broker = Broker::connect(&endpoint(&redis.url(), &certificates)).await.expect("connect");
    use_it(&broker).await;
    refused_by_others(&redis.url()).await;
}

#[tokio::test]
async fn a_master_is_found_and_used_by_tls() {
    let certificates = Certificates::shared();
    let server = Options::plain().tls_with(&certificates).start();
    let sentinel = Sentinel::with_tls(&server, &certificates);
    let url = sentinel.url().replacen("redis-", "rediss-", 1);
    let broker = Broker::connect(&endpoint(&url, &certificates)).await.expect("connect");
    use_it(&broker).await;
    refused_by_others(&url).await;
    Broker::connect(&sentinel.url().parse().expect("a URL"))
        .await
        .map(|_| ())
        .expect_err("without TLS nobody answers");
}
