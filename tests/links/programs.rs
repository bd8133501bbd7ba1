//! The programs themselves, wherever they take a URL.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Cluster, Process, Sentinels, until};

const LIMIT: Duration = Duration::from_secs(40);

fn program(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    command.env_clear().env("CRONMILL_REDIS_URL", url).stdin(Stdio::null());
    command
}

fn json(url: &str, arguments: &[&str]) -> Value {
    let answer = program(url).args(arguments).args(["-o", "json"]).output().expect("it was just built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(answer.status.success(), "{arguments:?}: {}", text(&answer.stderr));
    serde_json::from_slice(&answer.stdout).unwrap_or_else(|_| panic!("{}", text(&answer.stdout)))
}

/// Two queues and a schedule for each.
fn manifests(names: [&str; 2]) -> String {
    let object = |(number, name): (usize, &str)| {
        format!(
            "---\napiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\nmetadata: {{name: q{number}}}\nspec:\n  \
             queues: [{{name: default, redisName: {name:?}}}]\n  workers: {{scaling: {{maxReplicas: 1}}}}\n---\n\
             apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata: {{name: c{number}}}\nspec:\n  \
             schedule: \"@every 1s\"\n  queueRef: {{name: q{number}}}\n  task: {{type: hello, retention: 1h}}\n"
        )
    };
    names.into_iter().enumerate().map(object).collect()
}

/// Local mode fires, scales and runs, and the commands see what it does.
async fn all_run_on(url: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("tasks.yaml");
    let names = ["one", "two words"];
    std::fs::write(&file, manifests(names)).expect("our own folder");
    let mut dev = Process::start("cronmill dev", program(url).arg("dev").arg("-f").arg(&file));
    until(LIMIT, "tasks of both queues are done", async || {
        let queues = json(url, &["queue", "ls"]);
        let done = |name: &str| {
            let queue = queues.as_array().expect("a list").iter().find(|queue| queue["name"] == *name);
            queue.is_some_and(|queue| queue["completed"].as_u64() >= Some(2))
        };
        assert!(dev.ended().is_none(), "{dev:#?}");
        names.iter().all(|name| done(name))
    })
    .await;
    assert_eq!(json(url, &["cron", "ls"]).as_array().expect("a list").len(), 2);
    assert_eq!(json(url, &["server", "ls"]).as_array().expect("a list").len(), 2);
    let tasks = json(url, &["task", "ls", "--queue", "two words", "--state", "completed"]);
    assert!(tasks.as_array().is_some_and(|tasks| tasks.len() >= 2), "{tasks}");
    assert_eq!(json(url, &["stats"])["redis"]["role"], "master");
    dev.terminate();
    let status = dev.exit(LIMIT).await;
    assert!(status.success(), "{dev:#?}");
}

#[tokio::test]
async fn local_mode_its_workers_and_the_commands_run_on_a_cluster() {
    let redis = Cluster::start(3);
    all_run_on(&redis.url()).await;
}

#[tokio::test]
async fn local_mode_its_workers_and_the_commands_run_behind_sentinels() {
    let redis = Sentinels::start(1);
    all_run_on(&redis.url()).await;
}
