//! The broker's operations, each judged by redis-cli.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{
    ArchiveLimits, Broker, ClaimRequest, Claimed, ClaimedTask, Dropped, Enqueued, Extended, Finish,
    FinishOutcome, Finished, NewTask, Owner, Page, PauseNote, Resumed,
};
use cronmill::task::{Message, QueueName, State};
use jiff::{SignedDuration, Timestamp};

use crate::support::RedisServer;

const LEASE: Duration = Duration::from_secs(30);

struct Bench {
    server: RedisServer,
    broker: Broker,
    queue: QueueName,
}

impl Bench {
    async fn new() -> Self {
        let server = RedisServer::start();
        let broker = Broker::connect(&server.endpoint()).await.expect("connect");
        Self { server, broker, queue: QueueName::new("q").expect("valid") }
    }

    fn message(&self, id: &str) -> Message {
        Message {
            kind: "t".into(),
            payload: Bytes::from_static(b"{}"),
            id: id.into(),
            queue: self.queue.to_string(),
            max_retry: 3,
            ..Message::default()
        }
    }

    async fn enqueue(&self, id: &str) {
        let stored = self.broker.enqueue(&self.message(id), None).await.expect("enqueue");
        assert_eq!(stored, Enqueued::Stored);
    }

    async fn answer(&self, owner: &Owner, sequence: u64, max: usize) -> Claimed {
        let request = ClaimRequest { queue: &self.queue, owner, sequence, max, lease: LEASE };
        self.broker.claim(&request).await.expect("claim")
    }

    async fn claim(&self, owner: &Owner, sequence: u64, max: usize) -> Vec<ClaimedTask> {
        match self.answer(owner, sequence, max).await {
            Claimed::Tasks(tasks) => tasks,
            other => panic!("{other:?}"),
        }
    }

    async fn finish(&self, owner: &Owner, message: Message, outcome: FinishOutcome) -> Finished {
        let finishes = [Finish { message: message.into(), outcome, leased_until: Timestamp::UNIX_EPOCH }];
        self.broker.finish(&self.queue, owner, &finishes).await.expect("finish").remove(0)
    }

    fn cli(&self, args: &[&str]) -> String {
        self.server.cli(args)
    }

    /// Makes every lease run out, as if its time had passed.
    fn expire_leases(&self) {
        for id in self.cli(&["ZRANGE", "asynq:{q}:lease", "0", "-1"]).lines() {
            self.cli(&["ZADD", "asynq:{q}:lease", "1000", id]);
            let held = self.cli(&["HGET", "cronmill:{q}:holders", id]);
            let (_, owner) = held.split_once(' ').unwrap_or(("", "nobody"));
            self.cli(&["HSET", "cronmill:{q}:holders", id, &format!("1000 {owner}")]);
        }
    }

    async fn recover(&self) -> cronmill::broker::Recovered {
        self.broker.recover(&self.queue, |_| Duration::from_secs(60)).await.expect("recover")
    }
}

fn owner(name: &str) -> Owner {
    Owner::new("host", 1, name)
}

fn ids(tasks: &[ClaimedTask]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str()).collect()
}

#[tokio::test]
async fn tasks_are_claimed_oldest_first_with_a_lease_each() {
    let bench = Bench::new().await;
    for id in ["a", "b", "c"] {
        bench.enqueue(id).await;
    }
    let claimed = bench.claim(&owner("x"), 1, 2).await;
    assert_eq!(ids(&claimed), ["a", "b"]);
    assert!(claimed[0].pending_since.is_some());
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:active", "0", "-1"]), "b\na");
    assert_eq!(bench.cli(&["ZRANGE", "asynq:{q}:lease", "0", "-1"]), "a\nb");
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "c");
    assert_eq!(bench.cli(&["HGET", "asynq:{q}:t:a", "state"]), "active");
    assert_eq!(bench.cli(&["SMEMBERS", "asynq:queues"]), "q");
}

