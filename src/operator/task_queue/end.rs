//! The end of a TaskQueue: what its policy says becomes of its tasks, without ever holding a namespace up.
//!
//! Under Retain nothing has to be done before the object may go, so there is no finalizer: its claims are given back
//! when the watch tells of it, or lapse. Under Delete what cannot be done within [`WORK_LIMIT`] is left in a Secret of
//! the operator's own and finished when Redis is back.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::{Api, Resource as _, ResourceExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{apply, claim, status, targets};
use crate::broker::{Broker, Endpoint, Owner, QueueRemoval};
use crate::causes;
use crate::crd::{DeletionPolicy, TaskQueue};
use crate::operator::conditions::Refusal;
use crate::operator::context::{Context, ObjectName};
use crate::operator::site::Site;
use crate::operator::{finalizer, sites};
use crate::scheduler::Scheduler;
use crate::task::QueueName;

/// How long an object waits for its end, when that is held up.
const WORK_LIMIT: Duration = Duration::from_secs(12);
/// The same in a namespace that is being deleted: the controller that deletes it looks again only after many seconds.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(3);
/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(3);
/// How soon the end is gone on with.
const AGAIN: Duration = Duration::from_secs(1);
/// The Secret in which is left what could not be finished.
const LEFT: &str = "cronmill-unfinished";
/// How often it is looked whether that can be finished now.
const LEFT_LOOK: Duration = Duration::from_secs(10);
/// How long one try may take.
const LEFT_LIMIT: Duration = Duration::from_secs(60);

/// What is left to be done for a TaskQueue that is gone. It holds a URL, so it is only ever shown to the API server.
#[derive(Serialize, Deserialize)]
struct Left {
    url: String,
    queues: Vec<String>,
}

/// Whether a TaskQueue is at its end, and its workers go on for it.
pub(super) fn is_draining(queue: &TaskQueue) -> bool {
    queue.spec.deletion_policy == DeletionPolicy::Drain && finalizer::is_on(queue)
}

/// Sees to it that the object does not go before its policy is carried out, and is not held where nothing is to be
/// done.
pub(super) async fn hold(context: &Context, queue: &TaskQueue) -> Result<(), Box<kube::Error>> {
    let is_needed = queue.spec.deletion_policy != DeletionPolicy::Retain;
    match (is_needed, finalizer::is_on(queue)) {
        (true, false) => finalizer::put_on(&context.client, queue).await,
        (false, true) => finalizer::take_off(&context.client, queue).await,
        _ => Ok(()),
    }
}

/// Goes on with the end of a TaskQueue that is being deleted.
pub(super) async fn finish(context: &Context, queue: &TaskQueue) -> Result<Action, Box<kube::Error>> {
    let name = ObjectName::of(queue);
    // Their schedules are taken out of force.
    context.wake_tasks_of(&name);
    if !finalizer::is_on(queue) {
        return Ok(Action::await_change());
    }
    let is_terminating = is_terminating(context, &name.namespace).await;
    let limit = if is_terminating { NAMESPACE_LIMIT } else { WORK_LIMIT };
    let is_late = queue.metadata.deletion_timestamp.as_ref().is_some_and(|deleted| {
        Duration::try_from(Timestamp::now().duration_since(deleted.0)).is_ok_and(|since| since >= limit)
    });
    let ended = match queue.spec.deletion_policy {
        DeletionPolicy::Retain => Ok(None),
        DeletionPolicy::Drain if is_terminating => Ok(None),
        DeletionPolicy::Drain => within_limit(drain(context, queue)).await,
        DeletionPolicy::Delete => within_limit(delete(context, queue)).await,
    };
    let waits = match ended {
        Ok(None) => None,
        Ok(Some(waits)) if queue.spec.deletion_policy == DeletionPolicy::Drain => Some(waits),
        Ok(Some(waits)) => leave_if(is_late, context, queue, waits).await?,
        Err(refusal) => leave_if(is_late, context, queue, refusal.message).await?,
    };
    if let Some(waits) = waits {
        status::write_ending(context, queue, &waits).await?;
        return Ok(Action::requeue(AGAIN));
    }
    farewell(context, &queue.uid().unwrap_or_default(), &name).await;
    finalizer::take_off(&context.client, queue).await?;
    Ok(Action::await_change())
}

async fn within_limit(
    part: impl Future<Output = Result<Option<String>, Refusal>>,
) -> Result<Option<String>, Refusal> {
    timeout(TRY_LIMIT, part).await.unwrap_or_else(|_| {
        Err(Refusal::passing("RedisUnreachable", "Redis takes long to answer", "it is tried again by itself"))
    })
}

