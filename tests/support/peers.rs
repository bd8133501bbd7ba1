//! Real Go programs on asynq: the modules in `tests/peers` and `tests/peers_before_headers`, built once and kept in the
//! cache.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::go_program;
use super::process::Process;

/// How long a Go worker may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// The built program; the first call builds it.
pub fn peers() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| go_program::built("peers"))
}

/// Waits until a program says that it is ready.
async fn ready(program: Process) -> Process {
    program.line(READY_LIMIT, |line| line.contains(r#""event":"ready""#)).await;
    program
}

/// Go programs on one Redis.
pub struct Peers {
    redis: String,
}

impl Peers {
    /// Those that use this Redis.
    pub fn on(redis_url: &str) -> Self {
        Self { redis: redis_url.to_owned() }
    }

    /// Asks asynq's Inspector, such as `["queue", "default"]`.
    pub fn inspect(&self, question: &[&str]) -> Value {
        let answer = self.run("inspect", question, "");
        answer.into_iter().next().expect("the Inspector answers with one line")
    }

    /// What asynq's Inspector says when it refuses.
    pub fn refused(&self, question: &[&str]) -> String {
        let mut program = Command::new(peers());
        let Output { status, stderr, .. } = program
            .args(["inspect", "--redis", &self.redis])
            .args(question)
            .output()
            .expect("it was just built");
        assert!(!status.success(), "{question:?} was not refused");
        String::from_utf8_lossy(&stderr).into_owned()
    }

    /// Enqueues with asynq's Client as flags say, such as `["--type", "ok", "--count", "3"]`; one answer each.
    pub fn produce(&self, flags: &[&str]) -> Vec<Value> {
        self.run("produce", flags, "")
    }

    /// Enqueues these tasks with asynq's Client; each answer also has the stored hash in hexadecimal.
    pub fn encode(&self, tasks: &[Value]) -> Vec<Value> {
        let lines: String = tasks.iter().map(|task| format!("{task}\n")).collect();
        self.run("encode", &[], &lines)
    }

    /// Starts a worker and waits until it is ready. It prints one JSON line at the start and one at the end of
    /// each attempt.
    pub async fn worker(&self, flags: &[&str]) -> Process {
        self.start("work", flags).await
    }

    /// Starts asynq's Scheduler with one entry. It prints a line for each task that it enqueued.
    pub async fn scheduler(&self, flags: &[&str]) -> Process {
        self.start("schedule", flags).await
    }

    async fn start(&self, what: &str, flags: &[&str]) -> Process {
        let mut command = Command::new(peers());
        command.args([what, "--redis", &self.redis]).args(flags);
        ready(Process::start(&format!("go {what}"), &mut command)).await
    }

    /// Starts a worker on the last asynq that knows no headers. Each task fails once.
    pub async fn worker_before_headers(&self) -> Process {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let mut command = Command::new(BUILT.get_or_init(|| go_program::built("peers_before_headers")));
        ready(Process::start("old go worker", command.args(["--redis", &self.redis]))).await
    }

    /// asynq's own benchmark.
    pub fn bench(&self, flags: &[&str]) -> Value {
        self.run("bench", flags, "").into_iter().next().expect("it prints one line")
    }

    /// Another benchmark of ours with asynq, `bench-groups` or `bench-unique`.
    pub fn bench_of(&self, what: &str, flags: &[&str]) -> Value {
        self.run(what, flags, "").into_iter().next().expect("it prints one line")
    }

    fn run(&self, command: &str, arguments: &[&str], input: &str) -> Vec<Value> {
        let mut program = Command::new(peers());
        program.args([command, "--redis", &self.redis]).args(arguments);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("it was just built");
        let mut stdin = child.stdin.take().expect("piped above");
        let input = input.to_owned();
        // In a thread, since the program answers while it reads and both pipes are finite.
        let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it is our child");
        writing.join().expect("it does not panic").expect("it reads all its input");
        assert!(status.success(), "{program:?}: {}", String::from_utf8_lossy(&stderr));
        let line = |line: &str| serde_json::from_str(line).expect("peers print JSON lines");
        String::from_utf8(stdout).expect("JSON is text").lines().map(line).collect()
    }
}

/// The JSON lines a Go worker printed so far with this event, `start` or `end`.
pub fn events(worker: &Process, event: &str) -> Vec<Value> {
    let parsed = worker.stdout().into_iter().map(|line| serde_json::from_str(&line).expect("JSON lines"));
    parsed.filter(|value: &Value| value["event"] == event).collect()
}
