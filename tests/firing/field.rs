//! A Redis, a folder of schedules, and processes that fire them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Process, RedisServer, process, until};

/// Name of the queue in Redis.
pub(crate) const QUEUE: &str = "ticks";
/// Schedules in one file.
const PER_FILE: usize = 100;

/// One record of a ledger, as redis-cli shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) count: i64,
    pub(crate) outcome: String,
    pub(crate) at_ms: i64,
}

pub(crate) struct Field {
    pub(crate) redis: RedisServer,
    folder: TempDir,
}

impl Field {
    pub(crate) fn new(redis: RedisServer) -> Self {
        Self { redis, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The folder of manifests.
    pub(crate) fn manifests(&self) -> &Path {
        self.folder.path()
    }

    /// Writes that many schedules that fire each second, with tasks of a type.
    pub(crate) fn write(&self, schedules: usize, kind: &str) {
        let queue = format!(
            "apiVersion: cronmill.dev/v1alpha1\nkind: TaskQueue\nmetadata: {{name: ticks}}\n\
             spec: {{queues: [{{name: default, redisName: {QUEUE}}}]}}\n"
        );
        self.replace("queue.yaml", &queue);
        for file in 0..schedules.div_ceil(PER_FILE) {
            let mut text = String::new();
            for n in (file * PER_FILE..schedules).take(PER_FILE) {
                write!(
                    text,
                    "---\napiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata: {{name: s{n:05}}}\n\
                     spec: {{schedule: \"* * * * * *\", queueRef: {{name: ticks}}, task: {{type: {kind}}}}}\n"
                )
                .expect("writing to a string cannot fail");
            }
            self.replace(&format!("schedules-{file:03}.yaml"), &text);
        }
    }

    fn replace(&self, name: &str, text: &str) {
        let new = self.folder.path().join(format!(".{name}.new"));
        std::fs::write(&new, text).expect("a writable folder");
        std::fs::rename(new, self.folder.path().join(name)).expect("a writable folder");
    }

    /// Deletes all schedules and leaves the queue.
    pub(crate) fn delete_schedules(&self) {
        for file in std::fs::read_dir(self.folder.path()).expect("a readable folder") {
            let path = file.expect("a readable folder").path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("schedules-")) {
                std::fs::remove_file(path).expect("a writable folder");
            }
        }
    }

    /// Starts a process that fires the schedules; its clock is off by so many seconds.
    pub(crate) fn start(&self, name: &str, clock_off_s: i64) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
        command.args(["dev", "-f"]).arg(self.manifests()).args(["-o", "json", "--redis", &self.redis.url()]);
        if clock_off_s != 0 {
            command.env("LD_PRELOAD", process::faketime()).env("FAKETIME", format!("{clock_off_s:+}s"));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        }
        Process::start(name, &mut command)
    }

    /// Waits until that many schedules are in force.
    pub(crate) async fn in_force(&self, schedules: usize) {
        until(Duration::from_secs(60), "the schedules are in force", async || {
            self.redis.cli(["ZCARD", &format!("cronmill:{{{QUEUE}}}:due")]) == schedules.to_string()
        })
        .await;
    }

    /// Redis's clock, Unix seconds.
    pub(crate) fn now_s(&self) -> i64 {
        self.redis.cli_lines(["TIME"])[0].parse().expect("a number")
    }

    /// Waits until Redis's clock shows that second.
    pub(crate) async fn clock_at(&self, second: i64) {
        until(Duration::from_secs(120), "time passes", async || self.now_s() >= second).await;
    }

    /// The ledgers of all schedules, by uid, newest record first.
    pub(crate) fn ledgers(&self) -> BTreeMap<String, Vec<Record>> {
        const READ: &str = "local r = {} for _, k in ipairs(redis.call('KEYS', ARGV[1])) do \
             for _, l in ipairs(redis.call('LRANGE', k, 0, -1)) do r[#r+1] = string.sub(k, #ARGV[1]) .. ' ' .. l end end return r";
        let pattern = format!("cronmill:{{{QUEUE}}}:ticks:*");
        let mut ledgers: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for line in self.redis.cli_lines(["EVAL", READ, "0", &pattern]) {
            let (uid, record) = line.split_once(' ').expect("a uid and a record");
            let fields: Vec<_> = record.split('|').collect();
            let number = |i: usize| fields[i].parse().expect("a number");
            let record = Record {
                from: number(1),
                to: number(2),
                count: number(3),
                outcome: fields[4].into(),
                at_ms: number(5),
            };
            ledgers.entry(uid.to_owned()).or_default().push(record);
        }
        ledgers
    }

    /// The pending tasks in the order they came: uid and second of the tick, from each task's id.
    pub(crate) fn pending(&self) -> Vec<(String, i64)> {
        let ids = self.redis.cli_lines(["LRANGE", &format!("asynq:{{{QUEUE}}}:pending"), "0", "-1"]);
        let split = |id: &String| {
            let (uid, second) = id.rsplit_once('-').expect("<uid>-<second>");
            (uid.to_owned(), second.parse().expect("a second"))
        };
        ids.iter().rev().map(split).collect()
    }
}

/// Seconds by uid.
pub(crate) fn by_uid(ticks: &[(String, i64)]) -> BTreeMap<String, BTreeSet<i64>> {
    let mut seconds: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for (uid, second) in ticks {
        seconds.entry(uid.clone()).or_default().insert(*second);
    }
    seconds
}