/// Whether a namespace is on its way out; one that cannot be read is not held up.
async fn is_terminating(context: &Context, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(context.client.clone());
    match api.get_opt(namespace).await {
        Ok(found) => found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::warn!(
                namespace,
                "namespace {namespace} cannot be read: {}",
                causes::on_one_line(&error)
            );
            true
        }
    }
}

/// Waits until nothing is left that can run; answers what it waits for.
async fn drain(context: &Context, queue: &TaskQueue) -> Result<Option<String>, Refusal> {
    let Some(tenure) = context.leadership.tenure() else {
        return Ok(Some("another replica has begun to lead".to_owned()));
    };
    let (plan, site) = (context.plan(queue)?, sites::find_now(context, queue).await?);
    let parts = site.parts()?;
    // Its workers go on only while it holds its queues.
    claim::claim(context, &tenure, queue, &plan, &site).await?;
    let target = targets::find(context, &tenure, queue).await;
    let mut left = 0;
    for name in plan.redis_names() {
        let one = parts.broker.queue_summary(name).await.map_err(|error| Refusal::from(&error))?;
        left += one.pending + one.active + one.scheduled + one.retry + one.aggregating;
    }
    Ok((left > 0).then(|| match target {
        Ok(()) => "tasks are still to be finished".to_owned(),
        Err(refusal) => format!("tasks are still to be finished, but {}", refusal.message),
    }))
}

/// Deletes the queues with all they hold; answers what it waits for.
async fn delete(context: &Context, queue: &TaskQueue) -> Result<Option<String>, Refusal> {
    // Workers that are gone take no more tasks.
    apply::remove(context, queue).await?;
    let (plan, site) = (context.plan(queue)?, sites::find_now(context, queue).await?);
    let parts = site.parts()?;
    let queues: Vec<_> = plan.redis_names().cloned().collect();
    remove(&parts.broker, &parts.scheduler, &context.cluster, &queues).await
}

/// Takes the schedules of this cluster out of queues and deletes them; answers what it waits for.
async fn remove(
    broker: &Broker,
    scheduler: &Scheduler,
    cluster: &str,
    queues: &[QueueName],
) -> Result<Option<String>, Refusal> {
    let swept = scheduler.sweep_unless(cluster, |queue, _| !queues.contains(queue)).await;
    swept.map_err(|error| Refusal::from(&error))?;
    for queue in queues {
        let removal =
            broker.remove_queue(queue, true, |_| {}).await.map_err(|error| Refusal::from(&error))?;
        match removal {
            QueueRemoval::Removed { .. } | QueueRemoval::Absent => {}
            QueueRemoval::Active { .. } => return Ok(Some(format!("workers run tasks of queue {queue}"))),
            QueueRemoval::Schedules { .. } => {
                return Ok(Some(format!("schedules of others make tasks for queue {queue}")));
            }
            QueueRemoval::NotEmpty { .. } | QueueRemoval::Refilled { .. } => {
                return Ok(Some(format!("others fill queue {queue}")));
            }
        }
    }
    Ok(None)
}

/// What is done when a TaskQueue is gone, whatever its policy: schedules stop, claims are given back. What fails lapses
/// by itself.
pub(in crate::operator) async fn farewell(context: &Context, uid: &str, name: &ObjectName) {
    context.wake_tasks_of(name);
    if !matches!(timeout(TRY_LIMIT, claim::give_back(context, uid)).await, Ok(Ok(()))) {
        tracing::info!(queue = %name, "the claims of TaskQueue {name} could not be given back; they lapse by themselves");
        context.claims.forget(uid);
    }
    context.succeeded(uid);
    context.fleets.forget(uid);
}

