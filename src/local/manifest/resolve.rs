//! Objects resolved against each other: what is to stand in Redis, and which workers are to run.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::admission::{Admitted, Spec};
use super::error::{Fault, FaultKind};
use super::kind::{Kind, ObjectKey};
use super::nearest::nearest;
use super::path::FieldPath;
use super::worker::WorkerProgram;
use crate::crd::{CatchUpPolicy, ConcurrencyPolicy, CronTaskSpec, Paused, Priority, Scaling};
use crate::schedule::{
    CatchUp, Concurrency, ENTRY_FORMAT, Entry, Revision, Template, TimingSource, local_uid,
};
use crate::task::QueueName;

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The line its document begins on, from 1.
    pub line: usize,
}

/// A CronTask, ready to be put into Redis.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedTask {
    /// What is to stand in Redis.
    pub entry: Entry,
    /// The TaskQueue whose queue takes its tasks.
    pub task_queue: ObjectKey,
    /// Where it was read.
    pub source: Source,
}

/// A TaskQueue, ready to be served.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedQueue {
    /// Its name.
    pub key: ObjectKey,
    /// Its uid, the same for the same name always.
    pub uid: String,
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
    pub workers: Option<WorkerFleet>,
    /// Where it was read.
    pub source: Source,
}

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

/// The workers of a TaskQueue.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerFleet {
    /// What runs as one worker.
    pub program: WorkerProgram,
    /// A fixed number of workers; `None`: the number follows the work.
    pub replicas: Option<u32>,
    /// How many tasks one worker runs at the same time; at least 1.
    pub concurrency: u32,
    /// How the number follows the work.
    pub scaling: Scaling,
}

/// A TaskQueue as it stands by itself. `None` when it is not one.
pub(super) fn resolve_queue(admitted: &Admitted, source: Source) -> Option<ResolvedQueue> {
    let Spec::TaskQueue { spec, redis_names, program } = &admitted.spec else { return None };
    let queues = spec.queues.iter().zip(redis_names).map(|(queue, redis_name)| ServedQueue {
        name: queue.name.clone(),
        redis_name: redis_name.clone(),
        weight: queue.weight.unsigned_abs(),
        paused: queue.paused.clone(),
    });
    Some(ResolvedQueue {
        uid: uid_of(&admitted.key),
        queues: queues.collect(),
        strict: spec.priority == Priority::Strict,
        lease: spec.lease.as_std(),
        archive_tasks_max: spec.dead_letter.max_tasks.unsigned_abs().into(),
        archive_age_max: spec.dead_letter.max_age.as_std(),
        workers: spec.workers.as_ref().map(|workers| WorkerFleet {
            program: program.clone(),
            replicas: workers.replicas.map(i32::unsigned_abs),
            concurrency: workers.concurrency.unsigned_abs(),
            scaling: workers.scaling,
        }),
        key: admitted.key.clone(),
        source,
    })
}

/// The TaskQueue a CronTask refers to. `None` when the object is no CronTask.
pub(super) fn queue_of(admitted: &Admitted) -> Option<ObjectKey> {
    let Spec::CronTask { spec, .. } = &admitted.spec else { return None };
    let namespace = admitted.key.namespace.clone();
    Some(ObjectKey { kind: Kind::TaskQueue, namespace, name: spec.queue_ref.name.clone() })
}

/// What a CronTask is resolved with.
pub(super) struct Surroundings<'a> {
    /// The TaskQueue it refers to, if that is in force.
    pub(super) queue: Option<&'a ResolvedQueue>,
    /// The TaskQueues in force in its namespace, by name.
    pub(super) queue_names: &'a dyn Fn() -> Vec<String>,
    /// Who owns the entry.
    pub(super) cluster: &'a str,
    /// The generation it gets.
    pub(super) generation: u64,
    pub(super) source: Source,
}

