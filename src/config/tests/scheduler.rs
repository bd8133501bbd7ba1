//! The file of a scheduler.

use std::path::Path;

use crate::config::{SchedulerFile, read_scheduler};
use crate::schedule::{Entry, Timing};

/// The tutorial's file, in its shape.
const TUTORIAL: &str = r#"Name: scheduler
Mode: dev
Redis:
  Host: redis:6379
  Type: node
  Pass: s3cret
Location: Asia/Shanghai
Tasks:
  - Spec: "*/20 * * * *"
    Type: update-user-earn
Log: {ServiceName: scheduler, Level: error}
Prometheus: {Host: 0.0.0.0, Port: 4011, Path: /metrics}
"#;

fn read(text: &str) -> SchedulerFile {
    read_scheduler(Path::new("etc/periodic.yaml"), text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn wrong(text: &str) -> Vec<String> {
    let errors = read_scheduler(Path::new("s.yaml"), text).expect_err(text);
    errors.iter().map(|error| error.to_string().replace("s.yaml:", "")).collect()
}

/// The entries of a file with these tasks.
fn entries(tasks: &str) -> Vec<Entry> {
    read(&format!("Name: mq\nTasks:\n{tasks}")).entries
}

fn names(tasks: &str) -> Vec<String> {
    entries(tasks).iter().map(Entry::key).collect()
}

#[test]
fn the_tutorials_file_is_read_as_it_stands() {
    let file = read(TUTORIAL);
    assert_eq!((file.name.as_str(), file.cluster.as_str()), ("scheduler", "scheduler/scheduler"));
    let [entry] = &file.entries[..] else { panic!("{:?}", file.entries) };
    assert_eq!(entry.key(), "scheduler/update-user-earn");
    assert_eq!(
        (&entry.timing.schedules[..], entry.timing.time_zone.as_deref()),
        (&["*/20 * * * *".to_owned()][..], Some("Asia/Shanghai"))
    );
    let template = &entry.template;
    assert_eq!(
        (template.kind.as_str(), template.queue.as_str(), template.max_retry),
        ("update-user-earn", "default", 25)
    );
    assert_eq!((template.timeout_s, template.payload.len()), (None, 0));
    assert_eq!(file.idle.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Mode (line 2)"]);
    assert!(!format!("{file:?}").contains("s3cret"));
}

#[test]
fn asynqs_own_file_is_read_as_it_stands() {
    let file = read(
        "configs:\n  - cronspec: \"* * * * *\"\n    task_type: foo\n  - cronspec: \"@every 30s\"\n    task_type: bar\n",
    );
    assert_eq!(file.name, "periodic", "the file's own name");
    assert_eq!(file.entries.iter().map(Entry::key).collect::<Vec<_>>(), ["periodic/foo", "periodic/bar"]);
    assert_eq!(file.entries[0].timing.time_zone, None, "UTC, as asynq's default");
}

#[test]
fn options_mean_what_they_mean_to_asynq() {
    let entries = entries(
        "- Spec: '@daily'\n  Type: a\n  Options: {Queue: low, MaxRetry: 0, Timeout: 1m30s, Deadline: 2h, Retention: 24h, Unique: 10m, Group: g}\n",
    );
    let template = &entries[0].template;
    assert_eq!((template.queue.as_str(), template.max_retry, template.group.as_str()), ("low", 0, "g"));
    assert_eq!((template.timeout_s, template.deadline_s), (Some(90), Some(7200)));
    assert_eq!((template.retention_s, template.unique_s), (86_400, Some(600)));
    assert_eq!(entries[0].format, 2, "older versions leave unique tasks and groups alone");
}

#[test]
fn a_text_is_the_payload_as_it_stands_and_anything_else_is_json() {
    for (written, payload) in [
        ("'{\"a\":1}'", "{\"a\":1}"),
        ("plain", "plain"),
        ("{b: [1, x, true]}", r#"{"b":[1,"x",true]}"#),
        ("17", "17"),
        ("null", ""),
    ] {
        let entries = entries(&format!("- {{Spec: '@daily', Type: a, Payload: {written}}}\n"));
        assert_eq!(entries[0].template.payload, payload.as_bytes(), "{written}");
    }
}

#[test]
fn a_zone_in_front_of_a_spec_wins_over_the_files() {
    for prefix in ["CRON_TZ=Europe/Berlin ", "TZ=Europe/Berlin  "] {
        let text = format!("Location: Asia/Shanghai\nTasks: [{{Spec: '{prefix}0 3 * * *', Type: a}}]");
        let timing = read(&text).entries[0].timing.clone();
        assert_eq!(
            (timing.schedules[0].as_str(), timing.time_zone.as_deref()),
            ("0 3 * * *", Some("Europe/Berlin"))
        );
        let next =
            Timing::parse(&timing).expect("sound").next_after("2026-11-23T12:00:00Z".parse().expect("sound"));
        assert_eq!(next.map(|next| next.to_string()).as_deref(), Some("2026-11-24T02:00:00Z"));
    }
}

#[test]
fn a_task_is_named_by_its_type_and_keeps_its_name_when_it_is_edited() {
    let one = entries("- {Spec: '@daily', Type: 'email:Digest'}\n");
    let edited = entries("- {Spec: '@hourly', Type: 'email:Digest', Payload: x, Options: {Queue: low}}\n");
    assert_eq!((one[0].key().as_str(), &one[0].uid), ("mq/email-digest", &edited[0].uid));
    assert_ne!(one[0].revision.hash, edited[0].revision.hash);
    let several = "- {Spec: '@daily', Type: a}\n- {Spec: '@hourly', Type: a}\n- {Spec: '@daily', Type: a-2}\n- {Spec: '@daily', Type: ☂}\n";
    assert_eq!(names(several), ["mq/a", "mq/a-2", "mq/a-2-2", "mq/task"]);
    let uid = |name: &str| {
        read(&format!("Name: {name}\nTasks: [{{Spec: '@daily', Type: a}}]")).entries[0].uid.clone()
    };
    assert_ne!(uid("mq"), uid("Mq"), "files of other names have entries of their own");
    assert_eq!(uid("mq"), uid("mq"));
}

#[test]
fn no_tasks_at_all_must_be_said() {
    assert_eq!(read("Name: a\nTasks: []").entries.len(), 0);
    assert!(
        wrong("Name: a")[0]
            .starts_with("1: Tasks: is missing; allowed: a list of {Spec, Type, Payload, Options}")
    );
}

#[test]
fn what_is_wrong_is_told_with_line_key_and_what_is_allowed() {
    let task = |rest: &str| format!("Tasks:\n- {rest}\n");
    for (text, expected) in [
        (
            task("{Spec: '61 * * * *', Type: a}"),
            "2: Tasks[0].Spec: \"61 * * * *\": minute: 61 is above 59; allowed: 0-59",
        ),
        (task("{Spec: 'TZ=Mars/X @daily', Type: a}"), "2: Tasks[0].Spec: unknown zone \"Mars/X\""),
        (task("{Spec: 'TZ=UTC', Type: a}"), "2: Tasks[0].Spec: \"\": it is empty"),
        (task("{Type: a}"), "2: Tasks[0].Spec: is missing; allowed: a schedule"),
        (task("{Spec: '@daily', Type: ' '}"), "2: Tasks[0].Type: is empty; allowed: the type of a task"),
        (
            task("{Spec: '@daily', type: a, Opts: {}}"),
            "2: Tasks[0].Opts: unknown key, did you mean Options?; allowed: Spec, Type, Payload, Options",
        ),
        (
            task("{Spec: '@daily', Type: a, Options: {Timeout: 30}}"),
            "2: Tasks[0].Options.Timeout: is a number; a text needs quotes",
        ),
        (
            task("{Spec: '@daily', Type: a, Options: {Timeout: soon}}"),
            "2: Tasks[0].Options.Timeout: \"soon\" does not begin with a number; allowed: at least 1s, written as in 90s",
        ),
        (
            task("{Spec: '@daily', Type: a, Options: {Queue: ''}}"),
            "2: Tasks[0].Options.Queue: \"\" is no queue",
        ),
        (
            task("{Spec: '@daily', Type: a, Options: {MaxRetry: -1}}"),
            "2: Tasks[0].Options.MaxRetry: -1 is not allowed",
        ),
        (
            task("{Spec: '@daily', Type: a, Options: {TaskID: x}}"),
            "2: Tasks[0].Options.TaskID: each tick's task has an id of its own",
        ),
        (task("hello"), "2: Tasks[0]: is a text; allowed: an object of keys"),
        ("Tasks: {Spec: x}".to_owned(), "1: Tasks: is an object; allowed: a list of objects"),
        ("configs: [{cronspec: '@daily', Type: a}]".to_owned(), "1: configs[0].task_type: is missing"),
        (
            "Location: Asia/Shangai\nTasks: []".to_owned(),
            "1: Location: unknown zone \"Asia/Shangai\", did you mean Asia/Shanghai?",
        ),
        ("Name: ''\nTasks: []".to_owned(), "1: Name: is empty"),
        (
            "Concurrency: 1\nTasks: []".to_owned(),
            "1: Concurrency: is a key of cronmill-worker, not of this program",
        ),
    ] {
        let told = wrong(&text);
        assert!(told[0].starts_with(expected), "{text}: {told:#?}");
    }
}

#[test]
fn nothing_stands_twice() {
    let task = "- {Spec: '@daily', Type: a, Payload: secret}\n";
    let told = wrong(&format!("Name: mq\nTasks:\n{task}{task}"));
    assert_eq!(
        told,
        [
            "4: Tasks[1]: stands there twice, at line 3 too; allowed: each task once; others differ in Spec, Payload or Options"
        ]
    );
    let in_both =
        wrong("Tasks: [{Spec: '@daily', Type: a}]\nconfigs: [{cronspec: '@daily', task_type: a}]\n");
    assert!(in_both[0].starts_with("2: configs[0]: stands there twice, at line 1 too"), "{in_both:?}");
    assert_eq!(names("- {Spec: '@daily', Type: a}\n- {Spec: '@daily', Type: a, Payload: x}\n").len(), 2);
}
