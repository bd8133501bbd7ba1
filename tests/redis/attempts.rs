//! What becomes of attempts that are cancelled, put off or never begun, and what a task remembers of them.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{
    Broker, CancelThen, Cancelled, ClaimRequest, Claimed, Extended, Finish, FinishOutcome, Finished, Owner,
    Recovered,
};
use cronmill::task::{EXPIRES_HEADER, Message, QueueName, State};
use jiff::SignedDuration;

use crate::support::RedisServer;

const LEASE: Duration = Duration::from_secs(30);

struct Bench {
    server: RedisServer,
    broker: Broker,
    queue: QueueName,
    me: Owner,
    claims: u64,
}

impl Bench {
    async fn new() -> Self {
        let server = RedisServer::start();
        let broker = Broker::connect(&server.endpoint()).await.expect("connect");
        let queue = QueueName::new("q").expect("valid");
        Self { server, broker, queue, me: Owner::new("host", 1, "x"), claims: 0 }
    }

    fn message(&self, id: &str) -> Message {
        let (kind, queue) = ("t".into(), self.queue.to_string());
        Message { kind, id: id.into(), queue, max_retry: 3, ..Message::default() }
    }

    /// Enqueues a task and claims it.
    async fn claim(&mut self, message: Message) -> Message {
        self.broker.enqueue(&message, None).await.expect("enqueue");
        self.claim_next().await
    }

    async fn claim_next(&mut self) -> Message {
        self.claims += 1;
        let request =
            ClaimRequest { queue: &self.queue, owner: &self.me, sequence: self.claims, max: 1, lease: LEASE };
        match self.broker.claim(&request).await.expect("claim") {
            Claimed::Tasks(mut tasks) => tasks.remove(0).body.expect("a message"),
            other => panic!("{other:?}"),
        }
    }

    async fn finish(&self, message: Message, outcome: FinishOutcome) -> Finished {
        // What is told of its end is a hint only: what counts stands in Redis.
        let leased_until = self.broker.now();
        let finishes = [Finish { message: message.into(), outcome, leased_until }];
        self.broker.finish(&self.queue, &self.me, &finishes).await.expect("finish").remove(0)
    }

    async fn cancel(&self, id: &str, then: CancelThen) -> Cancelled {
        self.broker.cancel_task(&self.queue, id, then).await.expect("cancel")
    }

    async fn extend(&self, id: &str) -> Extended {
        self.broker.extend(&self.queue, &self.me, &[id.into()], LEASE).await.expect("extend").remove(0)
    }

    async fn marks(&self, id: &str) -> Option<CancelThen> {
        self.broker.cancel_marks(&self.queue, &self.me, &[id.into()]).await.expect("read").remove(0)
    }

    /// Makes the lease of a task run out as if its time had passed, its marks included.
    fn expire_lease(&self, id: &str) {
        let task = format!("asynq:{{q}}:t:{id}");
        let mark = self.cli(&["HGET", &task, "cronmill_cancel"]);
        self.cli(&["ZADD", "asynq:{q}:lease", "1000", id]);
        self.cli(&["HSET", "cronmill:{q}:holders", id, "1000 host:1:x"]);
        if let Some((_, what)) = mark.split_once('|') {
            self.cli(&["HSET", &task, "cronmill_cancel", &format!("1000|{what}")]);
        }
    }

    async fn recover(&self) -> Recovered {
        self.broker.recover(&self.queue, |_| Duration::from_secs(60)).await.expect("recover")
    }

    async fn look(&self, id: &str) -> (State, Message) {
        let view = self.broker.task(&self.queue, id).await.expect("read").expect("there");
        (view.state, view.message)
    }

    fn retry(&self) -> FinishOutcome {
        FinishOutcome::Retry {
            at: self.broker.now() + SignedDuration::from_secs(60),
            counts_as_failure: true,
        }
    }

    fn snooze(&self, reason: &str) -> FinishOutcome {
        let at = self.broker.now() + SignedDuration::from_secs(60);
        FinishOutcome::Snooze { at, reason: reason.into() }
    }

    fn counts(&self) -> [String; 2] {
        ["processed", "failed"].map(|name| self.cli(&["GET", &format!("asynq:{{q}}:{name}")]))
    }

    fn cli(&self, args: &[&str]) -> String {
        self.server.cli(args)
    }
}

