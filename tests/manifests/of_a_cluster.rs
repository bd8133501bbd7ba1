//! The same manifests run in a cluster and without one: what means something only there is taken or plainly refused.

use cronmill::local::manifest::WorkerProgram;

use crate::support::{Folder, QUEUE, task};

#[test]
fn what_names_a_redis_lets_others_in_or_ends_a_queue_is_taken_without_a_cluster_too() {
    let queue = "apiVersion: cronmill.dev/v1alpha1
kind: TaskQueue
metadata: {name: main, uid: x, generation: 4}
spec:
  redis: {secretRef: {name: redis}}
  allowedNamespaces: [billing]
  deletionPolicy: Delete
  queues: [{name: default}]
status: {observedGeneration: 4, conditions: [{type: Ready}]}
";
    let there = "{name: main, namespace: default}";
    let from = |namespace: &str| {
        let guest = task("guest", "@daily").replace("{name: main}", there);
        guest.replace("{name: guest}", &format!("{{name: guest, namespace: {namespace}}}"))
    };
    let mut folder =
        Folder::with(&[("q.yaml", queue), ("a.yaml", &from("billing")), ("b.yaml", &from("sales"))]);
    folder.refresh();
    assert_eq!(
        folder.errors(),
        [
            "b.yaml:6: CronTask sales/guest: spec.queueRef.namespace: TaskQueue default/main does not allow namespace sales; \
          allowed: a TaskQueue that has sales in its allowedNamespaces"
        ]
    );
    assert_eq!(folder.tasks(), ["billing/guest"]);
    assert_eq!(folder.task("billing/guest").entry.template.queue, "default", "by its bare name");
}

#[test]
fn a_target_is_a_clusters_and_its_queues_are_in_force_without_workers_as_a_note_says() {
    let target = "workers: {targetRef: {kind: Deployment, name: shop}}";
    let with = |workers: &str| format!("{QUEUE}  {workers}\n");
    let mut folder = Folder::with(&[("q.yaml", &with(target)), ("a.yaml", &task("a", "@daily"))]);
    let changes = folder.refresh();
    assert_eq!(
        changes.note.as_deref(),
        Some(
            "left aside, for a cluster only: spec.workers.targetRef of TaskQueue default/main, so no worker is started"
        )
    );
    assert_eq!((folder.errors().len(), folder.tasks()), (0, vec!["default/a".to_owned()]));
    assert_eq!(changes.upserted_queues[0].program, WorkerProgram::Target);
    folder.write("q.yaml", &with("workers: {}"));
    let changes = folder.refresh_later();
    assert_eq!((changes.note, &changes.upserted_queues[0].program), (None, &WorkerProgram::Bundled));
}

#[test]
fn a_target_of_another_kind_or_beside_a_template_is_refused() {
    let with = |lines: &str| format!("{QUEUE}  workers:\n    targetRef: {lines}\n");
    let both = with("{kind: Deployment, name: go}\n    template: {spec: {containers: []}}");
    let mut folder = Folder::with(&[("a.yaml", &both), ("b.yaml", &with("{kind: DaemonSet, name: Go}"))]);
    folder.refresh();
    assert_eq!(
        folder.errors(),
        [
            "a.yaml:6: TaskQueue default/main: spec.workers: set template for workers of this object's own, or targetRef for \
             an existing workload, not both",
            "b.yaml:7: TaskQueue default/main: spec.workers.targetRef.kind: \"DaemonSet\" is not allowed; allowed: Deployment, \
             StatefulSet",
            "b.yaml:7: TaskQueue default/main: spec.workers.targetRef.name: \"Go\" is not allowed; allowed: lower-case \
             letters, digits, '-' and '.', with a letter or digit at both ends; 1 to 253 characters",
        ]
    );
}

#[test]
fn a_payload_from_a_config_map_is_refused_without_a_cluster() {
    let mapped = "task: {type: hello, payloadFrom: {configMapKeyRef: {name: a, key: b}}}";
    let text = task("mapped", "@daily").replace("task: {type: hello}", mapped);
    let mut folder = Folder::with(&[("q.yaml", QUEUE), ("x.yaml", &text)]);
    folder.refresh();
    assert_eq!(
        folder.errors(),
        [
            "x.yaml:7: CronTask default/mapped: spec.task.payloadFrom: a ConfigMap cannot be read without a cluster; allowed: \
          the payload itself, as spec.task.payload"
        ]
    );
}
