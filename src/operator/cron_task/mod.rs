//! CronTasks: fetched, validated, built, applied, and told about in status.

mod apply;
mod build;
mod status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use tokio::time::timeout;

pub(super) use apply::{Placements, survey, take_out};
pub(super) use status::{Observed, observe, write_observed};
pub(super) use validate::queue_of;

use super::conditions::{Refusal, backoff};
use super::context::{Context, Seen};
use super::leader::Tenure;
use super::status::say_unreadable;
use crate::crd::CronTask;
use crate::resolve::FlawKind;
use crate::task::QueueName;

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How often what is in force is compared with Redis again.
const COMPARE: Duration = Duration::from_secs(60);
/// The same where a ConfigMap is read, changes of which nobody tells us.
const COMPARE_PAYLOAD: Duration = Duration::from_secs(30);
/// How soon a look is repeated that came before everything was known.
const TOO_EARLY: Duration = Duration::from_millis(500);

/// Puts one CronTask into force, if this replica leads. Any number of times gives the same.
///
/// # Errors
/// When its status cannot be written.
pub(super) async fn reconcile(
    seen: Arc<Seen<CronTask>>,
    context: Arc<Context>,
) -> Result<Action, Box<kube::Error>> {
    let Some(tenure) = context.leadership.tenure() else { return Ok(Action::await_change()) };
    let namespace = seen.namespace().unwrap_or_default();
    // Before all is told, a TaskQueue that is not known may be there all the same.
    if !context.roster.is_complete()
        || !context
            .scope(&namespace)
            .is_some_and(|scope| scope.states[..2].iter().all(|state| state.is_listed()))
    {
        return Ok(Action::requeue(TOO_EARLY));
    }
    let step = timeout(LIMIT, step(&seen, &context, &tenure));
    match tenure.ended.run_until_cancelled(step).await {
        Some(Ok(stepped)) => stepped,
        Some(Err(_)) => Ok(retry(&seen, &context)),
        None => Ok(Action::await_change()),
    }
}

/// When to try again what could not be written.
pub(super) fn retry(seen: &Seen<CronTask>, context: &Context) -> Action {
    Action::requeue(backoff(context.failed(&seen.uid().unwrap_or_default())))
}

async fn step(seen: &Seen<CronTask>, context: &Context, tenure: &Tenure) -> Result<Action, Box<kube::Error>> {
    let task = match &seen.0 {
        Ok(task) => task,
        Err(invalid) => {
            // Its conditions cannot be read either, so they are written once.
            if context.failed(&seen.uid().unwrap_or_default()) == 0 {
                say_unreadable::<CronTask>(context, invalid).await?;
            }
            return Ok(Action::await_change());
        }
    };
    let uid = task.uid().unwrap_or_default();
    if task.metadata.deletion_timestamp.is_some() {
        return match take_out(context, &uid).await {
            Ok(()) => Ok(Action::await_change()),
            Err(_) => Ok(retry(seen, context)),
        };
    }
    let outcome = put(context, tenure, task).await;
    let attempt = match &outcome {
        Ok(_) => {
            context.succeeded(&uid);
            0
        }
        Err(_) => context.failed(&uid),
    };
    status::write(context, task, &outcome, attempt).await?;
    Ok(match outcome {
        Ok(_) if task.spec.task.payload_from.is_some() => Action::requeue(spread(COMPARE_PAYLOAD)),
        Ok(_) => Action::requeue(spread(COMPARE)),
        // An edit wakes us.
        Err(refusal) if refusal.reason == FlawKind::InvalidSchedule.as_str() => Action::await_change(),
        Err(_) => Action::requeue(backoff(attempt)),
    })
}

async fn put(context: &Context, tenure: &Tenure, task: &CronTask) -> Result<QueueName, Refusal> {
    let valid = match validate::validate(context, tenure, task).await {
        Ok(valid) => valid,
        Err(refusal) => {
            let leads_nowhere = [FlawKind::MissingReference, FlawKind::NotAllowed].map(FlawKind::as_str);
            if leads_nowhere.contains(&refusal.reason) {
                take_out(context, &task.uid().unwrap_or_default()).await?;
            }
            return Err(refusal);
        }
    };
    let entry = build::entry(context, tenure, task, &valid);
    apply::apply(context, tenure, &valid.site, &valid.queue, entry).await?;
    Ok(valid.queue)
}

/// About that long, so that many objects do not come at once.
fn spread(about: Duration) -> Duration {
    about.mul_f64(0.75 + 0.5 * fastrand::f64())
}
