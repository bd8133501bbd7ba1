//! What is told of a TaskQueue: conditions when they change, and now and then what changes all the time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Map, json};

use super::target::Target;
use super::{build, handlers, targets, trouble};
use crate::broker::BrokerError;
use crate::crd::{Duration as Span, TaskQueue, TaskQueueStatus, WorkersStatus};
use crate::operator::conditions::{
    QUEUES_CLAIMED, READY, REDIS_REACHABLE, Refusal, SCALING, Wanted, are_written, conditions, is_true,
    verdict,
};
use crate::operator::context::{Context, ObjectName};
use crate::operator::site::Site;
use crate::operator::status::{Said, TOLD_FROM, apply, say};
use crate::operator::{MANAGER, OBSERVER};

/// The longest wait that is told apart from longer ones, in seconds: 9999 days.
const WAIT_MAX_S: u32 = 9_999 * 86_400;

/// Writes the conditions, if they changed.
pub(super) async fn write(
    context: &Context,
    queue: &TaskQueue,
    outcome: &Result<Arc<Site>, Refusal>,
    are_held: bool,
    attempt: u32,
) -> Result<(), Box<kube::Error>> {
    let status = queue.status.clone().unwrap_or_default();
    let generation = queue.metadata.generation;
    let site = context.sites.of(&queue.uid().unwrap_or_default()).ok();
    let is_early = outcome.as_ref().is_err_and(|refusal| !refusal.needs_edit) && attempt < TOLD_FROM;
    if is_early && site.as_ref().is_none_or(|site| site.trouble().is_none()) {
        return Ok(());
    }
    let said = outcome.as_ref().map(|site| format!("the queues are in force in Redis at {}", site.address()));
    let mut wanted = verdict(said, is_true(&status.conditions, READY, generation));
    wanted.extend(site.as_ref().map(|site| reachable(site)));
    if are_held {
        wanted.push(Wanted::new(QUEUES_CLAIMED, true, "Claimed", "the queues in Redis are this TaskQueue's"));
    }
    wanted.extend(scaling(context, queue));
    wanted.extend(trouble::workers_healthy(context, queue).await);
    wanted.extend(handlers::available(context, queue));
    let before = Said { observed_generation: status.observed_generation, conditions: &status.conditions };
    say(context, queue, before, wanted, Map::new(), false).await
}

fn reachable(site: &Site) -> Wanted {
    match site.trouble() {
        Some(trouble) => Wanted::new(REDIS_REACHABLE, false, trouble.reason, trouble.message),
        None => Wanted::new(REDIS_REACHABLE, true, "Answers", format!("Redis at {} answers", site.address())),
    }
}

fn scaling(context: &Context, queue: &TaskQueue) -> Option<Wanted> {
    let workers = queue.spec.workers.as_ref()?;
    if let Some(Err(refusal)) = targets::verdict(context, queue) {
        return Some(Wanted::new(SCALING, false, refusal.reason, refusal.message));
    }
    Some(match workers.replicas {
        Some(number) => {
            let message =
                format!("spec.workers.replicas is {number}; remove it to have the number follow the work");
            Wanted::new(SCALING, false, "FixedReplicas", message)
        }
        None => Wanted::new(SCALING, true, "FollowsWork", "the number of workers follows the work"),
    })
}

/// Tells how far the end of a TaskQueue is that is being deleted.
pub(super) async fn write_ending(
    context: &Context,
    queue: &TaskQueue,
    message: &str,
) -> Result<(), Box<kube::Error>> {
    let status = queue.status.clone().unwrap_or_default();
    let generation = queue.metadata.generation;
    let ending = Refusal::passing("Ending", message, "the object goes once that is done");
    let mut wanted = verdict(Err(&ending), false);
    if is_true(&status.conditions, QUEUES_CLAIMED, generation) || super::end::is_draining(queue) {
        wanted.push(Wanted::new(QUEUES_CLAIMED, true, "Claimed", "the queues in Redis are this TaskQueue's"));
    }
    let after = conditions(&status.conditions, wanted, generation, Timestamp::now());
    if are_written(&status.conditions, &after) {
        return Ok(());
    }
    let body = json!({ "observedGeneration": generation, "conditions": after });
    apply::<TaskQueue>(context, &ObjectName::of(queue), MANAGER, body).await
}

