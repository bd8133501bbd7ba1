//! Workloads that a TaskQueue scales and does not own.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::field::{Field, LIMIT, named_queue, on_queues, queue, task};
use crate::support::{Peers, Process, until};

/// A workload as somebody keeps it, who leaves its number of pods to others from now on.
pub(crate) fn workload(kind: &str, name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{team: shop}}}}\nspec:\n  \
         replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec: {{containers: [{{name: go, image: shop:1}}]}}\n---\n"
    )
}

/// A reference to it, with lines that stand beside it.
pub(crate) fn target(kind: &str, name: &str, beside: &str) -> String {
    format!("workers: {{targetRef: {{kind: {kind}, name: {name}}}, concurrency: 1, {beside}}}")
}

/// How many workers there may be, and that they go at once.
const AT_ONCE: &str = "scaling: {maxReplicas: 3, stabilization: 0s}";

impl Field {
    /// How many pods a workload is to have.
    fn pods(&self, kind: &str, name: &str) -> Option<u64> {
        self.get(kind, name)["spec"]["replicas"].as_u64()
    }

    fn push(&self, queue: &str, number: usize) {
        for id in 0..number {
            self.cli(&["LPUSH", &format!("asynq:{{{queue}}}:pending"), &format!("task-{id}")]);
        }
    }

    fn drop_all(&self, queue: &str) {
        self.cli(&["DEL", &format!("asynq:{{{queue}}}:pending")]);
    }