#[tokio::test]
async fn a_cancel_says_whether_the_task_was_active() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.cancel("a", CancelThen::Stop).await, Cancelled::Absent);
    bench.broker.enqueue(&bench.message("a"), None).await.expect("enqueue");
    assert_eq!(bench.cancel("a", CancelThen::Stop).await, Cancelled::NotActive(State::Pending));
    assert_eq!(bench.cli(&["HEXISTS", "asynq:{q}:t:a", "cronmill_cancel"]), "0");
    bench.claim_next().await;
    for _ in 0..2 {
        assert_eq!(bench.cancel("a", CancelThen::Stop).await, Cancelled::Asked(Some("host:1:x".into())));
    }
    // What a Go worker runs has no lease of ours to name: it can only be told.
    bench.cli(&["ZADD", "asynq:{q}:lease", "9999999999", "a"]);
    assert_eq!(bench.cancel("a", CancelThen::Stop).await, Cancelled::Asked(None));
}

#[tokio::test]
async fn a_mark_is_found_by_a_read_and_by_every_extension_and_goes_along_with_the_lease() {
    let mut bench = Bench::new().await;
    bench.claim(bench.message("a")).await;
    assert_eq!((bench.marks("a").await, bench.marks("nothing").await), (None, None));
    assert!(matches!(bench.extend("a").await, Extended::Until(_)));
    bench.cancel("a", CancelThen::Retry).await;
    assert_eq!(bench.marks("a").await, Some(CancelThen::Retry));
    bench.cancel("a", CancelThen::Stop).await;
    for lease in [Duration::from_secs(40), Duration::from_secs(50)] {
        let ids = ["a".to_owned()];
        let extended = bench.broker.extend(&bench.queue, &bench.me, &ids, lease).await.expect("extend");
        assert!(matches!(extended[..], [Extended::Cancelled(_, CancelThen::Stop)]), "{extended:?}");
        assert_eq!(bench.marks("a").await, Some(CancelThen::Stop));
    }
}

#[tokio::test]
async fn a_mark_counts_for_the_attempt_it_was_meant_for_only() {
    let mut bench = Bench::new().await;
    let message = bench.claim(bench.message("a")).await;
    bench.cancel("a", CancelThen::Retry).await;
    bench.finish(message, bench.retry()).await;
    bench.broker.run_now(&bench.queue, "a").await.expect("run");
    bench.claim_next().await;
    assert_eq!(bench.marks("a").await, None, "the attempt it was meant for has ended");
    bench.cancel("a", CancelThen::Stop).await;
    // What Go's programs do leaves the mark behind: another lease, and the mark means nothing any more.
    bench.cli(&["ZADD", "asynq:{q}:lease", "9999999999", "a"]);
    bench.cli(&["HSET", "cronmill:{q}:holders", "a", "9999999999 host:1:x"]);
    assert_eq!(bench.marks("a").await, None);
    assert!(matches!(bench.extend("a").await, Extended::Until(_)));
}

#[tokio::test]
async fn whatever_end_a_cancelled_attempt_finds_it_is_the_last() {
    let mut bench = Bench::new().await;
    let outcomes = [
        ("requeue", FinishOutcome::Requeue, "cancelled by request"),
        ("snooze", bench.snooze("later"), "cancelled by request"),
        ("retry", bench.retry(), "boom"),
        ("withdraw", FinishOutcome::Withdraw, "boom"),
    ];
    for (id, outcome, error) in outcomes {
        let message = bench.claim(bench.message(id)).await;
        bench.cancel(id, CancelThen::Stop).await;
        let error_then = if error == "boom" { "boom" } else { "" };
        let message = Message { error: error_then.into(), ..message };
        assert_eq!(bench.finish(message.clone(), outcome.clone()).await, Finished::Stored);
        assert_eq!(bench.finish(message, outcome).await, Finished::Lost, "told twice");
        let (state, stored) = bench.look(id).await;
        assert_eq!((state, stored.error.as_str()), (State::Archived, error), "{id}");
        let archived: i64 = bench.cli(&["ZSCORE", "asynq:{q}:archived", id]).parse().expect("a number");
        assert!((archived - bench.broker.now().as_second()).abs() <= 2, "{id}");
    }
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:pending", "asynq:{q}:scheduled", "asynq:{q}:retry"]), "0");
    assert_eq!(bench.counts(), ["1", "1"], "only the failure of its own counts");
    let done = bench.claim(bench.message("done")).await;
    bench.cancel("done", CancelThen::Stop).await;
    bench.finish(done, FinishOutcome::Done).await;
    assert_eq!(bench.counts(), ["2", "1"], "what was done is done");
}

