//! TaskQueues: fetched, validated, built, applied, told about in status; and their fleets, scaled.

mod apply;
mod build;
mod claim;
mod dead;
mod death;
mod end;
mod fleet;
mod handlers;
mod handshake;
mod idle;
mod scale;
mod scale_in;
mod site_fleets;
mod status;
mod target;
mod targets;
mod trouble;
mod validate;
mod worker_pod;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use tokio::time::timeout;

pub(super) use apply::AppliedFleets;
pub(super) use build::{OBJECT_LABEL, deployment_name};
pub(super) use claim::{Claims, keep_claims};
pub(super) use dead::release_dead;
pub(super) use end::{farewell, finish_what_was_left};
pub(super) use handlers::{Unserved, look_for_unserved};
pub(super) use scale::{Scaler, scale};
pub(super) use status::{Observed, observe, write_observed};
pub(super) use targets::{Targets, follow_targets};

use super::conditions::{Refusal, backoff};
use super::context::{Context, ObjectName, Seen, uid_of};
use super::leader::Tenure;
use super::site::Site;
use super::status::say_unreadable;
use crate::crd::TaskQueue;

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(15);
/// How often pods are looked at that are to become ready.
const LOOK_AT_PODS: Duration = Duration::from_secs(5);
/// How often what is in force is compared again. What somebody changes in the cluster is seen at once, and a claim that is
/// gone within seconds.
const COMPARE: Duration = Duration::from_secs(180);

/// Puts one TaskQueue into force, if this replica leads. Any number of times gives the same.
///
/// # Errors
/// When the object cannot be written.
pub(super) async fn reconcile(
    seen: Arc<Seen<TaskQueue>>,
    context: Arc<Context>,
) -> Result<Action, Box<kube::Error>> {
    // Every replica has to know where its Redis is; that is looked for each second anyway.
    if seen.0.as_ref().is_ok_and(|queue| is_news(&context, queue)) {
        context.look_at_sites.notify_one();
    }
    let Some(tenure) = context.leadership.tenure() else { return Ok(Action::await_change()) };
    let step = timeout(LIMIT, step(&seen, &context, &tenure));
    match tenure.ended.run_until_cancelled(step).await {
        Some(Ok(stepped)) => stepped,
        Some(Err(_)) => Ok(retry(&seen, &context)),
        None => Ok(Action::await_change()),
    }
}

/// Whether nobody may have looked yet where its Redis is.
fn is_news(context: &Context, queue: &TaskQueue) -> bool {
    let told_of = queue.status.as_ref().and_then(|status| status.observed_generation);
    told_of != queue.metadata.generation || context.sites.of(uid_of(queue)).is_err()
}

/// When to try again what could not be written.
pub(super) fn retry(seen: &Seen<TaskQueue>, context: &Context) -> Action {
    Action::requeue(backoff(context.failed(&seen.uid().unwrap_or_default())))
}

async fn step(
    seen: &Seen<TaskQueue>,
    context: &Context,
    tenure: &Tenure,
) -> Result<Action, Box<kube::Error>> {
    let queue = match &seen.0 {
        Ok(queue) => queue,
        Err(invalid) => {
            // Its conditions cannot be read either, so they are written once.
            if context.failed(&seen.uid().unwrap_or_default()) == 0 {
                say_unreadable::<TaskQueue>(context, invalid).await?;
            }
            return Ok(Action::await_change());
        }
    };
    if queue.metadata.deletion_timestamp.is_some() {
        return end::finish(context, queue).await;
    }
    end::hold(context, queue).await?;
    let uid = queue.uid().unwrap_or_default();
    let put = put(context, tenure, queue).await;
    let again = put.as_ref().ok().and_then(|(_, again)| *again);
    let outcome = put.map(|(site, _)| site);
    let attempt = match &outcome {
        Ok(_) => {
            context.succeeded(&uid);
            0
        }
        Err(_) => context.failed(&uid),
    };
    let are_held = context.claims.are_held(&uid, tenure.epoch);
    status::write(context, queue, &outcome, are_held, attempt).await?;
    Ok(match outcome {
        // Nobody tells us what becomes of pods.
        Ok(_) if trouble::are_awaited(context, queue) => Action::requeue(LOOK_AT_PODS),
        Ok(_) => Action::requeue(again.unwrap_or_else(|| COMPARE.mul_f64(0.75 + 0.5 * fastrand::f64()))),
        Err(_) => Action::requeue(backoff(attempt)),
    })
}

/// Puts it into force; answers where, and how soon it is to be looked at again, if soon.
async fn put(
    context: &Context,
    tenure: &Tenure,
    queue: &TaskQueue,
) -> Result<(Arc<Site>, Option<Duration>), Refusal> {
    let uid = queue.uid().unwrap_or_default();
    let valid = validate::validate(context, queue)?;
    let target = targets::find(context, tenure, queue).await;
    let site = context.sites.of(&uid)?;
    let parts = site.parts()?;
    let is_new = claim::claim(context, tenure, queue, &valid.plan, &site).await?;
    claim::put_queues(&parts.broker, &ObjectName::of(queue), &valid.plan).await?;
    if is_new {
        context.wake_tasks_of(&ObjectName::of(queue));
    }
    // Its queues are in force all the same, and workers of its own stay until there are others.
    target?;
    let again = apply::apply(context, tenure, queue, &valid, &site).await?;
    Ok((site, again))
}