    /// The names of all Deployments, StatefulSets and Secrets.
    fn made(&self) -> Vec<String> {
        let words = ["get", "-n", &self.namespace, "deployments,statefulsets,secrets", "-o", "name"];
        let mut names: Vec<_> = self.api.kubectl(&words).lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// An object without what changes with its number of pods: that number, what others tell of it, and who set it.
fn rest(mut object: Value) -> Value {
    for field in ["resourceVersion", "generation", "managedFields"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object["spec"].as_object_mut().unwrap().remove("replicas");
    object.as_object_mut().unwrap().remove("status");
    object
}

/// The fields that a field manager whose name begins so has of an object, with the subresource that it had them by.
fn fields_of(object: &Value, manager: &str) -> Vec<(String, String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries
        .filter(|entry| text(entry, "manager").starts_with(manager))
        .map(|entry| (text(entry, "manager"), text(entry, "subresource"), entry["fieldsV1"].clone()))
        .collect()
}

/// The fields that others have, but for the number and for what is told of it.
fn fields_of_others(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let others = entries.filter(|entry| {
        !entry["manager"].as_str().unwrap().starts_with("cronmill") && entry["subresource"] != "status"
    });
    let mut others: Vec<_> = others.cloned().collect();
    for entry in &mut others {
        entry["fieldsV1"]["f:spec"].as_object_mut().map(|spec| spec.remove("f:replicas"));
        // It was told when a field went.
        entry.as_object_mut().unwrap().remove("time");
    }
    others
}

async fn is_scaled_and_left_alone(kind: &str) {
    let field = Field::new();
    field.apply(&workload(kind, "shop", 0));
    let is_settled = || {
        let object = field.get(kind, "shop");
        object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    until(LIMIT, "its controller has seen it", async || is_settled()).await;
    let (before, made) = (field.get(kind, "shop"), field.made());
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(&target(kind, "shop", AT_ONCE)));
    field.ready("taskqueue", "main").await;
    assert_eq!(field.pods(kind, "shop"), Some(0), "there is nothing to do");
    field.push("default", 10);
    let arrived = Instant::now();
    until(LIMIT, "it is as large as allowed", async || field.pods(kind, "shop") == Some(3)).await;
    // Asking costs kubectl's time too, so this is a bound only.
    assert!(arrived.elapsed() < Duration::from_secs(5), "{:?}", arrived.elapsed());
    until(LIMIT, "the status follows", async || {
        let workers = field.get("taskqueue", "main")["status"]["workers"].clone();
        // A StatefulSet makes one pod after the other, and none of them starts here.
        let current = workers["current"].as_u64().unwrap_or(0);
        (1..=3).contains(&current)
            && workers["wanted"] == 3
            && workers["reason"] == "AtMaximum"
            && workers["selector"] == "app=shop"
            && workers["shown"] == format!("{current}/3")
            && workers.get("ready").is_none()
    })
    .await;
    let scaling = field.condition("taskqueue", "main", "Scaling").unwrap();
    assert_eq!((scaling.0.as_str(), scaling.1.as_str()), ("True", "FollowsWork"));
    assert_eq!(field.condition("taskqueue", "main", "WorkersHealthy"), None);

    let untouched = |after: &Value| {
        assert_eq!(rest(after.clone()).to_string(), rest(before.clone()).to_string());
        let ours = json!({ "f:spec": { "f:replicas": {} } });
        assert_eq!(fields_of(after, "cronmill"), [("cronmill-scaler".to_owned(), "scale".to_owned(), ours)]);
        assert_eq!(fields_of_others(after), fields_of_others(&before));
        assert_eq!(field.made(), made, "nothing is made beside it");
    };
    untouched(&field.get(kind, "shop"));
    field.drop_all("default");
    until(LIMIT, "it goes back to none", async || field.pods(kind, "shop") == Some(0)).await;
    untouched(&field.get(kind, "shop"));

    field.api.kubectl(&["scale", "-n", &field.namespace, "taskqueue/main", "--replicas=2"]);
    until(LIMIT, "a fixed number is its number too", async || field.pods(kind, "shop") == Some(2)).await;
    until(LIMIT, "an HPA finds its pods", async || {
        let path =
            format!("/apis/cronmill.dev/v1alpha1/namespaces/{}/taskqueues/main/scale", field.namespace);
        let scale: Value = serde_json::from_str(&field.api.kubectl(&["get", "--raw", &path])).unwrap();
        scale["status"]["replicas"].as_u64() > Some(0) && scale["status"]["selector"] == "app=shop"
    })
    .await;
    field.delete("taskqueue", "main");
    until(LIMIT, "the object is gone", async || field.get("taskqueue", "main").is_null()).await;
    field.push("default", 10);
    let gone = Instant::now();
    until(LIMIT, "it has had time", async || gone.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(field.pods(kind, "shop"), Some(2), "as it was");
    untouched(&field.get(kind, "shop"));
}

#[tokio::test]
async fn an_existing_deployment_is_scaled_with_the_work_and_nothing_else_of_it_is_touched() {
    is_scaled_and_left_alone("Deployment").await;
}

#[tokio::test]
async fn an_existing_statefulset_is_scaled_with_the_work_and_nothing_else_of_it_is_touched() {
    is_scaled_and_left_alone("StatefulSet").await;
}

/// Runs a worker in Go while a workload has pods, as a kubelet would.
struct GoPods<'a> {
    field: &'a Field,
    peers: Peers,
    worker: Option<Process>,
}

impl<'a> GoPods<'a> {
    fn of(field: &'a Field) -> Self {
        Self { field, peers: Peers::on(&field.redis.plain_url()), worker: None }
    }

    async fn look(&mut self) {
        match self.field.pods("deployment", "shop") {
            Some(1..) if self.worker.is_none() => {
                self.worker = Some(self.peers.worker(&["--concurrency", "1"]).await);
            }
            Some(0) => {
                if let Some(mut worker) = self.worker.take() {
                    worker.terminate();
                    worker.exit_blocking(LIMIT);
                }
            }
            _ => {}
        }
    }

    fn completed(&self) -> u64 {
        self.peers.inspect(&["queue", "default"])["completed"].as_u64().unwrap_or(0)
    }
}

#[tokio::test]
async fn a_go_worker_at_zero_is_there_when_its_producer_has_work_and_goes_when_it_is_done() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&workload("Deployment", "shop", 0));
    field.apply(&queue(&target("Deployment", "shop", AT_ONCE)));
    field.ready("taskqueue", "main").await;
    let mut pods = GoPods::of(&field);
    pods.peers.produce(&["--type", "ok", "--retention", "1h"]);
    until(LIMIT, "the task is done", async || {
        pods.look().await;
        pods.completed() == 1
    })
    .await;
    until(LIMIT, "nobody is left", async || {
        pods.look().await;
        pods.worker.is_none()
    })
    .await;
    // What is due later brings it back, and a Go worker's first sign tells how long one takes to be there.
    let record: Value = serde_json::from_str(&field.cli(&["GET", "cronmill:{default}:fleet"])).unwrap();
    assert_ne!(record["leadTimeMs"], 5000, "{record}");
}

#[tokio::test]
async fn a_drain_is_worked_off_by_the_target_which_stays_as_it_is() {
    let field = Field::new();
    let mut operator = field.operator("a", &[]).await;
    field.apply(&workload("Deployment", "shop", 0));
    field.apply(&queue(&format!(
        "deletionPolicy: Drain\n{}",
        target("Deployment", "shop", "scaling: {maxReplicas: 1, stabilization: 1h}")
    )));
    field.ready("taskqueue", "main").await;
    let mut pods = GoPods::of(&field);
    pods.peers.produce(&["--type", "ok", "--retention", "1h", "--in", "20s"]);
    field.delete("taskqueue", "main");
    until(LIMIT, "it is told what is waited for", async || {
        let ready = field.condition("taskqueue", "main", "Ready");
        ready.is_some_and(|(_, reason, said)| reason == "Ending" && said.contains("still to be finished"))
    })
    .await;
    // Another leader knows nothing of the target yet.
    operator.process.terminate();
    assert!(operator.process.exit_blocking(LIMIT).success());
    let _other = field.operator("b", &[]).await;
    until(LIMIT, "the object is gone", async || {
        pods.look().await;
        field.get("taskqueue", "main").is_null()
    })
    .await;
    assert_eq!(pods.completed(), 1);
    assert_eq!(field.pods("deployment", "shop"), Some(1), "as it was at the end");
}

#[tokio::test]
async fn workers_of_its_own_make_place_for_a_target_and_come_back_and_neither_loses_anything() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&workload("Deployment", "shop", 1));
    let uid = field.get("deployment", "shop")["metadata"]["uid"].clone();
    let only = ["deployment.apps/shop", "secret/redis"];
    let with_own =
        ["deployment.apps/main-worker", "deployment.apps/shop", "secret/main-worker-redis", "secret/redis"];
    field.apply(&queue("workers: {concurrency: 1, scaling: {maxReplicas: 3, stabilization: 0s}}"));
    field.ready("taskqueue", "main").await;
    assert_eq!(field.made(), with_own);
    field.push("default", 10);
    until(LIMIT, "its own are as many as allowed", async || field.replicas("main") == Some(3)).await;
    assert_eq!(field.pods("deployment", "shop"), Some(1));

    // A name that nobody has: its own stay until somebody has it.
    field.apply(&queue(&target("Deployment", "shpo", AT_ONCE)));
    field.refused("taskqueue", "main", "TargetMissing").await;
    assert_eq!((field.made().len(), field.replicas("main")), (4, Some(3)));

    field.apply(&queue(&target("Deployment", "shop", AT_ONCE)));
    field.ready("taskqueue", "main").await;
    until(LIMIT, "its own are gone", async || field.made() == only).await;
    until(LIMIT, "the target has the work", async || field.pods("deployment", "shop") == Some(3)).await;

    field.apply(&queue("workers: {concurrency: 1, scaling: {maxReplicas: 2, stabilization: 0s}}"));
    until(LIMIT, "its own are back", async || field.made() == with_own && field.replicas("main") == Some(2))
        .await;
    assert_eq!(field.pods("deployment", "shop"), Some(3), "nobody scales it any more");
    field.apply(&queue(&target("Deployment", "shop", AT_ONCE)));
    until(LIMIT, "its own are gone again", async || field.made() == only).await;
    field.apply(&queue(""));
    field.ready("taskqueue", "main").await;
    assert_eq!(field.get("deployment", "shop")["metadata"]["uid"], uid, "the same as ever");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_told_while_the_queue_is_in_force_and_scaled_once_it_is() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(&target("StatefulSet", "shop", AT_ONCE)));
    field.apply(&workload("Deployment", "shop", 0));
    let said = field.refused("taskqueue", "main", "TargetMissing").await;
    assert!(said.contains("there is no StatefulSet shop in namespace"), "{said}");
    let told = || field.condition("taskqueue", "main", "Scaling").map(|(status, reason, _)| (status, reason));
    assert_eq!(told(), Some(("False".to_owned(), "TargetMissing".to_owned())));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("crontask", "often").await;
    until(LIMIT, "it fires", async || field.cli(&["LLEN", "asynq:{default}:pending"]) != "0").await;
    assert_eq!(field.pods("deployment", "shop"), Some(0), "a Deployment of that name is another");

    field.apply(&workload("StatefulSet", "shop", 0));
    let there = Instant::now();
    until(LIMIT, "it is scaled", async || field.pods("statefulset", "shop") > Some(0)).await;
    println!("scaled {:?} after it was there", there.elapsed());
    assert!(there.elapsed() < Duration::from_secs(15), "{:?}", there.elapsed());
    field.ready("taskqueue", "main").await;
    assert_eq!(told(), Some(("True".to_owned(), "FollowsWork".to_owned())));

    field.delete("statefulset", "shop");
    field.refused("taskqueue", "main", "TargetMissing").await;
}

