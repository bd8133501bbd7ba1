//! Workers that cannot start: what the kubelet and the scheduler say of them, as a condition.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::ResourceExt as _;
use kube::api::ListParams;
use tokio::time::timeout;

use super::build;
use super::target::Target;
use crate::crd::TaskQueue;
use crate::operator::conditions::{WORKERS_HEALTHY, Wanted};
use crate::operator::context::{Context, ObjectName};

/// Pods looked at: if most cannot start, they say the same.
const PODS: u32 = 20;
/// How long reading them may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether workers are still to become ready.
pub(super) fn are_awaited(context: &Context, queue: &TaskQueue) -> bool {
    if Target::of(queue).is_some() {
        return false;
    }
    let Some(deployment) = context.deployment(&ObjectName::of(queue)) else { return false };
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    queue.spec.workers.is_some() && ready < deployment.spec.replicas.unwrap_or(0)
}

/// What is to be told of the workers; `None` without any of its own, or when nothing can be said.
pub(super) async fn workers_healthy(context: &Context, queue: &TaskQueue) -> Option<Wanted> {
    if queue.spec.workers.is_none() || Target::of(queue).is_some() {
        return None;
    }
    let name = ObjectName::of(queue);
    let deployment = context.deployment(&name)?;
    let well = || Wanted::new(WORKERS_HEALTHY, true, "NoTrouble", "no worker is known that cannot run");
    if !are_awaited(context, queue) {
        return Some(well());
    }
    let held_up = deployment.status.as_ref().and_then(|status| {
        let failed = |condition: &&_| is_failure(condition);
        status.conditions.iter().flatten().find(failed).cloned()
    });
    if let Some(failure) = held_up {
        let what = failure.message.unwrap_or_default();
        let message =
            format!("pods cannot be made: {what}; raise the quota, or correct spec.workers.template");
        return Some(Wanted::new(WORKERS_HEALTHY, false, failure.reason.unwrap_or_default(), message));
    }
    let pods = context.api::<Pod>(&name.namespace);
    let selected = ListParams::default().labels(&build::selector(&name.name)).limit(PODS);
    let Ok(Ok(pods)) = timeout(LIMIT, pods.list(&selected)).await else { return None };
    let trouble = pods.iter().find_map(|pod| Some((pod.name_any(), trouble(pod.status.as_ref()?)?)));
    Some(match trouble {
        None => well(),
        Some((pod, trouble)) => {
            let message = format!("pod {pod}: {}; {}", trouble.what, trouble.next);
            Wanted::new(WORKERS_HEALTHY, false, trouble.reason, message)
        }
    })
}

fn is_failure(condition: &k8s_openapi::api::apps::v1::DeploymentCondition) -> bool {
    let is = |value: &Option<String>, text: &str| value.as_deref() == Some(text);
    is(&condition.type_, "ReplicaFailure") && is(&condition.status, "True") && condition.reason.is_some()
}

/// Why a pod does not run.
#[derive(Debug, PartialEq)]
struct Trouble {
    reason: String,
    what: String,
    next: &'static str,
}

fn trouble(status: &PodStatus) -> Option<Trouble> {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waiting = containers.filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        Some((&container.name, waiting.reason.clone()?, waiting.message.clone().unwrap_or_default()))
    });
    for (container, reason, message) in waiting {
        let next = match reason.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                "correct the image in spec.workers.template, or that of the operator's --worker-image; a private registry \
                 needs imagePullSecrets"
            }
            "CrashLoopBackOff" => "read its log with kubectl logs",
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                "correct spec.workers.template"
            }
            _ => continue,
        };
        return Some(Trouble { reason, what: format!("container {container} cannot run: {message}"), next });
    }
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled" && condition.status == "False" && condition.reason.is_some()
    })?;
    Some(Trouble {
        reason: unscheduled.reason.clone()?,
        what: format!("no node takes it: {}", unscheduled.message.clone().unwrap_or_default()),
        next: "add nodes, or ask for less in spec.workers.template",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(status: serde_json::Value) -> Option<String> {
        trouble(&serde_json::from_value(status).unwrap()).map(|trouble| trouble.reason)
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_named() {
        let waiting = |reason: &str| {
            let state = json!({ "waiting": { "reason": reason, "message": "m" } });
            let container = json!({ "name": "worker", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state });
            json!({ "containerStatuses": [container] })
        };
        for named in ["ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"] {
            assert_eq!(reason(waiting(named)).as_deref(), Some(named));
        }
        assert_eq!(reason(waiting("ContainerCreating")), None, "that passes");
        let unscheduled = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" });
        assert_eq!(reason(json!({ "conditions": [unscheduled] })).as_deref(), Some("Unschedulable"));
        assert_eq!(reason(json!({ "phase": "Running" })), None);
    }
}
