//! From a TaskQueue to queues in Redis and to what its workers are told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::flaw::{Flaw, FlawKind};
use crate::crd::{Paused, Priority, Scaling, TaskQueueSpec};
use crate::scaling::Policy;
use crate::task::{QueueName, QueueWeights};

/// One queue of a TaskQueue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedQueue {
    /// Its name in manifests.
    pub name: String,
    /// Its name in Redis.
    pub redis_name: QueueName,
    /// Its share, or its rank; at least 1.
    pub weight: u32,
    /// The pause the manifest asks for.
    pub paused: Option<Paused>,
}

impl ServedQueue {
    /// The pause that is asked for at that time; `None` once it is over.
    #[must_use]
    pub fn pause_at(&self, now: Timestamp) -> Option<&Paused> {
        self.paused.as_ref().filter(|paused| paused.until.is_none_or(|until| until > now))
    }
}

/// What a TaskQueue asks for, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuePlan {
    /// Its queues, in the order of the manifest.
    pub queues: Vec<ServedQueue>,
    /// Whether a queue is served only while all of higher weight are empty.
    pub strict: bool,
    /// How long a worker owns a task without a sign of life.
    pub lease: Duration,
    /// How many archived tasks of each queue are kept.
    pub archive_tasks_max: u64,
    /// How long an archived task is kept.
    pub archive_age_max: Duration,
    /// Its workers; `None`: something else takes the tasks.
    pub workers: Option<FleetPlan>,
}

/// The workers of a TaskQueue.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetPlan {
    /// A fixed number of workers; `None`: the number follows the work.
    pub replicas: Option<u32>,
    /// How many tasks one worker runs at the same time; at least 1.
    pub concurrency: u32,
    /// How the number follows the work.
    pub scaling: Scaling,
}

impl QueuePlan {
    /// Understands a spec. With `shared_by`, the namespace that shares its Redis with others, a queue without a name
    /// of its own is called `<namespace>:<name>` there.
    ///
    /// # Errors
    /// What is wrong with the names in Redis.
    pub fn of(spec: &TaskQueueSpec, shared_by: Option<&str>) -> Result<Self, Vec<Flaw>> {
        let names = redis_names(spec, shared_by)?;
        let queues = spec.queues.iter().zip(names).map(|(queue, redis_name)| ServedQueue {
            name: queue.name.clone(),
            redis_name,
            weight: queue.weight.unsigned_abs(),
            paused: queue.paused.clone(),
        });
        Ok(Self {
            queues: queues.collect(),
            strict: spec.priority == Priority::Strict,
            lease: spec.lease.as_std(),
            archive_tasks_max: spec.dead_letter.max_tasks.unsigned_abs().into(),
            archive_age_max: spec.dead_letter.max_age.as_std(),
            workers: spec.workers.as_ref().map(|workers| FleetPlan {
                replicas: workers.replicas.map(i32::unsigned_abs),
                concurrency: workers.concurrency.unsigned_abs(),
                scaling: workers.scaling,
            }),
        })
    }

    /// The names of its queues in Redis.
    pub fn redis_names(&self) -> impl Iterator<Item = &QueueName> {
        self.queues.iter().map(|queue| &queue.redis_name)
    }

    /// What each of its workers finds in its environment, beside the Redis: a value per variable.
    #[must_use]
    pub fn worker_environment(&self, fleet: &FleetPlan) -> BTreeMap<&'static str, String> {
        let served = self.queues.iter().map(|queue| (queue.redis_name.clone(), queue.weight));
        // The schema refuses a TaskQueue without queues, and we refuse two that share a name in Redis.
        let queues = QueueWeights::new(served).map(|queues| queues.to_string()).unwrap_or_default();
        BTreeMap::from([
            ("CRONMILL_QUEUES", queues),
            ("CRONMILL_STRICT", self.strict.to_string()),
            ("CRONMILL_CONCURRENCY", fleet.concurrency.to_string()),
            ("CRONMILL_LEASE", format!("{}s", self.lease.as_secs())),
            ("CRONMILL_ARCHIVE_MAX_TASKS", self.archive_tasks_max.to_string()),
            ("CRONMILL_ARCHIVE_MAX_AGE", format!("{}s", self.archive_age_max.as_secs())),
        ])
    }
}

impl FleetPlan {
    /// What decides about their number.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let scaling = &self.scaling;
        Policy {
            fixed: self.replicas,
            min: scaling.min_replicas.unsigned_abs(),
            max: scaling.max_replicas.unsigned_abs(),
            concurrency: self.concurrency,
            target_wait: scaling.target_wait.as_std(),
            stabilization: scaling.stabilization.as_std(),
        }
    }
}

/// The names of the queues in Redis, in the order of the queues.
fn redis_names(spec: &TaskQueueSpec, shared_by: Option<&str>) -> Result<Vec<QueueName>, Vec<Flaw>> {
    let (mut names, mut seen, mut flaws) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (place, queue) in spec.queues.iter().enumerate() {
        let path = format!("spec.queues[{place}].redisName");
        let name = match (&queue.redis_name, shared_by) {
            (Some(name), _) => name.clone(),
            (None, Some(namespace)) => format!("{namespace}:{}", queue.name),
            (None, None) => queue.name.clone(),
        };
        match QueueName::new(name) {
            Ok(name) if seen.insert(name.clone()) => names.push(name),
            Ok(name) => {
                let flaw =
                    Flaw::new(path, FlawKind::InvalidValue, format!("queue {name:?} in Redis stands twice"));
                flaws.push(flaw.allowing("each queue in Redis once"));
            }
            Err(error) => flaws.push(Flaw::new(path, FlawKind::InvalidValue, error.to_string())),
        }
    }
    if flaws.is_empty() { Ok(names) } else { Err(flaws) }
}
