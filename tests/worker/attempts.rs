//! What becomes of a task by what its handler does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cronmill::task::{Message, State};
use cronmill::worker::{CancelReason, Context, HandlerError, Mux, Task};

use crate::fixture::{Log, Worker, builder, enqueue, enqueue_many, holds_for, message, queue, until};
use crate::redis::RedisServer;

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_run_once_each_and_leave_nothing_behind() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue_many(&broker, &q, 1000).await;
    let seen = Log::default();
    let log = seen.clone();
    let worker = Worker::start(builder(&broker, &q).concurrency(10), move |_: Context, task: Task| {
        log.add(String::from_utf8(task.payload().to_vec()).expect("text"));
        async { Ok(()) }
    });
    until("all are stored", || worker.stats.succeeded() == 1000).await;
    worker.stop().await;
    let mut ids = seen.all();
    ids.sort_by_key(|id| id.parse::<usize>().expect("a number"));
    assert_eq!(ids, (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
    redis.assert_no_task_left(&q);
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (1000, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_not_given_away_while_blocking_code_runs() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { timeout_s: 1, ..message(&q, "first") }).await;
    enqueue(&broker, message(&q, "second")).await;
    let steps = Log::default();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let log = steps.clone();
    let handler = move |context: Context, task: Task| {
        let (log, blocked) = (log.clone(), Arc::clone(&blocked));
        async move {
            log.add(format!("{} begins", task.id));
            if task.id == "first" {
                let dropped = LogAtDrop(log.clone());
                let code = move || {
                    blocked.lock().expect("one at a time").recv().ok();
                    log.add("first ends".to_owned());
                };
                context.run_blocking(code).await?;
                drop(dropped);
            }
            Ok(())
        }
    };
    let settings = builder(&broker, &q).concurrency(1).cancel_grace(Duration::from_millis(50));
    let worker = Worker::start(settings, handler);
    until("the handler is dropped", || steps.all().contains(&"handler dropped".to_owned())).await;
    holds_for(Duration::from_millis(300), "the slot is still taken", || steps.len() == 2).await;
    assert_eq!(redis.ids(&q, "active"), ["first"], "its task is still ours: no other worker may run it now");
    release.send(()).expect("somebody waits");
    until("the second has run", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    assert_eq!(steps.all(), ["first begins", "handler dropped", "first ends", "second begins"]);
    assert_eq!(redis.message(&q, "first").expect("retried").error, "context deadline exceeded");
}

struct LogAtDrop(Log<String>);

impl Drop for LogAtDrop {
    fn drop(&mut self) {
        self.0.add("handler dropped".to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_is_not_given_away_while_a_handler_ignores_its_timeout() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    for id in ["a", "b", "c"] {
        enqueue(&broker, Message { timeout_s: 1, max_retry: 0, ..message(&q, id) }).await;
    }
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, max) = (Arc::clone(&running), Arc::clone(&most));
    let handler = move |_: Context, _: Task| {
        let (now, max) = (Arc::clone(&now), Arc::clone(&max));
        async move {
            let _counted = Counted::new(&now, &max);
            std::future::pending::<Result<(), HandlerError>>().await
        }
    };
    let settings = builder(&broker, &q).concurrency(1).cancel_grace(Duration::from_millis(300));
    let worker = Worker::start(settings, handler);
    until("all were given up", || worker.stats.archived() == 3).await;
    worker.stop().await;
    assert_eq!((most.load(Ordering::SeqCst), running.load(Ordering::SeqCst)), (1, 0));
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(now: &Arc<AtomicUsize>, max: &AtomicUsize) -> Self {
        max.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(Arc::clone(now))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_failed_attempt_and_the_worker_goes_on() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    let mut mux = Mux::new();
    mux.handle("sync", |_: Context, task: Task| {
        assert_ne!(task.kind(), "sync", "boom");
        async { Ok(()) }
    })
    .expect("free");
    mux.handle("async", |_: Context, _: Task| async { panic!("boom") }).expect("free");
    mux.handle("blocking", |context: Context, _: Task| async move {
        context.run_blocking(|| panic!("boom")).await
    })
    .expect("free");
    mux.handle("t", |_: Context, _: Task| async { Ok(()) }).expect("free");
    for kind in ["sync", "async", "blocking", "t"] {
        enqueue(&broker, Message { kind: kind.into(), ..message(&q, kind) }).await;
    }
    let worker = Worker::start(builder(&broker, &q).concurrency(1), mux);
    until("all have run", || worker.stats.retried() == 3 && worker.stats.succeeded() == 1).await;
    worker.stop().await;
    for id in ["async", "blocking"] {
        let stored = redis.message(&q, id).expect("kept");
        assert_eq!((stored.error.as_str(), stored.retried), ("panic: boom", 1));
    }
    assert!(redis.message(&q, "sync").expect("kept").error.starts_with("panic: "));
    assert_eq!(redis.ids(&q, "retry").len(), 3);
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (4, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_callback_is_told_with_the_failure() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let settings = builder(&broker, &q)
        .on_error(|_, _, _| panic!("one"))
        .is_failure(|_| panic!("two"))
        .retry_delay(|_, _, _| panic!("three"));
    let worker = Worker::start(settings, |_: Context, _: Task| async { Err(HandlerError::msg("no")) });
    until("it has failed", || worker.stats.retried() == 1).await;
    worker.stop().await;
    let stored = redis.message(&q, "1").expect("kept");
    assert_eq!(
        stored.error,
        "no; panic: one (in the error callback); panic: two (in the is-failure callback); \
         panic: three (in the retry-delay callback)"
    );
    assert_eq!(stored.retried, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_its_deadline_a_task_is_archived_without_running() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { deadline_s: now_s() - 1, ..message(&q, "late") }).await;
    let runs = Log::default();
    let log = runs.clone();
    let worker = Worker::start(builder(&broker, &q), move |_: Context, task: Task| {
        log.add(task.id.clone());
        async { Ok(()) }
    });
    until("it is archived", || worker.stats.archived() == 1).await;
    worker.stop().await;
    assert_eq!(runs.all(), Vec::<String>::new());
    let stored = redis.message(&q, "late").expect("kept");
    assert_eq!((stored.error.as_str(), stored.retried), ("context deadline exceeded", 0));
    assert_eq!(redis.ids(&q, "archived"), ["late"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passes_while_it_runs_archives_and_a_timeout_retries() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { timeout_s: 1, ..message(&q, "timeout") }).await;
    // So far ahead that it has begun by then.
    enqueue(&broker, Message { deadline_s: now_s() + 4, ..message(&q, "deadline") }).await;
    let reasons = Log::default();
    let log = reasons.clone();
    let handler = move |context: Context, _: Task| {
        let log = log.clone();
        async move {
            log.add(context.cancelled().await);
            Err(HandlerError::msg("stopped"))
        }
    };
    let worker = Worker::start(builder(&broker, &q).concurrency(2), handler);
    until("both have failed", || worker.stats.failed() == 2).await;
    worker.stop().await;
    assert_eq!(reasons.all(), [CancelReason::Timeout, CancelReason::Timeout]);
    assert_eq!(
        (redis.ids(&q, "retry"), redis.ids(&q, "archived")),
        (vec!["timeout".into()], vec!["deadline".into()])
    );
    for id in ["timeout", "deadline"] {
        let stored = redis.message(&q, id).expect("kept");
        assert_eq!(stored.error, "context deadline exceeded: stopped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_within_the_grace_is_success() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { timeout_s: 1, ..message(&q, "1") }).await;
    let worker = Worker::start(builder(&broker, &q), |context: Context, _: Task| async move {
        context.cancelled().await;
        Ok(())
    });
    until("it has succeeded", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    redis.assert_no_task_left(&q);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kind_of_an_error_decides_what_becomes_of_the_task() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    for (id, max_retry) in [("skip", 25), ("revoke", 25), ("last", 0), ("fail", 25), ("uncounted", 25)] {
        let kept = Message { max_retry, retention_s: 60, ..message(&q, id) };
        enqueue(&broker, kept).await;
    }
    let told = Log::default();
    let log = told.clone();
    let settings = builder(&broker, &q)
        .concurrency(1)
        .on_error(move |context, _, error| log.add((context.id().to_owned(), error.text())))
        .is_failure(|error| error.text() != "uncounted")
        .retry_delay(|retried, _, _| Duration::from_secs(100 + u64::try_from(retried).expect("positive")));
    let worker = Worker::start(settings, |_: Context, task: Task| async move {
        let error = HandlerError::msg(task.id.clone());
        Err(match task.id.as_str() {
            "skip" => HandlerError::skip_retry(error),
            "revoke" => HandlerError::revoke(error),
            _ => error,
        })
    });
    until("all have ended", || worker.stats.failed() + worker.stats.succeeded() == 5).await;
    worker.stop().await;
    assert_eq!(told.len(), 5, "each error is told");
    let mut archived = redis.ids(&q, "archived");
    archived.sort();
    assert_eq!(archived, ["last", "skip"]);
    assert_eq!(redis.message(&q, "revoke"), None, "revoked tasks leave nothing, retention or not");
    let fields =
        |id: &str| redis.message(&q, id).map(|m| (m.error, m.retried, m.last_failed_s > 0)).expect("kept");
    assert_eq!(fields("skip"), ("skip".into(), 0, true));
    assert_eq!(fields("last"), ("last".into(), 0, true));
    assert_eq!(fields("fail"), ("fail".into(), 1, true));
    assert_eq!(fields("uncounted"), ("uncounted".into(), 0, true));
    assert_eq!((redis.count(&q, "processed"), redis.count(&q, "failed")), (4, 3), "the uncounted one is not");
    let at: i64 = redis.run(&["ZSCORE", "asynq:{q}:retry", "fail"]);
    assert!(
        (95..=101).contains(&(at - now_s())),
        "retried after the delay of retry 0, not {} s",
        at - now_s()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_task_keeps_its_result() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { retention_s: 60, ..message(&q, "1") }).await;
    let worker = Worker::start(builder(&broker, &q), |context: Context, _: Task| async move {
        context.result_writer().write("first").await?;
        context.result_writer().write(b"second").await?;
        Ok(())
    });
    until("it has succeeded", || worker.stats.succeeded() == 1).await;
    worker.stop().await;
    let result: String = redis.run(&["HGET", "asynq:{q}:t:1", "result"]);
    let state: String = redis.run(&["HGET", "asynq:{q}:t:1", "state"]);
    assert_eq!((result.as_str(), state.as_str()), ("second", State::Completed.as_str()));
    let stored = redis.message(&q, "1").expect("kept");
    assert!((now_s() - stored.completed_s).abs() <= 5, "{}", stored.completed_s);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_outlives_its_lease_runs_once() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let (runs, go) = (Log::default(), Arc::new(tokio::sync::Notify::new()));
    let start = || {
        let (log, gate) = (runs.clone(), Arc::clone(&go));
        let settings = builder(&broker, &q).lease(Duration::from_secs(1));
        Worker::start(settings, move |_: Context, _: Task| {
            let (log, gate) = (log.clone(), Arc::clone(&gate));
            async move {
                log.add(());
                gate.notified().await;
                Ok(())
            }
        })
    };
    let workers = [start(), start()];
    let lease = || redis.run::<Option<i64>>(&["ZSCORE", "asynq:{q}:lease", "1"]);
    until("it runs", || lease().is_some()).await;
    let first = lease().expect("it runs");
    until("its lease is four leases longer", || lease().is_some_and(|end| end >= first + 4)).await;
    go.notify_waiters();
    until("it has succeeded", || workers.iter().map(|worker| worker.stats.succeeded()).sum::<u64>() == 1)
        .await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(runs.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_owner_is_refused_and_its_handler_told() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let reasons = Log::default();
    let log = reasons.clone();
    let handler = move |context: Context, _: Task| {
        let log = log.clone();
        async move {
            log.add(context.cancelled().await);
            let refused = context.result_writer().write("mine").await;
            assert!(refused.is_err(), "a result of a lost task is refused");
            Ok(())
        }
    };
    let worker = Worker::start(builder(&broker, &q).lease(Duration::from_secs(3)), handler);
    until("it runs", || worker.stats.running() == 1).await;
    let held: String = redis.run(&["HGET", "cronmill:{q}:holders", "1"]);
    let (end, _) = held.split_once(' ').expect("a lease of ours");
    let _: () = redis.run(&["HSET", "cronmill:{q}:holders", "1", &format!("{end} somebody:1:else")]);
    until("its result is discarded", || worker.stats.lost() == 1).await;
    worker.stop().await;
    assert_eq!(reasons.all(), [CancelReason::LeaseLost]);
    assert_eq!(redis.ids(&q, "active"), ["1"], "the other owner's attempt is untouched");
    let result: Option<String> = redis.run(&["HGET", "asynq:{q}:t:1", "result"]);
    assert_eq!(result, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_of_a_task_that_was_taken_away_is_discarded() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&go);
    let worker = Worker::start(builder(&broker, &q), move |_: Context, _: Task| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(())
        }
    });
    until("it runs", || worker.stats.running() == 1).await;
    // As a Go worker's recoverer would do: it knows nothing of owners.
    let _: () = redis.run(&["ZREM", "asynq:{q}:lease", "1"]);
    let _: () = redis.run(&["ZADD", "asynq:{q}:lease", "99999999999", "1"]);
    go.notify_one();
    until("its outcome is refused", || worker.stats.lost() == 1).await;
    worker.stop().await;
    assert!(redis.message(&q, "1").is_some(), "the task stands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_fails_and_is_retried_where_the_worker_is_told_so() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    for id in ["stubborn", "obedient", "skips"] {
        enqueue(&broker, message(&q, id)).await;
    }
    let handler = |context: Context, task: Task| async move {
        match task.id.as_str() {
            "obedient" => {
                assert_eq!(context.cancelled().await, CancelReason::Requested);
                Ok(())
            }
            "skips" => {
                context.cancelled().await;
                Err(HandlerError::skip_retry(HandlerError::msg("enough")))
            }
            _ => std::future::pending().await,
        }
    };
    let settings =
        builder(&broker, &q).concurrency(3).cancel_grace(Duration::from_millis(50)).retry_cancelled(true);
    let worker = Worker::start(settings, handler);
    until("all run", || worker.stats.running() == 3).await;
    until("all have ended", || {
        // Only who listens already hears it.
        for id in ["stubborn", "obedient", "skips"] {
            let _: i64 = redis.run(&["PUBLISH", "asynq:cancel", id]);
        }
        worker.stats.holding() == 0
    })
    .await;
    worker.stop().await;
    assert_eq!(redis.message(&q, "obedient"), None);
    let stored = redis.message(&q, "stubborn").expect("kept");
    assert_eq!((stored.error.as_str(), stored.retried), ("context canceled", 1));
    assert_eq!(
        (redis.ids(&q, "retry"), redis.ids(&q, "archived")),
        (vec!["stubborn".into()], vec!["skips".into()])
    );
}

/// Fields that ought to be text, and how each begins in a message.
const NO_TEXT: [(&str, u8); 3] = [("type", 0x0a), ("queue", 0x22), ("error", 0x3a)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_goes_to_the_archive_and_the_rest_flows() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    redis.push_raw(&q, "bad", b"\x01nonsense");
    // Finishing this under the id in its message would end somebody else's task.
    let foreign = message(&q, "other").encode();
    redis.push_raw(&q, "foreign", &foreign);
    // A later value of a field counts: its number, a length, and a byte that is no text.
    for (field, tag) in NO_TEXT {
        redis.push_raw(&q, field, &[message(&q, field).encode().as_ref(), &[tag, 1, 0xff]].concat());
    }
    enqueue(&broker, message(&q, "good")).await;
    let worker = Worker::start(builder(&broker, &q), |_: Context, _: Task| async { Ok(()) });
    until("all have ended", || worker.stats.succeeded() == 1 && worker.stats.quarantined() == 5).await;
    worker.stop().await;
    let mut archived = redis.ids(&q, "archived");
    archived.sort();
    assert_eq!(archived, ["bad", "error", "foreign", "queue", "type"]);
    for (field, _) in NO_TEXT {
        let error = redis.message(&q, field).expect("kept").error;
        assert!(error.starts_with("decode task message: "), "{field}: {error}");
    }
    let envelope = redis.message(&q, "bad").expect("kept");
    assert_eq!(
        (envelope.kind.as_str(), &envelope.payload[..]),
        (cronmill::task::UNDECODABLE_TYPE, &b"\x01nonsense"[..])
    );
    assert!(envelope.error.starts_with("decode task message: "), "{}", envelope.error);
    assert_eq!(redis.message(&q, "foreign").expect("kept").payload, foreign);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_type_is_put_back_by_name_also_through_middleware() {
    use tower::{ServiceExt, layer::layer_fn};
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, Message { kind: "known".into(), ..message(&q, "1") }).await;
    enqueue(&broker, Message { kind: "strange".into(), ..message(&q, "2") }).await;
    let passed = Log::default();
    let mut mux = Mux::new();
    mux.handle("known", |_: Context, _: Task| async {
        Err(HandlerError::skip_retry(HandlerError::msg("no")))
    })
    .expect("free");
    for name in ["outer", "inner"] {
        let log = passed.clone();
        mux.layer(layer_fn(move |service: cronmill::worker::JobService| {
            let log = log.clone();
            service.map_request(move |job: cronmill::worker::Job| {
                log.add(format!("{} {name}", job.context.id()));
                job
            })
        }));
    }
    let worker = Worker::start(builder(&broker, &q).concurrency(1), mux);
    until("both are over", || worker.stats.failed() == 1 && worker.stats.unserved() == 1).await;
    worker.stop().await;
    assert_eq!(passed.all(), ["1 outer", "1 inner", "2 outer", "2 inner"]);
    assert_eq!(redis.ids(&q, "archived"), ["1"], "the kind of an error passes through middleware");
    let history = broker.task_history(&q, "2").await.expect("read");
    let (_, reason) = history.snoozed.expect("it is put off");
    assert_eq!(reason, "handler not found for task \"strange\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_attempt_at_a_task_given_out_anew_reports_nothing() {
    let (redis, q) = (RedisServer::start(), queue("q"));
    let broker = redis.broker().await;
    enqueue(&broker, message(&q, "1")).await;
    let (begun, go) = (Log::default(), Arc::new(tokio::sync::Notify::new()));
    let (log, gate) = (begun.clone(), Arc::clone(&go));
    let handler = move |context: Context, _: Task| {
        let (log, gate) = (log.clone(), Arc::clone(&gate));
        async move {
            log.add(());
            if log.len() == 1 {
                assert_eq!(context.cancelled().await, CancelReason::LeaseLost);
                return Err(HandlerError::msg("the older one's failure"));
            }
            gate.notified().await;
            Ok(())
        }
    };
    let worker = Worker::start(builder(&broker, &q).concurrency(2), handler);
    until("it runs", || worker.stats.running() == 1).await;
    // As after an outage that outlived the lease: recovered, and claimed by the same worker again.
    for command in ["ZREM asynq:{q}:lease 1", "LREM asynq:{q}:active 0 1", "HSET asynq:{q}:t:1 state pending"]
    {
        let _: i64 = redis.run(&command.split(' ').collect::<Vec<_>>());
    }
    let _: () = redis.run(&["LPUSH", "asynq:{q}:pending", "1"]);
    until("the older one has ended", || begun.len() == 2 && worker.stats.lost() == 1).await;
    assert_eq!(redis.ids(&q, "active"), ["1"], "the newer one goes on");
    go.notify_one();
    until("the newer one has succeeded", || worker.stats.succeeded() == 1).await;
    let stats = worker.stop().await;
    assert_eq!((stats.lost(), stats.failed()), (1, 0));
    redis.assert_no_task_left(&q);
}
