//! What a TaskQueue owns in the cluster: a Secret with the URL of its Redis, a Deployment of its workers, and a
//! PodDisruptionBudget for them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::ResourceExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::validate::{Pod, WORKER};
use crate::crd::{GROUP, TaskQueue, VERSION};
use crate::resolve::{FleetPlan, QueuePlan};

/// Label of everything that a TaskQueue owns: its name.
pub(in crate::operator) const OBJECT_LABEL: &str = "cronmill.dev/task-queue";
/// Annotation of pods: which version of the Secret they were started with.
const SECRET_VERSION: &str = "cronmill.dev/redis-secret-version";
/// The key of the URL in the Secret.
const URL: &str = "url";
/// How long a bundled worker may go on with what it holds when it is to go: as long as its tasks may take by default,
/// twice.
const PATIENCE_S: i64 = 3600;
/// How much longer the kubelet waits for it than it waits itself.
const GRACE_S: i64 = PATIENCE_S + 30;
/// Where a bundled worker serves probes and metrics.
const PORT: u16 = 8080;

/// The name of the Deployment of a TaskQueue.
pub(in crate::operator) fn deployment_name(queue: &str) -> String {
    format!("{queue}-worker")
}

/// The name of the Secret with the URL.
pub(super) fn secret_name(queue: &str) -> String {
    format!("{queue}-worker-redis")
}

/// The labels of its pods as a selector.
pub(super) fn selector(queue: &str) -> String {
    format!("{OBJECT_LABEL}={queue}")
}

/// The metadata of something that goes with the TaskQueue.
fn metadata(queue: &TaskQueue, name: String) -> Value {
    json!({
        "name": name,
        "namespace": queue.namespace(),
        "labels": labels(queue),
        "ownerReferences": [{
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "TaskQueue",
            "name": queue.name_any(),
            "uid": queue.uid(),
            "controller": true,
        }],
    })
}

fn labels(queue: &TaskQueue) -> Value {
    json!({
        OBJECT_LABEL: queue.name_any(),
        "app.kubernetes.io/name": "cronmill-worker",
        "app.kubernetes.io/instance": queue.name_any(),
        "app.kubernetes.io/managed-by": "cronmill",
    })
}

/// The Secret with the URL of the Redis.
pub(super) fn secret(queue: &TaskQueue, url: &SecretString) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(queue, secret_name(&queue.name_any())),
        "type": "Opaque",
        "data": { URL: STANDARD.encode(url.expose_secret()) },
    })
}

/// What makes the workers leave nodes that are emptied one at a time: each ends what it holds, and the others go on. One
/// that is not ready has nothing to end, and holds up nobody.
pub(super) fn disruption_budget(queue: &TaskQueue) -> Value {
    let name = queue.name_any();
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(queue, deployment_name(&name)),
        "spec": {
            "maxUnavailable": 1,
            "selector": { "matchLabels": { OBJECT_LABEL: name } },
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    })
}

/// The Deployment, without a number of workers: that is not decided here.
pub(super) fn deployment(
    queue: &TaskQueue,
    plan: &QueuePlan,
    fleet: &FleetPlan,
    pod: &Pod,
    secret_version: &str,
) -> Value {
    let name = queue.name_any();
    let mut environment = plan.worker_environment(fleet);
    let mut template = match pod {
        Pod::Bundled(image) => {
            environment.insert("CRONMILL_SHUTDOWN_TIMEOUT", format!("{PATIENCE_S}s"));
            environment.insert("CRONMILL_LISTEN", format!(":{PORT}"));
            bundled(image)
        }
        Pod::Template(template, _) => template.clone(),
    };
    let worker = match pod {
        Pod::Bundled(_) => 0,
        Pod::Template(_, worker) => *worker,
    };
    tell(&mut template, worker, &environment, &secret_name(&name));
    let marks = entry(&mut template, "metadata");
    let own = entry(marks, "labels");
    // What selects its pods is not the template's to choose.
    for (label, value) in labels(queue).as_object().into_iter().flatten() {
        if label == OBJECT_LABEL || !own.contains_key(label) {
            own.insert(label.clone(), value.clone());
        }
    }
    entry(marks, "annotations").insert(SECRET_VERSION.to_owned(), secret_version.into());
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(queue, deployment_name(&name)),
        "spec": {
            "selector": { "matchLabels": { OBJECT_LABEL: name } },
            "template": template,
        },
    })
}

fn entry<'a>(object: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    let value = object.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it is an object now")
}

/// Puts variables into the environment of a container, in place of those with the same names.
fn tell(
    template: &mut Map<String, Value>,
    worker: usize,
    environment: &BTreeMap<&'static str, String>,
    secret: &str,
) {
    let container = template
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("containers"))
        .and_then(|containers| containers.get_mut(worker))
        .and_then(Value::as_object_mut);
    let Some(container) = container else { return };
    let from_secret = json!({ "secretKeyRef": { "name": secret, "key": URL } });
    let mut variables = vec![json!({ "name": "CRONMILL_REDIS_URL", "valueFrom": from_secret })];
    variables.extend(environment.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    let is_ours = |name: &Value| {
        name == "CRONMILL_REDIS_URL" || name.as_str().is_some_and(|name| environment.contains_key(name))
    };
    // Ours come first, so that the template's may refer to them.
    let theirs = container.remove("env").and_then(|env| env.as_array().cloned()).unwrap_or_default();
    variables.extend(theirs.into_iter().filter(|variable| !variable.get("name").is_some_and(is_ours)));
    container.insert("env".to_owned(), variables.into());
}

