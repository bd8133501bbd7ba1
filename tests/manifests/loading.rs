//! What a change of the files does.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use cronmill::local::manifest::{Changes, Manifests, SETTLE};
use jiff::{SignedDuration, Timestamp};

use crate::support::{Folder, QUEUE, eventually, names, task};

/// A folder with the TaskQueue and the CronTask `a`, loaded.
fn loaded() -> Folder {
    let mut folder = Folder::with(&[("queue.yaml", QUEUE), ("a.yaml", &task("a", "@daily"))]);
    let changes = folder.refresh_later();
    assert_eq!((names(&changes.upserted_tasks), changes.errors), (vec!["default/a".to_owned()], vec![]));
    folder
}

fn schedule(folder: &Folder, name: &str) -> String {
    folder.task(name).entry.timing.schedules[0].clone()
}

#[test]
fn nothing_changed_is_told_when_nothing_did() {
    let mut folder = loaded();
    assert_eq!(folder.refresh_later(), Changes::default());
}

#[test]
fn an_edit_changes_only_what_it_touches() {
    let mut folder = loaded();
    folder.write("b.yaml", &task("b", "@daily"));
    assert_eq!(names(&folder.refresh_later().upserted_tasks), ["default/b"]);

    let before = folder.task("default/a").entry.revision.clone();
    folder.write("a.yaml", &task("a", "@hourly"));
    let changes = folder.refresh_later();
    assert_eq!(names(&changes.upserted_tasks), ["default/a"]);
    assert_eq!((changes.removed_tasks, changes.upserted_queues), (vec![], vec![]));
    assert_eq!(schedule(&folder, "default/a"), "@hourly");
    let after = &folder.task("default/a").entry.revision;
    assert!(after > &before && after.hash != before.hash, "{before} {after}");
}

#[test]
fn a_file_written_again_as_it_was_changes_nothing() {
    let mut folder = loaded();
    let before = folder.task("default/a").clone();
    folder.write("a.yaml", &format!("# a comment more\n---\n{}", task("a", "@daily")));
    assert_eq!(folder.refresh_later(), Changes::default());
    let after = folder.task("default/a");
    assert_eq!((&after.entry, after.source.line), (&before.entry, 2));
}

#[test]
fn a_file_somebody_writes_to_is_left_until_it_is_quiet() {
    let mut folder = loaded();
    folder.write("a.yaml", "");
    let touched = folder.touched("a.yaml");
    let changes = folder.manifests.refresh(touched + SETTLE / 2);
    assert_eq!((changes.unsettled, changes.removed_tasks.len()), (1, 0));
    folder.write("a.yaml", &task("a", "@hourly"));
    eventually("the new schedule is in force", || {
        folder.refresh();
        schedule(&folder, "default/a") == "@hourly"
    });
}

#[test]
fn an_emptied_file_takes_its_objects_away_once_it_is_quiet() {
    let mut folder = loaded();
    folder.write("a.yaml", "# nothing any more\n");
    assert_eq!(names(&folder.refresh_later().removed_tasks), ["default/a"]);
    assert_eq!(folder.tasks(), Vec::<String>::new());
}

#[test]
fn a_half_written_file_leaves_its_objects_in_force() {
    let mut folder = loaded();
    folder.write("a.yaml", &format!("{}---\n{}", task("a", "@daily"), task("a2", "@daily")));
    folder.refresh_later();
    assert_eq!(folder.tasks(), ["default/a", "default/a2"]);

    let whole = format!("{}---\n{}", task("a", "@hourly"), task("a2", "@hourly"));
    let cut = whole.rfind("queueRef").unwrap() + 12;
    folder.write("a.yaml", &whole[..cut]);
    let changes = folder.refresh_later();
    assert_eq!(names(&changes.upserted_tasks), ["default/a"]);
    assert_eq!((changes.removed_tasks.len(), changes.errors.len()), (0, 1));
    assert_eq!(
        (schedule(&folder, "default/a"), schedule(&folder, "default/a2")),
        ("@hourly".into(), "@daily".into())
    );

    folder.write("a.yaml", &whole);
    assert_eq!(names(&folder.refresh_later().upserted_tasks), ["default/a2"]);
    assert_eq!(folder.errors(), Vec::<String>::new());
}

#[test]
fn a_refused_edit_leaves_the_last_good_version_in_force() {
    let mut folder = loaded();
    folder.write("a.yaml", &task("a", "61 * * * *"));
    let changes = folder.refresh_later();
    assert_eq!((changes.upserted_tasks.len(), changes.removed_tasks.len(), changes.errors.len()), (0, 0, 1));
    assert_eq!(schedule(&folder, "default/a"), "@daily");
    assert_eq!(folder.refresh_later(), Changes::default(), "an error is told once");
    assert_eq!(folder.errors().len(), 1);

    folder.write("a.yaml", &task("a", "@hourly"));
    assert_eq!(names(&folder.refresh_later().upserted_tasks), ["default/a"]);
    assert_eq!(folder.errors(), Vec::<String>::new());
}