/// A CronTask with its queue's name in Redis. `None` when the object is no CronTask.
pub(super) fn resolve_task(
    admitted: &Admitted,
    around: Surroundings<'_>,
) -> Option<Result<ResolvedTask, Fault>> {
    let Spec::CronTask { spec, timing } = &admitted.spec else { return None };
    Some(find_queue(admitted, spec, &around).map(|(task_queue, queue)| {
        let mut entry = entry(admitted, spec, timing, queue);
        entry.format = entry.lowest_format();
        entry.cluster = around.cluster.to_owned();
        entry.revision = Revision { epoch: 0, generation: around.generation, hash: entry.content_hash() };
        ResolvedTask { entry, task_queue, source: around.source }
    }))
}

fn find_queue<'a>(
    admitted: &Admitted,
    spec: &CronTaskSpec,
    around: &Surroundings<'a>,
) -> Result<(ObjectKey, &'a QueueName), Fault> {
    let path = FieldPath::of(&["spec", "queueRef"]);
    let wanted = &spec.queue_ref;
    let missing = |field: &str, message: String, name: &str, known: Vec<String>| {
        let meant =
            nearest(name, known.iter().map(String::as_str)).map(|name| format!(", did you mean {name}?"));
        let message = message + &meant.unwrap_or_default();
        let allowed = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        Fault::new(path.key(field), FaultKind::MissingReference, message).allowing(allowed)
    };
    let Some(task_queue) = around.queue else {
        let (name, namespace) = (&wanted.name, &admitted.key.namespace);
        let message = format!("no TaskQueue {name:?} is in force in namespace {namespace}");
        return Err(missing("name", message, name, (around.queue_names)()));
    };
    let queue = task_queue.queues.iter().find(|queue| queue.name == wanted.queue);
    let queue = queue.ok_or_else(|| {
        let message = format!("{} has no queue {:?}", task_queue.key, wanted.queue);
        let known = task_queue.queues.iter().map(|queue| queue.name.clone()).collect();
        missing("queue", message, &wanted.queue, known)
    })?;
    Ok((task_queue.key.clone(), &queue.redis_name))
}

fn entry(admitted: &Admitted, spec: &CronTaskSpec, timing: &TimingSource, queue: &QueueName) -> Entry {
    let task = &spec.task;
    let payload = task.payload.as_ref().map(|payload| payload.to_string().into_bytes());
    Entry {
        format: ENTRY_FORMAT,
        uid: uid_of(&admitted.key),
        namespace: admitted.key.namespace.clone(),
        name: admitted.key.name.clone(),
        cluster: String::new(),
        revision: Revision { epoch: 0, generation: 0, hash: String::new() },
        timing: timing.clone(),
        concurrency: match spec.concurrency_policy {
            ConcurrencyPolicy::Allow => Concurrency::Allow,
            ConcurrencyPolicy::Forbid => Concurrency::Forbid,
            ConcurrencyPolicy::Replace => Concurrency::Replace,
        },
        suspend: spec.suspend,
        starting_deadline_s: spec.starting_deadline_seconds,
        catch_up: match spec.catch_up.policy {
            CatchUpPolicy::Latest => CatchUp::Latest,
            CatchUpPolicy::None => CatchUp::None,
        },
        template: Template {
            kind: task.kind.clone(),
            queue: queue.as_str().to_owned(),
            payload: Bytes::from(payload.unwrap_or_default()),
            headers: task.headers.clone(),
            max_retry: task.max_retry,
            timeout_s: Some(task.timeout.as_secs()),
            deadline_s: task.deadline.map(|deadline| deadline.as_secs()),
            retention_s: task.retention.as_secs(),
            unique_s: task.unique.map(|unique| unique.at_most.as_secs()),
            group: task.group.clone().unwrap_or_default(),
        },
    }
}

fn uid_of(key: &ObjectKey) -> String {
    local_uid(key.kind.as_str(), &key.namespace, &key.name).to_string()
}
