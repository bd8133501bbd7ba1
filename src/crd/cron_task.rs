//! `CronTask`: a task enqueued on a schedule.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration::Duration;
use super::schema::{self, DNS_LABEL, DNS_SUBDOMAIN, NOT_BLANK, ZONE};

/// What a CronTask asks for: when, under which policies, into which queue, and the task itself.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "cronmill.dev",
    version = "v1alpha1",
    kind = "CronTask",
    namespaced,
    shortname = "ct",
    category = "cronmill",
    status = "CronTaskStatus",
    derive = "PartialEq",
    doc = "A task on a schedule: each nominal time of the schedule (a tick) puts one task into a queue.",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "TZ", type_ = "string", json_path = ".spec.timeZone"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Queue", type_ = "string", json_path = ".spec.queueRef.queue"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastScheduleTime"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextScheduleTime"),
    printcolumn(name = "Last-Result", type_ = "string", json_path = ".status.lastResult"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Schedules", type_ = "string", json_path = ".spec.schedules", priority = 1),
    printcolumn(name = "TaskQueue", type_ = "string", json_path = ".spec.queueRef.name", priority = 1),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.task.type", priority = 1),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.concurrencyPolicy", priority = 1),
    printcolumn(name = "Observed", type_ = "date", json_path = ".status.observedAt", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("metadata.name must have at most 63 characters, so that it fits into a label")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
#[x_kube(
    validation = Rule::new("has(self.schedule) != has(self.schedules)")
        .message("set exactly one of schedule and schedules")
)]
pub struct CronTaskSpec {
    /// When the task is enqueued: five fields (minute, hour, day of month, month, day of week) as in a
    /// CronJob, six with seconds in front, or @yearly, @monthly, @weekly, @daily, @hourly, or an interval
    /// like "@every 90s". Exactly one of schedule and schedules is set. A change takes effect from the moment
    /// it is made: the next tick is the first one of the new schedule after the last one accounted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = Rule::new(schema::SCHEDULE_SHAPE).message(schema::SCHEDULE_FORMS),
        validation = Rule::new("!self.contains('=')").message("must not name a time zone; set timeZone instead")
    )]
    pub schedule: Option<String>,

    /// Several schedules at once, 32 at most; a time that more than one of them names is one tick. Exactly
    /// one of schedule and schedules is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 512)))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new(schema::SCHEDULE_SHAPES).message(schema::SCHEDULE_FORMS),
        validation = Rule::new("self.all(schedule, !schedule.contains('='))")
            .message("must not name a time zone; set timeZone instead")
    )]
    pub schedules: Option<Vec<String>>,

    /// The time zone the schedule is read in: a name of the IANA database such as Asia/Shanghai. Default UTC.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = ZONE))]
    pub time_zone: String,

    /// What happens to ticks around a change between winter and summer time.
    #[serde(default)]
    pub daylight_saving: DaylightSaving,

    /// How many seconds after its nominal time a tick may still be enqueued, 0 to 315360000. A tick that
    /// nothing could enqueue until then counts as too late and is not made up for. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub starting_deadline_seconds: Option<i64>,

    /// What happens to a tick that comes due while the task of an earlier tick is still living, that is
    /// pending, scheduled, aggregating, active or waiting for a retry: Allow enqueues it all the same, Forbid skips it,
    /// Replace cancels the earlier task first. Default Allow. A change holds from the next tick on.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,

    /// True stops enqueueing; tasks already enqueued run on. Ticks passed while suspended are accounted as
    /// suspended, and are not made up for afterwards. Default false. Takes effect within a second.
    #[serde(default)]
    pub suspend: bool,

    /// What happens to ticks that passed while nothing could enqueue them.
    #[serde(default)]
    pub catch_up: CatchUp,

    /// Spreads the load: each tick is enqueued up to this much after its nominal time, by an amount that is
    /// fixed for the object and the tick. At most 1d. Default 0s: none.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(
            "self.contains('d') ? self == '1d' || self == '0d' : duration(self) <= duration('24h')"
        )
        .message("must be at most 1d")
    )]
    pub jitter: Duration,

    /// Where the task goes.
    pub queue_ref: QueueRef,

    /// The task each tick enqueues. A change holds from the next tick on; tasks already enqueued stay as they
    /// are.
    pub task: TaskTemplate,
}

/// Ticks around a change of the clock.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DaylightSaving {
    /// A fixed time that does not exist on a day because the clock goes forward over it: After enqueues it
    /// right after the gap, Skip leaves it out that day. Default After.
    pub gap: GapPolicy,
    /// A fixed time that exists twice on a day because the clock goes back over it: First enqueues it the
    /// first time, Both enqueues it both times. Default First.
    pub overlap: OverlapPolicy,
}

/// What becomes of a time that does not exist.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GapPolicy {
    /// Right after the gap.
    #[default]
    After,
    /// Not on that day.
    Skip,
}

/// What becomes of a time that exists twice.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlapPolicy {
    /// Once, the first time.
    #[default]
    First,
    /// Each time.
    Both,
}

/// What a tick does while an earlier task of the same object lives.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConcurrencyPolicy {
    /// Enqueue it beside the other.
    #[default]
    Allow,
    /// Skip it.
    Forbid,
    /// Cancel the other and enqueue it.
    Replace,
}