#[test]
fn a_version_kept_for_a_refused_one_goes_with_its_document() {
    let mut folder = loaded();
    folder.write("a.yaml", &task("a", "61 * * * *"));
    folder.refresh_later();
    folder.write("a.yaml", &task("b", "@daily"));
    let changes = folder.refresh_later();
    assert_eq!(
        (names(&changes.removed_tasks), names(&changes.upserted_tasks)),
        (vec!["default/a".into()], vec!["default/b".into()])
    );
}

#[test]
fn a_deleted_file_takes_its_objects_away_a_moment_later() {
    let mut folder = loaded();
    folder.remove("a.yaml");
    let now = Timestamp::now();
    let changes = folder.manifests.refresh(now);
    assert_eq!((changes.unsettled, changes.removed_tasks.len()), (1, 0));
    let changes = folder.manifests.refresh(now + SignedDuration::from_secs(1));
    assert_eq!((changes.unsettled, names(&changes.removed_tasks)), (0, vec!["default/a".to_owned()]));
}

#[test]
fn a_file_put_in_the_place_of_another_is_an_edit() {
    let mut folder = loaded();
    folder.remove("a.yaml");
    let now = Timestamp::now();
    folder.manifests.refresh(now);
    folder.write("a.yaml.new", &task("a", "@hourly"));
    fs::rename(folder.path("a.yaml.new"), folder.path("a.yaml")).unwrap();
    let changes = folder.refresh_later();
    assert_eq!(
        (names(&changes.upserted_tasks), changes.removed_tasks),
        (vec!["default/a".to_owned()], vec![])
    );
}

#[test]
fn a_moved_file_changes_nothing_but_the_place() {
    let mut folder = loaded();
    fs::rename(folder.path("a.yaml"), folder.path("z.yaml")).unwrap();
    assert_eq!(folder.refresh_later(), Changes { unsettled: 1, ..Changes::default() });
    let later = Timestamp::now() + SignedDuration::from_secs(60);
    assert_eq!(folder.manifests.refresh(later), Changes::default());
    assert_eq!(folder.task("default/a").source.file, folder.path("z.yaml"));
}

#[test]
fn of_two_objects_of_one_name_the_one_in_force_stays() {
    let mut folder = loaded();
    folder.write("0-first.yaml", &task("a", "@hourly"));
    let changes = folder.refresh_later();
    assert_eq!((changes.upserted_tasks.len(), changes.errors.len()), (0, 1));
    assert_eq!(schedule(&folder, "default/a"), "@daily");
    assert_eq!(
        folder.errors(),
        [
            "0-first.yaml:3: CronTask default/a: metadata.name: also stands in a.yaml:1, which is in force; allowed: each name \
         once in a namespace"
        ]
    );

    folder.remove("a.yaml");
    let changes = folder.refresh_twice();
    assert_eq!(changes.removed_tasks, vec![]);
    assert_eq!((schedule(&folder, "default/a"), folder.errors().len()), ("@hourly".into(), 0));
}

#[test]
fn of_two_objects_of_one_name_in_one_file_the_first_counts() {
    let mut folder = Folder::with(&[("queue.yaml", QUEUE)]);
    folder.write("x.yaml", &format!("{}---\n{}", task("x", "@daily"), task("x", "@hourly")));
    folder.refresh_later();
    assert_eq!((schedule(&folder, "default/x"), folder.errors().len()), ("@daily".into(), 1));
}

#[test]
fn equal_names_in_different_namespaces_are_different_objects() {
    let other = |text: &str| {
        text.replace("{name: ", "{namespace: other, name: ").replacen(
            "[{namespace: other, name: default}, {namespace: other, name: low}]",
            "[{name: default, redisName: other-default}]",
            1,
        )
    };
    let mut folder = loaded();
    folder.write(
        "other.yaml",
        &format!(
            "{}---\n{}",
            other(QUEUE),
            other(&task("a", "@hourly")).replace("queueRef: {namespace: other, ", "queueRef: {")
        ),
    );
    folder.refresh_later();
    assert_eq!((folder.tasks(), folder.errors()), (vec!["default/a".into(), "other/a".into()], vec![]));
    assert_eq!(folder.task("other/a").entry.template.queue, "other-default");
    assert_ne!(folder.task("other/a").entry.uid, folder.task("default/a").entry.uid);
}

