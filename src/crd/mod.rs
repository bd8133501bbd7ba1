//! The object types people write: `CronTask` and `TaskQueue` (`cronmill.dev/v1alpha1`).
//!
//! Shape only: fields, defaults, limits and the rules an API server can check by itself. What a field means
//! is decided where it takes effect. The doc comment of a field is its `kubectl explain` text. The committed
//! files in `crds/` are generated from here (`make generate`).

// The schema derive copies each type, its `pub` included, into the body of a function.
#[expect(unreachable_pub, reason = "the copies inside the derived functions are out of reach")]
mod cron_task;
mod duration;
mod schema;
#[expect(unreachable_pub, reason = "the copies inside the derived functions are out of reach")]
mod task_queue;
#[expect(unreachable_pub, reason = "the copies inside the derived functions are out of reach")]
mod workers;

pub use cron_task::{
    CatchUp, CatchUpPolicy, ConcurrencyPolicy, ConfigMapKey, CronTask, CronTaskSpec, CronTaskStatus,
    DaylightSaving, GapPolicy, OverlapPolicy, PayloadSource, QueueRef, TaskTemplate, Unique,
};
pub use duration::{Duration, DurationError};
pub use schema::{DNS_LABEL, DNS_SUBDOMAIN, pattern_meaning};
pub use task_queue::{
    DeadLetter, DeletionPolicy, Paused, Priority, Queue, RedisRef, SecretKey, TaskQueue, TaskQueueSpec,
    TaskQueueStatus, WorkersStatus,
};
pub use workers::{Scaling, TargetApi, TargetKind, TargetRef, Workers};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::core::CustomResourceExt as _;
use serde_json::json;

/// API group of both kinds.
pub const GROUP: &str = "cronmill.dev";
/// The one version of both kinds.
pub const VERSION: &str = "v1alpha1";
/// The observed generation of an object that no operator has seen yet.
const UNSEEN: i64 = -1;

/// The definitions of both kinds, as a cluster needs them.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [CronTask::crd(), TaskQueue::crd()].map(with_status_from_the_start).into()
}

/// A status is never `null`, and never absent either: until an operator has seen an object, its status is about no
/// generation of it. Without that, tools in the manner of kstatus take a new object for one that is as it should be.
fn with_status_from_the_start(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        if let Some(status) = schema.properties.as_mut().and_then(|fields| fields.get_mut("status")) {
            status.nullable = None;
            status.default = Some(JSON(json!({ "observedGeneration": UNSEEN })));
        }
    }
    definition
}

#[cfg(test)]
mod tests;
