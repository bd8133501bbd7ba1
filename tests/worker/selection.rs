//! Which queue is served, and by how many workers at once.

use std::time::Duration;

use cronmill::broker::PauseNote;
use cronmill::worker::{Context, Server, Task};

use crate::fixture::{Log, Worker, builder, enqueue, enqueue_many, holds_for, message, queue, until};
use crate::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_queues_are_served_in_order() {
    let redis = RedisServer::start();
    let broker = redis.broker().await;
    let (low, middle, high) = (queue("low"), queue("middle"), queue("high"));
    for q in [&low, &middle, &high] {
        enqueue_many(&broker, q, 100).await;
    }
    let served = Log::default();
    let log = served.clone();
    let settings =
        Server::builder(broker).queues([(low, 1), (high, 9), (middle, 3)]).strict(true).concurrency(1);
    let worker = Worker::start(settings, move |context: Context, _: Task| {
        log.add(context.queue().to_string());
        async { Ok(()) }
    });
    until("all have run", || worker.stats.succeeded() == 300).await;
    worker.stop().await;
    let mut order = served.all();
    order.dedup();
    assert_eq!(order, ["high", "middle", "low"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_shares_while_all_queues_have_work() {
    let redis = RedisServer::start();
    let broker = redis.broker().await;
    let weights = [("a", 6), ("b", 3), ("c", 1)];
    for (name, _) in weights {
        enqueue_many(&broker, &queue(name), 1000).await;
    }
    let served = Log::default();
    let log = served.clone();
    let queues = weights.map(|(name, weight)| (queue(name), weight));
    let settings = Server::builder(broker).queues(queues).concurrency(10);
    let worker = Worker::start(settings, move |context: Context, _: Task| {
        log.add(context.queue().to_string());
        async { Ok(()) }
    });
    until("all have run", || worker.stats.succeeded() == 3000).await;
    worker.stop().await;
    let early = &served.all()[..1000];
    for (name, weight) in weights {
        let share = early.iter().filter(|queue| *queue == name).count();
        // Six standard deviations of 1000 draws.
        assert!(share.abs_diff(weight as usize * 100) < 95, "queue {name} got {share} of the first 1000");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_never_run_one_task_twice() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let seen = Log::default();
    let start = || {
        let log = seen.clone();
        let settings = builder(&broker, &q).concurrency(5);
        Worker::start(settings, move |_: Context, task: Task| {
            log.add(task.id.clone());
            async { Ok(()) }
        })
    };
    let workers = [start(), start(), start()];
    enqueue_many(&broker, &q, 3000).await;
    until("all have run", || workers.iter().map(|w| w.stats.succeeded()).sum::<u64>() == 3000).await;
    for worker in workers {
        assert_eq!(worker.stop().await.lost(), 0);
    }
    let mut ids = seen.all();
    ids.sort();
    let runs = ids.len();
    ids.dedup();
    assert_eq!((runs, ids.len()), (3000, 3000));
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_hears_of_work_at_once_and_asks_rarely() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let worker = Worker::start(builder(&broker, &q).keeper(false), |_: Context, _: Task| async { Ok(()) });
    until("it waits", || !redis.waiters(&q).is_empty()).await;
    let mut waits = Vec::new();
    for i in 0..20 {
        enqueue(&broker, message(&q, &i.to_string())).await;
        waits.push(until("it has run", || worker.stats.succeeded() == i + 1).await);
    }
    waits.sort();
    assert!(waits[10] < Duration::from_millis(50), "median wait {:?}", waits[10]);
    let before = redis.commands();
    let second = Duration::from_secs(1);
    holds_for(second, "nothing to do", || worker.stats.running() == 0).await;
    let commands = redis.commands() - before;
    worker.stop().await;
    assert!(commands < 25, "an idle second cost {commands} commands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_without_a_busy_loop_and_ends_within_a_second() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let worker = Worker::start(builder(&broker, &q).keeper(false), |_: Context, _: Task| async { Ok(()) });
    until("it waits", || !redis.waiters(&q).is_empty()).await;
    broker.pause(&q, &PauseNote::default()).await.expect("paused");
    enqueue(&broker, message(&q, "1")).await;
    let before = redis.commands();
    holds_for(Duration::from_secs(1), "a pause holds", || worker.stats.claimed() == 0).await;
    let commands = redis.commands() - before;
    assert!(commands < 40, "a paused second cost {commands} commands");
    broker.resume(&q, None).await.expect("resumed");
    let wait = until("it has run", || worker.stats.succeeded() == 1).await;
    assert!(wait < Duration::from_millis(1500), "{wait:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_hears_of_work_while_others_are_busy() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let never = |_: Context, task: Task| async move {
        if task.payload().starts_with(b"long") {
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    // The first two hold both turns to wait, and then another queue takes their only slots.
    let both = || {
        let queues = [(q.clone(), 1), (queue("long"), 1)];
        Server::builder(broker.clone()).queues(queues).concurrency(1).shutdown_timeout(Duration::ZERO)
    };
    let busy: Vec<_> = (0..2).map(|_| Worker::start(both(), never)).collect();
    until("both wait", || redis.waiters(&q).len() == 2).await;
    let idle = Worker::start(builder(&broker, &q).concurrency(1), never);
    for id in ["long 1", "long 2"] {
        enqueue(&broker, message(&queue("long"), id)).await;
    }
    until("both are busy", || busy.iter().all(|worker| worker.stats.running() == 1)).await;
    until("only the idle one waits", || redis.waiters(&q) == [idle.owner.clone()]).await;
    enqueue(&broker, message(&q, "short")).await;
    let wait = until("it has run", || idle.stats.succeeded() == 1).await;
    assert!(wait < Duration::from_millis(500), "{wait:?}");
    for worker in busy {
        worker.stop().await;
    }
    idle.stop().await;
}
