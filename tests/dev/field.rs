//! A folder of manifests, `cronmill dev` on it, and what can be seen from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Process, RedisServer, until};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Manifests, where a test may change them.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn with(files: &[(&str, String)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    /// One file, `all.yaml`: a TaskQueue with the queue `q`, and a CronTask for it, both of that name.
    pub(crate) fn of(name: &str, schedule: &str) -> Self {
        let task = task(name, schedule, "").replace("name: main", &format!("name: {name}"));
        Self::with(&[("all.yaml", named_queue(name, "q", "") + "---\n" + &task)])
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Puts a file into place in one step, as careful editors do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.file(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }
}

/// A TaskQueue `main` whose queue `default` is called `q` in Redis, with lines below `spec`.
pub(crate) fn queue(lines: &str) -> String {
    named_queue("main", "q", lines)
}

/// A TaskQueue with one queue.
pub(crate) fn named_queue(name: &str, redis_name: &str, lines: &str) -> String {
    let queues = format!("  queues:\n  - name: default\n    redisName: {redis_name}\n");
    format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\nmetadata: {{name: {name}}}\nspec:\n{queues}{}",
        indented(lines, 2)
    )
}

/// A CronTask for the queue of [`queue`], with lines below `spec`; its task is `hello`, kept for an hour.
pub(crate) fn task(name: &str, schedule: &str, lines: &str) -> String {
    format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata: {{name: {name}}}\nspec:\n  schedule: {schedule:?}\n  \
         queueRef: {{name: main}}\n  task: {{type: hello, retention: 1h}}\n{}",
        indented(lines, 2)
    )
}

/// A template whose container runs this shell script.
pub(crate) fn template(script: &str) -> String {
    let command = serde_json::json!(["sh", "-c", script]);
    format!("template:\n  spec:\n    containers:\n    - name: worker\n      command: {command}\n")
}

pub(crate) fn indented(lines: &str, by: usize) -> String {
    lines.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

/// A running `cronmill dev`.
pub(crate) struct Dev(pub(crate) Process);

/// `cronmill` without what the surroundings say.
pub(crate) fn cronmill(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRONMILL_") {
            command.env_remove(name);
        }
    }
    command.env("CRONMILL_WORKER", env!("CARGO_BIN_EXE_cronmill-worker")).args(words);
    command
}

impl Dev {
    /// On a Redis that lives on.
    pub(crate) fn on(redis: &RedisServer, folder: &Folder, flags: &[&str]) -> Self {
        Self::start(
            cronmill(&["dev", "-o", "json", "--redis", &redis.url(), "-f"]).arg(folder.path()).args(flags),
        )
    }

    /// On a Redis that lives on; for a task of the type `exec:script`, its workers run this one.
    pub(crate) fn with_script(redis: &RedisServer, folder: &Folder, script: &str) -> Self {
        let words = serde_json::json!(["/bin/sh", "-c", script]);
        let mut command = cronmill(&["dev", "-o", "json", "--redis", &redis.url(), "-f"]);
        Self::start(command.arg(folder.path()).env("CRONMILL_EXEC", format!("script={words}")))
    }

    /// On a Redis of its own.
    pub(crate) fn alone(folder: &Folder) -> Self {
        Self::start(cronmill(&["dev", "-o", "json", "-f"]).arg(folder.path()))
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Process::start("cronmill dev", command))
    }

    /// What it printed so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.0
            .stdout()
            .iter()
            .map(|line| serde_json::from_str(line).expect("each line is an event"))
            .collect()
    }

    /// The first event of a kind that fits.
    pub(crate) async fn event(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        self.until(&format!("an event {kind}"), async || {
            found = self.events().into_iter().find(|event| event["event"] == kind && fits(event));
            found.is_some()
        })
        .await;
        found.expect("awaited above")
    }

    /// Waits until the condition holds. Panics with all it has printed when it does not.
    pub(crate) async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + LIMIT;
        until(LIMIT * 2, what, async || {
            let holds = condition().await;
            assert!(holds || Instant::now() < end, "not within {LIMIT:?}: {what}; {:#?}", self.0);
            holds
        })
        .await;
    }

    /// Waits until so many schedules are in force.
    pub(crate) async fn in_force(&self, tasks: usize) {
        self.event("inForce", |event| event["cronTasks"] == tasks).await;
    }

    /// How many tasks it says it has enqueued for a schedule.
    pub(crate) fn enqueued(&self, schedule: &str) -> usize {
        let is_one = |event: &&Value| event["schedule"] == schedule && event["outcome"] == "enqueued";
        self.events().iter().filter(is_one).count()
    }

    /// How many workers the last change of a fleet asked for.
    pub(crate) fn fleet(&self, name: &str) -> Option<u64> {
        let events = self.events();
        events.iter().rfind(|event| event["event"] == "fleet" && event["name"] == name)?["to"].as_u64()
    }

    /// Asks it to end, and waits; its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        self.0.terminate();
        self.0.exit(LIMIT).await.code()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.0.pid()), signal).unwrap();
    }

    /// Its workers: its children but for the guard and a Redis.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let children = children(self.0.pid()).into_iter();
        let is_worker = |pid: &u32| {
            let line = command_line(*pid);
            // Between fork and exec, a child is still a copy of its parent.
            let others = ["guard-processes", "redis-server", "cronmill dev "];
            !line.is_empty() && !others.iter().any(|other| line.contains(other))
        };
        children.filter(is_worker).collect()
    }
}

pub(crate) fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).unwrap()
}

/// The processes with this parent, as `ps` sees them.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The words a process was started with; none once it is gone, or a zombie.
pub(crate) fn command_line(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

/// Whether a process runs.
pub(crate) fn runs(pid: u32) -> bool {
    !command_line(pid).is_empty()
}

/// Seconds of processor time a process has used.
pub(crate) fn processor_s(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = text.rsplit_once(") ").unwrap().1;
    let fields: Vec<f64> = after_name.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    // utime and stime are fields 14 and 15; the state, here first, is field 3. In hundredths of a second.
    (fields[11] + fields[12]) / 100.0
}

/// How many tasks of queue `q` are in a list or set of asynq's.
pub(crate) fn count(redis: &RedisServer, state: &str) -> u64 {
    let command = if matches!(state, "pending" | "active") { "LLEN" } else { "ZCARD" };
    redis.cli([command, &format!("asynq:{{q}}:{state}")]).parse().unwrap()
}

/// The uids of the schedule entries of queue `q`.
pub(crate) fn entries(redis: &RedisServer) -> Vec<String> {
    redis.cli_lines(["ZRANGE", "cronmill:{q}:due", "0", "-1"])
}

/// Waits until queue `q` has completed so many tasks.
pub(crate) async fn completed(redis: &RedisServer, at_least: u64) {
    let what = format!("{at_least} tasks are completed");
    until(LIMIT, &what, async || count(redis, "completed") >= at_least).await;
}
