//! Fleets at zero: what wakes them, and that it does so in time.

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::{Broker, ClaimRequest, Claimed, Finish, FinishOutcome, GroupLimits, Owner, Page};
use cronmill::producer::{Client, Task};
use cronmill::task::{QueueName, State};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::field::{Field, LIMIT, Replica, on_queues, queue, task};
use crate::support::{Process, full_size, until};

/// How far ahead a fleet looks whose lead time was never measured: 5 s, a quarter, and a second.
const AHEAD: Duration = Duration::from_millis(7250);

/// A TaskQueue whose queue has its name, in Redis too.
pub(crate) fn served(name: &str) -> String {
    on_queues(name, &[name], "workers: {scaling: {stabilization: 0s}}") + "---\n"
}

async fn connect(field: &Field) -> Broker {
    Broker::connect(&field.redis.plain_url().parse().unwrap()).await.unwrap()
}

/// When the operator said that it scales a fleet to that number, the last time.
pub(crate) fn scaled(operator: &Replica, queue: &str, to: u32) -> Option<Timestamp> {
    let said = format!("scales {queue} from ");
    let mut lines = operator.process.stderr().into_iter().chain(operator.process.stdout());
    let line = lines.rfind(|line| line.contains(&said) && line.contains(&format!(" to {to}: ")))?;
    line.split_whitespace().find_map(|word| word.parse().ok())
}

#[tokio::test]
async fn the_first_task_of_an_idle_queue_wakes_its_fleet_at_once_and_any_task_within_a_second() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {scaling: {stabilization: 0s}}"));
    field.ready("taskqueue", "main").await;
    until(LIMIT, "there is a fleet of none", async || field.replicas("main") == Some(0)).await;
    let name = format!("{}/main", field.namespace);
    let burst = async || {
        let arrived = Timestamp::now();
        field.cli(&["LPUSH", "asynq:{default}:pending", "task"]);
        let is_decided = || scaled(&operator, &name, 1).filter(|at| *at > arrived);
        until(LIMIT, "it is scaled", async || is_decided().is_some()).await;
        let took = is_decided().unwrap().duration_since(arrived);
        until(LIMIT, "there is one", async || field.replicas("main") == Some(1)).await;
        field.cli(&["DEL", "asynq:{default}:pending"]);
        until(LIMIT, "there is none", async || field.replicas("main") == Some(0)).await;
        took
    };
    let (mut waited, mut looked) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        until(LIMIT, "the operator waits on it", async || {
            field.cli(&["ZCARD", "cronmill:{default}:waiters"]) == "1"
        })
        .await;
        waited.push(burst().await);
    }
    // Others have the places of those who wait, so it has to be seen by a look.
    for _ in 0..3 {
        let later = (Timestamp::now().as_millisecond() + 600_000).to_string();
        field.cli(&["ZADD", "cronmill:{default}:waiters", &later, "one", &later, "other"]);
        until(LIMIT, "the operator has gone", async || {
            field.cli(&["ZCARD", "cronmill:{default}:waiters"]) == "2"
        })
        .await;
        looked.push(burst().await);
    }
    println!("decided after {waited:?} where it waits, {looked:?} where it looks");
    waited.sort();
    looked.sort();
    // A busy machine may hold up one or the other.
    assert!(waited[3] < SignedDuration::from_millis(500), "{waited:?}");
    assert!(looked[1] < SignedDuration::from_secs(1), "{looked:?}");
}

/// Waits for the fleet of a queue to be woken; answers how long before that moment.
async fn woken(field: &Field, name: &str, due: Timestamp) -> SignedDuration {
    until(LIMIT, &format!("the fleet of {name} is woken"), async || field.replicas(name) == Some(1)).await;
    due.duration_since(Timestamp::now())
}

