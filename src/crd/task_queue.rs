//! `TaskQueue`: queues, and the fleet of workers that serves them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::schema::{self, DNS_LABEL, DNS_SUBDOMAIN, NOT_BLANK, REDIS_NAME};
use super::workers::Workers;

/// What a TaskQueue asks for: its queues, how workers take from them, and the workers themselves.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "cronmill.dev",
    version = "v1alpha1",
    kind = "TaskQueue",
    namespaced,
    shortname = "tq",
    category = "cronmill",
    status = "TaskQueueStatus",
    scale(
        spec_replicas_path = ".spec.workers.replicas",
        status_replicas_path = ".status.workers.current",
        label_selector_path = ".status.workers.selector"
    ),
    derive = "PartialEq",
    doc = "Queues in Redis, and the fleet of workers that serves them.",
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pending"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.active"),
    printcolumn(name = "Scheduled", type_ = "integer", json_path = ".status.scheduled"),
    printcolumn(name = "Retry", type_ = "integer", json_path = ".status.retry"),
    printcolumn(name = "Dead", type_ = "integer", json_path = ".status.archived"),
    printcolumn(name = "Workers", type_ = "string", json_path = ".status.workers.shown"),
    printcolumn(name = "Wait", type_ = "string", json_path = ".status.wait"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Priority", type_ = "string", json_path = ".spec.priority", priority = 1),
    printcolumn(name = "Concurrency", type_ = "integer", json_path = ".spec.workers.concurrency", priority = 1),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.workers.scaling.minReplicas", priority = 1),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.workers.scaling.maxReplicas", priority = 1),
    printcolumn(name = "Fixed", type_ = "integer", json_path = ".spec.workers.replicas", priority = 1),
    printcolumn(name = "Observed", type_ = "date", json_path = ".status.observedAt", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("metadata.name must have at most 52 characters, so that the names of its workers fit")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
#[x_kube(
    validation = Rule::new(
        "has(self.redis) == has(oldSelf.redis) && (!has(self.redis) || self.redis == oldSelf.redis)"
    )
    .message("redis cannot be changed, or tasks would be left behind; make another TaskQueue")
)]
pub struct TaskQueueSpec {
    /// The Redis that holds the queues. Cannot be changed. Required in a cluster, unless its administrator lists the
    /// namespace for a Redis that is shared: there a queue without redisName is called namespace:name in Redis.
    /// Without a cluster it is not looked at: all queues are in the one Redis of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisRef>,

    /// The queues, 1 to 64, each name once. Removing one stops its workers from taking its tasks; the tasks
    /// stay in Redis.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub queues: Vec<Queue>,

    /// How workers choose among the queues: Weighted takes from each in proportion to its weight, Strict
    /// takes from a queue only while every queue of a higher weight is empty. Default Weighted. A change
    /// restarts the workers, which first finish what they hold; a targetRef is not told.
    #[serde(default)]
    pub priority: Priority,

    /// How long a worker owns a task without a sign of life before another may take it, 5s to 1h. Workers
    /// extend the lease while the handler runs, so it bounds how soon the work of a dead worker goes on, not
    /// how long a task may take. Default 30s. A change restarts the workers; a targetRef is not told.
    #[serde(default = "lease")]
    #[x_kube(
        validation = Rule::new(
            "!self.contains('d') && duration(self) >= duration('5s') && duration(self) <= duration('1h')"
        )
        .message("must be from 5s to 1h")
    )]
    pub lease: Duration,

    /// How much of each queue's archive is kept: what failed for good. What is over a limit is deleted, the oldest
    /// first, counted and told. A change restarts the workers; a targetRef is not told.
    #[serde(default)]
    pub dead_letter: DeadLetter,

    /// Namespaces whose CronTasks may use these queues too, beside that of this object; 64 at most. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_namespaces: Vec<String>,

    /// What happens to the tasks when this object is deleted: Retain leaves them in Redis. Drain lets the workers
    /// finish what can run, and waits for that; in a namespace that is being deleted it is Retain. Delete deletes the
    /// queues with all they hold. Default Retain. Without a cluster they are always left. A targetRef is left as it is
    /// then, with the number of workers that it has.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// The workers that serve these queues. Absent: none are started, and none are scaled; something else has
    /// to take the tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
}

/// Which Redis.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisRef {
    /// The key of a Secret, in the namespace of this object, that holds the URL: redis://, rediss://,
    /// redis-sentinel:// or redis-cluster://. When it changes, so does what everything connects to, within a minute.
    pub secret_ref: SecretKey,
}

/// A key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The key in its data. Default "url".
    #[serde(default = "secret_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NOT_BLANK))]
    pub key: String,
}

fn secret_key() -> String {
    "url".to_owned()
}

/// What happens to tasks when their TaskQueue is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// They stay in Redis.
    #[default]
    Retain,
    /// What can run is finished first.
    Drain,
    /// They are deleted.
    Delete,
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

/// What is known of a TaskQueue. The numbers are sums over its queues.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::never_null)]
pub struct TaskQueueStatus {
    /// The generation of the spec that the conditions are about; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the spec is accepted and in force. RedisReachable: Redis answers. QueuesClaimed: the queues in
    /// Redis are this TaskQueue's. Scaling: the number of workers follows the work. WorkersHealthy: no worker is known
    /// that cannot run; absent with a targetRef, whose pods are not looked at. HandlersAvailable is false while workers meet tasks of a type that none of them serves, and absent
    /// otherwise. Reconciling: it is being put into force. Stalled: nothing but an edit, here or of what it refers to,
    /// helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Tasks that can be claimed, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<i64>,
    /// Tasks that run, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<i64>,
    /// Tasks that are to run later, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<i64>,
    /// Tasks that wait for another attempt, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<i64>,
    /// Tasks that were given up, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<i64>,
    /// How long the oldest task that can be claimed has waited, in whole seconds, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
    /// The workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    /// When the fields that say so were read. One budget of writes for the whole cluster refreshes them, so the more
    /// objects there are, the older they may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
}

/// The workers of a TaskQueue, as its Deployment tells, or the scale of its targetRef.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::never_null)]
pub struct WorkersStatus {
    /// Workers that there are to be.
    pub wanted: i32,
    /// Workers that there are.
    pub current: i32,
    /// Workers that are ready. Absent with a targetRef, whose scale does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<i32>,
    /// Ready and wanted in one text, as kubectl shows it; current and wanted with a targetRef.
    pub shown: String,
    /// The labels of their pods, as a selector.
    pub selector: String,
    /// Why there are to be so many, in one fixed word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
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
