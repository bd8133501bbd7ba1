//! What a good manifest becomes.

use std::time::Duration;

use cronmill::crd::{self, Paused, Scaling};
use cronmill::local::manifest::{Manifests, WorkerProgram};
use cronmill::schedule::{
    CatchUp, Concurrency, ENTRY_FORMAT, Entry, Gap, Overlap, Template, Timing, TimingSource, local_uid,
};
use jiff::Timestamp;

use crate::support::{Folder, QUEUE, samples, task};

#[test]
fn a_task_that_says_nothing_gets_the_defaults_of_the_schema() {
    let mut folder = Folder::with(&[("queue.yaml", QUEUE), ("a.yaml", &task("a", "@daily"))]);
    folder.refresh();
    let entry = folder.task("default/a").entry.clone();
    let touched_ms = u64::try_from(folder.touched("a.yaml").as_millisecond()).unwrap();
    assert_eq!((entry.revision.epoch, entry.revision.generation), (0, touched_ms));
    assert_eq!(entry.revision.hash, entry.content_hash());
    assert_eq!(
        entry,
        Entry {
            format: 1,
            uid: local_uid("CronTask", "default", "a").to_string(),
            namespace: "default".into(),
            name: "a".into(),
            cluster: "test".into(),
            revision: entry.revision.clone(),
            timing: TimingSource {
                schedules: vec!["@daily".into()],
                time_zone: Some("UTC".into()),
                gap: Gap::After,
                overlap: Overlap::First,
                anchor: Timestamp::UNIX_EPOCH,
                hash_key: "default/a".into(),
                jitter_s: 0,
            },
            concurrency: Concurrency::Allow,
            suspend: false,
            starting_deadline_s: None,
            catch_up: CatchUp::Latest,
            template: Template {
                kind: "hello".into(),
                queue: "default".into(),
                payload: "".into(),
                headers: [].into(),
                max_retry: 25,
                timeout_s: Some(1800),
                deadline_s: None,
                retention_s: 0,
                unique_s: None,
                group: String::new(),
            },
        }
    );
}

