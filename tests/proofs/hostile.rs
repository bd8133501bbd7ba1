//! One key at a time holds what it should not: another type, or noise of its own type. Whatever is asked then answers
//! or says an error, soon and without a panic; other queues are served meanwhile; and once the key is gone, its own is.

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{
    ArchiveLimits, Broker, BulkVerb, CancelThen, ClaimRequest, Claimant, DemandReader, ExpirySearch,
    GroupLimits, NewTask, Owner, Page, PauseNote, Replica, Selection, unique_key,
};
use cronmill::producer::Task as NewTaskOf;
use cronmill::schedule::Entry;
use cronmill::scheduler::Scheduler;
use cronmill::task::{Message, QueueName, State};
use cronmill::worker::{AggregationSet, Context, HandlerError, Server, Task, WorkerError};
use fastrand::Rng;
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

use crate::mutate::{panics, random};
use crate::poison::{KEYS, TYPES, Type, poison};
use crate::support::{RedisServer, full_size, until};

/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long work may take to go on, in the other queue or after the key is gone.
const FLOW_LIMIT: Duration = Duration::from_secs(15);
/// Cases at once.
const AT_ONCE: usize = 6;

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("valid")
}

fn message(queue: &QueueName, id: &str) -> Message {
    let kind = "t".to_owned();
    Message {
        kind,
        id: id.into(),
        queue: queue.to_string(),
        max_retry: 3,
        timeout_s: 1800,
        ..Message::default()
    }
}

/// A Redis with a worker and a scheduler on two queues, of which one is ill-treated.
struct Stage {
    redis: RedisServer,
    broker: Broker,
    ill: QueueName,
    well: QueueName,
    scheduler: Scheduler,
    owner: String,
    done: Arc<Mutex<Vec<String>>>,
    ticks: Arc<Mutex<Vec<QueueName>>>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl Stage {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let broker = Broker::connect(&redis.endpoint()).await.expect("a Redis of our own");
        let (ill, well) = (queue("ill"), queue("well"));
        let (done, ticks) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<QueueName>>>::default());
        let aggregate = |set: AggregationSet| async move {
            Ok::<_, BoxError>(NewTaskOf::new("t", None).queue(set.queue().to_string()))
        };
        let server = Server::builder(broker.clone()).queues([(ill.clone(), 1), (well.clone(), 1)]);
        let server = server.concurrency(4).aggregator(aggregate).build().expect("a worker");
        let (owner, stop, log) = (server.owner().to_string(), CancellationToken::new(), Arc::clone(&done));
        let handler = move |context: Context, _: Task| {
            log.lock().expect("nobody panics while holding it").push(context.id().to_owned());
            async { Ok::<(), HandlerError>(()) }
        };
        let running = tokio::spawn(server.run(handler, stop.clone()));
        let log = Arc::clone(&ticks);
        let scheduler =
            Scheduler::new(broker.clone(), Owner::new("h", 1, "scheduler")).on_tick(move |tick| {
                log.lock().expect("nobody panics while holding it").push(tick.queue.clone())
            });
        let (firing, until_stopped) = (scheduler.clone(), stop.clone());
        tokio::spawn(async move { firing.run(until_stopped).await });
        Self { redis, broker, ill, well, scheduler, owner, done, ticks, stop, running }
    }

    /// Something of everything, so that no key is there for nothing.
    async fn fill(&self) {
        let later = Some(self.broker.now() + SignedDuration::from_hours(1));
        let unique = Message { unique_key: self.lock(), ..message(&self.ill, "u") };
        let in_group = Message { group: "g".into(), ..message(&self.ill, "m") };
        let mut tasks: Vec<NewTask> =
            ["p", "s", "r"].map(|id| NewTask::new(message(&self.ill, id), later)).into();
        tasks.push(NewTask { message: unique, due: later, lock_for: Some(Duration::from_secs(600)) });
        tasks.push(NewTask::new(in_group, None));
        for stored in self.broker.enqueue_batch(&tasks).await {
            stored.expect("stored");
        }
        self.scheduler.apply(&entry("e", &self.ill)).await.expect("in force");
        self.scheduler.apply(&entry("other", &self.well)).await.expect("in force");
    }

    fn lock(&self) -> String {
        unique_key(&self.ill, "t", None)
    }

    fn key(&self, template: &str) -> String {
        let day = self.broker.now().strftime("%Y-%m-%d").to_string();
        let lock = self.lock();
        [
            ("<q>", self.ill.as_str()),
            ("<o>", self.owner.as_str()),
            ("<d>", day.as_str()),
            ("<l>", lock.as_str()),
        ]
        .iter()
        .fold(template.to_owned(), |key, (from, to)| key.replace(from, to))
    }

    /// A task of a queue runs.
    async fn serves(&self, queue: &QueueName, id: &str, due: Option<Timestamp>, what: &str) {
        until(FLOW_LIMIT, &format!("{what}: {queue} takes a task"), async || {
            self.broker.enqueue(&message(queue, id), due).await.is_ok()
        })
        .await;
        until(FLOW_LIMIT, &format!("{what}: a task of {queue} runs"), async || {
            self.done.lock().expect("nobody panics while holding it").iter().any(|done| done == id)
        })
        .await;
    }

    fn ticks_of(&self, queue: &QueueName) -> usize {
        self.ticks
            .lock()
            .expect("nobody panics while holding it")
            .iter()
            .filter(|fired| *fired == queue)
            .count()
    }

    /// The schedule of a queue fires.
    async fn fires(&self, queue: &QueueName, what: &str) {
        let before = self.ticks_of(queue);
        until(FLOW_LIMIT, &format!("{what}: the schedule of {queue} fires"), async || {
            self.ticks_of(queue) > before
        })
        .await;
    }

    async fn stop(self, what: &str) {
        self.stop.cancel();
        let ended = timeout(Duration::from_secs(30), self.running).await;
        ended
            .expect(what)
            .expect(what)
            .unwrap_or_else(|error| panic!("{what}: a part of the worker failed: {error}"));
    }
}

