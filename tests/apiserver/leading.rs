//! Only the leader writes, and who cannot keep its Lease leads no more.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::field::{Field, LIMIT, Replica, queue, task};
use crate::support::{Proxy, eventually, until};

/// How long something that must not happen is looked for.
const WATCHED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_replica_that_does_not_lead_writes_nothing_and_begins_when_the_lease_is_free() {
    let field = Field::new();
    field.apply(
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: cronmill-operator}\n\
         spec: {holderIdentity: another, leaseDurationSeconds: 3600, leaseTransitions: 4}\n",
    );
    let operator = field.operator("a", &[]).await;
    field.apply(&queue("deletionPolicy: Delete\nworkers: {}"));
    field.apply(&task("often", "@every 1s", ""));
    let sees = async || operator.process.stderr().iter().any(|line| line.contains("uses Redis at"));
    until(LIMIT, "it has found the queue's Redis", sees).await;
    let seen = Instant::now();
    let written = || {
        let queue = field.get("taskqueue", "main");
        let unseen = |kind: &str, name: &str| field.get(kind, name)["status"]["observedGeneration"] == -1;
        let is_held = queue["metadata"]["finalizers"].is_array();
        let is_seen = !unseen("taskqueue", "main") || !unseen("crontask", "often");
        let has_fleet = !field.get("deployment", "main-worker").is_null();
        let keys = field.cli(&["KEYS", "cronmill:{default}:*"]);
        (is_held, is_seen, has_fleet, keys)
    };
    until(LIMIT, "it has had time", async || {
        assert_eq!(written(), (false, false, false, String::new()));
        seen.elapsed() >= WATCHED
    })
    .await;
    field.delete("lease", "cronmill-operator");
    field.ready("taskqueue", "main").await;
    field.ready("crontask", "often").await;
    assert!(written().0 && written().1 && written().2, "{:?}", written());
}

/// Has somebody else hold the Lease, for an hour.
fn hold_lease(field: &Field) {
    let held = r#"{"spec": {"holderIdentity": "another", "leaseDurationSeconds": 3600}}"#;
    let words = ["patch", "-n", &field.namespace, "lease", "cronmill-operator", "--type=merge", "-p", held];
    field.api.kubectl(&words);
}

/// A kubeconfig that leads through a proxy.
async fn through_proxy(field: &Field, folder: &std::path::Path) -> (Proxy, PathBuf) {
    let text = std::fs::read_to_string(field.api.kubeconfig()).unwrap();
    let server = text.lines().find(|line| line.contains("server: ")).unwrap().trim().to_owned();
    let address: std::net::SocketAddrV4 = server.rsplit_once('/').unwrap().1.parse().unwrap();
    let proxy = Proxy::to_host(*address.ip(), address.port()).await;
    let path = folder.join("kubeconfig");
    std::fs::write(&path, text.replace(&server, &format!("server: https://127.0.0.1:{}", proxy.port())))
        .unwrap();
    (proxy, path)
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_another_begins_and_follows_when_it_is_back() {
    let field = Field::new();
    let folder = tempfile::tempdir().unwrap();
    let (proxy, kubeconfig) = through_proxy(&field, folder.path()).await;
    let first = field.operator_on("a", &kubeconfig, &[]).await;
    until(LIMIT, "the first one leads", async || first.leads().await).await;
    let second = field.operator("b", &[]).await;
    field.apply(&queue(""));
    field.ready("taskqueue", "main").await;
    proxy.refuse(true);
    proxy.cut_all();
    let cut = Instant::now();
    let lead = async |replica: &Replica| replica.leads().await;
    until(LIMIT, "the second one leads", async || {
        let (one, other) = (lead(&first).await, lead(&second).await);
        assert!(!(one && other), "both lead after {:?}", cut.elapsed());
        other
    })
    .await;
    assert!(!lead(&first).await);
    proxy.heal();
    field.apply(&task("later", "@hourly", ""));
    field.ready("crontask", "later").await;
    assert!(lead(&second).await && !lead(&first).await);
}

#[tokio::test]
async fn a_leader_that_finds_another_on_its_lease_leads_no_more_from_then_on() {
    let field = Field::new();
    let operator = field.operator("a", &[]).await;
    until(LIMIT, "it leads", async || operator.leads().await).await;
    hold_lease(&field);
    until(LIMIT, "it leads no more", async || !operator.leads().await).await;
    // It did not go on until it had failed to renew for as long as it may.
    let said = async || operator.process.stderr().into_iter().find(|line| line.contains("leads no more"));
    let why = eventually(LIMIT, "it says why", said).await;
    assert!(why.contains("lost its Lease"), "{why}");
}

#[tokio::test]
async fn a_schedule_deleted_while_no_operator_ran_is_not_fired_before_a_leader_takes_it_out() {
    let field = Field::new();
    let mut first = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.apply(&(task("goes", "@every 1s", "") + &task("stays", "@every 1s", "")));
    until(LIMIT, "both are in force", async || field.entries("default").len() == 2).await;
    first.process.terminate();
    assert!(first.process.exit_blocking(LIMIT).success());
    let uid = |name: &str| field.get("crontask", name)["metadata"]["uid"].as_str().unwrap().to_owned();
    let (gone, stays) = (uid("goes"), uid("stays"));
    field.delete("crontask", "goes");
    until(LIMIT, "the object is gone", async || field.get("crontask", "goes").is_null()).await;
    let fired = |uid: &str| {
        let ids = field.cli(&["LRANGE", "asynq:{default}:pending", "0", "-1"]);
        ids.lines().filter(|id| id.starts_with(uid)).count()
    };
    let before = (fired(&gone), fired(&stays));
    // One that fires and does not lead, so nobody takes the entry out.
    hold_lease(&field);
    let second = field.operator("b", &[]).await;
    until(LIMIT, "the other one fires", async || fired(&stays) >= before.1 + 3).await;
    assert!(!second.leads().await && field.entries("default").contains(&gone));
    assert_eq!(fired(&gone), before.0, "it is deleted");
    field.delete("lease", "cronmill-operator");
    until(LIMIT, "the leader takes it out", async || field.entries("default") == [stays.clone()]).await;
    assert_eq!(fired(&gone), before.0, "it is deleted");
}

#[tokio::test]
async fn a_copy_of_a_cluster_does_not_fire_the_schedules_of_the_one_it_was_copied_from() {
    let field = Field::new();
    let mut first = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.apply(&task("often", "@every 1s", ""));
    field.ready("crontask", "often").await;
    first.process.terminate();
    assert!(first.process.exit_blocking(LIMIT).success());
    let fired = || field.cli(&["LLEN", "asynq:{default}:pending"]).parse::<u64>().unwrap();
    let before = fired();
    // The objects have the same uids there. Nobody leads, so the entries stay as they are.
    hold_lease(&field);
    let second = field.operator("b", &["--cluster-id", "copy"]).await;
    let sees = async || second.process.stderr().iter().any(|line| line.contains("uses Redis at"));
    until(LIMIT, "it has found the queue's Redis", sees).await;
    until(LIMIT, "it has read all objects", async || second.is_ready().await).await;
    let seen = Instant::now();
    until(LIMIT, "it has had time", async || {
        assert_eq!(fired(), before);
        seen.elapsed() >= WATCHED
    })
    .await;
    // Who may fire them does.
    let _third = field.operator("c", &[]).await;
    until(LIMIT, "they fire on", async || fired() > before).await;
}
