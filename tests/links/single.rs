//! One server by a name behind which another takes its place.

use std::time::Duration;

use cronmill::broker::Broker;

use crate::load::{message, queue};
use crate::support::{Proxy, Sentinels, until};

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_for_the_one_behind_its_name() {
    let redis = Sentinels::start(1);
    let proxy = Proxy::to(redis.servers[0].port()).await;
    let q = queue("q");
    let broker = Broker::connect(&proxy.url().parse().expect("a URL")).await.expect("connect");
    broker.enqueue(&message(&q, "before"), None).await.expect("stored");
    redis.synced(1);
    // The connection there is stays open, and leads to what is a replica from now on.
    proxy.lead_to(redis.servers[1].port());
    redis.hand_over(0, 1);
    let mut failures = 0;
    until(Duration::from_secs(5), "the new master takes it", async || {
        match broker.enqueue(&message(&q, "after"), None).await {
            Ok(_) => true,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                failures += 1;
                false
            }
        }
    })
    .await;
    assert!(failures > 0, "nobody noticed");
    assert_eq!(redis.servers[1].cli(["LRANGE", "asynq:{q}:pending", "0", "-1"]), "after\nbefore");
}
