//! `--listen`: what is measured, and the probes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::field::{Dev, Folder, completed, count, queue, task};
use crate::support::RedisServer;
use crate::support::http::{free_address, get};

/// Reads the text form as Prometheus does: each sample belongs to the metric described above it.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut described) = (BTreeMap::new(), (String::new(), String::new()));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            described = (name.to_owned(), kind.to_owned());
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let suffix = series.split('{').next().unwrap().strip_prefix(&described.0).expect(line);
            let suffixes: &[&str] =
                if described.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line} under {described:?}");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
        }
    }
    samples
}

pub(crate) async fn scrape(addr: SocketAddr) -> BTreeMap<String, f64> {
    let (status, text) = get(addr, "/metrics").await.expect("it listens");
    assert_eq!(status, 200);
    parse(&text)
}

#[tokio::test]
async fn metrics_agree_with_redis_and_with_what_happened() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[
        ("q.yaml", queue("workers: {replicas: 1}")),
        ("a.yaml", task("a", "* * * * * *", "")),
        ("b.yaml", task("b", "* * * * * *", "suspend: true")),
    ]);
    let addr = free_address().await;
    let dev = Dev::on(&redis, &folder, &["--listen", &addr.to_string()]);
    completed(&redis, 3).await;
    folder.remove("a.yaml");
    dev.event("inForce", |event| event["cronTasks"] == 1).await;
    dev.until("all is done", async || count(&redis, "pending") + count(&redis, "active") == 0).await;
    // A tick is counted when it is told, a moment after Redis has its task.
    let all_is_told = async || dev.enqueued("default/a") as u64 == count(&redis, "completed");
    dev.until("each tick is told", all_is_told).await;
    let samples = scrape(addr).await;
    let value =
        |series: &str| *samples.get(series).unwrap_or_else(|| panic!("{series} is not in {samples:#?}"));
    let done = count(&redis, "completed") as f64;
    for series in [
        "cronmill_ticks_total{outcome=\"enqueued\"}",
        "cronmill_tick_lateness_seconds_count",
        "cronmill_tick_lateness_seconds_bucket{le=\"+Inf\"}",
        "asynq_tasks_processed_total{queue=\"q\"}",
        "asynq_tasks_enqueued_total{queue=\"q\",state=\"completed\"}",
        "asynq_queue_size{queue=\"q\"}",
    ] {
        assert_eq!(value(series), done, "{series}");
    }
    assert!(value("cronmill_ticks_total{outcome=\"suspended\"}") >= 2.0);
    assert_eq!(value("cronmill_ticks_total{outcome=\"failed\"}"), 0.0);
    let lateness = value("cronmill_tick_lateness_seconds_sum");
    assert!((0.0..done * 5.0).contains(&lateness), "{lateness} s for {done} ticks");
    assert_eq!(value("cronmill_fleet_workers{task_queue=\"default/main\"}"), 1.0);
    assert_eq!(value("cronmill_fleet_workers_wanted{task_queue=\"default/main\"}"), 1.0);
    assert_eq!(value("cronmill_queue_stats_failures_total{queue=\"q\"}"), 0.0);
    assert!(value("cronmill_redis_clock_offset_seconds").abs() < 1.0, "they share a clock");
    // What is no longer in force is no longer shown.
    folder.remove("b.yaml");
    folder.remove("q.yaml");
    dev.until("its series are gone", async || {
        scrape(addr)
            .await
            .keys()
            .all(|series| !series.contains("queue=\"q\"") && !series.contains("default/main"))
    })
    .await;
}

#[tokio::test]
async fn it_is_live_and_ready_whatever_redis_does_until_it_drains() {
    let mut redis = RedisServer::start();
    let folder = Folder::with(&[("q.yaml", queue("workers: {replicas: 1}"))]);
    let addr = free_address().await;
    let dev = Dev::on(&redis, &folder, &["--listen", &addr.to_string()]);
    let is = async |path: &str, status: u16, body: &str| {
        get(addr, path).await.is_some_and(|(found, said)| found == status && said.trim_end() == body)
    };
    dev.until("it is ready", async || is("/readyz", 200, "ready").await).await;
    dev.until("a worker is there", async || dev.workers().len() == 1).await;
    assert!(is("/livez", 200, "ok").await);
    redis.kill9();
    dev.until("a scrape misses the queue", async || {
        scrape(addr).await["cronmill_queue_stats_failures_total{queue=\"q\"}"] >= 1.0
    })
    .await;
    assert!(is("/readyz", 200, "ready").await && is("/livez", 200, "ok").await);
    dev.0.terminate();
    // Its worker cannot say goodbye to a Redis that is away, which takes it some seconds.
    dev.until("it is draining", async || is("/readyz", 503, "not ready: draining").await).await;
}
