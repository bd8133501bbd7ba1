//! What a CronTask means, and whether it can be put into force now.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use tokio::time::timeout;

use crate::crd::{ConfigMapKey, CronTask, CronTaskSpec};
use crate::operator::conditions::{READY, Refusal};
use crate::operator::context::{Context, ObjectName};
use crate::operator::leader::Tenure;
use crate::operator::site::Site;
use crate::resolve::{self, QueueView};
use crate::schedule::{Timing, TimingSource};
use crate::task::QueueName;

/// How long reading a ConfigMap may take.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// A CronTask that can be put into force.
pub(super) struct Valid {
    pub(super) timing: TimingSource,
    pub(super) queue: QueueName,
    pub(super) site: Arc<Site>,
    /// The payload, where that is not in the object.
    pub(super) payload: Option<Vec<u8>>,
}

/// The TaskQueue that a CronTask refers to.
pub(in crate::operator) fn queue_of(task: &ObjectName, spec: &CronTaskSpec) -> ObjectName {
    let namespace = spec.queue_ref.namespace.as_ref().unwrap_or(&task.namespace).clone();
    ObjectName { namespace, name: spec.queue_ref.name.clone() }
}

pub(super) async fn validate(context: &Context, tenure: &Tenure, task: &CronTask) -> Result<Valid, Refusal> {
    let name = ObjectName::of(task);
    let timing = timing(task, &name)?;
    let (queue, site) = queue(context, tenure, task, &name)?;
    // The schema cannot say so: rules do not see fields of any type.
    if task.spec.task.payload.is_some() && task.spec.task.payload_from.is_some() {
        let what = "spec.task has a payload and a payloadFrom";
        return Err(Refusal::edit("InvalidValue", what, "remove one of them"));
    }
    let payload = match &task.spec.task.payload_from {
        Some(source) => Some(payload(context, &name.namespace, &source.config_map_key_ref).await?),
        None => None,
    };
    Ok(Valid { timing, queue, site, payload })
}

fn timing(task: &CronTask, name: &ObjectName) -> Result<TimingSource, Refusal> {
    let created = task.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |created| created.0);
    let timing = resolve::timing_source(&name.namespace, &name.name, &task.spec, created);
    resolve::check_timing(&task.spec, &timing).map_err(|flaws| Refusal::flaws(&flaws))?;
    let parsed = Timing::parse(&timing);
    let parsed = parsed.map_err(|error| Refusal::edit("InvalidSchedule", error, "correct spec.schedule"))?;
    if parsed.next_after(Timestamp::now()).is_none() {
        let what = format!("no time in the next five years fits {}", timing.schedules.join(" or "));
        return Err(Refusal::edit("NeverFires", what, "correct its day of month and month in spec.schedule"));
    }
    Ok(timing)
}

/// The queue that takes the tasks, and where it is.
fn queue(
    context: &Context,
    tenure: &Tenure,
    task: &CronTask,
    name: &ObjectName,
) -> Result<(QueueName, Arc<Site>), Refusal> {
    let wanted = queue_of(name, &task.spec);
    let Some(scope) = context.scope(&wanted.namespace) else {
        let what = format!("this operator does not look after namespace {}", wanted.namespace);
        return Err(Refusal::edit("NotAllowed", what, "refer to a TaskQueue in a namespace that it watches"));
    };
    let found = context.queue(&wanted).filter(|queue| queue.metadata.deletion_timestamp.is_none());
    let is_ending = context.queue(&wanted).is_some_and(|queue| queue.metadata.deletion_timestamp.is_some());
    if found.is_none()
        && !is_ending
        && scope.queues.get(&ObjectRef::new(&wanted.name).within(&wanted.namespace)).is_some()
    {
        return Err(not_ready(&wanted, "this version of the operator cannot read it"));
    }
    let plan = match &found {
        Some(found) => Some(context.plan(found).map_err(|refusal| not_ready(&wanted, &refusal.message))?),
        None => None,
    };
    let view = found.as_ref().zip(plan.as_ref()).map(|(found, plan)| QueueView {
        namespace: &wanted.namespace,
        name: &wanted.name,
        queues: &plan.queues,
        allowed_namespaces: &found.spec.allowed_namespaces,
    });
    let names = || {
        let near = scope
            .queues
            .state()
            .into_iter()
            .filter(|queue| queue.namespace().as_ref() == Some(&wanted.namespace));
        // In the same order always: what is said changes only when it means something else.
        let mut names: Vec<_> = near.map(|queue| queue.name_any()).collect();
        names.sort();
        names
    };
    let queue = resolve::find_queue(&name.namespace, &task.spec, view, names);
    let queue = queue.map_err(|flaw| Refusal::flaws(&[flaw]))?.clone();
    let found = found.expect("a queue was found in it");
    let uid = found.uid().unwrap_or_default();
    if !context.claims.are_held(&uid, tenure.epoch) {
        let said = found.status.as_ref().and_then(|status| {
            status.conditions.iter().find(|said| said.type_ == READY && said.status == "False")
        });
        return Err(not_ready(&wanted, said.map_or("it is being put into force", |said| &said.message)));
    }
    Ok((queue, context.sites.last_of(&uid)?))
}

fn not_ready(queue: &ObjectName, why: &str) -> Refusal {
    let what = format!("TaskQueue {queue} is not in force: {why}");
    Refusal::passing("TaskQueueNotReady", what, "this schedule follows by itself once that is")
}

async fn payload(context: &Context, namespace: &str, from: &ConfigMapKey) -> Result<Vec<u8>, Refusal> {
    let ConfigMapKey { name, key } = from;
    let api = context.api::<ConfigMap>(namespace);
    let read = match timeout(READ_LIMIT, api.get_opt(name)).await {
        Ok(read) => read.map_err(|error| Refusal::from(&error))?,
        Err(_) => {
            let what = format!("ConfigMap {namespace}/{name} cannot be read");
            return Err(Refusal::passing("APIRequestFailed", what, "it is tried again by itself"));
        }
    };
    let next = "create it, or name another in spec.task.payloadFrom; it is noticed within half a minute";
    let Some(map) = read else {
        return Err(Refusal::edit(
            "ConfigMapMissing",
            format!("there is no ConfigMap {name} in namespace {namespace}"),
            next,
        ));
    };
    let text = map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes);
    let bytes = || map.binary_data.and_then(|mut data| data.remove(key)).map(|bytes| bytes.0);
    text.or_else(bytes).ok_or_else(|| {
        Refusal::edit("ConfigMapKeyMissing", format!("ConfigMap {namespace}/{name} has no key {key}"), next)
    })
}
