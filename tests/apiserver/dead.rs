//! Workers that died, as a kubelet tells: what they held comes back at once. There is no kubelet here; the tests
//! patch the status of real pods as one does.

use std::time::Duration;

use cronmill::broker::{Broker, ClaimRequest, Claimed, Owner};
use cronmill::producer::{Client, Task as NewTask};
use cronmill::task::{QueueName, State};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::field::{Field, LIMIT, queue};
use crate::support::{eventually, until};

struct Fleet {
    field: Field,
    broker: Broker,
    queue: QueueName,
    /// Names of its pods.
    pods: Vec<String>,
}

impl Fleet {
    async fn of(field: Field, workers: usize) -> Self {
        field.apply(&queue(&format!(
            "workers:\n  replicas: {workers}\n  template: {{spec: {{containers: [{{name: worker, image: shop:1, \
             resources: {{limits: {{memory: 64Mi}}}}}}]}}}}"
        )));
        field.ready("taskqueue", "main").await;
        let words =
            ["get", "-n", &field.namespace, "pods", "-l", "cronmill.dev/task-queue=main", "-o", "name"];
        let pods = eventually(LIMIT, "there are the pods", async || {
            let names = field.api.kubectl(&words);
            let names: Vec<_> =
                names.lines().filter_map(|name| name.strip_prefix("pod/")).map(str::to_owned).collect();
            (names.len() == workers).then_some(names)
        })
        .await;
        let broker = Broker::connect(&field.redis.plain_url().parse().unwrap()).await.unwrap();
        Self { field, broker, queue: QueueName::new("default").unwrap(), pods }
    }

    /// Has a task run in a pod, by a worker that started then.
    async fn run(&self, id: &str, pod: usize, started: Timestamp) {
        Client::new(self.broker.clone()).enqueue(NewTask::new("t", None).id(id)).await.unwrap();
        let ms = u64::try_from(started.as_millisecond()).unwrap();
        let run = uuid::Builder::from_unix_timestamp_millis(ms, &[7; 10]).into_uuid().to_string();
        let owner = Owner::new(&self.pods[pod], 1, &run);
        let lease = Duration::from_secs(3600);
        let request = ClaimRequest { queue: &self.queue, owner: &owner, sequence: 1, max: 1, lease };
        assert!(
            matches!(self.broker.claim(&request).await.unwrap(), Claimed::Tasks(tasks) if tasks.len() == 1)
        );
    }

    /// Says of a pod's worker what a kubelet would.
    fn report(&self, pod: usize, state: &Value, last: &Value) {
        let status = json!({ "status": { "containerStatuses": [{
            "name": "worker", "image": "shop:1", "imageID": "", "ready": false, "restartCount": 1,
            "state": state, "lastState": last,
        }] } });
        let (namespace, status) = (self.field.namespace.as_str(), status.to_string());
        let words = [
            "patch",
            "-n",
            namespace,
            "pod",
            &self.pods[pod],
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
        ];
        self.field.api.kubectl(&words);
    }

    async fn state(&self, id: &str) -> State {
        self.broker.task(&self.queue, id).await.unwrap().unwrap().state
    }
}

fn terminated(reason: &str, from: Timestamp, to: Timestamp) -> Value {
    json!({ "terminated": { "reason": reason, "exitCode": 137, "startedAt": from, "finishedAt": to } })
}

fn ago(seconds: i64) -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now - SignedDuration::from_secs(seconds)
}

#[tokio::test]
async fn what_a_killed_worker_held_is_runnable_within_seconds_and_names_the_limit() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    let fleet = Fleet::of(field, 2).await;
    fleet.run("killed", 0, ago(50)).await;
    fleet.run("restarted", 0, ago(5)).await;
    fleet.run("neighbour", 1, ago(50)).await;
    let running = json!({ "running": { "startedAt": ago(9) } });
    fleet.report(0, &running, &terminated("OOMKilled", ago(60), ago(10)));
    let reported = Timestamp::now();
    until(LIMIT, "it is runnable", async || fleet.state("killed").await == State::Pending).await;
    let view = fleet.broker.task(&fleet.queue, "killed").await.unwrap().unwrap();
    assert_eq!((view.message.retried, view.crashes), (0, 1));
    // By the task's own note of when; this test takes its time too.
    let took = view.pending_since.unwrap().duration_since(reported);
    assert!(took < SignedDuration::from_secs(5), "{took}");
    let errors = fleet.broker.task_history(&fleet.queue, "killed").await.unwrap().errors;
    assert!(errors[0].text.contains("was OOMKilled at its memory limit of 64Mi"), "{}", errors[0].text);
    assert_eq!(
        (fleet.state("restarted").await, fleet.state("neighbour").await),
        (State::Active, State::Active)
    );
    until(LIMIT, "an event tells of it", async || {
        let words = ["get", "-n", &fleet.field.namespace, "events.events.k8s.io", "-o", "json"];
        let events: Value = serde_json::from_str(&fleet.field.api.kubectl(&words)).unwrap();
        events["items"].as_array().unwrap().iter().any(|event| {
            event["reason"] == "WorkerDied"
                && event["note"].as_str().is_some_and(|note| note.contains("the task that it ran"))
        })
    })
    .await;
}

#[tokio::test]
async fn what_is_not_known_to_have_ended_keeps_its_tasks_until_their_leases_end() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    let fleet = Fleet::of(field, 2).await;
    fleet.run("unknown", 0, ago(50)).await;
    fleet.report(0, &terminated("ContainerStatusUnknown", ago(60), ago(10)), &json!({}));
    // Told later, heard later: once this one is back, the other was seen and left alone.
    fleet.run("known", 1, ago(50)).await;
    fleet.report(1, &terminated("Error", ago(60), ago(10)), &json!({}));
    until(LIMIT, "the other is back", async || fleet.state("known").await == State::Pending).await;
    assert_eq!(fleet.state("unknown").await, State::Active);
}

#[tokio::test]
async fn who_begins_to_lead_finds_the_deaths_that_nobody_acted_on() {
    let field = Field::new();
    let first = field.operator("a", &[]).await;
    let fleet = Fleet::of(field, 1).await;
    drop(first);
    fleet.run("killed", 0, ago(50)).await;
    fleet.report(0, &terminated("OOMKilled", ago(60), ago(10)), &json!({}));
    assert_eq!(fleet.state("killed").await, State::Active, "nobody leads");
    let _second = fleet.field.operator("a", &[]).await;
    until(LIMIT, "it is runnable", async || fleet.state("killed").await == State::Pending).await;
    assert_eq!(fleet.broker.task(&fleet.queue, "killed").await.unwrap().unwrap().crashes, 1);
}