/// A schedule that fires every second.
fn entry(uid: &str, queue: &QueueName) -> Entry {
    let json = format!(
        r#"{{"format":1,"uid":"{uid}","namespace":"n","name":"{uid}","cluster":"c","revision":"0.1.h",
        "timing":{{"schedules":["* * * * * *"]}},
        "template":{{"kind":"t","queue":"{queue}","payload":{{"text":""}},"max_retry":3}}}}"#
    );
    let mut entry = Entry::from_json(json.as_bytes()).expect("an entry");
    entry.revision.hash = entry.content_hash();
    entry
}

/// Asks; what the answer is does not matter, only that there is one.
async fn ask<T, E: Display>(what: &str, question: &str, answer: impl Future<Output = Result<T, E>>) {
    if timeout(ANSWER_LIMIT, answer).await.is_err() {
        panic!("{what}: {question} does not answer");
    }
}

/// Asks all there is to ask about one queue.
async fn ask_everything(stage: &Stage, what: &str) {
    let (broker, q) = (&stage.broker, &stage.ill);
    let owner = Owner::new("host", 2, "another");
    let (hour, now) = (Duration::from_secs(3600), broker.now());
    let page = Page { offset: 0, limit: 100 };
    macro_rules! ask {
        ($($question:ident($($argument:expr),*);)*) => {$(
            ask(what, stringify!($question), broker.$question($($argument),*)).await;
        )*};
    }
    ask! {
        queues();
        servers();
        scheduler_entries();
        scheduler_events("h", page);
        scheduled_queues();
        queue_summary(q);
        queue_memory(q);
        read_fleet_records(std::slice::from_ref(q));
        write_fleet_records(&[(q.clone(), "{}".to_owned())]);
        history(q, 3);
        groups(q, 10);
        group_tasks(q, "g", page);
        pause_state(q);
        entries(q, page);
        entry_count(q);
        due_entries(q, hour, page);
        read_entries(q, &["e".to_owned()]);
        ticks(q, "e", 10);
        facts();
        forward(q);
        recover(q, |_| hour);
        clean(q, ArchiveLimits::default(), 0);
        expire_unstarted(q);
        search_unstarted(q, &mut ExpirySearch::default());
        renew_locks(q);
        reclaim_sets(q);
        enqueue(&message(q, "1"), None);
        enqueue(&message(q, "2"), Some(now));
        enqueue(&Message { group: "g".into(), ..message(q, "3") }, None);
        enqueue_unique(&Message { unique_key: stage.lock(), ..message(q, "4") }, None, Some(hour));
        claim(&ClaimRequest { queue: q, owner: &owner, sequence: 1, max: 1, lease: Duration::from_secs(1) });
        extend(q, &owner, &["1".to_owned()], Duration::from_secs(1));
        write_result(q, &owner, "1", b"result");
        cancel_marks(q, &owner, &["1".to_owned()]);
        is_cordoned(q, &owner);
        take_waiter(q, &owner, Duration::from_secs(1));
        release_waiter(q, &owner);
        claim_queue(q, &Claimant { cluster: "c".into(), uid: "u".into(), object: "n/o".into() });
        yield_queue(q, "c", "u");
        pause(q, &PauseNote::default());
        resume(q, None);
        put_entry(&entry("e2", q), None, None);
        retire_entry(q, "e2", None, false);
        join_replicas(&Replica::new(&owner, None), Duration::from_secs(1));
        leave_replicas(&Replica::new(&owner, None));
    }
    for id in ["p", "s", "u", "m", "1", "2"] {
        ask! {
            task(q, id);
            task_history(q, id);
            cancel_task(q, id, CancelThen::Stop);
            edit_payload(q, id, &Bytes::from_static(b"new"));
            reschedule(q, id, now + SignedDuration::from_hours(1));
            archive(q, id);
            run_now(q, id);
            delete(q, id);
        }
    }
    let limits = GroupLimits { grace: Duration::from_secs(1), max_delay: None, max_size: 10 };
    ask! { say_group_limits(q, &limits); }
    let mut demands = DemandReader::new(broker.clone());
    ask(what, "read the demand", demands.read(&[(q.clone(), hour)])).await;
    let taken = timeout(ANSWER_LIMIT, broker.take_sets(q, None, &limits, 10, Duration::from_secs(1))).await;
    if let Ok(looked) = taken.unwrap_or_else(|_| panic!("{what}: take_sets does not answer")) {
        ask! { read_sets(q, looked.sets); }
    }
    for state in State::ALL {
        ask! {
            tasks(q, state, page);
            tasks_after(q, state, Some("g"), None, 100);
            count_selected(q, &Selection::of(state).kind("t"), |_| {});
        }
        for verb in [BulkVerb::Archive, BulkVerb::Run, BulkVerb::Cancel(CancelThen::Retry), BulkVerb::Delete]
        {
            ask! { bulk(q, verb, &Selection::of(state), |_| {}); }
        }
    }
}

