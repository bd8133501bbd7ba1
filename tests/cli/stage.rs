//! A private Redis, the program on it, and what the tests put there first.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::{Broker, ClaimRequest, Claimed, ClaimedTask, NextTick, Owner};
use cronmill::schedule::{
    CatchUp, Concurrency, Entry, Gap, Overlap, Revision, Template, Timing, TimingSource,
};
use cronmill::task::QueueName;
use serde_json::Value;

use crate::support::RedisServer;

/// The built program without anything of our own environment.
pub(super) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Ran {
    /// Runs to the end, with this on standard input.
    pub(super) fn of(command: &mut Command, input: &[u8]) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it was just built");
        let mut stdin = child.stdin.take().expect("piped above");
        // One that does not read its input closes it.
        let _ = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().expect("our own child");
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        let code = output.status.code().expect("it ends by itself");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What went to stdout, of a command that did what it was asked to.
    pub(super) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout
    }

    /// [`done`](Self::done) as JSON.
    pub(super) fn json(self) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:#?}");
        serde_json::from_str(&self.stdout).expect("JSON")
    }

    /// What went to stderr, of a command that ended with this code and nothing on stdout.
    pub(super) fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:#?}");
        self.stderr
    }
}

/// The program without a Redis to go to: whoever tries gets no answer.
pub(super) fn offline(arguments: &[&str]) -> Ran {
    Ran::of(program().args(arguments).env("CRONMILL_REDIS_URL", "redis://127.0.0.1:1"), b"")
}

/// A private Redis and the program on it.
pub(super) struct Stage {
    pub(super) redis: RedisServer,
    pub(super) broker: Broker,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let redis = RedisServer::start();
        let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
        Self { redis, broker }
    }

    /// Runs the program.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Runs the program with this on standard input.
    pub(super) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        Ran::of(program().args(arguments).env("CRONMILL_REDIS_URL", self.redis.url()), input)
    }

    /// Enqueues with the program and returns the id it printed.
    pub(super) fn enqueue(&self, flags: &[&str]) -> String {
        let all: Vec<&str> =
            ["task", "enqueue", "-t", "mail"].into_iter().chain(flags.iter().copied()).collect();
        self.run(&all).done().trim_end().to_owned()
    }

    /// One task as the program shows it.
    pub(super) fn show(&self, queue: &str, id: &str) -> Value {
        self.run(&["task", "show", "-q", queue, id, "-o", "json"]).json()
    }

    /// Claims the next task, as a worker would.
    pub(super) async fn claim(&self, queue: &str, owner: &Owner) -> ClaimedTask {
        let queue = QueueName::new(queue).expect("valid");
        let lease = Duration::from_secs(300);
        let request = ClaimRequest { queue: &queue, owner, sequence: 1, max: 1, lease };
        match self.broker.claim(&request).await.expect("claim") {
            Claimed::Tasks(mut tasks) if tasks.len() == 1 => tasks.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Puts a schedule into force.
    pub(super) async fn put(&self, entry: &Entry) {
        let timing = Timing::parse(&entry.timing).expect("valid");
        let next = timing.next_after(self.broker.now());
        let next = next.map(|nominal| NextTick { nominal, due: timing.due(nominal) });
        self.broker.put_entry(entry, next, None).await.expect("put");
    }
}

/// A schedule as another part of the program would have written it.
pub(super) fn entry(namespace: &str, name: &str, schedule: &str) -> Entry {
    let mut entry = Entry {
        format: 1,
        uid: format!("uid-{namespace}-{name}"),
        namespace: namespace.into(),
        name: name.into(),
        cluster: "test".into(),
        revision: Revision { epoch: 0, generation: 1, hash: String::new() },
        timing: TimingSource {
            schedules: vec![schedule.into()],
            time_zone: Some("Asia/Shanghai".into()),
            gap: Gap::After,
            overlap: Overlap::First,
            hash_key: format!("{namespace}/{name}"),
            ..TimingSource::default()
        },
        concurrency: Concurrency::Forbid,
        suspend: false,
        starting_deadline_s: None,
        catch_up: CatchUp::Latest,
        template: Template {
            kind: "report".into(),
            queue: "reports".into(),
            payload: Bytes::from_static(br#"{"all":true}"#),
            headers: BTreeMap::from([("tenant".into(), "acme".into())]),
            max_retry: 3,
            timeout_s: Some(60),
            deadline_s: None,
            retention_s: 0,
            unique_s: None,
            group: String::new(),
        },
    };
    entry.revision.hash = entry.content_hash();
    entry
}
