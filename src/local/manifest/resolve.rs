//! Objects resolved against each other: what is to stand in Redis, and which workers are to run.

use std::ops::Deref;
use std::path::PathBuf;

use super::admission::{Admitted, Spec};
use super::error::Fault;
use super::kind::{Kind, ObjectKey};
use super::worker::WorkerProgram;
use crate::resolve::{Identity, QueuePlan, QueueView, entry, find_queue};
use crate::schedule::{Entry, local_uid};

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
    /// What it asks for.
    pub plan: QueuePlan,
    /// Other namespaces that may use it.
    pub allowed_namespaces: Vec<String>,
    /// What runs as one of its workers.
    pub program: WorkerProgram,
    /// Where it was read.
    pub source: Source,
}

impl Deref for ResolvedQueue {
    type Target = QueuePlan;

    fn deref(&self) -> &QueuePlan {
        &self.plan
    }
}

/// A TaskQueue as it stands by itself. `None` when it is not one.
pub(super) fn resolve_queue(admitted: &Admitted, source: Source) -> Option<ResolvedQueue> {
    let Spec::TaskQueue { spec, plan, program } = &admitted.spec else { return None };
    Some(ResolvedQueue {
        uid: uid_of(&admitted.key),
        plan: plan.clone(),
        allowed_namespaces: spec.allowed_namespaces.clone(),
        program: program.clone(),
        key: admitted.key.clone(),
        source,
    })
}

/// The TaskQueue a CronTask refers to. `None` when the object is no CronTask.
pub(super) fn queue_of(admitted: &Admitted) -> Option<ObjectKey> {
    let Spec::CronTask { spec, .. } = &admitted.spec else { return None };
    let wanted = &spec.queue_ref;
    let namespace = wanted.namespace.as_ref().unwrap_or(&admitted.key.namespace).clone();
    Some(ObjectKey { kind: Kind::TaskQueue, namespace, name: wanted.name.clone() })
}

/// What a CronTask is resolved with.
pub(super) struct Surroundings<'a> {
    /// The TaskQueue it refers to, if that is in force.
    pub(super) queue: Option<&'a ResolvedQueue>,
    /// The TaskQueues in force in the namespace it refers to, by name.
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
    let key = &admitted.key;
    let view = around.queue.map(|queue| QueueView {
        namespace: &queue.key.namespace,
        name: &queue.key.name,
        queues: &queue.queues,
        allowed_namespaces: &queue.allowed_namespaces,
    });
    let queue = match find_queue(&key.namespace, spec, view, around.queue_names) {
        Ok(queue) => queue,
        Err(flaw) => return Some(Err(flaw.into())),
    };
    let identity = Identity {
        uid: &uid_of(key),
        namespace: &key.namespace,
        name: &key.name,
        cluster: around.cluster,
        epoch: 0,
        generation: around.generation,
    };
    let entry = entry(identity, spec, timing.clone(), queue, None);
    Some(Ok(ResolvedTask { entry, task_queue: queue_of(admitted)?, source: around.source }))
}

fn uid_of(key: &ObjectKey) -> String {
    local_uid(key.kind.as_str(), &key.namespace, &key.name).to_string()
}
