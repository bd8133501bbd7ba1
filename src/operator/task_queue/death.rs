//! What a kubelet says of workers that have ended. Nothing is concluded from silence: a container is dead when its
//! kubelet has seen its end, and not when a node is away, a pod is deleted by force, or a record has no times.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt as _;

use super::build::OBJECT_LABEL;
use super::worker_pod::{host, is_owned, worker};
use crate::broker::DeadWorkers;
use crate::operator::context::ObjectName;

/// What a kubelet writes when it has not seen how a container ended.
const UNSEEN: &str = "ContainerStatusUnknown";
/// Characters of what is said of an eviction that are passed on.
const MESSAGE_CHARS_MAX: usize = 200;

/// The end of a worker's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Death {
    /// The TaskQueue whose worker it was.
    pub(super) queue: ObjectName,
    /// The uid of its pod.
    pub(super) pod: String,
    pub(super) workers: DeadWorkers,
}

/// The ends that are known of the worker in a pod: the last one, and the one of now.
pub(super) fn deaths(pod: &Pod) -> Vec<Death> {
    known_deaths(pod).unwrap_or_default()
}

fn known_deaths(pod: &Pod) -> Option<Vec<Death>> {
    let name = ObjectName::of(pod);
    let queue =
        ObjectName { name: pod.labels().get(OBJECT_LABEL)?.clone(), namespace: name.namespace.clone() };
    let host = host(pod).filter(|_| is_owned(pod, &queue.name))?;
    let worker = worker(pod)?;
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    let status = statuses.iter().find(|status| status.name == worker.name)?;
    let ends = [&status.last_state, &status.state];
    let ends = ends.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let deaths = ends.filter_map(|end| {
        let (from, before) = span(end, status)?;
        let workers = DeadWorkers { host: host.clone(), from, before, why: why(pod, worker, end) };
        Some(Death { queue: queue.clone(), pod: pod.uid()?, workers })
    });
    Some(deaths.collect())
}

/// When those started who are dead by this record. A kubelet tells whole seconds, cut off: who started within the
/// second of the end may have started after it, and so may live.
fn span(end: &ContainerStateTerminated, status: &ContainerStatus) -> Option<(Timestamp, Timestamp)> {
    if end.reason.as_deref() == Some(UNSEEN) {
        return None;
    }
    let (from, finished) = (end.started_at.as_ref()?.0, end.finished_at.as_ref()?.0);
    // A clock that was set back may show the one that runs now as an earlier one.
    let running = status.state.as_ref().and_then(|state| state.running.as_ref()?.started_at.as_ref());
    let before = running.map_or(finished, |running| finished.min(running.0));
    (from < before).then_some((from, before))
}

