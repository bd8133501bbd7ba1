use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::exposition::Exposition;
use super::*;

/// A strict reader of the text forms: every sample must belong to the metric described just above it.
struct Parsed {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

fn parse(text: &str, exposition: Exposition) -> Parsed {
    let mut parsed = Parsed { types: BTreeMap::new(), samples: BTreeMap::new() };
    let mut described: Option<(String, String)> = None;
    let body = match exposition {
        Exposition::OpenMetrics => text.strip_suffix("# EOF\n").expect("ends with the end mark"),
        Exposition::Plain => text,
    };
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(
                parsed.types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{name} is described twice"
            );
            described = Some((name.to_owned(), kind.to_owned()));
            continue;
        }
        if line.starts_with("# HELP ") {
            assert!(line.ends_with('.') && !line.ends_with(".."), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# UNIT ") {
            assert_eq!(exposition, Exposition::OpenMetrics);
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(name.ends_with(unit), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, kind) = described.as_ref().expect("a description comes first");
        let suffix = series.split('{').next().unwrap().strip_prefix(name.as_str()).expect(line);
        let allowed: &[&str] = match (kind.as_str(), exposition) {
            ("counter", Exposition::OpenMetrics) => &["_total"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line} under {name} {kind}");
        assert!(
            parsed.samples.insert(series.to_owned(), value.parse().unwrap()).is_none(),
            "{series} is shown twice"
        );
    }
    parsed
}

async fn rendered(metrics: &Metrics, exposition: Exposition) -> Parsed {
    parse(&metrics.render(exposition).await.unwrap(), exposition)
}

fn recorded() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    metrics.tick_fired(Duration::from_millis(3));
    metrics.ticks("skipped-overlap", 2);
    metrics.set_redis_clock_offset(-0.25);
    metrics.set_worker_slots(20);
    metrics.set_worker_busy_slots(7);
    metrics.lease_lost();
    metrics.undecodable_message();
    let queue = metrics.queue("default");
    queue.waited(Duration::from_millis(20));
    queue.ran(Duration::from_secs(2));
    queue.finished(TaskOutcome::Succeeded);
    queue.finished(TaskOutcome::Succeeded);
    queue.finished(TaskOutcome::Archived);
    metrics
}

#[tokio::test]
async fn what_was_recorded_stands_in_both_text_forms() {
    let metrics = recorded();
    for exposition in [Exposition::OpenMetrics, Exposition::Plain] {
        let samples = rendered(&metrics, exposition).await.samples;
        for (series, value) in [
            ("cronmill_build_info{version=\"1.2.3\"}", 1.0),
            ("cronmill_ticks_total{outcome=\"skipped-overlap\"}", 2.0),
            ("cronmill_tick_lateness_seconds_bucket{le=\"0.0025\"}", 0.0),
            ("cronmill_tick_lateness_seconds_bucket{le=\"0.005\"}", 1.0),
            ("cronmill_redis_clock_offset_seconds", -0.25),
            ("cronmill_worker_slots", 20.0),
            ("cronmill_worker_busy_slots", 7.0),
            ("cronmill_task_leases_lost_total", 1.0),
            ("cronmill_undecodable_messages_total", 1.0),
            ("cronmill_queue_wait_seconds_sum{queue=\"default\"}", 0.02),
            ("cronmill_task_run_seconds_count{queue=\"default\"}", 1.0),
            ("cronmill_tasks_finished_total{queue=\"default\",outcome=\"succeeded\"}", 2.0),
            ("cronmill_tasks_finished_total{queue=\"default\",outcome=\"archived\"}", 1.0),
        ] {
            assert_eq!(samples.get(series), Some(&value), "{series} in {exposition:?}");
        }
    }
}

#[tokio::test]
async fn every_closed_label_is_there_before_its_first_event() {
    let metrics = Metrics::new("1.2.3");
    metrics.ticks("too-late", 0);
    metrics.queue("default");
    let samples = rendered(&metrics, Exposition::OpenMetrics).await.samples;
    let series = "cronmill_ticks_total{outcome=\"too-late\"}";
    assert_eq!(samples.get(series), Some(&0.0), "{series}");
    for outcome in TaskOutcome::ALL {
        let series =
            format!("cronmill_tasks_finished_total{{queue=\"default\",outcome=\"{}\"}}", outcome.as_str());
        assert_eq!(samples.get(&series), Some(&0.0), "{series}");
    }
}

#[tokio::test]
async fn gauges_kept_elsewhere_are_read_at_each_scrape() {
    let metrics = Metrics::new("1.2.3");
    let busy = Arc::new(AtomicUsize::new(3));
    let kept = Arc::clone(&busy);
    metrics.refresh_with(move |metrics| metrics.set_worker_busy_slots(kept.load(Ordering::Relaxed)));
    for expected in [3, 9] {
        busy.store(expected, Ordering::Relaxed);
        let samples = rendered(&metrics, Exposition::OpenMetrics).await.samples;
        assert_eq!(samples.get("cronmill_worker_busy_slots"), Some(&(expected as f64)));
    }
}

#[test]
fn label_arrays_are_in_declaration_order() {
    assert!(TaskOutcome::ALL.iter().enumerate().all(|(at, outcome)| *outcome as usize == at));
}

fn shop_stats() -> QueueStats {
    QueueStats {
        active: 1,
        pending: 2,
        scheduled: 3,
        retry: 4,
        archived: 5,
        completed: 6,
        aggregating: 7,
        latency: Duration::from_millis(1500),
        paused: true,
        processed_total: 100,
        failed_total: 9,
        dropped_for_age: 3,
        dropped_for_number: 4,
    }
}

#[tokio::test]
async fn queue_stats_carry_asynqs_names_and_types() {
    let metrics = Metrics::new("1.2.3");
    metrics.queue("shop");
    metrics.show_queue_stats(|_| async { Ok::<_, io::Error>(shop_stats()) });
    let Parsed { types, samples } = rendered(&metrics, Exposition::Plain).await;
    for (series, value) in [
        ("asynq_tasks_enqueued_total{queue=\"shop\",state=\"active\"}", 1.0),
        ("asynq_tasks_enqueued_total{queue=\"shop\",state=\"completed\"}", 6.0),
        ("asynq_queue_size{queue=\"shop\"}", 28.0),
        ("asynq_queue_latency_seconds{queue=\"shop\"}", 1.5),
        ("asynq_queue_paused_total{queue=\"shop\"}", 1.0),
        ("asynq_tasks_processed_total{queue=\"shop\"}", 100.0),
        ("asynq_tasks_failed_total{queue=\"shop\"}", 9.0),
        ("cronmill_archive_dropped_total{queue=\"shop\",limit=\"age\"}", 3.0),
        ("cronmill_archive_dropped_total{queue=\"shop\",limit=\"number\"}", 4.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    for (name, kind) in [
        ("asynq_tasks_enqueued_total", "gauge"),
        ("asynq_queue_paused_total", "gauge"),
        ("asynq_tasks_processed_total", "counter"),
        ("asynq_tasks_failed_total", "counter"),
        ("cronmill_archive_dropped_total", "counter"),
    ] {
        assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name}");
    }
    assert!(!samples.contains_key("asynq_tasks_enqueued_total{queue=\"shop\",state=\"aggregating\"}"));
}

#[tokio::test]
async fn a_queue_that_fails_or_hangs_hides_no_other() {
    let metrics = Metrics::new("1.2.3");
    for queue in ["a-fails", "b-hangs", "c-works"] {
        metrics.queue(queue);
    }
    metrics.show_queue_stats(|queue| async move {
        match queue.as_str() {
            "a-fails" => Err(io::Error::other("broken")),
            "b-hangs" => std::future::pending().await,
            _ => Ok(QueueStats { pending: 3, ..QueueStats::default() }),
        }
    });
    let started = tokio::time::Instant::now();
    let samples = rendered(&metrics, Exposition::OpenMetrics).await.samples;
    assert!((2..10).contains(&started.elapsed().as_secs()), "bounded by the limit, not by the queue");
    assert_eq!(samples.get("asynq_queue_size{queue=\"c-works\"}"), Some(&3.0));
    for (queue, failures) in [("a-fails", 1.0), ("b-hangs", 1.0), ("c-works", 0.0)] {
        assert!(
            queue == "c-works" || !samples.contains_key(&format!("asynq_queue_size{{queue=\"{queue}\"}}"))
        );
        let series = format!("cronmill_queue_stats_failures_total{{queue=\"{queue}\"}}");
        assert_eq!(samples.get(&series), Some(&failures), "{series}");
    }
}

#[tokio::test]
async fn watched_queues_and_fleets_are_shown_until_they_are_forgotten() {
    let metrics = Metrics::new("1.2.3");
    metrics.show_queue_stats(|queue| async move {
        match queue.as_str() {
            "broken" => Err(io::Error::other("broken")),
            _ => Ok(QueueStats { pending: 7, ..QueueStats::default() }),
        }
    });
    metrics.watch_queues(["shop".to_owned(), "broken".to_owned()]);
    metrics.set_fleet("default/shop", 3, 2);
    let samples = rendered(&metrics, Exposition::Plain).await.samples;
    for (series, value) in [
        ("asynq_queue_size{queue=\"shop\"}", 7.0),
        ("cronmill_queue_stats_failures_total{queue=\"broken\"}", 1.0),
        ("cronmill_fleet_workers{task_queue=\"default/shop\"}", 3.0),
        ("cronmill_fleet_workers_wanted{task_queue=\"default/shop\"}", 2.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!(
        !samples.contains_key("cronmill_queue_wait_seconds_count{queue=\"shop\"}"),
        "it runs nothing itself"
    );
    metrics.watch_queues([]);
    metrics.forget_fleet("default/shop");
    let samples = rendered(&metrics, Exposition::Plain).await.samples;
    let is_of_them = |series: &&String| {
        ["\"shop\"", "\"default/shop\"", "\"broken\""].iter().any(|label| series.contains(label))
    };
    let left: Vec<_> = samples.keys().filter(is_of_them).collect();
    assert_eq!(left, Vec::<&String>::new());
}

struct Running {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), TelemetryError>>,
}

async fn running(metrics: Metrics, health: Health) -> Running {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, metrics, health, stop.clone()));
    Running { addr, stop, task }
}

impl Running {
    async fn get(&self, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn probes_answer_with_status_and_reason() {
    let health = Health::new(|| Readiness::NotReady("redis was not reached yet".into()));
    let server = running(Metrics::new("1.2.3"), health.clone()).await;
    assert!(server.get("/livez", "*/*").await.starts_with("HTTP/1.1 200"));
    let ready = server.get("/readyz", "*/*").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.ends_with("not ready: redis was not reached yet\n"), "{ready}");
    health.declare_dead("the claiming loop ended");
    let live = server.get("/livez", "*/*").await;
    assert!(live.starts_with("HTTP/1.1 503") && live.ends_with("dead: the claiming loop ended\n"), "{live}");
    server.stop.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn metrics_come_in_the_form_the_scraper_asks_for() {
    let server = running(recorded(), Health::new(|| Readiness::Ready)).await;
    for (accept, exposition) in
        [("application/openmetrics-text;version=1.0.0", Exposition::OpenMetrics), ("*/*", Exposition::Plain)]
    {
        let answer = server.get("/metrics", accept).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(exposition.content_type()), "{head}");
        assert!(parse(body, exposition).samples.contains_key("cronmill_worker_slots"));
    }
    assert!(server.get("/readyz", "*/*").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let error = bind(addr).await.unwrap_err();
    assert_eq!(error.to_string(), format!("listen on {addr} for metrics and probes"));
    assert_eq!((error.reason(), error.is_retryable()), ("CannotListen", true));
}