#[tokio::test]
async fn the_same_claim_again_brings_the_same_tasks() {
    let bench = Bench::new().await;
    for id in ["a", "b", "c", "d"] {
        bench.enqueue(id).await;
    }
    let me = owner("x");
    let first = bench.claim(&me, 7, 2).await;
    let again = bench.claim(&me, 7, 2).await;
    assert_eq!(ids(&first), ids(&again));
    assert_eq!(first[0].leased_until, again[0].leased_until);
    assert_eq!(bench.finish(&me, bench.message("a"), FinishOutcome::Done).await, Finished::Stored);
    assert_eq!(ids(&bench.claim(&me, 7, 2).await), ["b"], "what is finished does not come back");
    assert_eq!(ids(&bench.claim(&me, 8, 2).await), ["c", "d"]);
}

#[tokio::test]
async fn an_id_is_taken_once_and_a_batch_tells_which() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    let task = |id: &str| NewTask::new(bench.message(id), None);
    let verdicts = bench.broker.enqueue_batch(&[task("b"), task("a"), task("b"), task("c")]).await;
    let verdicts: Vec<_> = verdicts.into_iter().map(|verdict| verdict.expect("stored or not")).collect();
    assert_eq!(verdicts, [Enqueued::Stored, Enqueued::Conflict, Enqueued::Conflict, Enqueued::Stored]);
    assert_eq!(bench.cli(&["LLEN", "asynq:{q}:pending"]), "3");
}

#[tokio::test]
async fn a_large_batch_keeps_its_order_over_many_calls() {
    let bench = Bench::new().await;
    let tasks: Vec<_> = (0..1234).map(|n| NewTask::new(bench.message(&format!("{n:04}")), None)).collect();
    for verdict in bench.broker.enqueue_batch(&tasks).await {
        assert_eq!(verdict.expect("stored"), Enqueued::Stored);
    }
    assert_eq!(bench.cli(&["LLEN", "asynq:{q}:pending"]), "1234");
}

#[tokio::test]
async fn a_stale_owner_cannot_finish_extend_or_write_a_result() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    let (stale, fresh) = (owner("stale"), owner("fresh"));
    bench.claim(&stale, 1, 1).await;
    bench.expire_leases();
    assert_eq!(bench.recover().await.requeued, 1);
    bench.claim(&fresh, 1, 1).await;
    assert_eq!(bench.finish(&stale, bench.message("a"), FinishOutcome::Done).await, Finished::Lost);
    let extended = bench.broker.extend(&bench.queue, &stale, &["a".into()], LEASE).await.expect("extend");
    assert_eq!(extended, [Extended::Lost]);
    assert!(!bench.broker.write_result(&bench.queue, &stale, "a", b"x").await.expect("write"));
    assert_eq!(bench.cli(&["HGET", "asynq:{q}:t:a", "state"]), "active");
    assert_eq!(bench.finish(&fresh, bench.message("a"), FinishOutcome::Done).await, Finished::Stored);
    assert_eq!(bench.cli(&["DBSIZE"]), bench.cli(&["EVAL", "return #redis.call('KEYS','*')", "0"]));
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:t:a", "asynq:{q}:active", "asynq:{q}:lease"]), "0");
}

#[tokio::test]
async fn a_lease_that_another_program_renewed_is_not_ours() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    let me = owner("x");
    bench.claim(&me, 1, 1).await;
    // What a Go recoverer and a Go worker do: our hash fields stay, the lease is another.
    bench.cli(&["ZADD", "asynq:{q}:lease", "9999999999", "a"]);
    assert_eq!(bench.finish(&me, bench.message("a"), FinishOutcome::Done).await, Finished::Lost);
    assert_eq!(bench.cli(&["LLEN", "asynq:{q}:active"]), "1");
}

