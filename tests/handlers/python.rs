//! The example in Python: handlers behind a web server, fed by the worker program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, Page, TaskView};
use cronmill::producer::{Client, Task};
use cronmill::task::{QueueName, State};

use crate::support::{Process, RedisServer, eventually};

const LIMIT: Duration = Duration::from_secs(30);

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python-worker")
}

/// The web server of the example, and its URL.
async fn python() -> (Process, String) {
    let program = example().join("worker.py");
    let python = Process::start("worker.py", Command::new("python3").arg(program).arg("0"));
    let line = python.line(LIMIT, |line| line.starts_with("listening on ")).await;
    let url = line.trim_start_matches("listening on ").to_owned();
    (python, url)
}

#[tokio::test]
async fn the_example_in_python_runs_tasks_end_to_end() {
    let redis = RedisServer::start();
    let (mut python, url) = python().await;
    let mut worker = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
    worker.env("CRONMILL_REDIS_URL", redis.url()).env("CRONMILL_HTTP_TARGETS", format!("python={url}"));
    let _worker = Process::start("cronmill-worker", &mut worker);

    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let client = Client::new(broker.clone());
    let queue = QueueName::new("default").unwrap();
    let cases = [
        ("greet", r#"{"name": "Ada"}"#, State::Completed, r#"{"hello": "Ada", "attempt": 0}"#),
        ("report", r#"{"rows": 5}"#, State::Completed, r#"{"report": "report", "rows": 10}"#),
        ("greet:bad", "{}", State::Archived, r#"{"error": "no handler for http:python:greet:bad"}"#),
    ];
    for (id, payload, ..) in cases {
        let task = Task::new(format!("http:python:{id}"), Bytes::from_static(payload.as_bytes())).id(id);
        client.enqueue(task.retention(Duration::from_secs(600))).await.unwrap();
    }
    let nameless = Task::new("http:python:greet", Bytes::from_static(b"{}")).id("nameless");
    client.enqueue(nameless).await.unwrap();
    let reaches = async |id: &str, state: State| -> TaskView {
        eventually(LIMIT, &format!("{id} is {state}"), async || {
            broker.task(&queue, id).await.unwrap().filter(|view| view.state == state)
        })
        .await
    };
    for (id, _, state, result) in cases {
        let view = reaches(id, state).await;
        assert_eq!(view.result.as_deref(), Some(result.as_bytes()), "{view:?}");
    }
    let view = reaches("nameless", State::Archived).await;
    assert_eq!(view.result.as_deref(), Some(&br#"{"error": "the payload needs a name"}"#[..]));
    python.terminate();
    assert!(python.exit(LIMIT).await.success(), "{python:?}");
}

#[tokio::test]
async fn the_manifest_of_the_example_in_python_runs_ticks_there() {
    let redis = RedisServer::start();
    let (_python, url) = python().await;
    let folder = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(example().join("tasks.yaml")).unwrap();
    assert!(manifest.contains("http://127.0.0.1:8000"));
    std::fs::write(folder.path().join("tasks.yaml"), manifest.replace("http://127.0.0.1:8000", &url))
        .unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_cronmill-worker")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut dev = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    dev.args(["dev", "--redis", &redis.url(), "-f"]).arg(folder.path()).env("PATH", path);
    let _dev = Process::start("cronmill dev", &mut dev);
    let broker = Broker::connect(&redis.endpoint()).await.unwrap();
    let queue = QueueName::new("python").unwrap();
    let done = eventually(2 * LIMIT, "a tick was run by Python", async || {
        broker.tasks(&queue, State::Completed, Page { offset: 0, limit: 1 }).await.unwrap().pop()
    })
    .await;
    assert_eq!(done.result.as_deref(), Some(&br#"{"hello": "Ada", "attempt": 0}"#[..]));
}
