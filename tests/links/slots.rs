//! A slot moves from one node to another.

use std::time::Duration;

use cronmill::broker::{Broker, Enqueued};
use jiff::SignedDuration;

use crate::load::{HANG, Producer, Worker, account, message, queue, until_done};
use crate::support::{Cluster, full_size, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_under_load_loses_and_doubles_nothing() {
    let redis = Cluster::start(3);
    let queues = [queue("a"), queue("b"), queue("c")];
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let worker = Worker::start(&broker, &queues);
    let producer = Producer::start(&broker, &queues);
    until(HANG, "it is under way", async || worker.ran() > full_size(300, 3000)).await;
    for round in 0..full_size(2, 10) {
        for name in ["{a}", "{b}"] {
            let slot = redis.slot(name);
            let from = redis.owner(slot);
            let to = (from + 1 + round % 2) % 3;
            redis.begin_move(slot, from, to);
            // New keys of a queue in use may still come while others go.
            while redis.move_keys(slot, from, to, 5) > 0 {}
            redis.end_move(slot, to);
        }
        let ran = worker.ran();
        until(HANG, "work goes on", async || worker.ran() > ran + 100).await;
    }
    let told = producer.stop().await;
    for queue in &queues {
        until_done(&broker, queue).await;
    }
    let (lost, doubled) = account(&told, &worker.stop().await);
    println!("{} stored, {} calls failed, longest {:?}", told.stored(), told.failures(), told.longest());
    assert_eq!((lost, doubled), (Vec::new(), 0));
    assert!(told.longest() < HANG, "{:?}", told.longest());
    for queue in ["a", "b", "c"] {
        for container in ["pending", "active", "lease", "retry"] {
            assert_eq!(
                redis.cli(&["EXISTS", &format!("asynq:{{{queue}}}:{container}")]),
                "0",
                "{queue} {container}"
            );
        }
    }
}

#[tokio::test]
async fn no_script_runs_on_a_queue_that_is_half_here_and_half_there() {
    let redis = Cluster::start(3);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let later = Some(broker.now() + SignedDuration::from_hours(1));
    for id in ["a", "b", "c"] {
        assert_eq!(broker.enqueue(&message(&q, id), later).await.expect("stored"), Enqueued::Stored);
        redis.cli(&["ZADD", "asynq:{q}:scheduled", "1000", id]);
    }
    // All keys that the script names are there: only the tasks, which it finds by itself, are on their way.
    redis.cli(&["LPUSH", "asynq:{q}:pending", "x"]);
    redis.cli(&["SADD", "asynq:{q}:groups", "x"]);
    let slot = redis.slot("{q}");
    let from = redis.owner(slot);
    let to = (from + 1) % 3;
    redis.begin_move(slot, from, to);
    redis.move_these(from, to, &["asynq:{q}:t:b".to_owned()]);
    let error = broker.forward(&q).await.expect_err("half of it is elsewhere");
    assert!(error.is_retryable() && !error.is_ambiguous(), "{:?}", std::error::Error::source(&error));
    assert_eq!(redis.nodes[from].cli(["LRANGE", "asynq:{q}:pending", "0", "-1"]), "x", "nothing has changed");
    assert_eq!(redis.nodes[from].cli(["ZCARD", "asynq:{q}:scheduled"]), "3");
    // Reading one by one goes on meanwhile: here and there.
    for id in ["a", "b"] {
        assert!(broker.task(&q, id).await.expect("read").is_some(), "{id}");
    }
    while redis.move_keys(slot, from, to, 10) > 0 {}
    redis.end_move(slot, to);
    assert_eq!(broker.forward(&q).await.expect("all of it is there").moved, 3);
    assert_eq!(redis.nodes[to].cli_lines(["LRANGE", "asynq:{q}:pending", "0", "-1"]).len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_work_is_told_when_the_queue_moves_away() {
    let redis = Cluster::start(3);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let mut waiter = broker.waiter(&q).await.expect("a waiter");
    let waiting = tokio::spawn(async move { waiter.wait(6 * HANG).await });
    let slot = redis.slot("{q}");
    let from = redis.owner(slot);
    let to = (from + 1) % 3;
    until(HANG, "it waits", async || redis.nodes[from].info("blocked_clients") == 1).await;
    redis.begin_move(slot, from, to);
    redis.end_move(slot, to);
    let told = tokio::time::timeout(HANG, waiting).await.expect("in time").expect("no panic");
    assert!(told.expect_err("the queue is elsewhere").is_retryable());
    until(HANG, "the new place is known", async || {
        let Ok(mut waiter) = broker.waiter(&q).await else { return false };
        let stored = broker.enqueue(&message(&q, "a"), None).await;
        stored.is_ok() && waiter.wait(Duration::from_millis(200)).await.is_ok_and(|has_work| has_work)
    })
    .await;
    // The old node is asked no more.
    let sent_on = || {
        let lines = redis.nodes[from].cli_lines(["INFO", "errorstats"]);
        lines.into_iter().find(|line| line.starts_with("errorstat_MOVED"))
    };
    let before = sent_on();
    for id in 0..20 {
        broker.enqueue(&message(&q, &format!("later-{id}")), None).await.expect("stored");
    }
    assert_eq!(sent_on(), before);
}
