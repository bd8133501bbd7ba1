//! What is refused, word for word.

use crate::support::{Folder, QUEUE, task};

/// What the set says about one file beside a good TaskQueue and a good CronTask, which must stay in force.
fn refusals(text: &str) -> Vec<String> {
    let mut folder =
        Folder::with(&[("a-queue.yaml", QUEUE), ("good.yaml", &task("good", "@daily")), ("x.yaml", text)]);
    let changes = folder.refresh();
    assert_eq!(changes.errors.len(), folder.errors().len());
    assert!(folder.tasks().contains(&"default/good".to_owned()));
    folder.errors()
}

/// Checks a table of texts and what is said about each.
fn check(table: &[(String, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(refusals(text), *expected, "for\n{text}");
    }
}

/// A CronTask whose spec is these lines, and a schedule, queue and task where they name none.
fn spec(lines: &str) -> String {
    let mut text =
        "apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata:\n  name: x\nspec:\n".to_owned();
    lines.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    let others = [("schedule", "'@hourly'"), ("queueRef", "{name: main}"), ("task", "{type: hello}")];
    for (key, value) in others.iter().filter(|(key, _)| !lines.contains(key)) {
        text.push_str(&format!("  {key}: {value}\n"));
    }
    text
}

/// A TaskQueue whose spec is these lines.
fn queue(lines: &str) -> String {
    let mut text =
        "apiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\nmetadata:\n  name: q\nspec:\n".to_owned();
    lines.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    text
}

const FORMS: &str = "\"minute hour day-of-month month day-of-week\", a field of seconds before them, \
                     @yearly @annually @monthly @weekly @daily @midnight @hourly, or \"@every 90s\"";
const TASK_FIELDS: &str = "catchUp, concurrencyPolicy, daylightSaving, jitter, queueRef, schedule, schedules, \
                           startingDeadlineSeconds, suspend, task, timeZone";

#[test]
fn documents_that_cannot_be_told() {
    check(&[
        ("a: 1\nb: [1\nc: 2\n".to_owned(), &["x.yaml:3: illegal placement of ':' indicator"]),
        ("a: 1\na: 2\n".to_owned(), &["x.yaml:2: duplicate mapping key `a` is not allowed here"]),
        (
            "# only\n---\n- 1\n".to_owned(),
            &["x.yaml:3: a document that is no object; allowed: apiVersion, kind, metadata, spec"],
        ),
        (
            "kind: CronTask\n".to_owned(),
            &["x.yaml:1: apiVersion: is missing; allowed: cronmill.dev/v1alpha1"],
        ),
        ("apiVersion: v1\n".to_owned(), &["x.yaml:1: kind: is missing; allowed: CronTask, TaskQueue"]),
        (
            "apiVersion: 1\nkind: x\n".to_owned(),
            &["x.yaml:1: apiVersion: is not a text; allowed: cronmill.dev/v1alpha1"],
        ),
        (
            "kind: CronTask\napiVersion: cronmill.dev/v1\n".to_owned(),
            &["x.yaml:2: apiVersion: unknown apiVersion \"cronmill.dev/v1\"; allowed: cronmill.dev/v1alpha1"],
        ),
        (
            "kind: CronTask\napiVersion: cronmil.dev/v1alpha1\n".to_owned(),
            &[
                "x.yaml:2: apiVersion: unknown apiVersion \"cronmil.dev/v1alpha1\"; allowed: cronmill.dev/v1alpha1",
            ],
        ),
        (
            "apiVersion: cronmill.dev/v1alpha1\nkind: CronTsk\n".to_owned(),
            &[
                "x.yaml:2: kind: unknown kind \"CronTsk\", did you mean CronTask?; allowed: CronTask, TaskQueue",
            ],
        ),
        (
            "apiVersion: v1\nkind: List\nitems: []\n".to_owned(),
            &["x.yaml:2: kind: List is not read here; allowed: each object in a document of its own"],
        ),
    ]);
}

#[test]
fn objects_without_a_sound_name() {
    let head = "apiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\n";
    let long = format!("{head}metadata: {{name: {}}}\nspec: {{queues: [{{name: a}}]}}\n", "q".repeat(53));
    check(&[
        (
            head.to_owned(),
            &[
                "x.yaml:1: TaskQueue: metadata: is missing; allowed: an object with annotations, labels, name, namespace",
                "x.yaml:1: TaskQueue: spec: is missing; allowed: an object with allowedNamespaces, deadLetter, deletionPolicy, lease, priority, queues, redis, workers",
            ],
        ),
        (
            format!("{head}metadata:\n  name: Big_Name\n  lables: {{}}\nspec: []\n"),
            &[
                "x.yaml:4: TaskQueue: metadata.name: \"Big_Name\" is not allowed; allowed: lower-case letters, digits, '-' \
             and '.', with a letter or digit at both ends; 1 to 253 characters",
                "x.yaml:5: TaskQueue: metadata.lables: unknown field, did you mean labels?; allowed: annotations, labels, \
             name, namespace",
                "x.yaml:6: TaskQueue: spec: is a list; allowed: an object with allowedNamespaces, deadLetter, deletionPolicy, lease, priority, queues, redis, workers",
            ],
        ),
        (
            format!("{head}metadata: {{name: 7, namespace: a.b}}\nspec: {{queues: [{{name: a}}]}}\n"),
            &[
                "x.yaml:3: TaskQueue: metadata.name: is a number; a text needs quotes here; allowed: lower-case letters, \
             digits, '-' and '.', with a letter or digit at both ends; 1 to 253 characters",
                "x.yaml:3: TaskQueue: metadata.namespace: \"a.b\" is not allowed; allowed: lower-case letters, digits and \
             '-', with a letter or digit at both ends; 1 to 63 characters",
            ],
        ),
        (
            long,
            &[&format!(
                "x.yaml:1: TaskQueue default/{}: metadata.name must have at most 52 characters, so that the names of its \
             workers fit",
                "q".repeat(53)
            )],
        ),
    ]);
}

#[test]
fn fields_nobody_knows() {
    let (timezone, limit) = (
        format!(
            "x.yaml:6: CronTask default/x: spec.timezone: unknown field, did you mean timeZone?; allowed: {TASK_FIELDS}"
        ),
        format!(
            "x.yaml:7: CronTask default/x: spec.successfulTasksHistoryLimit: unknown field; allowed: {TASK_FIELDS}"
        ),
    );
    check(&[
        (spec("timezone: UTC\nsuccessfulTasksHistoryLimit: 3"), &[&timezone, &limit]),
        (
            spec("task:\n  type: hello\n  payload: {any: {thing: 1}}\n  timeOut: 5m"),
            &[
                "x.yaml:9: CronTask default/x: spec.task.timeOut: unknown field, did you mean timeout?; allowed: deadline, \
             group, headers, maxRetry, payload, payloadFrom, retention, timeout, type, unique",
            ],
        ),
        (
            queue("queues:\n- name: a\n- name: b\n  wieght: 2\nbackoff: {}"),
            &[
                "x.yaml:9: TaskQueue default/q: spec.queues[1].wieght: unknown field, did you mean weight?; allowed: name, \
             paused, redisName, weight",
                "x.yaml:10: TaskQueue default/q: spec.backoff: unknown field; allowed: allowedNamespaces, deadLetter, deletionPolicy, lease, priority, queues, redis, workers",
            ],
        ),
    ]);
}

#[test]
fn schedules_and_zones_that_mean_nothing() {
    let forms = |rest: &str| format!("x.yaml:6: CronTask default/x: spec.{rest}; allowed: {FORMS}");
    let (three, many, often) = (
        forms("schedule: \"* * *\": it has 3 fields, not 5 or 6"),
        forms("schedules[0]: \"@\": it is no known shorthand").replace(":6:", ":7:"),
        forms("schedules[2]: \"@often\": it is no known shorthand"),
    );
    let prefix = forms(
        "schedule: \"TZ=UTC * * * * *\": the prefix TZ= is not supported, name the zone in the field timeZone",
    );
    check(&[
        (
            spec("schedule: '61 * * * *'"),
            &[
                "x.yaml:6: CronTask default/x: spec.schedule: \"61 * * * *\": minute: 61 is above 59; allowed: 0-59, *, \
             lists a,b, ranges a-b, steps */n a-b/n, H",
            ],
        ),
        (spec("schedule: '* * *'"), &[&three]),
        (spec("schedule: 'TZ=UTC * * * * *'"), &[&prefix]),
        (
            spec("schedules: ['* * * * *', '* * 32 * *', '@often']"),
            &[
                "x.yaml:6: CronTask default/x: spec.schedules[1]: \"* * 32 * *\": day of month: 32 is above 31; allowed: \
             1-31, *, lists a,b, ranges a-b, steps */n a-b/n, H",
                &often,
            ],
        ),
        (
            spec("schedule: '@daily'\nschedules: ['@daily']"),
            &["x.yaml:5: CronTask default/x: spec: set exactly one of schedule and schedules"],
        ),
        (
            spec("schedule: '* * *'\nschedules: ['@']"),
            &["x.yaml:5: CronTask default/x: spec: set exactly one of schedule and schedules", &three, &many],
        ),
        (
            spec("schedule: null\nschedules: null"),
            &["x.yaml:5: CronTask default/x: spec: set exactly one of schedule and schedules"],
        ),
        (
            spec("schedules: []"),
            &[
                "x.yaml:6: CronTask default/x: spec.schedules: has 0 entries; allowed: a list of 1 to 32 entries",
            ],
        ),
        (
            spec("timeZone: Asia/Shanghia\nschedule: '* * * * 7'"),
            &[
                "x.yaml:6: CronTask default/x: spec.timeZone: unknown zone \"Asia/Shanghia\", did you mean Asia/Shanghai?; \
             allowed: a zone of the IANA database, like Asia/Shanghai or UTC",
                "x.yaml:7: CronTask default/x: spec.schedule: \"* * * * 7\": day of week: 7 is above 6; Sunday is 0; allowed: 0-6 (0 is \
             Sunday), SUN-SAT, *, lists a,b, ranges a-b, steps */n a-b/n, H",
            ],
        ),
    ]);
}

#[test]
fn values_of_a_cron_task_out_of_bounds() {
    check(&[
        (
            spec("concurrencyPolicy: Forbidden\nsuspend: 'no'\ncatchUp: {policy: All}"),
            &[
                "x.yaml:6: CronTask default/x: spec.concurrencyPolicy: \"Forbidden\" is not allowed, did you mean Forbid?; \
             allowed: Allow, Forbid, Replace",
                "x.yaml:7: CronTask default/x: spec.suspend: is a text; allowed: true or false",
                "x.yaml:8: CronTask default/x: spec.catchUp.policy: \"All\" is not allowed; allowed: Latest, None",
            ],
        ),
        (
            spec("jitter: 5 minutes\nstartingDeadlineSeconds: -1"),
            &[
                "x.yaml:6: CronTask default/x: spec.jitter: \"5 minutes\" is not allowed; allowed: a duration like 90s, 5m, \
             2h, 7d or 1h30m; 2 to 29 characters",
                "x.yaml:7: CronTask default/x: spec.startingDeadlineSeconds: -1 is not allowed; allowed: a whole number from \
             0 to 315360000",
            ],
        ),
        (
            spec("startingDeadlineSeconds: 1.5"),
            &[
                "x.yaml:6: CronTask default/x: spec.startingDeadlineSeconds: 1.5 is not allowed; allowed: a whole number \
             from 0 to 315360000",
            ],
        ),
        (
            spec("queueRef: {}\ntask: {type: ' ', maxRetry: 5000}"),
            &[
                "x.yaml:6: CronTask default/x: spec.queueRef.name: is missing; allowed: lower-case letters, digits, '-' and \
             '.', with a letter or digit at both ends; 1 to 52 characters",
                "x.yaml:7: CronTask default/x: spec.task.maxRetry: 5000 is not allowed; allowed: a whole number from 0 to \
             1000",
                "x.yaml:7: CronTask default/x: spec.task.type: \" \" is not allowed; allowed: a text that is not blank; 1 to \
             200 characters",
            ],
        ),
        (
            spec("task:"),
            &[
                "x.yaml:6: CronTask default/x: spec.task: is missing; allowed: an object with deadline, group, \
             headers, maxRetry, payload, payloadFrom, retention, timeout, type, unique",
            ],
        ),
        (
            spec("task: {type: a, unique: {atMost: 0s}}"),
            &["x.yaml:6: CronTask default/x: spec.task.unique.atMost: must be more than 0s"],
        ),
        (
            spec("task: {type: a, group: ' '}"),
            &[
                "x.yaml:6: CronTask default/x: spec.task.group: \" \" is not allowed; allowed: a text that is not blank; 1 to 200 characters",
            ],
        ),
        (
            spec("task: {type: a, headers: {a: 12345}}"),
            &[
                "x.yaml:6: CronTask default/x: spec.task.headers.a: is a number; a text needs quotes here; allowed: a text; \
             0 to 1024 characters",
            ],
        ),
    ]);
}

#[test]
fn rules_over_a_cron_task() {
    check(&[
        (spec("jitter: 25h"), &["x.yaml:6: CronTask default/x: spec.jitter: must be at most 1d"]),
        (spec("jitter: 1d1s"), &["x.yaml:6: CronTask default/x: spec.jitter: must be at most 1d"]),
        (spec("jitter: 1d"), &[]),
        (spec("jitter: 23h59m"), &[]),
        (
            spec("task: {type: a, timeout: 0s,\n  deadline: 0d0h}"),
            &[
                "x.yaml:6: CronTask default/x: spec.task.timeout: must be more than 0s",
                "x.yaml:7: CronTask default/x: spec.task.deadline: must be more than 0s",
            ],
        ),
        (
            spec("task: {type: a, headers: {'': x}}"),
            &[
                "x.yaml:6: CronTask default/x: spec.task.headers: each key must have 1 to 128 characters and not begin with \
             cronmill-, which is ours",
            ],
        ),
        (
            spec("task: {type: a, headers: {cronmill-nominal-time: x}}"),
            &[
                "x.yaml:6: CronTask default/x: spec.task.headers: each key must have 1 to 128 characters and not begin with \
             cronmill-, which is ours",
            ],
        ),
    ]);
}

#[test]
fn values_of_a_task_queue_out_of_bounds() {
    check(&[
        (
            queue("queues: []"),
            &[
                "x.yaml:6: TaskQueue default/q: spec.queues: has 0 entries; allowed: a list of 1 to 64 entries",
            ],
        ),
        (
            queue("queues:\n- {name: a, weight: 0}\n- {name: a}"),
            &[
                "x.yaml:7: TaskQueue default/q: spec.queues[0].weight: 0 is not allowed; allowed: a whole number from 1 to \
             1000",
                "x.yaml:8: TaskQueue default/q: spec.queues[1].name: \"a\" stands twice; allowed: each name once",
            ],
        ),
        (
            queue("queues:\n- {name: a, redisName: '}x'}\n- {name: b, redisName: ' '}"),
            &[
                "x.yaml:7: TaskQueue default/q: spec.queues[0].redisName: \"}x\" is not allowed; allowed: a text that is not \
             blank and does not begin with '}'; 1 to 512 characters",
                "x.yaml:8: TaskQueue default/q: spec.queues[1].redisName: \" \" is not allowed; allowed: a text that is not \
             blank and does not begin with '}'; 1 to 512 characters",
            ],
        ),
        (
            queue(&format!("queues: [{{name: a, redisName: {}}}]", "ä".repeat(300))),
            &[
                "x.yaml:6: TaskQueue default/q: spec.queues[0].redisName: a queue's name has at most 512 bytes, this one has \
             600",
            ],
        ),
        (
            queue("queues:\n- {name: a, redisName: b}\n- {name: b}"),
            &[
                "x.yaml:8: TaskQueue default/q: spec.queues[1].redisName: queue \"b\" in Redis stands twice; allowed: each \
             queue in Redis once",
            ],
        ),
        (
            queue("queues: [{name: a, paused: {until: tomorrow}}]"),
            &[
                "x.yaml:6: TaskQueue default/q: spec.queues[0].paused.reason: is missing; allowed: a text that is not blank; \
             1 to 256 characters",
                "x.yaml:6: TaskQueue default/q: spec.queues[0].paused.until: \"tomorrow\" is not allowed; allowed: a time in \
             RFC 3339, like 2027-01-01T00:00:00Z",
            ],
        ),
    ]);
}

#[test]
fn times_are_those_an_api_server_takes() {
    let until = |text: &str| queue(&format!("queues: [{{name: a, paused: {{reason: x, until: '{text}'}}}}]"));
    for text in ["2027-01-01T00:00:00Z", "2027-01-01t00:00:00.25z", "2027-01-01T00:00:00+02:00"] {
        assert_eq!(refusals(&until(text)), Vec::<String>::new(), "{text}");
    }
    for text in [
        "2027-01-01",
        "2027-01-01 00:00:00Z",
        "2027-01-01T00:00Z",
        "2027-01-01T00:00:00",
        "2027-01-01T00:00:00.Z",
        "2027-01-01T00:00:00Z[UTC]",
        "2027-13-01T00:00:00Z",
    ] {
        assert_eq!(
            refusals(&until(text)),
            [format!(
                "x.yaml:6: TaskQueue default/q: spec.queues[0].paused.until: {text:?} is not allowed; allowed: a time in \
                 RFC 3339, like 2027-01-01T00:00:00Z"
            )]
        );
    }
}

#[test]
fn rules_over_a_task_queue() {
    let lease = "x.yaml:7: TaskQueue default/q: spec.lease: must be from 5s to 1h";
    check(&[
        (queue("queues: [{name: a}]\nlease: 4s"), &[lease]),
        (queue("queues: [{name: a}]\nlease: 5s"), &[]),
        (queue("queues: [{name: a}]\nlease: 60m"), &[]),
        (queue("queues: [{name: a}]\nlease: 1h1s"), &[lease]),
        (queue("queues: [{name: a}]\nlease: 1d"), &[lease]),
        (
            queue("queues: [{name: a}]\ndeadLetter: {maxTasks: -1, maxAge: 0d}"),
            &[
                "x.yaml:7: TaskQueue default/q: spec.deadLetter.maxTasks: -1 is not allowed; allowed: a whole number from 0 to 10000000",
            ],
        ),
        (
            queue("queues: [{name: a}]\ndeadLetter: {maxAge: 0d}"),
            &["x.yaml:7: TaskQueue default/q: spec.deadLetter.maxAge: must be at least 1s"],
        ),
        (
            queue("queues: [{name: a}]\nworkers:\n  scaling: {minReplicas: 5, maxReplicas: 2}"),
            &[
                "x.yaml:8: TaskQueue default/q: spec.workers.scaling.minReplicas: must not be above maxReplicas",
            ],
        ),
        (
            queue("queues: [{name: a}]\nworkers:\n  scaling: {minReplicas: 11, targetWait: 0s}"),
            &[
                "x.yaml:8: TaskQueue default/q: spec.workers.scaling.minReplicas: must not be above maxReplicas",
                "x.yaml:8: TaskQueue default/q: spec.workers.scaling.targetWait: must be at least 1s",
            ],
        ),
    ]);
}

#[test]
fn templates_that_need_a_cluster() {
    let container = |text: &str| {
        queue(&format!(
            "queues: [{{name: a}}]\nworkers:\n  template:\n    spec:\n      containers:\n      - {text}"
        ))
    };
    let secret = container("{command: [w], env: [{name: A, value: 31337}]}");
    check(&[
        (
            container("{name: worker, image: shop}"),
            &[
                "x.yaml:11: TaskQueue default/q: spec.workers.template.spec.containers[0].command: an image cannot be run \
             without a cluster; allowed: a command to run as a process",
            ],
        ),
        (
            container("{command: [w], env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}"),
            &[
                "x.yaml:11: TaskQueue default/q: spec.workers.template.spec.containers[0].env[0].valueFrom: cannot be read \
             without a cluster; allowed: variables with a value",
            ],
        ),
        (
            secret,
            &[
                "x.yaml:11: TaskQueue default/q: spec.workers.template.spec.containers[0].env[0].value: is a number; a text \
             needs quotes here; allowed: a text",
            ],
        ),
    ]);
}

#[test]
fn objects_that_do_not_go_together() {
    check(&[
        (
            spec("queueRef: {name: mian}"),
            &[
                "x.yaml:6: CronTask default/x: spec.queueRef.name: no TaskQueue \"mian\" is in force in namespace default, \
             did you mean main?; allowed: main",
            ],
        ),
        (
            spec("queueRef:\n  name: main\n  queue: lwo"),
            &[
                "x.yaml:8: CronTask default/x: spec.queueRef.queue: TaskQueue default/main has no queue \"lwo\", did you mean \
             low?; allowed: default, low",
            ],
        ),
        (
            task("elsewhere", "@daily").replace("{name: elsewhere}", "{name: elsewhere, namespace: other}"),
            &[
                "x.yaml:6: CronTask other/elsewhere: spec.queueRef.name: no TaskQueue \"main\" is in force in namespace \
             other; allowed: there is none",
            ],
        ),
        (
            queue("queues:\n- name: a\n- name: default"),
            &[
                "x.yaml:8: TaskQueue default/q: spec.queues[1]: queue \"default\" in Redis is served by TaskQueue \
             default/main already; allowed: a redisName that no other TaskQueue uses",
            ],
        ),
        (
            format!("# another\n---\n{}", task("good", "@hourly")),
            &[
                "x.yaml:5: CronTask default/good: metadata.name: also stands in good.yaml:1, which is in force; allowed: each \
             name once in a namespace",
            ],
        ),
    ]);
}

#[test]
fn a_message_is_one_line_whatever_the_names_hold() {
    let text = spec("\"a\\nb\\u0007\": 1");
    let expected = format!("x.yaml:6: CronTask default/x: spec.a b : unknown field; allowed: {TASK_FIELDS}");
    check(&[(text, &[&expected])]);
}

#[test]
fn values_that_may_be_secret_are_not_shown() {
    let texts = [
        spec("task: {type: a, payload: {token: s3cr3t}, headers: {auth: [s3cr3t]}, timeout: 0s}"),
        spec(&format!("task: {{type: a, headers: {{auth: '{}'}}}}", "s3cr3t".repeat(200))),
        queue(
            "queues: [{name: a}]\nworkers: {template: {spec: {containers: [{command: s3cr3t, env: [{name: A, value: [s3cr3t]}]}]}}}",
        ),
    ];
    for text in texts {
        let said = refusals(&text);
        assert!(!said.is_empty() && said.iter().all(|line| !line.contains("s3cr3t")), "{said:?}");
    }
}

/// A manifest with everything, to be damaged.
const WHOLE: &str = "apiVersion: cronmill.dev/v1alpha1
kind: CronTask
metadata: {name: x, labels: {a: b}}
spec:
  schedules: ['*/5 * * * *', \"@every 1h30m\"]
  daylightSaving: {gap: Skip}
  queueRef: {name: main, queue: low}
  task: &t
    type: hello
    payload: {a: [1, 2.5, null, !x y], b: |
        text
      }
    headers: {k: v}
---
apiVersion: cronmill.dev/v1alpha1
kind: TaskQueue
metadata: {name: other}
spec:
  queues: [{name: o, weight: 2, paused: {reason: why, until: 2027-01-01T00:00:00Z}}]
  workers: {template: {spec: {containers: [{command: [w], env: [{name: A, value: b}]}]}}}
";

#[test]
fn a_damaged_file_is_an_error_at_most_and_leaves_the_others_alone() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let mut folder = Folder::with(&[("a-queue.yaml", QUEUE), ("good.yaml", &task("good", "@daily"))]);
    folder.refresh_later();
    let folder = std::cell::RefCell::new(folder);
    let pieces = prop_oneof![
        "[-:{}\\[\\],'\"#&*!|>%@~ \t\n0-9a-zäß\u{0}\u{feff}]{0,6}",
        Just("---\n".to_owned()),
        Just("\n...\n".to_owned()),
        Just("<<: *t\n".to_owned()),
        Just("[".repeat(300)),
        Just("99999999999999999999999".to_owned()),
    ];
    let damage = prop::collection::vec((0..WHOLE.len(), 0..20_usize, pieces), 1..4);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(300) });
    let outcome = runner.run(&damage, |damage| {
        let mut text = WHOLE.to_owned();
        for (at, length, piece) in damage {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        let mut folder = folder.borrow_mut();
        folder.write("x.yaml", &text);
        folder.refresh_later();
        prop_assert!(folder.tasks().contains(&"default/good".to_owned()));
        prop_assert!(folder.errors().iter().all(|line| line.starts_with("x.yaml") && !line.contains('\n')));
        Ok(())
    });
    outcome.unwrap();
}