#[tokio::test]
async fn work_to_come_wakes_a_fleet_at_zero_in_time_and_what_was_left_does_at_once() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    let names = ["scheduled", "retried", "grouped", "left"];
    field.apply(&names.map(served).concat());
    for name in names {
        field.ready("taskqueue", name).await;
        until(LIMIT, "there is a fleet of none", async || field.replicas(name) == Some(0)).await;
    }
    let broker = connect(&field).await;
    let (client, owner) = (Client::new(broker.clone()), Owner::new("dead", 1, "run"));
    let new = |queue: &str| Task::new("t", Bytes::from_static(b"{}")).queue(queue).max_retry(3);
    let claim = async |queue: &QueueName, lease| {
        let request = ClaimRequest { queue, owner: &owner, sequence: 1, max: 1, lease };
        match broker.claim(&request).await.unwrap() {
            Claimed::Tasks(mut tasks) => tasks.remove(0),
            other => panic!("{other:?}"),
        }
    };
    // Claimed at once, since the operator would wake their fleets.
    let retried = QueueName::new("retried").unwrap();
    client.enqueue(new("retried")).await.unwrap();
    let taken = claim(&retried, Duration::from_secs(60)).await;
    let left = QueueName::new("left").unwrap();
    client.enqueue(new("left")).await.unwrap();
    claim(&left, Duration::from_secs(1)).await;
    until(LIMIT, "what a dead worker left wakes its fleet", async || field.replicas("left") == Some(1)).await;

    let in_time = Duration::from_secs(25);
    let due = broker.now() + SignedDuration::try_from(in_time).unwrap();
    client.enqueue(new("scheduled").after(in_time)).await.unwrap();
    let outcome = FinishOutcome::Retry { at: due, counts_as_failure: true };
    let message = taken.body.unwrap().into();
    let finish = Finish { message, outcome, leased_until: taken.leased_until };
    broker.finish(&retried, &owner, &[finish]).await.unwrap();
    let limits = GroupLimits { grace: in_time, max_delay: None, max_size: 200 };
    broker.say_group_limits(&QueueName::new("grouped").unwrap(), &limits).await.unwrap();
    client.enqueue(new("grouped").group("g")).await.unwrap();

    until(LIMIT, "the retried one's fleet is at rest", async || field.replicas("retried") == Some(0)).await;
    let early = due.duration_since(broker.now());
    assert!(early > SignedDuration::try_from(AHEAD).unwrap(), "there is time left to look: {early:?}");
    assert_eq!(["scheduled", "grouped"].map(|name| field.replicas(name)), [Some(0), Some(0)]);
    for name in ["scheduled", "retried", "grouped"] {
        let before = woken(&field, name, due).await;
        println!("the fleet of {name} is woken {before:?} before");
        let (least, most) = (SignedDuration::from_secs(3), SignedDuration::from_millis(9_500));
        assert!(before > least && before < most, "{name}: {before:?}");
    }
}

/// Runs a worker that takes so long to start whenever there is to be one, as a kubelet would.
struct Kubelet<'a> {
    field: &'a Field,
    start_s: u32,
    worker: Option<Process>,
}

impl Kubelet<'_> {
    fn look(&mut self) {
        match self.field.replicas("main") {
            Some(1..) if self.worker.is_none() => {
                let script = format!("sleep {}; exec \"$0\"", self.start_s);
                let mut command = Command::new("sh");
                command.args(["-c", &script, env!("CARGO_BIN_EXE_cronmill-worker")]);
                command.env("CRONMILL_REDIS_URL", self.field.redis.plain_url());
                command.env("CRONMILL_QUEUES", "default=1");
                self.worker = Some(Process::start("worker", &mut command));
            }
            Some(0) => {
                if let Some(mut worker) = self.worker.take() {
                    worker.terminate();
                    worker.exit_blocking(LIMIT);
                }
            }
            _ => {}
        }
    }
}

/// How long after its time each tick of the one schedule was done, by its time.
async fn delays(broker: &Broker) -> Vec<(i64, i64)> {
    let queue = QueueName::new("default").unwrap();
    let page = Page { offset: 0, limit: 100 };
    let done = broker.tasks(&queue, State::Completed, page).await.unwrap();
    let delay = |task: &cronmill::broker::TaskView| {
        let nominal: i64 = task.id.rsplit_once('-')?.1.parse().ok()?;
        Some((nominal, task.message.completed_s - nominal))
    };
    let mut delays: Vec<_> = done.iter().filter_map(delay).collect();
    delays.sort_unstable();
    delays
}

