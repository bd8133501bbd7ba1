//! From a CronTask to the schedule entry that stands in Redis.

use bytes::Bytes;
use jiff::Timestamp;

use super::flaw::{Flaw, FlawKind};
use super::task_queue::ServedQueue;
use crate::crd::{self, CatchUpPolicy, ConcurrencyPolicy, CronTaskSpec};
use crate::nearest::nearest;
use crate::schedule::{
    CatchUp, Concurrency, ENTRY_FORMAT, Entry, Gap, Overlap, Revision, Template, Timing, TimingError,
    TimingSource,
};
use crate::task::QueueName;

/// When a CronTask fires. Intervals count from `anchor`.
#[must_use]
pub fn timing_source(namespace: &str, name: &str, spec: &CronTaskSpec, anchor: Timestamp) -> TimingSource {
    TimingSource {
        schedules: spec.schedule.iter().chain(spec.schedules.iter().flatten()).cloned().collect(),
        time_zone: Some(spec.time_zone.clone()),
        gap: match spec.daylight_saving.gap {
            crd::GapPolicy::After => Gap::After,
            crd::GapPolicy::Skip => Gap::Skip,
        },
        overlap: match spec.daylight_saving.overlap {
            crd::OverlapPolicy::First => Overlap::First,
            crd::OverlapPolicy::Both => Overlap::Both,
        },
        anchor,
        hash_key: format!("{namespace}/{name}"),
        jitter_s: u32::try_from(spec.jitter.as_secs()).unwrap_or(u32::MAX),
    }
}

/// Parses each schedule and the zone on their own, so that one flaw does not hide another. Having no schedule at
/// all breaks a rule of the schema, which says what is missing.
///
/// # Errors
/// Everything that is wrong.
pub fn check_timing(spec: &CronTaskSpec, timing: &TimingSource) -> Result<(), Vec<Flaw>> {
    let one = spec.schedule.iter().map(|schedule| ("spec.schedule".to_owned(), schedule));
    let many = spec.schedules.iter().flatten().enumerate();
    let many = many.map(|(place, schedule)| (format!("spec.schedules[{place}]"), schedule));
    let mut flaws = Vec::new();
    for (path, schedule) in one.chain(many) {
        let alone = TimingSource { schedules: vec![schedule.clone()], time_zone: None, ..timing.clone() };
        flaws.extend(Timing::parse(&alone).err().map(|error| timing_flaw(path, error)));
    }
    let zone = TimingSource { schedules: vec!["@daily".to_owned()], ..timing.clone() };
    flaws.extend(Timing::parse(&zone).err().map(|error| timing_flaw("spec.timeZone".to_owned(), error)));
    if flaws.is_empty() { Ok(()) } else { Err(flaws) }
}

fn timing_flaw(path: String, error: TimingError) -> Flaw {
    let flaw = |message| Flaw::new(path, FlawKind::InvalidSchedule, message);
    match error {
        TimingError::Spec(error) => {
            let field = error.field.map(|field| format!("{field}: ")).unwrap_or_default();
            flaw(format!("{:?}: {field}{}", error.text, error.problem)).allowing(error.allowed)
        }
        TimingError::UnknownZone { name, nearest } => {
            let meant = nearest.map(|zone| format!(", did you mean {zone}?")).unwrap_or_default();
            flaw(format!("unknown zone {name:?}{meant}"))
                .allowing("a zone of the IANA database, like Asia/Shanghai or UTC")
        }
        error @ (TimingError::NoSchedule | TimingError::TooManySchedules { .. }) => flaw(error.to_string()),
    }
}

/// A TaskQueue as a CronTask sees it.
#[derive(Debug, Clone, Copy)]
pub struct QueueView<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its queues.
    pub queues: &'a [ServedQueue],
    /// Other namespaces that may use it.
    pub allowed_namespaces: &'a [String],
}

