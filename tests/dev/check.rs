//! `cronmill check`: manifests looked at without Redis.

use std::process::Output;

use serde_json::{Value, json};

use crate::field::{Folder, cronmill, queue, task};

fn check(words: &[&str]) -> Output {
    // Whatever it would try there, nobody answers.
    let mut command = cronmill(&["check"]);
    command.args(words).env("CRONMILL_REDIS_URL", "redis://127.0.0.1:1").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn right_manifests_end_with_0() {
    let folder = Folder::with(&[("q.yaml", queue("")), ("t.yaml", task("a", "* * * * *", ""))]);
    let output = check(&["-f", folder.path().to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "1 CronTask and 1 TaskQueue are right, nothing is wrong\n");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn several_paths_may_follow_one_flag() {
    let folder = Folder::with(&[
        ("q.yaml", queue("")),
        ("t.yaml", task("a", "* * * * *", "")),
        ("bad.yaml", "nonsense".into()),
    ]);
    let (q, t) = (folder.file("q.yaml"), folder.file("t.yaml"));
    let output = check(&["-f", q.to_str().unwrap(), t.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn each_mistake_is_one_line_and_the_exit_code_is_2() {
    let folder =
        Folder::with(&[("q.yaml", queue("lease: 30")), ("t.yaml", task("a", "61 * * * *", "timezone: UTC"))]);
    let output = check(&["-f", folder.path().to_str().unwrap()]);
    let said = text(&output.stdout);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    for (line, parts) in lines.iter().zip([
        ["q.yaml", "TaskQueue default/main", "spec.lease", "; allowed: "],
        ["t.yaml", "CronTask default/a", "spec.timezone", "timeZone"],
        ["t.yaml", "CronTask default/a", "spec.schedule", "0-59"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
    }
    assert_eq!(lines[3], "0 CronTasks and 0 TaskQueues are right, 3 things are wrong");
    assert_eq!(text(&output.stderr), "error: manifests are wrong in 3 places, see above\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn json_has_every_part_of_a_mistake() {
    let folder = Folder::with(&[("q.yaml", queue("")), ("t.yaml", task("a", "@daily", "suspended: true"))]);
    let output = check(&["-o", "json", "-f", folder.path().to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["cronTasks"], &report["taskQueues"], &report["note"]),
        (&json!(0), &json!(1), &Value::Null)
    );
    let [error] = report["errors"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    assert_eq!(error["file"], folder.file("t.yaml").to_str().unwrap());
    assert_eq!((&error["object"], &error["field"]), (&json!("CronTask default/a"), &json!("spec.suspended")));
    assert_eq!(error["reason"], "UnknownField");
    assert!(error["line"].is_number() && error["message"].as_str().unwrap().contains("suspend"), "{error:#}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_path_that_is_not_there_is_wrong() {
    let output = check(&["-f", "/no/such/folder"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).starts_with("/no/such/folder: "), "{output:?}");
}