#[tokio::test]
async fn a_finish_is_all_or_nothing() {
    let bench = Bench::new().await;
    for id in ["a", "b"] {
        bench.enqueue(id).await;
    }
    let me = owner("x");
    let leased_until = bench.claim(&me, 1, 2).await[0].leased_until;
    // A retry set of a wrong type makes the one write fail that a retry needs.
    bench.cli(&["SET", "asynq:{q}:retry", "broken"]);
    let retry = FinishOutcome::Retry { at: bench.broker.now(), counts_as_failure: true };
    let finishes = [
        Finish { message: bench.message("a").into(), outcome: retry, leased_until },
        Finish { message: bench.message("b").into(), outcome: FinishOutcome::Done, leased_until },
    ];
    let verdicts = bench.broker.finish(&bench.queue, &me, &finishes).await.expect("finish");
    assert!(matches!(&verdicts[0], Finished::Refused(why) if why.contains("WRONGTYPE")), "{verdicts:?}");
    assert_eq!(verdicts[1], Finished::Stored);
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:active", "0", "-1"]), "a");
    assert_eq!(bench.cli(&["ZRANGE", "asynq:{q}:lease", "0", "-1"]), "a");
    assert_eq!(bench.cli(&["HGET", "asynq:{q}:t:a", "state"]), "active");
    assert_eq!(bench.cli(&["GET", "asynq:{q}:processed"]), "1");
}

#[tokio::test]
async fn each_outcome_leaves_the_task_where_it_belongs() {
    let bench = Bench::new().await;
    let me = owner("x");
    for id in ["done", "complete", "retry", "archive", "requeue", "bad"] {
        bench.enqueue(id).await;
    }
    bench.enqueue("later").await;
    bench.claim(&me, 1, 6).await;
    let now = bench.broker.now();
    let complete = Message { retention_s: 60, completed_s: now.as_second(), ..bench.message("complete") };
    let retry = FinishOutcome::Retry { at: now + SignedDuration::from_secs(9), counts_as_failure: true };
    let quarantine = FinishOutcome::Quarantine {
        id: "bad".into(),
        raw: Bytes::from_static(b"\xff"),
        reason: "no text".into(),
    };
    for (message, outcome) in [
        (bench.message("done"), FinishOutcome::Done),
        (complete, FinishOutcome::Complete),
        (bench.message("retry"), retry),
        (bench.message("archive"), FinishOutcome::Archive),
        (bench.message("requeue"), FinishOutcome::Requeue),
        (bench.message("bad"), quarantine),
    ] {
        assert_eq!(bench.finish(&me, message, outcome).await, Finished::Stored);
    }
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:t:done"]), "0");
    let score = bench.cli(&["ZSCORE", "asynq:{q}:completed", "complete"]);
    assert_eq!(score, (now.as_second() + 60).to_string());
    assert_eq!(bench.cli(&["ZRANGE", "asynq:{q}:retry", "0", "-1"]), "retry");
    assert_eq!(bench.cli(&["ZRANGE", "asynq:{q}:archived", "0", "-1"]), "archive\nbad");
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "later\nrequeue", "requeue is next");
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:active", "asynq:{q}:lease"]), "0");
    assert_eq!(bench.cli(&["GET", "asynq:{q}:processed"]), "5");
    assert_eq!(bench.cli(&["GET", "asynq:{q}:failed"]), "3");
    let view = bench.broker.task(&bench.queue, "bad").await.expect("read").expect("there");
    assert_eq!((view.state, view.message.error.as_str()), (State::Archived, "no text"));
}

#[tokio::test]
async fn a_pause_holds_and_an_empty_queue_says_so() {
    let bench = Bench::new().await;
    let me = owner("x");
    assert!(matches!(bench.answer(&me, 1, 1).await, Claimed::Empty));
    bench.enqueue("a").await;
    let note =
        PauseNote { source: "cli".into(), reason: "migration".into(), actor: "ann".into(), until: None };
    assert!(bench.broker.pause(&bench.queue, &note).await.expect("pause"));
    assert!(matches!(bench.answer(&me, 2, 1).await, Claimed::Paused));
    let state = bench.broker.pause_state(&bench.queue).await.expect("read").expect("paused");
    assert_eq!(state.note, Some(note));
    assert_eq!(bench.broker.resume(&bench.queue, Some("manifest")).await.expect("resume"), Resumed::Foreign);
    assert_eq!(bench.broker.resume(&bench.queue, Some("cli")).await.expect("resume"), Resumed::Lifted);
    assert_eq!(bench.claim(&me, 3, 1).await.len(), 1);
}