/// A pod of the bundled worker, as strict as a cluster may ask for.
fn bundled(image: &str) -> Map<String, Value> {
    let probe = |path: &str| json!({ "httpGet": { "path": path, "port": "http" }, "periodSeconds": 5 });
    let template = json!({
        "spec": {
            "terminationGracePeriodSeconds": GRACE_S,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65_532,
                "runAsGroup": 65_532,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": WORKER,
                "image": image,
                "command": ["/usr/local/bin/cronmill-worker"],
                "ports": [{ "name": "http", "containerPort": PORT }],
                "livenessProbe": probe("/livez"),
                "readinessProbe": probe("/readyz"),
                "resources": { "requests": { "cpu": "10m", "memory": "32Mi" } },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    });
    match template {
        Value::Object(template) => template,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> TaskQueue {
        serde_json::from_value(json!({
            "apiVersion": "cronmill.dev/v1alpha1",
            "kind": "TaskQueue",
            "metadata": { "name": "main", "namespace": "shop", "uid": "u-1" },
            "spec": { "queues": [{ "name": "default", "weight": 3 }], "workers": { "concurrency": 7 } },
        }))
        .unwrap()
    }

    fn built(pod: &Pod) -> Value {
        let queue = queue();
        let plan = QueuePlan::of(&queue.spec, Some("shop")).unwrap();
        deployment(&queue, &plan, plan.workers.as_ref().unwrap(), pod, "v7")
    }

    #[test]
    fn a_template_is_passed_through_and_only_its_worker_is_told() {
        let template = json!({
            "metadata": { "labels": { "team": "shop", OBJECT_LABEL: "other" } },
            "spec": {
                "nodeSelector": { "disk": "ssd" },
                "somethingNew": { "a": [1, null] },
                "containers": [
                    { "name": "proxy", "image": "proxy:1" },
                    {
                        "name": "worker", "image": "shop:2",
                        "env": [{ "name": "TOKEN", "value": "$(CRONMILL_QUEUES)" }, { "name": "CRONMILL_LEASE", "value": "9s" }],
                    },
                ],
            },
        });
        let Value::Object(template) = template else { panic!() };
        let built = built(&Pod::Template(template, 1));
        let pod = &built["spec"]["template"];
        assert_eq!(pod["spec"]["nodeSelector"]["disk"], "ssd");
        assert_eq!(pod["spec"]["somethingNew"], json!({ "a": [1, null] }));
        assert_eq!(pod["spec"]["containers"][0], json!({ "name": "proxy", "image": "proxy:1" }));
        assert_eq!(
            (&pod["metadata"]["labels"]["team"], &pod["metadata"]["labels"][OBJECT_LABEL]),
            (&json!("shop"), &json!("main"))
        );
        let env = pod["spec"]["containers"][1]["env"].as_array().unwrap();
        let value = |name: &str| {
            let found: Vec<_> = env.iter().filter(|variable| variable["name"] == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            found[0].clone()
        };
        assert_eq!(value("CRONMILL_LEASE")["value"], "30s", "ours stands above the template's");
        assert_eq!(value("CRONMILL_QUEUES")["value"], "shop:default=3");
        assert_eq!(value("CRONMILL_CONCURRENCY")["value"], "7");
        assert_eq!(env.last().unwrap()["name"], "TOKEN");
        assert_eq!(
            value("CRONMILL_REDIS_URL")["valueFrom"]["secretKeyRef"],
            json!({ "name": "main-worker-redis", "key": "url" })
        );
        assert_eq!(
            pod["spec"].get("terminationGracePeriodSeconds"),
            None,
            "nothing is added to a template of theirs"
        );
    }

    #[test]
    fn a_deployment_names_no_number_of_workers_and_goes_with_its_task_queue() {
        let built = built(&Pod::Bundled("cronmill:1".into()));
        assert_eq!(built["spec"].get("replicas"), None);
        assert_eq!(built["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(built["spec"]["template"]["metadata"]["annotations"][SECRET_VERSION], "v7");
        assert_eq!(built["spec"]["template"]["spec"]["containers"][0]["image"], "cronmill:1");
    }

    #[test]
    fn no_url_stands_in_a_deployment() {
        let url = SecretString::from("redis://:s3cret@redis:6379");
        let built = [built(&Pod::Bundled("cronmill:1".into())), secret(&queue(), &url)];
        assert!(!built[0].to_string().contains("s3cret"));
        assert!(built[1]["data"]["url"].as_str().is_some_and(|data| !data.contains("s3cret")));
    }
}
