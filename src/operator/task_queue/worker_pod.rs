//! The pods of a fleet: which they are, who runs in them, and in which order Kubernetes would delete them.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;

use super::build::deployment_name;
use super::validate::WORKER;

/// How much a pod is missed: those with less are deleted first, of pods that are as far as each other.
pub(super) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The label in which a Deployment tells its generations of pods apart.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Longest name of a host.
const HOST_BYTES_MAX: usize = 63;
/// By then a worker that runs has shown itself in Redis, if it ever does.
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// Where a pod stands when a ReplicaSet deletes some: the lowest goes first. Only what comes before the order of pods
/// that are alike in all of this (`ActivePodsWithRanks` in Kubernetes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    has_node: bool,
    phase: u8,
    is_ready: bool,
    cost: i32,
}

impl Rank {
    /// The same for pods of any cost.
    pub(super) fn without_cost(self) -> Self {
        Self { cost: 0, ..self }
    }
}

/// What a pod's worker can be taken to hold, by what the kubelet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// It has never run.
    NotYet,
    /// It runs, and may not have shown itself yet.
    Lately,
    /// It runs, and would have shown itself.
    LongAgo,
}

/// A pod of a fleet that counts as one of its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerPod {
    pub(super) name: String,
    /// The first part of the names of its workers; `None` where others may have the same.
    pub(super) host: Option<String>,
    pub(super) rank: Rank,
    pub(super) start: Start,
    /// Which generation of the Deployment it belongs to.
    pub(super) template: String,
    /// Whether it is marked as to go before others.
    pub(super) is_marked: bool,
}

/// The deletion cost of pods that are to go.
pub(super) const MARKED: i32 = -100;

impl WorkerPod {
    /// `None` for one that counts no more, or is not of that TaskQueue's Deployment.
    pub(super) fn of(pod: &Pod, queue: &str, now: Timestamp) -> Option<Self> {
        let status = pod.status.clone().unwrap_or_default();
        let phase = status.phase.as_deref().unwrap_or("Pending");
        let has_ended = matches!(phase, "Succeeded" | "Failed") || pod.metadata.deletion_timestamp.is_some();
        if has_ended || !is_owned(pod, queue) {
            return None;
        }
        let is_ready = |condition: &k8s_openapi::api::core::v1::PodCondition| {
            condition.type_ == "Ready" && condition.status == "True"
        };
        let cost = pod.annotations().get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0);
        Some(Self {
            name: pod.name_any(),
            host: host(pod),
            rank: Rank {
                has_node: pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some(),
                phase: match phase {
                    "Pending" => 0,
                    "Running" => 2,
                    _ => 1,
                },
                is_ready: status.conditions.iter().flatten().any(is_ready),
                cost,
            },
            start: start(pod, now),
            template: pod.labels().get(TEMPLATE_HASH).cloned().unwrap_or_default(),
            is_marked: cost == MARKED,
        })
    }
}

fn start(pod: &Pod, now: Timestamp) -> Start {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let name = worker(pod).map(|worker| worker.name.as_str());
    let Some(status) = statuses.unwrap_or_default().iter().find(|status| Some(status.name.as_str()) == name)
    else {
        return Start::NotYet;
    };
    let state = status.state.clone().unwrap_or_default();
    match state.running {
        Some(running) => match running.started_at {
            Some(at) if now.duration_since(at.0) < SHOWN_WITHIN => Start::Lately,
            _ => Start::LongAgo,
        },
        None if state.terminated.is_some() || status.restart_count > 0 => Start::LongAgo,
        None => Start::NotYet,
    }
}

/// The name that its workers have from their host. `None` where others may have the same.
pub(super) fn host(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_shared = spec.host_network == Some(true)
        || spec.hostname.is_some()
        || spec.hostname_override.is_some()
        || spec.set_hostname_as_fqdn == Some(true);
    let name = pod.metadata.name.as_deref()?;
    let name = name[..name.floor_char_boundary(HOST_BYTES_MAX)].trim_end_matches(['-', '.']);
    (!is_shared).then(|| name.to_owned())
}