#[test]
fn tasks_come_and_go_with_their_queue() {
    let mut folder = Folder::with(&[("a.yaml", &task("a", "@daily"))]);
    let changes = folder.refresh_later();
    assert_eq!((changes.upserted_tasks.len(), folder.errors().len()), (0, 1));

    folder.write("queue.yaml", QUEUE);
    let changes = folder.refresh_later();
    assert_eq!(
        (names(&changes.upserted_tasks), changes.upserted_queues.len()),
        (vec!["default/a".to_owned()], 1)
    );
    assert_eq!(folder.errors(), Vec::<String>::new());

    folder.remove("queue.yaml");
    let changes = folder.refresh_twice();
    assert_eq!(
        (names(&changes.removed_tasks), changes.removed_queues.len()),
        (vec!["default/a".to_owned()], 1)
    );
    assert_eq!(folder.errors().len(), 1);
}

#[test]
fn a_queue_renamed_in_redis_takes_its_schedules_along() {
    let mut folder = loaded();
    let before = folder.task("default/a").entry.clone();
    folder.write("queue.yaml", &QUEUE.replace("{name: default}", "{name: default, redisName: shop}"));
    let changes = folder.refresh_later();
    assert_eq!(
        (names(&changes.upserted_tasks), changes.upserted_queues.len()),
        (vec!["default/a".to_owned()], 1)
    );
    let after = &folder.task("default/a").entry;
    assert_eq!((before.template.queue.as_str(), after.template.queue.as_str()), ("default", "shop"));
    assert!(after.revision > before.revision);
}

#[test]
fn a_queue_in_redis_stays_with_who_serves_it() {
    let mut folder = loaded();
    folder.write("0.yaml", &QUEUE.replace("main", "another"));
    let changes = folder.refresh_later();
    assert_eq!(
        (changes.upserted_queues.len(), changes.removed_queues.len(), changes.removed_tasks.len()),
        (0, 0, 0)
    );
    assert_eq!(folder.errors().len(), 1);

    folder.remove("queue.yaml");
    folder.remove("a.yaml");
    folder.refresh_twice();
    let queues: Vec<_> = folder.manifests.queues().map(|queue| queue.key.name.clone()).collect();
    assert_eq!((queues, folder.errors()), (vec!["another".to_owned()], vec![]));
}

#[test]
fn folders_within_are_read_and_hidden_or_other_files_are_not() {
    let mut folder = loaded();
    folder.write("within/deeper/b.yml", &task("b", "@daily"));
    folder.write(".hidden.yaml", &task("c", "@daily"));
    folder.write(".git/d.yaml", &task("d", "@daily"));
    folder.write("e.yaml~", &task("e", "@daily"));
    folder.write("notes.txt", "not: [a manifest");
    symlink(folder.path(""), folder.path("within/loop")).unwrap();
    symlink("/nowhere/at/all.yaml", folder.path("dangling.yaml")).unwrap();
    folder.refresh_later();
    assert_eq!((folder.tasks(), folder.errors()), (vec!["default/a".into(), "default/b".into()], vec![]));
}

#[test]
fn files_are_read_by_name_whatever_they_are_called_and_once() {
    let folder = Folder::with(&[("queue", QUEUE), ("a.txt", &task("a", "@daily"))]);
    let roots = [folder.path("queue"), folder.path("a.txt"), folder.path("a.txt"), folder.path("./a.txt")];
    let mut manifests = Manifests::open(roots.to_vec(), "test");
    let changes = manifests.refresh(Timestamp::now() + SignedDuration::from_secs(1));
    assert_eq!((changes.upserted_tasks.len(), changes.errors), (1, vec![]));
}

#[test]
fn a_path_that_is_not_there_is_an_error_and_the_others_are_read() {
    let folder = loaded();
    let mut manifests = Manifests::open(vec![folder.path("absent"), folder.path("")], "test");
    let changes = manifests.refresh(Timestamp::now() + SignedDuration::from_secs(1));
    let errors: Vec<_> = changes.errors.iter().map(|error| folder.shorten(&error.to_string())).collect();
    assert_eq!(
        (changes.upserted_tasks.len(), errors),
        (1, vec!["absent: No such file or directory (os error 2)".into()])
    );
}

#[test]
fn json_is_read_as_well() {
    let text = r#"{"apiVersion": "cronmill.dev/v1alpha1", "kind": "CronTask", "metadata": {"name": "j"},
                   "spec": {"schedule": "@daily", "queueRef": {"name": "main"}, "task": {"type": "hello"}}}"#;
    let mut folder = loaded();
    folder.write("j.json", text);
    folder.write("broken.json", "{\n\"kind\": ,\n}");
    folder.write("wrong.json", &text.replace("\"j\"", "\"w\"").replace("hello\"", "hello\", \"x\": 1"));
    folder.refresh_later();
    assert_eq!(folder.tasks(), ["default/a", "default/j"]);
    assert_eq!(
        folder.errors(),
        [
            "broken.json:2: expected value",
            "wrong.json:2: CronTask default/w: spec.task.x: unknown field; allowed: deadline, group, headers, \
             maxRetry, payload, payloadFrom, retention, timeout, type, unique"
        ]
    );
}