/// What changes all the time: a status with nothing else in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::operator) struct Observed(TaskQueueStatus);

impl Observed {
    /// What was written last.
    pub(in crate::operator) fn written(queue: &TaskQueue) -> Self {
        let status = queue.status.clone().unwrap_or_default();
        Self(TaskQueueStatus {
            observed_generation: None,
            conditions: Vec::new(),
            observed_at: None,
            ..status
        })
    }
}

/// Reads what changes all the time; `None` when there is nothing to read it from.
pub(in crate::operator) async fn observe(
    context: &Context,
    queue: &TaskQueue,
) -> Result<Option<Observed>, BrokerError> {
    let uid = queue.uid().unwrap_or_default();
    let Ok(site) = context.sites.last_of(&uid) else { return Ok(None) };
    let (Ok(parts), Ok(plan)) = (site.parts(), context.plan(queue)) else { return Ok(None) };
    if context.claims.of(&uid).is_none() {
        return Ok(None);
    }
    let (mut sum, mut wait) = ([0; 5], Duration::ZERO);
    for name in plan.redis_names() {
        let one = parts.broker.backlog(name).await?;
        let numbers = [one.pending, one.active, one.scheduled, one.retry, one.archived];
        sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        wait = wait.max(one.wait);
    }
    let [pending, active, scheduled, retry, archived] = sum.map(|number| i64::try_from(number).ok());
    let wait = Some(Span::seconds(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).min(WAIT_MAX_S)));
    let workers = workers(context, queue);
    let status = TaskQueueStatus {
        pending,
        active,
        scheduled,
        retry,
        archived,
        wait,
        workers,
        ..TaskQueueStatus::default()
    };
    Ok(Some(Observed(status)))
}

fn workers(context: &Context, queue: &TaskQueue) -> Option<WorkersStatus> {
    queue.spec.workers.as_ref()?;
    let noted = context.scaler.noted(&queue.uid().unwrap_or_default());
    let why = WorkersStatus {
        reason: noted.map(|noted| noted.plan.reason.as_str().to_owned()),
        message: noted.map(|noted| noted.to_string()),
        ..WorkersStatus::default()
    };
    if let Some(target) = Target::of(queue) {
        let scaled = targets::scaled(context, queue, &target).ok()?;
        let number = |number| i32::try_from(number).unwrap_or(i32::MAX);
        let (wanted, current) = (number(scaled.replicas), number(scaled.current));
        let shown = format!("{current}/{wanted}");
        return Some(WorkersStatus { wanted, current, shown, selector: scaled.selector, ..why });
    }
    let deployment = context.deployment(&ObjectName::of(queue))?;
    let wanted = deployment.spec.replicas.unwrap_or(0);
    let told = deployment.status.clone().unwrap_or_default();
    let ready = told.ready_replicas.unwrap_or(0);
    Some(WorkersStatus {
        wanted,
        current: told.replicas.unwrap_or(0),
        ready: Some(ready),
        shown: format!("{ready}/{wanted}"),
        selector: build::selector(&queue.name_any()),
        ..why
    })
}

/// Writes it.
pub(in crate::operator) async fn write_observed(
    context: &Context,
    queue: &TaskQueue,
    observed: &Observed,
) -> Result<(), Box<kube::Error>> {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let status = TaskQueueStatus { observed_at: Some(now), ..observed.0.clone() };
    let body = serde_json::to_value(status).unwrap_or_default();
    apply::<TaskQueue>(context, &ObjectName::of(queue), OBSERVER, body).await
}