#[tokio::test]
async fn of_two_task_queues_with_one_target_the_younger_is_refused_until_the_older_goes() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&workload("Deployment", "shop", 0));
    let named = |name: &str| on_queues(name, &[name], &target("Deployment", "shop", AT_ONCE));
    field.apply(&named("older"));
    let made = |name: &str| field.get("taskqueue", name)["metadata"]["creationTimestamp"].clone();
    let second = made("older").as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    until(LIMIT, "a second later", async || jiff::Timestamp::now().as_second() > second + 1).await;
    field.apply(&named("a-younger"));
    let said = field.refused("taskqueue", "a-younger", "TargetTaken").await;
    assert!(said.contains(&format!("TaskQueue {}/older", field.namespace)), "{said}");
    field.ready("taskqueue", "older").await;
    // Work of the one that is refused counts for nothing.
    field.push("a-younger", 10);
    field.push("older", 1);
    until(LIMIT, "the older one's work counts", async || field.pods("deployment", "shop") == Some(1)).await;
    let seen = Instant::now();
    until(LIMIT, "there was time for more", async || seen.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(field.pods("deployment", "shop"), Some(1));
    assert!(field.get("taskqueue", "a-younger")["status"]["workers"].is_null());

    field.delete("taskqueue", "older");
    until(LIMIT, "the younger one has it", async || field.pods("deployment", "shop") == Some(3)).await;
    field.ready("taskqueue", "a-younger").await;
}

