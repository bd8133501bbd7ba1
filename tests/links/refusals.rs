//! What a URL must not name.

use cronmill::broker::{Broker, BrokerError};

use crate::support::redis_server::Options;
use crate::support::{Cluster, Sentinels};

async fn refusal(url: &str) -> BrokerError {
    let endpoint = url.parse().expect("a URL");
    Broker::connect(&endpoint).await.map(|_| ()).expect_err(url)
}

#[tokio::test]
async fn a_replica_is_refused_by_name_and_says_what_to_do() {
    let redis = Sentinels::start(1);
    let replica = &redis.servers[1];
    let error = refusal(&replica.plain_url()).await;
    assert!(!error.is_retryable());
    assert_eq!(
        (error.reason(), error.to_string().contains("read-only replica")),
        ("RedisReplica", true),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("127.0.0.1:{}", replica.port())), "{error}");
    assert!(error.to_string().contains("redis-sentinel://"), "{error}");
}

#[tokio::test]
async fn each_sort_of_server_is_known_by_what_it_says() {
    let (sentinels, cluster, plain) = (Sentinels::start(1), Cluster::start(3), Options::plain().start());
    let (one, sentinel) = (plain.port(), sentinels.url());
    let sentinel = sentinel.split([':', ',', '/']).find_map(|part| part.parse::<u16>().ok()).expect("a port");
    for (url, found, instead) in [
        (format!("redis://127.0.0.1:{sentinel}"), "is a Sentinel", "redis-sentinel://"),
        (cluster.nodes[0].plain_url(), "is a node of a cluster", "redis-cluster://"),
        (format!("redis-cluster://127.0.0.1:{one}"), "is no cluster", "redis://"),
        (format!("redis-sentinel://127.0.0.1:{one}?master=mymaster"), "is no Sentinel", "port of a Sentinel"),
    ] {
        let error = refusal(&url).await;
        let text = error.to_string();
        assert!(!error.is_retryable() && text.contains(found) && text.contains(instead), "{url}: {text}");
    }
}

#[tokio::test]
async fn a_master_that_no_sentinel_knows_is_named() {
    let redis = Sentinels::start(1);
    let error = refusal(&redis.url().replace("mymaster", "theirs")).await;
    assert!(error.is_retryable(), "the Sentinels may come to know it");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("\"theirs\""), "{cause}");
}

#[tokio::test]
async fn sentinels_and_servers_have_passwords_of_their_own() {
    let server = Options::plain().password("of-servers").config("masterauth", "of-servers").start();
    let sentinel =
        crate::support::redis_sentinel::Sentinel::with_passwords(&server, "of-servers", "of-sentinels");
    let host = sentinel.url();
    let host = host.strip_prefix("redis-sentinel://").expect("it begins so");
    let both = format!("redis-sentinel://:of-servers@{host}&sentinel-password=of-sentinels");
    Broker::connect(&both.parse().expect("a URL")).await.expect("both are right");
    for wrong in [
        format!("redis-sentinel://:of-servers@{host}&sentinel-password=wrong"),
        format!("redis-sentinel://:wrong@{host}&sentinel-password=of-sentinels"),
        format!("redis-sentinel://{host}"),
    ] {
        let error = refusal(&wrong).await;
        assert_eq!(error.reason(), "RedisLoginRefused", "{wrong}: {error}");
        assert!(!format!("{error} {error:?}").contains("of-se"), "{error:?}");
    }
    // One password for both, and asynq's form, whose password is the Sentinels'.
    let same = crate::support::redis_sentinel::Sentinel::with_passwords(&server, "of-servers", "of-servers");
    let host = same.url().replacen("://", "://:of-servers@", 1);
    Broker::connect(&host.parse().expect("a URL")).await.expect("one password for both");
    let open = Options::plain().start();
    let asynqs = crate::support::redis_sentinel::Sentinel::with_passwords(&open, "", "of-sentinels");
    let url = asynqs.url().replacen("://", "://:of-sentinels@", 1);
    Broker::connect(&url.parse().expect("a URL")).await.expect("the password is the Sentinels'");
}