/// Finds the queue that a CronTask of `namespace` refers to. `found` is the TaskQueue it names, if that is in force;
/// `names` are those that are in force in the namespace it names.
///
/// # Errors
/// The flaw says what is missing or not allowed, and what there is instead.
pub fn find_queue<'a>(
    namespace: &str,
    spec: &CronTaskSpec,
    found: Option<QueueView<'a>>,
    names: impl FnOnce() -> Vec<String>,
) -> Result<&'a QueueName, Flaw> {
    let wanted = &spec.queue_ref;
    let missing = |field: &str, message: String, name: &str, known: Vec<String>| {
        let meant =
            nearest(name, known.iter().map(String::as_str)).map(|name| format!(", did you mean {name}?"));
        let message = message + &meant.unwrap_or_default();
        let allowed = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        Flaw::new(format!("spec.queueRef.{field}"), FlawKind::MissingReference, message).allowing(allowed)
    };
    let in_namespace = wanted.namespace.as_deref().unwrap_or(namespace);
    let is_own = in_namespace == namespace;
    let Some(found) = found else {
        let message = format!("no TaskQueue {:?} is in force in namespace {in_namespace}", wanted.name);
        // What another namespace has is not told to those whom it may not concern.
        let known = if is_own { names() } else { Vec::new() };
        return Err(missing("name", message, &wanted.name, known));
    };
    if !is_own && !found.allowed_namespaces.iter().any(|allowed| allowed == namespace) {
        let message =
            format!("TaskQueue {}/{} does not allow namespace {namespace}", found.namespace, found.name);
        let flaw = Flaw::new("spec.queueRef.namespace", FlawKind::NotAllowed, message);
        return Err(flaw.allowing(format!("a TaskQueue that has {namespace} in its allowedNamespaces")));
    }
    let queue = found.queues.iter().find(|queue| queue.name == wanted.queue);
    let queue = queue.ok_or_else(|| {
        let message = format!("TaskQueue {}/{} has no queue {:?}", found.namespace, found.name, wanted.queue);
        let known = found.queues.iter().map(|queue| queue.name.clone()).collect();
        missing("queue", message, &wanted.queue, known)
    })?;
    Ok(&queue.redis_name)
}

/// Whose entry it is, and which version.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The object's uid.
    pub uid: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Who may rewrite or sweep the entry.
    pub cluster: &'a str,
    /// How often the leadership of the writers changed hands.
    pub epoch: u64,
    /// The object's generation.
    pub generation: u64,
}

/// The entry of a CronTask. `payload` stands in for the one in the object where that comes from elsewhere.
#[must_use]
pub fn entry(
    identity: Identity<'_>,
    spec: &CronTaskSpec,
    timing: TimingSource,
    queue: &QueueName,
    payload: Option<Vec<u8>>,
) -> Entry {
    let task = &spec.task;
    let written = || task.payload.as_ref().map(|payload| payload.to_string().into_bytes());
    let payload = payload.or_else(written).unwrap_or_default();
    let mut entry = Entry {
        format: ENTRY_FORMAT,
        uid: identity.uid.to_owned(),
        namespace: identity.namespace.to_owned(),
        name: identity.name.to_owned(),
        cluster: identity.cluster.to_owned(),
        revision: Revision { epoch: 0, generation: 0, hash: String::new() },
        timing,
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
            payload: Bytes::from(payload),
            headers: task.headers.clone(),
            max_retry: task.max_retry,
            timeout_s: Some(task.timeout.as_secs()),
            deadline_s: task.deadline.map(|deadline| deadline.as_secs()),
            retention_s: task.retention.as_secs(),
            unique_s: task.unique.map(|unique| unique.at_most.as_secs()),
            group: task.group.clone().unwrap_or_default(),
        },
    };
    entry.format = entry.lowest_format();
    let Identity { epoch, generation, .. } = identity;
    entry.revision = Revision { epoch, generation, hash: entry.content_hash() };
    entry
}