#[test]
fn a_file_that_is_no_text_is_refused_and_its_objects_stay() {
    let mut folder = loaded();
    fs::write(folder.path("a.yaml"), b"kind: CronTask\n\xff\xfe").unwrap();
    folder.refresh_later();
    assert_eq!(
        (folder.tasks(), folder.errors()),
        (vec!["default/a".into()], vec!["a.yaml:2: is not written in UTF-8".to_owned()])
    );
    folder.write("a.yaml", &task("a", "@daily"));
    folder.refresh_later();
    assert_eq!(folder.errors(), Vec::<String>::new());
}

#[test]
fn objects_of_a_cluster_are_left_aside_with_one_note() {
    let mut folder = loaded();
    folder.write("cluster.yaml", "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: ConfigMap\n---\napiVersion: apps/v1\nkind: Deployment\n");
    let changes = folder.refresh_later();
    let note = "left aside, for a cluster only: 1 apps/v1 Deployment, 2 v1 ConfigMap";
    assert_eq!(changes, Changes { note: Some(note.to_owned()), ..Changes::default() });
    folder.write("b.yaml", &task("b", "@daily"));
    assert_eq!(folder.refresh_later().note, None);
}

/// How long this thread has run on a processor so far; other programs on the machine do not count.
fn busy() -> Duration {
    let spent = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split_whitespace().next().unwrap().parse().unwrap())
}

/// Runs something and says how long it took.
fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let (started, busy_before) = (Instant::now(), busy());
    let result = run();
    println!("{what}: {:?}, this thread on a processor {:?}", started.elapsed(), busy() - busy_before);
    result
}

/// How many manifests a figure is taken with: unoptimised, a tenth.
const MANY: usize = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

/// One of many CronTasks.
fn one_of_many(number: usize, minute: usize) -> String {
    format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata:\n  name: task-{number}\n  labels: {{team: \
         shop}}\nspec:\n  schedule: \"{minute} * * * *\"\n  timeZone: Asia/Shanghai\n  jitter: 30s\n  \
         concurrencyPolicy: Forbid\n  queueRef: {{name: main}}\n  task:\n    type: update-user-earn\n    payload: \
         {{region: eu, users: [1, 2, 3]}}\n    headers: {{tenant: a}}\n    maxRetry: 3\n    timeout: 10m\n    \
         retention: 1h\n"
    )
}

/// The figures are printed, not checked: they depend on the machine and on how the test was built.
#[test]
fn many_files_load_and_one_edit_among_them_is_found() {
    let mut folder = Folder::with(&[("queue.yaml", QUEUE)]);
    (0..MANY)
        .for_each(|number| folder.write(&format!("task-{number}.yaml"), &one_of_many(number, number % 60)));
    folder.manifests = timed("the rules are compiled", || Manifests::open(vec![folder.path("")], "test"));
    let now = Timestamp::now() + SignedDuration::from_secs(10);
    let changes = timed(&format!("{MANY} files are loaded"), || folder.manifests.refresh(now));
    assert_eq!((changes.upserted_tasks.len(), changes.errors), (MANY, vec![]));

    folder.write("task-77.yaml", &one_of_many(77, 30));
    let changes = timed("one edit among them is found", || folder.manifests.refresh(now));
    assert_eq!(names(&changes.upserted_tasks), ["default/task-77"]);
    assert_eq!(timed("nothing is found changed", || folder.manifests.refresh(now)), Changes::default());
}

/// As above, with all of them in one file.
#[test]
fn many_documents_load_and_one_edit_among_them_is_found() {
    let text = |minute: usize| {
        (0..MANY)
            .map(|number| format!("---\n{}", one_of_many(number, if number == 77 { minute } else { 0 })))
            .collect::<String>()
    };
    let mut folder = Folder::with(&[("queue.yaml", QUEUE), ("tasks.yaml", &text(0))]);
    let changes = timed(&format!("{MANY} documents are loaded"), || folder.refresh());
    assert_eq!((changes.upserted_tasks.len(), changes.errors), (MANY, vec![]));

    folder.write("tasks.yaml", &text(30));
    let changes = timed("one edit among them is found", || folder.refresh_later());
    assert_eq!(names(&changes.upserted_tasks), ["default/task-77"]);
}
