//! What is told of a CronTask: conditions when they change, and now and then what changes all the time.

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::json;

use crate::broker::{Broker, BrokerError};
use crate::crd::CronTask;
use crate::operator::OBSERVER;
use crate::operator::conditions::{READY, Refusal, is_true, verdict};
use crate::operator::context::{Context, ObjectName};
use crate::operator::status::{Said, TOLD_FROM, apply, say};
use crate::schedule::{TickOutcome, TickRecord};
use crate::task::QueueName;

/// Writes the conditions, if they changed.
pub(super) async fn write(
    context: &Context,
    task: &CronTask,
    outcome: &Result<QueueName, Refusal>,
    attempt: u32,
) -> Result<(), Box<kube::Error>> {
    let status = task.status.clone().unwrap_or_default();
    let generation = task.metadata.generation;
    if outcome.as_ref().is_err_and(|refusal| !refusal.needs_edit) && attempt < TOLD_FROM {
        return Ok(());
    }
    let said = outcome.as_ref().map(|queue| format!("the schedule is in force in queue {queue}"));
    let wanted = verdict(said, is_true(&status.conditions, READY, generation));
    let queue = outcome.as_ref().ok().map(ToString::to_string).or(status.queue.clone());
    let is_news = queue != status.queue;
    let more = queue.map(|queue| ("queue".to_owned(), queue.into())).into_iter().collect();
    let before = Said { observed_generation: status.observed_generation, conditions: &status.conditions };
    say(context, task, before, wanted, more, is_news).await
}

/// What changes all the time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::operator) struct Observed {
    last: Option<Timestamp>,
    next: Option<Timestamp>,
    result: Option<String>,
}

impl Observed {
    /// What was written last.
    pub(in crate::operator) fn written(task: &CronTask) -> Self {
        let status = task.status.clone().unwrap_or_default();
        Self { last: status.last_schedule_time, next: status.next_schedule_time, result: status.last_result }
    }
}

/// Reads what changes all the time; `None` when the schedule is not in force.
pub(in crate::operator) async fn observe(
    context: &Context,
    task: &CronTask,
) -> Result<Option<Observed>, BrokerError> {
    let uid = task.uid().unwrap_or_default();
    let Some((site, queue)) = context.placements.of(&uid).into_iter().next() else { return Ok(None) };
    let Some(site) = context.sites.get(&site) else { return Ok(None) };
    let Ok(parts) = site.parts() else { return Ok(None) };
    let broker = &parts.broker;
    let Some(stored) = broker.read_entries(&queue, std::slice::from_ref(&uid)).await?.pop() else {
        return Ok(None);
    };
    let result = match broker.ticks(&queue, &uid, 1).await?.pop() {
        Some(record) => Some(result(broker, &queue, &record).await?),
        None => None,
    };
    // Its ticks go on being accounted for, but nothing comes of the next one.
    let next = stored.next.filter(|_| !task.spec.suspend);
    Ok(Some(Observed { last: stored.last, next, result }))
}

/// What became of a tick: of its task, if one was enqueued.
async fn result(broker: &Broker, queue: &QueueName, record: &TickRecord) -> Result<String, BrokerError> {
    let is_enqueued = matches!(record.outcome, TickOutcome::Enqueued | TickOutcome::Refired);
    let Some(id) = record.task_id.as_ref().filter(|_| is_enqueued) else {
        return Ok(capitalized(record.outcome.as_str()));
    };
    match broker.task(queue, id).await {
        Ok(Some(view)) => Ok(capitalized(view.state.as_str())),
        // It may have succeeded, or have been deleted: nobody knows any more.
        Ok(None) => Ok("Unknown".to_owned()),
        Err(BrokerError::Message { .. }) => Ok("Unreadable".to_owned()),
        Err(error) => Err(error),
    }
}

/// `skipped-overlap` as `SkippedOverlap`.
fn capitalized(words: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    };
    words.split('-').filter_map(word).collect()
}

/// Writes it.
pub(in crate::operator) async fn write_observed(
    context: &Context,
    task: &CronTask,
    observed: &Observed,
) -> Result<(), Box<kube::Error>> {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let mut body = json!({ "observedAt": now });
    for (field, value) in [
        ("lastScheduleTime", observed.last.map(|at| at.to_string())),
        ("nextScheduleTime", observed.next.map(|at| at.to_string())),
        ("lastResult", observed.result.clone()),
    ] {
        if let Some(value) = value {
            body[field] = value.into();
        }
    }
    apply::<CronTask>(context, &ObjectName::of(task), OBSERVER, body).await
}
