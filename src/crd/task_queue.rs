//! `TaskQueue`: queues, and the fleet of workers that serves them.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::Duration;
use super::schema::{self, DNS_LABEL, NOT_BLANK, REDIS_NAME};

/// What a TaskQueue asks for: its queues, how workers take from them, and the workers themselves.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "cronmill.dev",
    version = "v1alpha1",
    kind = "TaskQueue",
    namespaced,
    shortname = "tq",
    category = "cronmill",
    derive = "PartialEq",
    doc = "Queues in Redis, and the fleet of workers that serves them.",
    printcolumn(name = "Priority", type_ = "string", json_path = ".spec.priority"),
    printcolumn(name = "Concurrency", type_ = "integer", json_path = ".spec.workers.concurrency"),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.workers.scaling.minReplicas"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.workers.scaling.maxReplicas"),
    printcolumn(name = "Fixed", type_ = "integer", json_path = ".spec.workers.replicas"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Lease", type_ = "string", json_path = ".spec.lease", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, so that the names of its workers fit")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
pub struct TaskQueueSpec {
    /// The queues, 1 to 64, each name once. Removing one stops its workers from taking its tasks; the tasks
    /// stay in Redis.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub queues: Vec<Queue>,

    /// How workers choose among the queues: Weighted takes from each in proportion to its weight, Strict
    /// takes from a queue only while every queue of a higher weight is empty. Default Weighted. A change
    /// restarts the workers, which first finish what they hold.
    #[serde(default)]
    pub priority: Priority,

    /// How long a worker owns a task without a sign of life before another may take it, 5s to 1h. Workers
    /// extend the lease while the handler runs, so it bounds how soon the work of a dead worker goes on, not
    /// how long a task may take. Default 30s. A change restarts the workers.
    #[serde(default = "lease")]
    #[x_kube(
        validation = Rule::new(
            "!self.contains('d') && duration(self) >= duration('5s') && duration(self) <= duration('1h')"
        )
        .message("must be from 5s to 1h")
    )]
    pub lease: Duration,

    /// How much of each queue's archive is kept: what failed for good. What is over a limit is deleted, the oldest
    /// first, counted and told. A change restarts the workers.
    #[serde(default)]
    pub dead_letter: DeadLetter,

    /// The workers that serve these queues. Absent: none are started, and none are scaled; something else has
    /// to take the tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
}

/// The limits of an archive.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetter {
    /// Archived tasks kept of each queue, 0 to 10000000. Default 10000.
    #[serde(default = "dead_letter_tasks")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub max_tasks: i32,

    /// How long a task stays in the archive, at least 1s. Default 90d.
    #[serde(default = "dead_letter_age")]
    #[x_kube(validation = Rule::new(schema::MORE_THAN_ZERO).message("must be at least 1s"))]
    pub max_age: Duration,
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self { max_tasks: dead_letter_tasks(), max_age: dead_letter_age() }
    }
}

/// One queue.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
pub struct Queue {
    /// The queue's name for objects that refer to it.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,

    /// Its share among the queues of this object, 1 to 1000; with priority Strict, its rank. Default 1.
    #[serde(default = "weight")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,

    /// The queue's name in Redis, where it differs from name: any text of up to 512 bytes that is not blank
    /// and does not begin with "}". After a change, tasks already enqueued stay under the old name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = REDIS_NAME))]
    pub redis_name: Option<String>,

    /// Set: workers take no task from this queue. Tasks are still enqueued, and those being run are finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// A pause and why.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
pub struct Paused {
    /// Why, for the people who find the queue standing still. 1 to 256 characters, not blank.
    #[schemars(length(min = 1, max = 256), regex(pattern = NOT_BLANK))]
    pub reason: String,
    /// When the pause ends by itself, in RFC 3339. Default: when this field is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// How workers choose among queues.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// In proportion to the weights.
    #[default]
    Weighted,
    /// The highest weight first, always.
    Strict,
}

/// The workers of a TaskQueue.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
pub struct Workers {
    /// The pod that runs one worker, as in a Deployment. Absent: the bundled worker. A change replaces the
    /// workers, which first finish what they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub template: Option<Map<String, Value>>,

    /// A fixed number of workers, 0 to 1000; scaling is off while it is set. Default: absent, the number
    /// follows the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,

    /// How many tasks one worker runs at the same time, 1 to 10000. Default 20. A change restarts the
    /// workers.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: i32,

    /// How the number of workers follows the work.
    #[serde(default)]
    pub scaling: Scaling,
}

/// How the number of workers follows the work.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("must not be above maxReplicas")
        .field_path(".minReplicas")
)]
pub struct Scaling {
    /// Workers kept when there is nothing to do, 0 to 1000. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub min_replicas: i32,

    /// Most workers at any time, 1 to 1000. Default 10.
    #[serde(default = "max_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,

    /// How long a task should wait for a worker at most; a shorter time means more workers for the same
    /// backlog. At least 1s. Default 10s.
    #[serde(default = "target_wait")]
    #[x_kube(validation = Rule::new(schema::MORE_THAN_ZERO).message("must be at least 1s"))]
    pub target_wait: Duration,

    /// How long fewer workers must have been enough before their number goes down. 0s: at once. Default 1m.
    #[serde(default = "stabilization")]
    pub stabilization: Duration,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min_replicas: 0,
            max_replicas: max_replicas(),
            target_wait: target_wait(),
            stabilization: stabilization(),
        }
    }
}

fn lease() -> Duration {
    Duration::seconds(30)
}

fn dead_letter_tasks() -> i32 {
    10_000
}

fn dead_letter_age() -> Duration {
    Duration::seconds(90 * 86_400)
}

fn weight() -> i32 {
    1
}

fn concurrency() -> i32 {
    20
}

fn max_replicas() -> i32 {
    10
}

fn target_wait() -> Duration {
    Duration::seconds(10)
}

fn stabilization() -> Duration {
    Duration::seconds(60)
}
