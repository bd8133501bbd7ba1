//! What changes all the time in status: refreshed from one budget for the whole cluster, what was looked at longest ago
//! first, whatever the number of objects or of ticks.

use std::collections::HashMap;
use std::time::Duration;

use kube::ResourceExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::context::{Context, Readable};
use super::{cron_task, task_queue};
use crate::causes;
use crate::crd::{CronTask, TaskQueue};

/// How long an object is left alone after it was looked at.
const LEAVE_ALONE: Duration = Duration::from_secs(1);
/// Objects looked at for one write at most: most have not changed.
const LOOKS_PER_WRITE: usize = 20;
/// How long one look may take: a Redis that is away holds up no other for longer.
const LIMIT: Duration = Duration::from_millis(500);

enum Object {
    Task(Readable<CronTask>),
    Queue(Readable<TaskQueue>),
}

impl Object {
    fn uid(&self) -> String {
        match self {
            Self::Task(task) => task.uid(),
            Self::Queue(queue) => queue.uid(),
        }
        .unwrap_or_default()
    }

    /// Reads it, and writes what is different; answers whether anything was.
    async fn refresh(&self, context: &Context) -> Result<bool, String> {
        let told = |error: Box<kube::Error>| causes::on_one_line(&*error);
        match self {
            Self::Task(task) => {
                let read = cron_task::observe(context, task).await;
                let read = read.map_err(|error| causes::on_one_line(&error))?;
                let Some(now) = read.filter(|now| *now != cron_task::Observed::written(task)) else {
                    return Ok(false);
                };
                context.around.metrics.status_written();
                cron_task::write_observed(context, task, &now).await.map_err(told).map(|()| true)
            }
            Self::Queue(queue) => {
                let read = task_queue::observe(context, queue).await;
                let read = read.map_err(|error| causes::on_one_line(&error))?;
                let Some(now) = read.filter(|now| *now != task_queue::Observed::written(queue)) else {
                    return Ok(false);
                };
                context.around.metrics.status_written();
                task_queue::write_observed(context, queue, &now).await.map_err(told).map(|()| true)
            }
        }
    }
}

/// Refreshes for as long as this replica leads.
pub(super) async fn refresh(context: &Context) {
    let mut budget = interval(Duration::from_secs(1) / context.options.status_writes_per_second.max(1));
    // What was not spent is gone, so nothing ever comes in a rush.
    budget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked: HashMap<String, Instant> = HashMap::new();
    loop {
        budget.tick().await;
        let objects = oldest(context, &mut looked);
        for object in objects {
            looked.insert(object.uid(), Instant::now());
            match timeout(LIMIT, object.refresh(context)).await {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) | Err(_) => break,
                Ok(Err(error)) => {
                    tracing::debug!(uid = object.uid(), "status not refreshed: {error}");
                    break;
                }
            }
        }
    }
}

/// The objects looked at longest ago, never ones first.
fn oldest(context: &Context, looked: &mut HashMap<String, Instant>) -> Vec<Object> {
    let tasks = context.tasks().into_iter().map(Object::Task);
    let all: Vec<_> = tasks.chain(context.queues().into_iter().map(Object::Queue)).collect();
    if looked.len() > 2 * all.len() + 16 {
        let living: std::collections::HashSet<_> = all.iter().map(Object::uid).collect();
        looked.retain(|uid, _| living.contains(uid));
    }
    let mut due: Vec<_> = all
        .into_iter()
        .map(|object| (looked.get(&object.uid()).copied(), object))
        .filter(|(last, _)| last.is_none_or(|last| last.elapsed() >= LEAVE_ALONE))
        .collect();
    let order = |one: &(Option<Instant>, Object), other: &(Option<Instant>, Object)| one.0.cmp(&other.0);
    if due.len() > LOOKS_PER_WRITE {
        due.select_nth_unstable_by(LOOKS_PER_WRITE, order);
        due.truncate(LOOKS_PER_WRITE);
    }
    due.sort_by(order);
    due.into_iter().map(|(_, object)| object).collect()
}