#[tokio::test]
async fn a_deployment_that_a_task_queue_owns_is_no_target() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue("workers: {}"));
    field.ready("taskqueue", "main").await;
    field.apply(&on_queues("other", &["other"], &target("Deployment", "main-worker", AT_ONCE)));
    let said = field.refused("taskqueue", "other", "TargetOwned").await;
    assert!(said.contains("belongs to TaskQueue main"), "{said}");
    field.push("other", 10);
    let pushed = Instant::now();
    until(LIMIT, "there was time to scale it", async || pushed.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(field.replicas("main"), Some(0));
    // Somebody else's by the same label is not ours.
    let theirs = workload("Deployment", "theirs", 0)
        .replace("{team: shop}", "{team: shop, cronmill.dev/task-queue: main}");
    field.apply(&theirs);
    field.apply(&on_queues("other", &["other"], &target("Deployment", "theirs", AT_ONCE)));
    until(LIMIT, "it is scaled", async || field.pods("deployment", "theirs") == Some(3)).await;
    // Gone as it was made, and nothing of theirs with it.
    field.apply(&queue(&target("Deployment", "main-worker", AT_ONCE)));
    field.refused("taskqueue", "main", "TargetOwned").await;
    assert_eq!(field.replicas("main"), Some(0), "what was in force stays");
    field.delete("taskqueue", "main");
    until(LIMIT, "it is gone", async || field.get("deployment", "main-worker").is_null()).await;
    assert_eq!(field.pods("deployment", "theirs"), Some(3));
}

#[tokio::test]
async fn a_number_that_somebody_set_by_hand_is_seen_and_put_right() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&workload("Deployment", "shop", 0));
    field.apply(&queue(&target("Deployment", "shop", "scaling: {maxReplicas: 9, stabilization: 0s}")));
    field.ready("taskqueue", "main").await;
    field.api.kubectl(&["scale", "-n", &field.namespace, "deployment/shop", "--replicas=7"]);
    let set = Instant::now();
    until(LIMIT, "it goes back to none", async || field.pods("deployment", "shop") == Some(0)).await;
    println!("put right after {:?}", set.elapsed());
    assert!(set.elapsed() < Duration::from_secs(20), "{:?}", set.elapsed());
    let ours = json!({ "f:spec": { "f:replicas": {} } });
    let scaler = fields_of(&field.get("deployment", "shop"), "cronmill");
    assert_eq!(scaler, [("cronmill-scaler".to_owned(), "scale".to_owned(), ours)]);
}