#[tokio::test]
async fn from_the_third_tick_on_a_worker_is_there_before_it_however_long_one_takes_to_start() {
    let field = Field::new();
    let (schedule, ticks) = full_size(("@every 30s", 4), ("@every 3m", 6));
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {scaling: {stabilization: 0s}}"));
    field.ready("taskqueue", "main").await;
    field.apply(&task("often", schedule, ""));
    field.ready("crontask", "often").await;
    let broker = connect(&field).await;
    // Longer than what is looked ahead at first.
    let mut kubelet = Kubelet { field: &field, start_s: 10, worker: None };
    let mut times_at_rest = 0;
    let mut was_at_rest = false;
    until(full_size(4 * LIMIT, 20 * LIMIT), "so many ticks are done", async || {
        kubelet.look();
        let is_at_rest = kubelet.worker.is_none();
        times_at_rest += u32::from(is_at_rest && !was_at_rest);
        was_at_rest = is_at_rest;
        delays(&broker).await.len() >= ticks
    })
    .await;
    let delays = delays(&broker).await;
    let record: Value = serde_json::from_str(&field.cli(&["GET", "cronmill:{default}:fleet"])).unwrap();
    println!("ticks were done {delays:?} s late, lead time {} ms", record["leadTimeMs"]);
    assert!(times_at_rest >= 3, "between ticks there is nobody");
    let lead_ms = record["leadTimeMs"].as_u64().unwrap();
    assert!((10_000..17_000).contains(&lead_ms), "{lead_ms}");
    assert!(delays[0].1 >= 2, "the first one comes too early for what is known: {delays:?}");
    // Whole seconds: a tick that is done within its second, or as the next one begins.
    assert!(delays[2..].iter().all(|(_, late)| *late <= 1), "{delays:?}");
}

#[tokio::test]
async fn a_new_leader_begins_no_window_anew_and_shrinks_no_fleet_early() {
    let field = Field::new();
    let mut first = field.operator("a", &[]).await;
    until(LIMIT, "the first one leads", async || first.leads().await).await;
    let second = field.operator("b", &[]).await;
    field.apply(&queue("workers: {concurrency: 1, scaling: {maxReplicas: 3, stabilization: 40s}}"));
    field.ready("taskqueue", "main").await;
    until(LIMIT, "there is a fleet of none", async || field.replicas("main") == Some(0)).await;
    for id in 0..10 {
        field.cli(&["LPUSH", "asynq:{default}:pending", &format!("task-{id}")]);
    }
    until(LIMIT, "it is as large as allowed", async || field.replicas("main") == Some(3)).await;
    field.cli(&["DEL", "asynq:{default}:pending"]);
    let over = Instant::now();
    until(LIMIT, "the second one watches", async || second.is_ready().await).await;
    until(LIMIT, "half of the window is over", async || over.elapsed() > Duration::from_secs(20)).await;
    first.process.terminate();
    assert!(first.process.exit_blocking(LIMIT).success());
    until(LIMIT, "the second one leads", async || second.leads().await).await;
    assert_eq!(field.replicas("main"), Some(3));
    let led = over.elapsed();
    until(LIMIT, "the fleet goes to none", async || field.replicas("main") == Some(0)).await;
    let took = over.elapsed();
    println!("another leads after {led:?}, the fleet is at none after {took:?}");
    assert!(took >= Duration::from_secs(39), "not within the window: {took:?}");
    assert!(took < led + Duration::from_secs(38), "no window begins with a new leader: {took:?}");
}

#[tokio::test]
async fn the_status_and_the_command_line_say_why_there_are_so_many_workers() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {concurrency: 2, scaling: {maxReplicas: 3}}"));
    field.ready("taskqueue", "main").await;
    until(LIMIT, "there is a fleet of none", async || field.replicas("main") == Some(0)).await;
    for id in 0..4 {
        field.cli(&["LPUSH", "asynq:{default}:pending", &format!("task-{id}")]);
    }
    until(LIMIT, "the status says why", async || {
        let workers = field.get("taskqueue", "main")["status"]["workers"].clone();
        workers["wanted"] == 2
            && workers["reason"] == "Work"
            && workers["message"] == "4 tasks wait; 4 should run at once"
    })
    .await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    command.args(["queue", "explain", "default", "-o", "json"]);
    let told = command.env("CRONMILL_REDIS_URL", field.redis.plain_url()).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["fleet"], format!("{}/main", field.namespace));
    assert_eq!((&told["replicas"], &told["reason"]), (&Value::from(2), &Value::from("Work")), "{told:#}");
    assert_eq!(told["message"], "4 tasks wait; 4 should run at once");
    assert_eq!(
        (&told["decided"]["replicas"], &told["decided"]["isOld"]),
        (&Value::from(2), &Value::from(false)),
        "{told:#}"
    );
}
