//! What changes all the time in status: refreshed from one budget for the whole cluster, what was looked at longest ago
//! first, whatever the number of objects or of ticks.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::context::{Context, Readable};
use super::{cron_task, task_queue};
use crate::broker::BrokerError;
use crate::causes;
use crate::crd::{CronTask, TaskQueue};

/// How long an object is left alone after it was looked at.
const LEAVE_ALONE: Duration = Duration::from_secs(1);
/// How long a TaskQueue is left alone that was looked at when it had nothing to do already.
const LEAVE_AT_REST: Duration = Duration::from_secs(30);
/// Objects looked at for one write at most: most have not changed.
const LOOKS_PER_WRITE: usize = 20;
/// Objects read at the same time, which is cheaper than one after the other.
const LOOKS_AT_ONCE: usize = 10;
/// How long one look may take: a Redis that is away holds up no other for longer.
const LIMIT: Duration = Duration::from_millis(500);

enum Object {
    Task(Readable<CronTask>),
    Queue(Readable<TaskQueue>),
}

/// What stands for an object's uid in far less memory. Two that share one are looked at in turn, as if they were one.
type Mark = u64;

fn mark(uid: &str) -> Mark {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

impl Object {
    fn uid(&self) -> &str {
        let uid = match self {
            Self::Task(task) => &task.metadata.uid,
            Self::Queue(queue) => &queue.metadata.uid,
        };
        uid.as_deref().unwrap_or_default()
    }

    fn mark(&self) -> Mark {
        mark(self.uid())
    }

    /// When one that is looked at now is to be looked at again.
    fn next(&self, context: &Context, now: Instant) -> Instant {
        let rests_since = match self {
            Self::Task(_) => None,
            Self::Queue(_) => context.scaler.rests_since(self.uid()),
        };
        // What ended just before is seen a moment later.
        match rests_since {
            Some(since) if since + LEAVE_ALONE < now => now + LEAVE_AT_REST,
            _ => now + LEAVE_ALONE,
        }
    }

    /// Reads it; answers what is to be written because it is different.
    async fn read(self, context: &Context) -> Result<Option<News>, BrokerError> {
        Ok(match self {
            Self::Task(task) => {
                let read = cron_task::observe(context, &task).await?;
                let read = read.filter(|now| *now != cron_task::Observed::written(&task));
                read.map(|now| News::Task(task, now))
            }
            Self::Queue(queue) => {
                let read = task_queue::observe(context, &queue).await?;
                let read = read.filter(|now| *now != task_queue::Observed::written(&queue));
                read.map(|now| News::Queue(queue, now))
            }
        })
    }
}

/// An object, and what its status does not say yet.
enum News {
    Task(Readable<CronTask>, cron_task::Observed),
    Queue(Readable<TaskQueue>, task_queue::Observed),
}

impl News {
    async fn write(&self, context: &Context) -> Result<(), Box<kube::Error>> {
        context.around.metrics.status_written();
        match self {
            Self::Task(task, now) => cron_task::write_observed(context, task, now).await,
            Self::Queue(queue, now) => task_queue::write_observed(context, queue, now).await,
        }
    }
}

/// Refreshes for as long as this replica leads.
pub(super) async fn refresh(context: &Context) {
    let mut budget = interval(Duration::from_secs(1) / context.options.status_writes_per_second.max(1));
    // What was not spent is gone, so nothing ever comes in a rush.
    budget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = HashMap::new();
    loop {
        budget.tick().await;
        let objects = oldest(context, &mut next).into_iter();
        let looks = objects.map(|object| {
            let mark = object.mark();
            async move {
                let again = object.next(context, Instant::now());
                (mark, again, timeout(LIMIT, object.read(context)).await)
            }
            .boxed()
        });
        let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffered(LOOKS_AT_ONCE);
        while let Some((mark, again, read)) = looks.next().await {
            next.insert(mark, again);
            let why = match read {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some(news))) => match timeout(LIMIT, news.write(context)).await {
                    Ok(Err(error)) => causes::on_one_line(&*error),
                    Ok(Ok(())) | Err(_) => break,
                },
                Ok(Err(error)) => causes::on_one_line(&error),
                Err(_) => break,
            };
            tracing::debug!("status not refreshed: {why}");
            break;
        }
    }
}

/// The objects whose turn it is, those that were never looked at first. `next` says when it is each one's turn again.
fn oldest(context: &Context, next: &mut HashMap<Mark, Instant>) -> Vec<Object> {
    let (tasks, queues) = (context.tasks(), context.queues());
    let all = || tasks.iter().cloned().map(Object::Task).chain(queues.iter().cloned().map(Object::Queue));
    for uid in context.scaler.roused() {
        next.remove(&mark(&uid));
    }
    if next.len() > 2 * (tasks.len() + queues.len()) + 16 {
        let living: HashSet<_> = all().map(|object| object.mark()).collect();
        next.retain(|mark, _| living.contains(mark));
    }
    let (mut due, now) = (Vec::new(), Instant::now());
    for object in all() {
        let turn = next.get(&object.mark()).copied();
        if turn.is_some_and(|turn| turn > now) {
            continue;
        }
        due.push((turn, object));
        if due.len() > 2 * LOOKS_PER_WRITE {
            keep_oldest(&mut due);
        }
    }
    keep_oldest(&mut due);
    due.into_iter().map(|(_, object)| object).collect()
}

fn keep_oldest(due: &mut Vec<(Option<Instant>, Object)>) {
    due.sort_by_key(|(turn, _)| *turn);
    due.truncate(LOOKS_PER_WRITE);
}