/// A kubeconfig of somebody who may do in the namespace what the operator needs, but for the scale of StatefulSets.
fn with_few_rights(field: &Field, folder: &std::path::Path) -> std::path::PathBuf {
    let rule = |group: &str, resources: &str| {
        format!("- {{apiGroups: [\"{group}\"], resources: [{resources}], verbs: [\"*\"]}}\n")
    };
    field.apply(&format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: few}}\nrules:\n{}{}{}{}{}---\n{}",
        rule("cronmill.dev", "\"*\""),
        rule("", "secrets, pods, configmaps"),
        rule("apps", "deployments, deployments/scale"),
        rule("events.k8s.io", "events"),
        rule("coordination.k8s.io", "leases"),
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: few}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: few}\n\
         subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: few}]\n",
    ));
    let words = ["config", "view", "--raw", "-o", "json"];
    let mut config: Value = serde_json::from_str(&field.api.kubectl(&words)).unwrap();
    config["users"][0]["user"]["as"] = "few".into();
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test]
async fn a_target_that_may_not_be_read_or_scaled_is_told_until_it_may() {
    let field = Field::new();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = with_few_rights(&field, folder.path());
    let _operator = field.operator_on("a", &kubeconfig, &[]).await;
    field.apply(&workload("StatefulSet", "shop", 0));
    field.apply(&queue(&target("StatefulSet", "shop", AT_ONCE)));
    let said = field.refused("taskqueue", "main", "TargetForbidden").await;
    assert!(said.contains("may not read") && said.contains("get and patch statefulsets/scale"), "{said}");

    let grant = |verbs: &str| {
        let rule = format!(
            r#"[{{"op": "add", "path": "/rules/-", "value": {{"apiGroups": ["apps"], "resources": ["statefulsets/scale"], "verbs": {verbs}}}}}]"#
        );
        field.api.kubectl(&["patch", "-n", &field.namespace, "role/few", "--type=json", "-p", &rule]);
    };
    grant(r#"["get"]"#);
    field.ready("taskqueue", "main").await;
    field.push("default", 10);
    let said = field.refused("taskqueue", "main", "TargetForbidden").await;
    assert!(said.contains("may not change"), "{said}");
    assert_eq!(field.pods("statefulset", "shop"), Some(0));
    grant(r#"["patch"]"#);
    until(LIMIT, "it is scaled", async || field.pods("statefulset", "shop") == Some(3)).await;
    field.ready("taskqueue", "main").await;
}

#[tokio::test]
async fn a_target_beside_a_template_or_of_another_kind_is_refused_by_the_api_server() {
    let field = Field::new();
    let refused = |lines: &str| {
        let words = ["apply", "-n", &field.namespace, "-f", "-"];
        field.api.try_kubectl(&words, &named_queue("main", lines)).expect_err("it is refused")
    };
    let both = refused(
        "workers:\n  targetRef: {kind: Deployment, name: shop}\n  template: {spec: {containers: [{name: worker}]}}",
    );
    assert!(both.contains("or targetRef for an existing workload, not both"), "{both}");
    for (reference, said) in [
        ("{kind: DaemonSet, name: shop}", "supported values: \"Deployment\", \"StatefulSet\""),
        ("{kind: Deployment, name: shop, apiVersion: v1}", "supported values: \"apps/v1\""),
        ("{kind: Deployment, name: Shop}", "spec.workers.targetRef.name"),
        ("{name: shop}", "spec.workers.targetRef.kind"),
    ] {
        let told = refused(&format!("workers: {{targetRef: {reference}}}"));
        assert!(told.contains(said), "{reference}: {told}");
    }
    field.apply(&queue("workers: {targetRef: {kind: Deployment, name: shop}}"));
    assert_eq!(
        field.get("taskqueue", "main")["spec"]["workers"]["targetRef"],
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "shop" })
    );
}