/// Whether it is a pod of the Deployment of that TaskQueue: anybody may put our label on another.
pub(super) fn is_owned(pod: &Pod, queue: &str) -> bool {
    let prefix = format!("{}-", deployment_name(queue));
    pod.owner_references().iter().any(|owner| {
        owner.controller == Some(true) && owner.kind == "ReplicaSet" && owner.name.starts_with(&prefix)
    })
}

/// The container that runs tasks.
pub(super) fn worker(pod: &Pod) -> Option<&Container> {
    let containers = &pod.spec.as_ref()?.containers;
    let named = containers.iter().find(|container| container.name == WORKER);
    named.or_else(|| containers.first().filter(|_| containers.len() == 1))
}

#[cfg(test)]
impl Rank {
    pub(super) fn ready(cost: i32) -> Self {
        Self { has_node: true, phase: 2, is_ready: true, cost }
    }

    pub(super) fn unready() -> Self {
        Self { is_ready: false, ..Self::ready(0) }
    }

    pub(super) fn unassigned() -> Self {
        Self { has_node: false, phase: 0, is_ready: false, cost: 0 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "main-worker-abc-x", "labels": { TEMPLATE_HASH: "abc" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "main-worker-abc", "uid": "r", "controller": true,
                }],
            },
            "spec": { "nodeName": "n", "containers": [{ "name": "worker" }] },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True" }],
                "containerStatuses": [{
                    "name": "worker", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "state": { "running": { "startedAt": "2026-11-26T05:00:00Z" } },
                }],
            },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn read(change: impl FnOnce(&mut Value)) -> Option<WorkerPod> {
        WorkerPod::of(&pod(change), "main", "2026-11-26T05:01:00Z".parse().unwrap())
    }

    #[test]
    fn a_pod_counts_while_it_has_not_ended_and_is_the_fleets() {
        assert!(read(|_| {}).is_some());
        assert_eq!(read(|pod| pod["status"]["phase"] = "Failed".into()), None);
        assert_eq!(read(|pod| pod["metadata"]["deletionTimestamp"] = "2026-11-26T05:00:30Z".into()), None);
        assert_eq!(
            read(|pod| pod["metadata"]["ownerReferences"][0]["name"] = "mainly-worker-abc".into()),
            None
        );
    }

    #[test]
    fn who_goes_first_is_what_kubernetes_says() {
        let in_order = [
            read(|pod| drop(pod["spec"].as_object_mut().unwrap().remove("nodeName"))),
            read(|pod| pod["status"]["phase"] = "Pending".into()),
            read(|pod| pod["status"]["phase"] = "Unknown".into()),
            read(|pod| pod["status"]["conditions"] = json!([])),
            read(|pod| pod["metadata"]["annotations"] = json!({ DELETION_COST: "-100" })),
            read(|_| {}),
            read(|pod| pod["metadata"]["annotations"] = json!({ DELETION_COST: "7" })),
        ];
        let ranks: Vec<_> = in_order.map(|pod| pod.unwrap().rank).into();
        assert!(ranks.is_sorted_by(|one, next| one < next), "{ranks:?}");
    }

    #[test]
    fn whether_a_worker_has_begun_is_what_the_kubelet_says() {
        let start = |change: fn(&mut Value)| read(change).unwrap().start;
        assert_eq!(start(|_| {}), Start::LongAgo);
        let since = |pod: &mut Value, at: &str| {
            pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = at.into();
        };
        assert_eq!(read(|pod| since(pod, "2026-11-26T05:00:40Z")).unwrap().start, Start::Lately);
        assert_eq!(
            start(|pod| pod["status"]["containerStatuses"][0]["state"] = json!({ "waiting": {} })),
            Start::NotYet
        );
        assert_eq!(start(|pod| pod["status"]["containerStatuses"] = json!([])), Start::NotYet);
        assert_eq!(
            start(|pod| {
                let status = &mut pod["status"]["containerStatuses"][0];
                status["state"] = json!({ "waiting": {} });
                status["restartCount"] = 1.into();
            }),
            Start::LongAgo
        );
    }
}