/// One key, one sort of poison.
async fn survives(template: &'static str, kind: Type, mut random: Rng) {
    let stage = Stage::new().await;
    stage.fill().await;
    let key = stage.key(template);
    let what = format!("{key} with {kind:?}");
    let client = redis::Client::open(stage.redis.url()).expect("a URL");
    let mut connection = client.get_connection().expect("it runs");
    poison(&mut random, &mut connection, &key, kind);
    ask_everything(&stage, &what).await;
    // What is asked may have put it right; then it is put wrong again.
    poison(&mut random, &mut connection, &key, kind);
    let is_of_one_queue = key.contains("{ill}");
    if is_of_one_queue {
        stage.serves(&stage.well, "other", None, &what).await;
        stage.fires(&stage.well, &what).await;
    }
    stage.redis.cli(["DEL", &key]);
    stage.serves(&stage.ill, "now", None, &what).await;
    stage.serves(&stage.ill, "due", Some(stage.broker.now()), &what).await;
    // Whoever wrote it writes it again now and then: a second later at the earliest, so often queues are entered anew.
    let fired = stage.ticks_of(&stage.ill);
    until(FLOW_LIMIT, &format!("{what}: the schedule of ill fires"), async || {
        let _in_force_or_not = stage.scheduler.apply(&entry("e", &stage.ill)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.ticks_of(&stage.ill) > fired
    })
    .await;
    stage.stop(&what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_holds_what_it_should_not_stops_nothing_for_good() {
    assert_eq!(panics(), Vec::<String>::new());
    let mut random = random("hostile keys");
    let rounds = full_size(1, 3);
    let mut cases = Vec::new();
    for _ in 0..rounds {
        for (key, own) in KEYS {
            let other = loop {
                let kind = TYPES[random.usize(..5)];
                if kind != own {
                    break kind;
                }
            };
            let kinds: Vec<Type> = full_size(vec![own, other], TYPES.to_vec());
            cases.extend(kinds.into_iter().map(|kind| (key, kind, Rng::with_seed(random.u64(..)))));
        }
    }
    let count = cases.len();
    let case = |(key, kind, random)| AssertUnwindSafe(survives(key, kind, random)).catch_unwind();
    let ended: Vec<_> = stream::iter(cases).map(case).buffer_unordered(AT_ONCE).collect().await;
    let failed = ended.iter().filter(|case| case.is_err()).count();
    let ours: Vec<_> = panics().into_iter().filter(|place| place.starts_with("src/")).collect();
    println!("{count} cases: {} kinds of keys, {failed} failed", KEYS.len());
    assert_eq!(ours, Vec::<String>::new(), "code of ours panicked");
    assert_eq!(failed, 0, "see above");
}

/// A kind of key that is added to the broker has to be added here.
#[test]
fn every_kind_of_key_is_ill_treated() {
    let source = include_str!("../../src/broker/keys.rs");
    let (source, _tests) = source.split_once("#[cfg(test)]").expect("it has tests");
    let mut kinds = Vec::new();
    for (call, prefix) in [
        ("self.asynq(", "asynq:{<q>}:"),
        ("self.ours(", "cronmill:{<q>}:"),
        ("\"asynq:", "asynq:"),
        ("\"cronmill:", "cronmill:"),
    ] {
        for (at, _) in source.match_indices(call) {
            let rest =
                source[at + call.len()..].trim_start_matches(['&', '"']).trim_start_matches("format!(\"");
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !name.is_empty() {
                kinds.push(format!("{prefix}{name}"));
            }
        }
    }
    // The channel is no key; a lock's key is made of its queue, type and payload, a container's of its state; and what
    // all keys of a queue begin with.
    let others = [
        "asynq:cancel",
        "asynq:{<q>}:unique",
        "asynq:{<q>}:state",
        "asynq:{<q>}:nothing",
        "cronmill:{<q>}:nothing",
    ];
    kinds.retain(|kind| !others.contains(&kind.as_str()));
    assert!(kinds.len() > 30, "{kinds:?}");
    for kind in kinds {
        assert!(
            KEYS.iter().any(|(key, _)| key.starts_with(&kind)),
            "{kind} is not in tests/proofs/poison.rs"
        );
    }
}