#[test]
fn everything_a_task_says_reaches_its_entry() {
    let text = "apiVersion: cronmill.dev/v1alpha1
kind: CronTask
metadata: {name: full, namespace: shop, labels: {a: b}, creationTimestamp: null}
spec:
  schedules: ['0 9 * * MON-FRI', '@every 1h30m']
  timeZone: America/New_York
  daylightSaving: {gap: Skip, overlap: Both}
  startingDeadlineSeconds: 300.0
  concurrencyPolicy: Replace
  suspend: true
  catchUp: {policy: None}
  jitter: 1m30s
  queueRef: {name: main, queue: low}
  task:
    type: 'email:send'
    payload: {b: [1, 2.5, null], a: \"x\\u00e9\"}
    headers: {tenant: '7'}
    maxRetry: 0
    timeout: 1d
    deadline: 2h
    retention: 7d
    unique: {atMost: 2h}
    group: 'a b:c'
";
    let queue = QUEUE
        .replace("{name: main}", "{name: main, namespace: shop}")
        .replace("{name: low}", "{name: low, redisName: 'shop:low'}");
    let mut folder = Folder::with(&[("queue.yaml", &queue), ("full.yaml", text)]);
    folder.refresh();
    assert_eq!(folder.errors(), Vec::<String>::new());
    let task = folder.task("shop/full");
    let entry = &task.entry;
    assert_eq!(task.task_queue.to_string(), "TaskQueue shop/main");
    assert_eq!(
        entry.timing,
        TimingSource {
            schedules: vec!["0 9 * * MON-FRI".into(), "@every 1h30m".into()],
            time_zone: Some("America/New_York".into()),
            gap: Gap::Skip,
            overlap: Overlap::Both,
            anchor: Timestamp::UNIX_EPOCH,
            hash_key: "shop/full".into(),
            jitter_s: 90,
        }
    );
    assert_eq!(
        (entry.concurrency, entry.suspend, entry.starting_deadline_s, entry.catch_up),
        (Concurrency::Replace, true, Some(300), CatchUp::None)
    );
    assert_eq!(entry.format, ENTRY_FORMAT, "an older version would leave out lock and group");
    assert_eq!(
        entry.template,
        Template {
            kind: "email:send".into(),
            queue: "shop:low".into(),
            payload: "{\"a\":\"xé\",\"b\":[1,2.5,null]}".into(),
            headers: [("tenant".to_owned(), "7".to_owned())].into(),
            max_retry: 0,
            timeout_s: Some(86_400),
            deadline_s: Some(7200),
            retention_s: 604_800,
            unique_s: Some(7200),
            group: "a b:c".into(),
        }
    );
}

#[test]
fn payloads_are_compact_json() {
    for (written, payload) in
        [("'text'", "\"text\""), ("7", "7"), ("[]", "[]"), ("{}", "{}"), ("null", ""), ("false", "false")]
    {
        let text =
            task("a", "@daily").replace("{type: hello}", &format!("{{type: hello, payload: {written}}}"));
        let mut folder = Folder::with(&[("queue.yaml", QUEUE), ("a.yaml", &text)]);
        folder.refresh();
        assert_eq!(folder.task("default/a").entry.template.payload, payload, "{written}");
    }
}

#[test]
fn a_queue_that_says_nothing_gets_the_defaults_of_the_schema() {
    let mut folder = Folder::with(&[("q.yaml", &format!("{QUEUE}  workers: {{}}\n"))]);
    folder.refresh();
    let queue = folder.manifests.queues().next().unwrap();
    assert_eq!(queue.uid, local_uid("TaskQueue", "default", "main").to_string());
    assert_eq!((queue.strict, queue.lease), (false, Duration::from_secs(30)));
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!((queue.archive_tasks_max, queue.archive_age_max), (10_000, days(90)));
    let queues: Vec<_> =
        queue.queues.iter().map(|q| (q.name.as_str(), q.redis_name.as_str(), q.weight, &q.paused)).collect();
    assert_eq!(queues, [("default", "default", 1, &None), ("low", "low", 1, &None)]);
    let workers = queue.workers.as_ref().unwrap();
    assert_eq!((&queue.program, workers.replicas, workers.concurrency), (&WorkerProgram::Bundled, None, 20));
    assert_eq!(workers.scaling, Scaling::default());
    assert_eq!(
        (Scaling::default().target_wait.as_secs(), Scaling::default().stabilization.as_secs()),
        (10, 60)
    );
}

#[test]
fn everything_a_queue_says_is_resolved() {
    let text = "apiVersion: cronmill.dev/v1alpha1
kind: TaskQueue
metadata: {name: full}
spec:
  queues:
  - {name: critical, weight: 6}
  - {name: low, redisName: 'Old Name', paused: {reason: migration, until: 2027-01-01T00:00:00Z}}
  priority: Strict
  lease: 2m
  deadLetter: {maxTasks: 0, maxAge: 36h}
  workers:
    replicas: 3
    concurrency: 7
    scaling: {minReplicas: 1, maxReplicas: 4, targetWait: 3s, stabilization: 0s}
    template:
      metadata: {labels: {app: shop}}
      spec:
        containers:
        - {name: worker, image: shop:1, command: [shop-worker], args: [--fast], env: [{name: A, value: b}], resources: {limits: {cpu: 1}}}
";
    let mut folder = Folder::with(&[("q.yaml", text)]);
    folder.refresh();
    assert_eq!(folder.errors(), Vec::<String>::new());
    let queue = folder.manifests.queues().next().unwrap();
    assert_eq!((queue.strict, queue.lease), (true, Duration::from_secs(120)));
    let limits = (queue.archive_tasks_max, queue.archive_age_max);
    assert_eq!(limits, (0, Duration::from_secs(36 * 3600)));
    let paused = Paused { reason: "migration".into(), until: Some("2027-01-01T00:00:00Z".parse().unwrap()) };
    let queues: Vec<_> = queue
        .queues
        .iter()
        .map(|q| (q.name.as_str(), q.redis_name.as_str(), q.weight, q.paused.clone()))
        .collect();
    assert_eq!(queues, [("critical", "critical", 6, None), ("low", "Old Name", 1, Some(paused))]);
    let workers = queue.workers.as_ref().unwrap();
    assert_eq!((workers.replicas, workers.concurrency), (Some(3), 7));
    let scaling = workers.scaling;
    assert_eq!(
        (
            scaling.min_replicas,
            scaling.max_replicas,
            scaling.target_wait.as_secs(),
            scaling.stabilization.as_secs()
        ),
        (1, 4, 3, 0)
    );
    let WorkerProgram::Container(container) = &queue.program else { panic!("{:?}", queue.program) };
    let line = container.command_line(&[].into());
    assert_eq!(
        (line.program.as_str(), line.arguments.as_slice()),
        ("shop-worker", ["--fast".to_owned()].as_slice())
    );
    assert_eq!(line.environment, [("A".to_owned(), "b".to_owned())].into());
}

#[test]
fn a_queue_without_workers_has_no_fleet() {
    let mut folder = Folder::with(&[("q.yaml", QUEUE)]);
    folder.refresh();
    assert_eq!(folder.manifests.queues().next().unwrap().workers, None);
}

#[test]
fn the_samples_are_good_and_what_only_a_cluster_has_is_left_aside() {
    let mut manifests = Manifests::open(vec![samples()], "test");
    let changes = manifests.refresh(Timestamp::now());
    assert_eq!(changes.errors, vec![]);
    let aside = "left aside, for a cluster only: 1 apps/v1 Deployment, 1 apps/v1 StatefulSet, 1 v1 Secret, 2 v1 Service";
    assert_eq!(changes.note.as_deref(), Some(aside));
    let tasks: Vec<_> = manifests
        .tasks()
        .map(|task| {
            (task.entry.name.as_str(), task.task_queue.name.as_str(), task.entry.timing.schedules.join(" "))
        })
        .collect();
    assert_eq!(
        tasks,
        [
            ("check-order-status", "shop", "*/5 * * * *".to_owned()),
            ("hello", "hello", "* * * * * *".to_owned()),
            ("update-user-earn", "shop", "*/20 * * * *".to_owned()),
            ("update-user-earn-quick", "shop", "@every 2s".to_owned()),
        ]
    );
    let fleets: Vec<_> = manifests
        .queues()
        .map(|queue| (queue.key.name.as_str(), queue.workers.as_ref().map(|workers| workers.concurrency)))
        .collect();
    assert_eq!(fleets, [("hello", Some(2)), ("shop", Some(20))]);
    for task in manifests.tasks() {
        assert!(
            Timing::parse(&task.entry.timing)
                .is_ok_and(|timing| timing.next_after(Timestamp::now()).is_some())
        );
    }
}

#[test]
fn a_set_of_manifests_can_be_read_on_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Manifests>();
    assert_eq!(crd::definitions().len(), 2);
}
