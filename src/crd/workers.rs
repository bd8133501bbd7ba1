//! The workers of a `TaskQueue`: owned, or an existing workload; and how their number follows the work.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::Duration;
use super::schema::{self, DNS_SUBDOMAIN};

/// The workers of a TaskQueue.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = schema::never_null)]
#[x_kube(
    validation = Rule::new("!(has(self.template) && has(self.targetRef))")
        .message("set template for workers of this object's own, or targetRef for an existing workload, not both")
)]
pub struct Workers {
    /// The pod that runs one worker, as in a Deployment, which it becomes a part of as it is: its container named
    /// worker (the only one may have any name) is also told the queues, the concurrency and the Redis in its
    /// environment, in place of variables of the same names. Absent, and no targetRef: the bundled worker. A change
    /// replaces the workers, which first finish what they hold. Without a cluster the first container runs as a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub template: Option<Map<String, Value>>,

    /// An existing workload in the namespace of this object whose pods serve these queues, such as workers in Go. Only
    /// its number of pods is set, through its scale, and nothing else of it is touched or read; nor is it told the
    /// queues, the concurrency or the Redis: that is its own to know. One workload belongs to one TaskQueue, the oldest
    /// that names it. Leave replicas out of its manifest, and no HorizontalPodAutoscaler on it. Without a cluster no
    /// worker is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,

    /// A fixed number of workers, 0 to 1000; scaling is off while it is set. Default: absent, the number
    /// follows the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,

    /// How many tasks one worker runs at the same time, 1 to 10000. Default 20. A change restarts the
    /// workers. With targetRef: how many one of its pods runs as it is configured; it is not told.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: i32,

    /// How the number of workers follows the work.
    #[serde(default)]
    pub scaling: Scaling,
}

/// A workload that is scaled and not owned.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// The API that it is of: "apps/v1", which is the default.
    #[serde(default)]
    pub api_version: TargetApi,
    /// Deployment or StatefulSet.
    pub kind: TargetKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
}

/// The APIs that a workload may be of.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetApi {
    /// That of Kubernetes' own workloads.
    #[default]
    #[serde(rename = "apps/v1")]
    AppsV1,
}

/// The kinds of workloads that can be scaled.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// Pods that are all alike.
    Deployment,
    /// Pods with names and volumes of their own; the last one goes first.
    StatefulSet,
}

impl TargetKind {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }
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