#[tokio::test]
async fn a_pause_ends_by_itself_at_its_time() {
    let bench = Bench::new().await;
    let until = bench.broker.now() - SignedDuration::from_secs(1);
    let note = PauseNote { source: "cli".into(), until: Some(until), ..PauseNote::default() };
    bench.broker.pause(&bench.queue, &note).await.expect("pause");
    bench.broker.clean(&bench.queue, ArchiveLimits::default(), 0).await.expect("clean");
    assert_eq!(bench.broker.pause_state(&bench.queue).await.expect("read"), None);
}

#[tokio::test]
async fn a_cordoned_owner_gets_no_work_and_others_do() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    let (out, other) = (owner("out"), owner("in"));
    bench
        .broker
        .cordon(std::slice::from_ref(&bench.queue), std::slice::from_ref(&out), LEASE)
        .await
        .expect("cordon");
    assert!(matches!(bench.answer(&out, 1, 1).await, Claimed::Cordoned));
    assert_eq!(bench.claim(&other, 1, 1).await.len(), 1);
}

#[tokio::test]
async fn due_tasks_go_forward_and_later_ones_wait() {
    let bench = Bench::new().await;
    let now = bench.broker.now();
    for (id, seconds) in [("soon", 1), ("late", 3600)] {
        let due = Some(now + SignedDuration::from_secs(seconds));
        bench.broker.enqueue(&bench.message(id), due).await.expect("schedule");
    }
    bench.cli(&["ZADD", "asynq:{q}:scheduled", "1000", "soon"]);
    let forwarded = bench.broker.forward(&bench.queue).await.expect("forward");
    assert_eq!((forwarded.moved, forwarded.more), (1, false));
    assert_eq!(
        forwarded.next_due.expect("late").as_second(),
        (now + SignedDuration::from_secs(3600)).as_second() + 1
    );
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "soon");
    assert_eq!(bench.cli(&["HGET", "asynq:{q}:t:soon", "state"]), "pending");
}

#[tokio::test]
async fn a_crash_costs_no_attempt_until_the_third() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    for crash in 0..2 {
        bench.claim(&owner("x"), crash, 1).await;
        let crashes = bench.cli(&["HGET", "asynq:{q}:t:a", "cronmill_crashes"]);
        assert_eq!(crashes.parse().unwrap_or(0), crash);
        bench.expire_leases();
        assert_eq!(bench.recover().await.requeued, 1);
    }
    bench.claim(&owner("x"), 9, 1).await;
    bench.expire_leases();
    assert_eq!(bench.recover().await.retried, 1);
    let view = bench.broker.task(&bench.queue, "a").await.expect("read").expect("there");
    assert_eq!((view.state, view.message.retried, view.crashes), (State::Retry, 1, 0));
    assert!(view.message.error.contains("worker vanished"), "{}", view.message.error);
}

#[tokio::test]
async fn a_foreign_lease_gets_thirty_seconds_of_grace() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    bench.claim(&owner("x"), 1, 1).await;
    let now = bench.broker.now().as_second();
    // As a Go worker would hold it: its own lease end, none of our fields valid.
    bench.cli(&["ZADD", "asynq:{q}:lease", &(now - 20).to_string(), "a"]);
    assert_eq!(bench.recover().await.requeued, 0);
    bench.cli(&["ZADD", "asynq:{q}:lease", &(now - 31).to_string(), "a"]);
    assert_eq!(bench.recover().await.requeued, 1);
}