/// Lets an object go that has waited long enough, and answers what it still waits for. What Delete has not done is left
/// to [`finish_what_was_left`], or told where nobody can do it any more.
async fn leave_if(
    is_late: bool,
    context: &Context,
    queue: &TaskQueue,
    waits: String,
) -> Result<Option<String>, Box<kube::Error>> {
    if !is_late {
        return Ok(Some(waits));
    }
    let name = ObjectName::of(queue);
    if queue.spec.deletion_policy == DeletionPolicy::Drain {
        tracing::warn!(queue = %name, "TaskQueue {name} goes without waiting any longer: {waits}");
        return Ok(None);
    }
    // What makes no sense never stood anywhere.
    let Ok(plan) = context.plan(queue) else { return Ok(None) };
    let queues: Vec<_> = plan.redis_names().map(ToString::to_string).collect();
    match sites::find_now(context, queue).await {
        Ok(site) => {
            leave(context, &queue.uid().unwrap_or_default(), &site, queues).await?;
            tracing::info!(queue = %name, "TaskQueue {name} goes now, its queues later: {waits}");
        }
        // The API server may only be slow.
        Err(refusal) if !refusal.needs_edit => return Ok(Some(refusal.message)),
        Err(refusal) => {
            let note = format!(
                "the queues {} stay in Redis, which cannot be found: {}",
                queues.join(", "),
                refusal.message
            );
            tracing::warn!(queue = %name, "TaskQueue {name} goes without its queues: {note}");
            let object = queue.object_ref(&());
            context.events.tell(&object, EventType::Warning, "QueuesLeft", "Delete", &note);
        }
    }
    Ok(None)
}

/// Leaves what is not finished to [`finish_what_was_left`].
async fn leave(
    context: &Context,
    uid: &str,
    site: &Site,
    queues: Vec<String>,
) -> Result<(), Box<kube::Error>> {
    let left = Left { url: site.url.expose_secret().to_owned(), queues };
    let text = serde_json::to_vec(&left).unwrap_or_default();
    put_left(context, uid, Some(STANDARD.encode(text)).into()).await
}

/// Notes something left, or that it is done.
async fn put_left(context: &Context, uid: &str, data: Value) -> Result<(), Box<kube::Error>> {
    let api = context.api::<Secret>(&context.home);
    let body = json!({ "data": { uid: data } });
    match api.patch(LEFT, &PatchParams::default(), &Patch::Merge(&body)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        patched => return patched.map(drop).map_err(Box::new),
    }
    let first: Secret = serde_json::from_value(json!({
        "metadata": { "name": LEFT, "namespace": context.home },
        "type": "Opaque",
        "data": { uid: data },
    }))
    .unwrap_or_default();
    api.create(&kube::api::PostParams::default(), &first).await.map(drop).map_err(Box::new)
}

/// Finishes what was left, as soon as each Redis is back, for as long as it runs.
pub(in crate::operator) async fn finish_what_was_left(context: &Context) {
    loop {
        let api = context.api::<Secret>(&context.home);
        let read = timeout(LEFT_LOOK, api.get_opt(LEFT)).await;
        let data: BTreeMap<_, _> = match read {
            Ok(Ok(Some(secret))) => secret.data.unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        for (uid, text) in data {
            let Ok(left) = serde_json::from_slice::<Left>(&text.0) else { continue };
            match timeout(LEFT_LIMIT, finish_one(context, left)).await {
                Ok(Ok(None)) => match put_left(context, &uid, Value::Null).await {
                    Ok(()) => tracing::info!(uid, "deleted the queues of a TaskQueue that had gone before"),
                    Err(error) => tracing::debug!("cannot note that: {}", causes::on_one_line(&*error)),
                },
                Ok(Ok(Some(waits))) => {
                    tracing::debug!(uid, "queues of a TaskQueue that is gone wait: {waits}")
                }
                Ok(Err(refusal)) => {
                    tracing::debug!(uid, "queues of a TaskQueue that is gone wait: {}", refusal.message)
                }
                Err(_) => {}
            }
        }
        sleep(LEFT_LOOK).await;
    }
}

async fn finish_one(context: &Context, left: Left) -> Result<Option<String>, Refusal> {
    let url = SecretString::from(left.url);
    let endpoint: Endpoint = url.expose_secret().parse().map_err(|error| Refusal::from(&error))?;
    let broker = Broker::connect(&endpoint).await.map_err(|error| Refusal::from(&error))?;
    let owner = Owner::new(&context.options.identity, std::process::id(), "farewell");
    let scheduler = Scheduler::new(broker.clone(), owner);
    let queues: Vec<_> = left.queues.into_iter().filter_map(|name| QueueName::new(name).ok()).collect();
    // Another TaskQueue may have been made for them meanwhile: then they are its to keep.
    let taken: Vec<_> = context.queues().iter().filter_map(|queue| context.plan(queue).ok()).collect();
    let is_taken = |name: &QueueName| taken.iter().any(|plan| plan.redis_names().any(|other| other == name));
    let queues: Vec<_> = queues.into_iter().filter(|name| !is_taken(name)).collect();
    remove(&broker, &scheduler, &context.cluster, &queues).await
}