/// What it died of, in one sentence.
fn why(pod: &Pod, worker: &Container, end: &ContainerStateTerminated) -> String {
    let (name, container) = (pod.name_any(), &worker.name);
    let status = pod.status.as_ref();
    if let Some(reason) = status.and_then(|status| status.reason.as_deref()) {
        let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        return format!("its pod {name} was {reason}: {message}");
    }
    let reason = end.reason.as_deref().unwrap_or("no reason given");
    if reason == "OOMKilled" {
        let limits = worker.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        return match limits.and_then(|limits| limits.get("memory")) {
            Some(limit) => {
                format!(
                    "container {container} of pod {name} was OOMKilled at its memory limit of {}",
                    limit.0
                )
            }
            None => format!("container {container} of pod {name}, which has no memory limit, was OOMKilled"),
        };
    }
    format!("container {container} of pod {name} ended with {reason}, exit code {}", end.exit_code)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const FROM: &str = "2026-11-26T05:00:00Z";
    const TO: &str = "2026-11-26T05:10:00Z";

    fn ended(reason: &str) -> Value {
        json!({ "terminated": { "reason": reason, "exitCode": 137, "startedAt": FROM, "finishedAt": TO } })
    }

    /// A pod whose worker is in that state, and was in the other before.
    fn pod(state: Value, last: Value, change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "main-worker-abc-x", "namespace": "shop", "uid": "u-1",
                "labels": { OBJECT_LABEL: "main" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "main-worker-abc", "uid": "r-1", "controller": true,
                }],
            },
            "spec": { "containers": [
                { "name": "proxy" },
                { "name": "worker", "resources": { "limits": { "memory": "64Mi" } } },
            ] },
            "status": { "containerStatuses": [
                { "name": "proxy", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": ended("Error") },
                {
                    "name": "worker", "image": "i", "imageID": "", "ready": true, "restartCount": 1,
                    "state": state, "lastState": last,
                },
            ] },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn whys(pod: &Pod) -> Vec<String> {
        deaths(pod).into_iter().map(|death| death.workers.why).collect()
    }

    #[test]
    fn the_end_of_a_worker_is_known_from_now_and_from_before() {
        for (state, last) in [(ended("OOMKilled"), json!({})), (json!({ "waiting": {} }), ended("OOMKilled"))]
        {
            let found = deaths(&pod(state, last, |_| {}));
            assert_eq!(found.len(), 1);
            let Death { queue, pod, workers } = &found[0];
            assert_eq!((queue.to_string().as_str(), pod.as_str()), ("shop/main", "u-1"));
            assert_eq!(workers.host, "main-worker-abc-x");
            assert_eq!((workers.from.to_string().as_str(), workers.before.to_string().as_str()), (FROM, TO));
            assert_eq!(
                workers.why,
                "container worker of pod main-worker-abc-x was OOMKilled at its memory limit of 64Mi"
            );
        }
    }

    #[test]
    fn nothing_is_concluded_from_what_was_not_seen() {
        let none: [&str; 0] = [];
        assert_eq!(whys(&pod(ended("ContainerStatusUnknown"), json!({}), |_| {})), none);
        assert_eq!(whys(&pod(json!({ "running": { "startedAt": FROM } }), json!({}), |_| {})), none);
        for field in ["startedAt", "finishedAt"] {
            let mut state = ended("Error");
            state["terminated"].as_object_mut().unwrap().remove(field);
            assert_eq!(whys(&pod(state, json!({}), |_| {})), none, "without {field}");
        }
        let mut brief = ended("Error");
        brief["terminated"]["finishedAt"] = FROM.into();
        assert_eq!(whys(&pod(brief, json!({}), |_| {})), none, "it began and ended in one second");
    }

    #[test]
    fn who_runs_now_is_never_taken_for_who_ran_before() {
        let running = |since: &str| json!({ "running": { "startedAt": since } });
        let before = |state| {
            deaths(&pod(state, ended("Error"), |_| {})).pop().map(|death| death.workers.before.to_string())
        };
        assert_eq!(before(running("2026-11-26T05:10:00Z")).as_deref(), Some(TO));
        // The clock was set back.
        assert_eq!(before(running("2026-11-26T05:03:00Z")).as_deref(), Some("2026-11-26T05:03:00Z"));
        assert_eq!(before(running("2026-11-26T04:00:00Z")), None);
    }

    #[test]
    fn a_pod_whose_host_name_others_may_have_or_that_is_not_ours_tells_nothing() {
        let changed = |at: &str, value: Value| {
            whys(&pod(ended("Error"), json!({}), |pod| {
                let (parent, field) = at.rsplit_once('/').unwrap();
                pod.pointer_mut(parent).unwrap()[field] = value;
            }))
        };
        assert_eq!(changed("/metadata/note", json!("none")).len(), 1);
        assert!(changed("/spec/hostNetwork", json!(true)).is_empty());
        assert!(changed("/spec/hostname", json!("worker")).is_empty());
        assert!(changed("/spec/setHostnameAsFQDN", json!(true)).is_empty());
        assert!(changed("/metadata/ownerReferences", json!([])).is_empty());
        assert!(changed("/metadata/labels", json!({ OBJECT_LABEL: "other" })).is_empty());
    }

    #[test]
    fn a_long_name_is_cut_as_the_kubelet_cuts_it() {
        let named = |name: &str| {
            let pod = pod(ended("Error"), json!({}), |pod| pod["metadata"]["name"] = name.into());
            deaths(&pod).remove(0).workers.host
        };
        assert_eq!(named(&"x".repeat(70)), "x".repeat(63));
        assert_eq!(named(&format!("{}-{}", "x".repeat(62), "y".repeat(7))), "x".repeat(62));
    }

    #[test]
    fn what_it_died_of_is_told() {
        let evicted = pod(ended("Error"), json!({}), |pod| {
            pod["status"]["reason"] = "Evicted".into();
            pod["status"]["message"] = "the node was low on memory".into();
        });
        assert_eq!(whys(&evicted), ["its pod main-worker-abc-x was Evicted: the node was low on memory"]);
        let plain = pod(ended("Error"), json!({}), |_| {});
        assert_eq!(
            whys(&plain),
            ["container worker of pod main-worker-abc-x ended with Error, exit code 137"]
        );
        let unlimited =
            pod(ended("OOMKilled"), json!({}), |pod| pod["spec"]["containers"][1]["resources"] = json!({}));
        assert_eq!(
            whys(&unlimited),
            ["container worker of pod main-worker-abc-x, which has no memory limit, was OOMKilled"]
        );
    }
}