/// Ticks that passed while nothing could enqueue them.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CatchUp {
    /// Latest enqueues the last tick that was missed, once; None enqueues none of them.
    /// startingDeadlineSeconds bounds how late that may be. Default Latest.
    pub policy: CatchUpPolicy,
}

/// Which missed ticks are made up for.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUpPolicy {
    /// The last one.
    #[default]
    Latest,
    /// None.
    None,
}

/// One queue of one TaskQueue.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
pub struct QueueRef {
    /// The TaskQueue's namespace; one other than that of this object only if the TaskQueue allows it with
    /// allowedNamespaces. Default: the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
    /// The TaskQueue's name.
    #[schemars(length(min = 1, max = 52), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// One of that TaskQueue's queues, by the name it has there. Default "default". After a change the
    /// schedule goes on in the new queue, and tasks already enqueued stay in the old one.
    #[serde(default = "default_queue")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub queue: String,
}

/// The task a tick enqueues.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
pub struct TaskTemplate {
    /// Which handler runs it, by the name the worker registered. 1 to 200 characters, not blank.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 200), regex(pattern = NOT_BLANK))]
    pub kind: String,

    /// The handler's input: any JSON value. The task carries it as compact JSON, keys sorted; a text keeps
    /// its quotes. Absent or null: the task's payload is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_value")]
    pub payload: Option<Value>,

    /// Where the payload comes from; payload is then not set. It is taken as it stands there. A change there holds
    /// from the first tick after 30 s. It needs a cluster: without one it is refused. Secrets are no payload:
    /// what a handler needs of them belongs into its worker's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_from: Option<PayloadSource>,

    /// Key-value pairs the handler gets beside the payload, 32 at most, keys of 1 to 128 and values of up to
    /// 1024 characters. Keys that begin with "cronmill-" are ours. Default: none. Workers on asynq before
    /// 0.26 drop them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "headers")]
    #[x_kube(
        validation = Rule::new(
            "self.all(key, size(key) >= 1 && size(key) <= 128 && !key.startsWith('cronmill-'))"
        )
        .message("each key must have 1 to 128 characters and not begin with cronmill-, which is ours")
    )]
    pub headers: BTreeMap<String, String>,

    /// How many times a failed task is run again before it is archived, 0 to 1000. Default 25.
    #[serde(default = "max_retry")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_retry: i32,

    /// How long one attempt may take; past it the attempt has failed and is retried. Default 30m; more than
    /// 0s.
    #[serde(default = "timeout")]
    #[x_kube(validation = Rule::new(schema::MORE_THAN_ZERO).message("must be more than 0s"))]
    pub timeout: Duration,

    /// How long after its nominal time the task may still run, retries included; past it the task is
    /// archived, not retried. More than 0s. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(schema::MORE_THAN_ZERO).message("must be more than 0s"))]
    pub deadline: Option<Duration>,

    /// How long a completed task stays readable with its result. Default 0s: it is deleted at once.
    #[serde(default)]
    pub retention: Duration,

    /// Lets no two such tasks be in the queue: a tick makes none while another task of this type and payload is there that
    /// has not ended, whoever enqueued it, and counts as deduplicated. Go programs on asynq keep to it too. Default: not
    /// unique. A change holds from the next tick on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,

    /// The group the task waits in until a worker makes one task of all that are in it; 1 to 200 characters, not blank.
    /// That takes a worker with an aggregator of your own. To concurrencyPolicy a task lives until it is aggregated; one
    /// that is being aggregated is not cancelled. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = NOT_BLANK))]
    pub group: Option<String>,
}

/// Where a payload comes from.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PayloadSource {
    /// A key of a ConfigMap in the namespace of this object.
    pub config_map_key_ref: ConfigMapKey,
}

/// A key of a ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKey {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The key in its data or binaryData.
    #[schemars(length(min = 1, max = 253), regex(pattern = NOT_BLANK))]
    pub key: String,
}

/// What is known of a CronTask.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::never_null)]
pub struct CronTaskStatus {
    /// The generation of the spec that the conditions are about; -1 until the operator has seen the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the spec is accepted and in force, whatever became of the last run. Reconciling: it is being put into
    /// force. Stalled: nothing but an edit, here or of what it refers to, helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The queue's name in Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Nominal time of the last tick that was enqueued, as of observedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Timestamp>,
    /// Nominal time of the next tick, as of observedAt. Absent while it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Timestamp>,
    /// What became of the last tick, as of observedAt: the state of its task (Pending, Scheduled, Aggregating, Active,
    /// Retry, Archived, Completed; Unknown once the task is gone), or why there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<String>,
    /// When the fields that say so were read. One budget of writes for the whole cluster refreshes them, so the more
    /// objects there are, the older they may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
}

/// The lock of a unique task.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unique {
    /// How long the lock holds should nobody give it back. It is given back when the task ends, and kept longer as long as
    /// workers keep the queue. More than 0s; it is 10s at least. Default 1h.
    #[serde(default = "unique_at_most")]
    #[x_kube(validation = Rule::new(schema::MORE_THAN_ZERO).message("must be more than 0s"))]
    pub at_most: Duration,
}

fn unique_at_most() -> Duration {
    Duration::seconds(3600)
}

fn utc() -> String {
    "UTC".to_owned()
}

fn default_queue() -> String {
    "default".to_owned()
}

fn max_retry() -> i32 {
    25
}

fn timeout() -> Duration {
    Duration::seconds(30 * 60)
}

fn headers(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 1024 },
    })
}