#[tokio::test]
async fn a_cancelled_task_whose_worker_died_does_not_run_again() {
    let mut bench = Bench::new().await;
    for (id, then) in [("stop", CancelThen::Stop), ("retry", CancelThen::Retry)] {
        bench.claim(bench.message(id)).await;
        bench.cancel(id, then).await;
        bench.expire_lease(id);
    }
    let recovered = bench.recover().await;
    assert_eq!((recovered.cancelled, recovered.requeued), (1, 1));
    assert_eq!(bench.recover().await, Recovered::default());
    let (state, message) = bench.look("stop").await;
    let error = "cancelled by request: its worker vanished";
    assert_eq!((state, message.error.as_str(), message.retried), (State::Archived, error, 0));
    assert_eq!(bench.look("retry").await.0, State::Pending);
    assert_eq!(bench.counts(), ["", ""]);
    let history = bench.broker.task_history(&bench.queue, "stop").await.expect("read");
    assert_eq!((history.errors[0].owner.as_str(), history.errors[0].text.as_str()), ("host:1:x", error));
}

#[tokio::test]
async fn a_snooze_spends_no_attempt_and_is_counted_with_its_reason() {
    let mut bench = Bench::new().await;
    let sent = bench.message("a");
    let before = sent.encode();
    let message = bench.claim(sent).await;
    let outcome = bench.snooze("busy");
    let FinishOutcome::Snooze { at, .. } = outcome else { panic!("it is one") };
    assert_eq!(bench.finish(message.clone(), outcome.clone()).await, Finished::Stored);
    assert_eq!(bench.finish(message, outcome).await, Finished::Lost, "told twice");
    let (state, _) = bench.look("a").await;
    assert_eq!(state, State::Scheduled);
    let raw = bench.server.cli_bytes(["HGET", "asynq:{q}:t:a", "msg"]);
    assert_eq!(Bytes::from(raw), before, "the message is untouched");
    assert_eq!(bench.counts(), ["", ""], "neither processed nor failed");
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:active", "asynq:{q}:lease"]), "0");
    let until = bench.cli(&["ZSCORE", "asynq:{q}:scheduled", "a"]).parse::<i64>().expect("a number");
    assert!((0..=1).contains(&(until - at.as_second())), "rounded up");
    for n in 2..=3 {
        bench.broker.run_now(&bench.queue, "a").await.expect("run");
        let message = bench.claim_next().await;
        bench.finish(message, bench.snooze(&format!("busy {n}"))).await;
    }
    let history = bench.broker.task_history(&bench.queue, "a").await.expect("read");
    assert_eq!((history.snoozes, history.errors.len()), (3, 0));
    assert_eq!(history.snoozed.expect("a note").1, "busy 3");
}

#[tokio::test]
async fn the_last_ten_errors_are_remembered_beside_the_message() {
    let mut bench = Bench::new().await;
    let mut message = bench.claim(Message { max_retry: 99, ..bench.message("a") }).await;
    for n in 0..12 {
        message.error = format!("error {n} {}", "x".repeat(3000));
        message.retried += 1;
        bench.finish(message, bench.retry()).await;
        bench.broker.run_now(&bench.queue, "a").await.expect("run");
        message = bench.claim_next().await;
    }
    message.error = "the end".into();
    bench.finish(message, FinishOutcome::Archive).await;
    let history = bench.broker.task_history(&bench.queue, "a").await.expect("read");
    assert_eq!((history.errors.len(), history.errors_total), (10, 13));
    let (first, last) = (&history.errors[0], &history.errors[9]);
    assert_eq!((first.attempt, first.owner.as_str(), first.text.as_str()), (12, "host:1:x", "the end"));
    assert!(last.text.starts_with("error 3 x") && last.attempt == 3, "{last:?}");
    assert!(history.errors.iter().all(|error| error.text.len() <= 1024));
    let age = bench.broker.now().duration_since(first.at);
    assert!(age < SignedDuration::from_secs(60) && first.at >= last.at);
    assert_eq!(bench.cli(&["HLEN", "asynq:{q}:t:a"]), "13", "state, msg, 10 errors, their number");
}