#[tokio::test]
async fn what_is_past_its_time_is_deleted_with_its_hash() {
    let bench = Bench::new().await;
    for n in 0..150 {
        let id = format!("{n}");
        bench.cli(&["HSET", &format!("asynq:{{q}}:t:{id}"), "msg", "x", "state", "completed"]);
        bench.cli(&["ZADD", "asynq:{q}:completed", "1000", &id]);
    }
    let first = bench.broker.clean(&bench.queue, ArchiveLimits::default(), 0).await.expect("clean");
    assert_eq!((first.expired, first.more), (100, true));
    let second = bench.broker.clean(&bench.queue, ArchiveLimits::default(), 0).await.expect("clean");
    assert_eq!((second.expired, second.more), (50, false));
    assert_eq!(bench.cli(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn the_archive_is_trimmed_to_its_limits() {
    let bench = Bench::new().await;
    for n in 0..30 {
        bench.cli(&["HSET", &format!("asynq:{{q}}:t:{n}"), "msg", "x", "state", "archived"]);
        bench.cli(&["ZADD", "asynq:{q}:archived", &(4_000_000_000_u64 + n).to_string(), &n.to_string()]);
    }
    let limits = ArchiveLimits { tasks_max: 10, ..ArchiveLimits::default() };
    let cleaned = bench.broker.clean(&bench.queue, limits, 0).await.expect("clean");
    assert_eq!(cleaned.dropped, Dropped { age: 0, number: 20 });
    assert_eq!(bench.cli(&["ZCARD", "asynq:{q}:archived"]), "10");
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:t:0", "asynq:{q}:t:29"]), "1");
}

#[tokio::test]
async fn each_task_dropped_from_the_archive_is_counted_by_the_limit_it_was_over() {
    let bench = Bench::new().await;
    let now = bench.broker.now().as_second();
    for n in 0..250 {
        let at = if n < 130 { now - 7200 } else { now - 60 };
        bench.cli(&["HSET", &format!("asynq:{{q}}:t:{n}"), "msg", "x", "state", "archived"]);
        bench.cli(&["ZADD", "asynq:{q}:archived", &at.to_string(), &n.to_string()]);
    }
    let limits = ArchiveLimits { tasks_max: 100, age_max: Duration::from_secs(3600) };
    let mut steps = Vec::new();
    loop {
        let cleaned = bench.broker.clean(&bench.queue, limits, 0).await.expect("clean");
        steps.push(cleaned.dropped);
        if !cleaned.more {
            break;
        }
    }
    let sum = |of: fn(&Dropped) -> u64| steps.iter().map(of).sum::<u64>();
    assert_eq!((sum(|step| step.age), sum(|step| step.number)), (130, 20));
    assert!(steps.iter().all(|step| step.total() <= 100), "{steps:?}");
    let summary = bench.broker.queue_summary(&bench.queue).await.expect("summary");
    assert_eq!((summary.dropped, summary.archived), (Dropped { age: 130, number: 20 }, 100));
    assert_eq!(bench.server.keys("asynq:{q}:t:*").len(), 100);
}

#[tokio::test]
async fn an_id_in_active_without_a_lease_is_brought_back() {
    let bench = Bench::new().await;
    bench.enqueue("a").await;
    bench.claim(&owner("x"), 1, 1).await;
    bench.cli(&["ZREM", "asynq:{q}:lease", "a"]);
    bench.cli(&["LPUSH", "asynq:{q}:active", "ghost"]);
    let cleaned = bench.broker.clean(&bench.queue, ArchiveLimits::default(), 0).await.expect("clean");
    assert_eq!(cleaned.stranded, 2);
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:active", "0", "-1"]), "a");
    bench.expire_leases();
    assert_eq!(bench.recover().await.requeued, 1);
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "a");
}

#[tokio::test]
async fn the_note_of_a_holder_goes_with_its_lease() {
    let bench = Bench::new().await;
    for id in ["taken", "held"] {
        bench.enqueue(id).await;
    }
    bench.claim(&owner("x"), 1, 2).await;
    // What Go's recoverer does: it knows nothing of our notes.
    bench.cli(&["LREM", "asynq:{q}:active", "1", "taken"]);
    bench.cli(&["ZREM", "asynq:{q}:lease", "taken"]);
    for _ in 0..2 {
        bench.broker.clean(&bench.queue, ArchiveLimits::default(), 0).await.expect("clean");
        assert_eq!(bench.cli(&["HKEYS", "cronmill:{q}:holders"]), "held");
    }
}

#[tokio::test]
async fn a_claim_that_cannot_be_noted_changes_nothing() {
    for (key, other) in
        [("cronmill:{q}:holders", "asynq:{q}:active"), ("asynq:{q}:active", "cronmill:{q}:holders")]
    {
        let bench = Bench::new().await;
        bench.enqueue("a").await;
        bench.cli(&["SET", key, "no container"]);
        let me = owner("x");
        let request = ClaimRequest {
            queue: &bench.queue,
            owner: &me,
            sequence: 1,
            max: 5,
            lease: Duration::from_secs(30),
        };
        bench.broker.claim(&request).await.expect_err("refused");
        assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "a");
        assert_eq!(bench.cli(&["HGET", "asynq:{q}:t:a", "state"]), "pending");
        assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:lease", other]), "0");
        bench.cli(&["DEL", key]);
        assert_eq!(ids(&bench.claim(&me, 2, 5).await), ["a"]);
    }
}

#[tokio::test]
async fn an_id_without_a_task_does_not_strand() {
    let bench = Bench::new().await;
    bench.cli(&["LPUSH", "asynq:{q}:pending", "ghost"]);
    bench.enqueue("a").await;
    assert_eq!(ids(&bench.claim(&owner("x"), 1, 5).await), ["a"]);
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:active", "0", "-1"]), "a");
    assert_eq!(bench.cli(&["EXISTS", "asynq:{q}:t:ghost"]), "0");
}

#[tokio::test]
async fn two_owners_wait_and_a_third_does_not() {
    let bench = Bench::new().await;
    let turn = Duration::from_secs(10);
    for (name, taken) in [("a", true), ("b", true), ("c", false), ("a", true)] {
        let got = bench.broker.take_waiter(&bench.queue, &owner(name), turn).await.expect("take");
        assert_eq!(got, taken, "{name}");
    }
    bench.broker.release_waiter(&bench.queue, &owner("a")).await.expect("release");
    assert!(bench.broker.take_waiter(&bench.queue, &owner("c"), turn).await.expect("take"));
}

#[tokio::test]
async fn a_waiter_wakes_when_a_task_comes_and_changes_nothing() {
    let bench = Bench::new().await;
    let mut waiter = bench.broker.waiter(&bench.queue).await.expect("waiter");
    assert!(!waiter.wait(Duration::from_millis(50)).await.expect("wait"));
    let waiting = tokio::spawn(async move { waiter.wait(Duration::from_secs(20)).await });
    bench.enqueue("a").await;
    assert!(waiting.await.expect("joined").expect("wait"));
    assert_eq!(bench.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "a");
}

#[tokio::test]
async fn pages_walk_a_queue_oldest_first() {
    let bench = Bench::new().await;
    for n in 0..5 {
        bench.enqueue(&n.to_string()).await;
    }
    for (offset, expected) in [(0, vec!["0", "1"]), (2, vec!["2", "3"]), (4, vec!["4"]), (6, vec![])] {
        let page = Page { offset, limit: 2 };
        let tasks = bench.broker.tasks(&bench.queue, State::Pending, page).await.expect("page");
        assert_eq!(tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), expected);
    }
    let summary = bench.broker.queue_summary(&bench.queue).await.expect("summary");
    assert_eq!((summary.pending, summary.size()), (5, 5));
}

#[tokio::test]
async fn a_payload_of_ten_megabytes_goes_through() {
    let bench = Bench::new().await;
    let message = Message { payload: Bytes::from(vec![7; 10 << 20]), ..bench.message("big") };
    bench.broker.enqueue(&message, None).await.expect("enqueue");
    bench.enqueue("small").await;
    let claimed = bench.claim(&owner("x"), 1, 5).await;
    assert_eq!(ids(&claimed), ["big"], "a claim is bounded in bytes");
    assert_eq!(claimed[0].body.as_ref().expect("decodes").payload.len(), 10 << 20);
}
