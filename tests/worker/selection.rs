//! Which queue is served, and by how many workers at once.

use std::time::Duration;

use cronmill::broker::{Owner, PauseNote};
use cronmill::worker::{Context, Server, Task};

use crate::fixture::{
    Log, PATIENCE, Worker, builder, enqueue, enqueue_many, holds_for, message, queue, until,
};
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

// A worker whose bell does not listen on the heavier queue asks it about once a second only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strictly_an_idle_queue_is_asked_once_more_before_a_lighter_one_is_served() {
    let redis = RedisServer::start();
    let broker = redis.broker().await;
    let (low, high) = (queue("low"), queue("high"));
    // Other workers have both places to wait at.
    for n in 0..2 {
        let other = Owner::new("host", n, "other");
        assert!(broker.take_waiter(&high, &other, PATIENCE * 3).await.expect("Redis answers"));
    }
    let served = Log::default();
    let log = served.clone();
    let queues = [(low.clone(), 1), (high.clone(), 9)];
    let settings = Server::builder(broker.clone()).queues(queues).strict(true).concurrency(1).keeper(false);
    let worker = Worker::start(settings, move |context: Context, _: Task| {
        log.add(context.queue().to_string());
        async { Ok(()) }
    });
    for round in 1..=2 {
        until("it waits for light work", || redis.waiters(&low) == [worker.owner.clone()]).await;
        let idle = Duration::from_millis(1500);
        holds_for(idle, "nothing to do", || served.len() == 2 * (round - 1)).await;
        for q in [&high, &low] {
            enqueue(&broker, message(q, &round.to_string())).await;
        }
        until("both have run", || served.len() == 2 * round).await;
        assert_eq!(served.all()[2 * (round - 1)..], ["high", "low"]);
    }
    worker.stop().await;
}

// A key of another type was asked for again and again, and all other queues waited for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_redis_refuses_is_asked_rarely_and_holds_up_no_other() {
    let redis = RedisServer::start();
    let broker = redis.broker().await;
    let (broken, sound) = (queue("broken"), queue("sound"));
    redis.cli(["SET", "asynq:{broken}:pending", "noise"]);
    let queues = [(broken.clone(), 9), (sound.clone(), 1)];
    let settings = Server::builder(broker.clone()).queues(queues).concurrency(1).keeper(false);
    let worker = Worker::start(settings, |_: Context, _: Task| async { Ok(()) });
    for done in 1..=3 {
        enqueue(&broker, message(&sound, &done.to_string())).await;
        until("the other queue is served", || worker.stats.succeeded() == done).await;
    }
    let before = redis.commands();
    holds_for(Duration::from_secs(1), "nothing to do", || worker.stats.running() == 0).await;
    let commands = redis.commands() - before;
    assert!(commands < 60, "a second with a queue that is refused cost {commands} commands");
    redis.cli(["DEL", "asynq:{broken}:pending"]);
    enqueue(&broker, message(&broken, "1")).await;
    let wait = until("it is served once it is sound", || worker.stats.succeeded() == 4).await;
    assert!(wait < Duration::from_millis(2500), "{wait:?}");
    worker.stop().await;
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