#[tokio::test]
async fn whatever_stands_in_fields_of_ours_an_attempt_ends() {
    let mut bench = Bench::new().await;
    let outcomes =
        [("retry", bench.retry()), ("snooze", bench.snooze("busy")), ("archive", FinishOutcome::Archive)];
    for (id, outcome) in outcomes {
        let message = bench.claim(bench.message(id)).await;
        for field in ["errors", "error:1", "snoozes", "snoozed", "cancel"] {
            bench.cli(&[
                "HSET",
                &format!("asynq:{{q}}:t:{id}"),
                &format!("cronmill_{field}"),
                "|\u{1}|stop|",
            ]);
        }
        assert!(matches!(bench.extend(id).await, Extended::Until(_)));
        assert_eq!(bench.marks(id).await, None);
        assert_eq!(bench.finish(message, outcome).await, Finished::Stored);
        let history = bench.broker.task_history(&bench.queue, id).await.expect("read");
        assert_eq!((history.errors.len(), history.snoozes), (0, 0), "{history:?}");
    }
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:active", "asynq:{q}:lease"]), "0");
}

#[tokio::test]
async fn a_success_without_errors_before_it_writes_nothing_more() {
    let mut bench = Bench::new().await;
    let message = bench.claim(Message { retention_s: 60, ..bench.message("a") }).await;
    bench.finish(message, FinishOutcome::Complete).await;
    let mut fields = bench.server.cli_lines(["HKEYS", "asynq:{q}:t:a"]);
    fields.sort();
    assert_eq!(fields, ["msg", "state"]);
}

fn expiring(bench: &Bench, id: &str, in_s: i64) -> Message {
    let mut message = bench.message(id);
    let at = (bench.broker.now().as_second() + in_s).to_string();
    message.set_headers([(EXPIRES_HEADER.to_owned(), at)].into());
    message
}

#[tokio::test]
async fn keeping_archives_what_nobody_began_in_time_and_nothing_else() {
    let bench = Bench::new().await;
    let lock = "asynq:{q}:unique:t:x";
    bench.cli(&["SET", lock, "late"]);
    let late = Message { unique_key: lock.into(), ..expiring(&bench, "late", 0) };
    let tried = Message { retried: 1, ..expiring(&bench, "tried", -9) };
    let large = Message { payload: vec![b'c'; 20_000].into(), ..expiring(&bench, "large", -9) };
    let mut odd = bench.message("odd");
    odd.set_headers([(EXPIRES_HEADER.to_owned(), "soon".to_owned())].into());
    let quoting = Message { payload: EXPIRES_HEADER.into(), ..bench.message("quoting") };
    for message in [late, expiring(&bench, "early", 60), tried, large, odd, quoting] {
        bench.broker.enqueue(&message, None).await.expect("enqueue");
    }
    assert_eq!(bench.broker.expire_unstarted(&bench.queue).await.expect("expire"), 1);
    assert_eq!(bench.broker.expire_unstarted(&bench.queue).await.expect("expire"), 0, "safe to repeat");
    let (state, message) = bench.look("late").await;
    assert!(state == State::Archived && message.error.starts_with("expired: "), "{message:?}");
    assert_eq!(bench.cli(&["EXISTS", lock]), "0", "its lock is given back");
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "quoting\nodd\nlarge\ntried\nearly");
    assert_eq!(bench.counts(), ["", ""]);
}

#[tokio::test]
async fn an_expired_task_is_never_in_two_places() {
    let bench = Bench::new().await;
    bench.broker.enqueue(&expiring(&bench, "a", -1), None).await.expect("enqueue");
    // The archive cannot take it: then it stays where it is.
    bench.cli(&["SET", "asynq:{q}:archived", "broken"]);
    assert_eq!(bench.broker.expire_unstarted(&bench.queue).await.expect("expire"), 0);
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "a");
    bench.cli(&["DEL", "asynq:{q}:archived"]);
    assert_eq!(bench.broker.expire_unstarted(&bench.queue).await.expect("expire"), 1);
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:pending"]), "0");
}
