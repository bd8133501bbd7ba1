//! The handler `exec` in the worker program: what programs are given, what their ends mean, and what becomes of those
//! that will not end.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::{Broker, CancelThen, TaskView};
use cronmill::producer::{Client, Task};
use cronmill::task::{QueueName, State};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, test_kill_process, test_kill_process_group};
use tempfile::TempDir;

use crate::support::{Process, RedisServer, eventually, until};

const LIMIT: Duration = Duration::from_secs(30);

/// A Redis, and the worker program on it with some programs that tasks may start.
struct Field {
    redis: RedisServer,
    worker: Process,
    broker: Broker,
    queue: QueueName,
    folder: TempDir,
}

impl Field {
    /// Shell scripts by name. `$HERE` is a folder of the test's own.
    async fn new(scripts: &[(&str, &str)]) -> Self {
        Self::with(&[], scripts).await
    }

    async fn with(flags: &[&str], scripts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = |(name, script): &(&str, &str)| {
            let words = ["/bin/sh", "-c", script];
            format!("{name}={}\n", serde_json::to_string(&words).unwrap())
        };
        let lines: String = scripts.iter().map(line).collect();
        Self::start(flags, &[("CRONMILL_EXEC", lines), ("CRONMILL_EXEC_ENV", "HERE,UNSET".into())], folder)
            .await
    }

    async fn start(flags: &[&str], variables: &[(&str, String)], folder: TempDir) -> Self {
        let redis = RedisServer::start();
        let worker = Process::start("cronmill-worker", &mut program(&redis, flags, variables, folder.path()));
        let broker = Broker::connect(&redis.endpoint()).await.unwrap();
        Self { redis, worker, broker, queue: QueueName::new("default").unwrap(), folder }
    }

    async fn send(&self, task: Task) {
        Client::new(self.broker.clone()).enqueue(task.retention(Duration::from_secs(600))).await.unwrap();
    }

    /// Sends a task for the program of this name, under that id.
    async fn run(&self, name: &str) {
        self.send(Task::new(format!("exec:{name}"), None).id(name)).await;
    }

    async fn look(&self, id: &str) -> TaskView {
        self.broker.task(&self.queue, id).await.unwrap().expect("it is kept")
    }

    async fn reaches(&self, id: &str, state: State) -> TaskView {
        eventually(LIMIT, &format!("task {id} is {state}"), async || {
            Some(self.look(id).await).filter(|view| view.state == state)
        })
        .await
    }

    /// The types that the worker tells of. It may run tasks before it shows itself.
    async fn types(&self) -> Vec<String> {
        eventually(LIMIT, "the worker shows itself", async || {
            self.broker.servers().await.unwrap().pop().and_then(|server| server.types)
        })
        .await
    }

    /// What a program has written into a file of this name.
    async fn written(&self, name: &str) -> String {
        let file = self.folder.path().join(name);
        eventually(LIMIT, &format!("a program writes {name}"), async || {
            std::fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
        })
        .await
        .trim()
        .to_owned()
    }

    async fn pid(&self, name: &str) -> Pid {
        Pid::from_raw(self.written(name).await.parse().unwrap()).unwrap()
    }
}

fn program(redis: &RedisServer, flags: &[&str], variables: &[(&str, String)], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CRONMILL_")) {
        command.env_remove(name);
    }
    command.env("CRONMILL_REDIS_URL", redis.url()).env("HERE", folder).env("SECRET", "s3cret").args(flags);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

fn result(view: &TaskView) -> &str {
    std::str::from_utf8(view.result.as_deref().unwrap_or_default()).unwrap()
}

async fn gone(what: &str, group: Pid) {
    until(LIMIT, &format!("nothing is left of {what}"), async || test_kill_process_group(group).is_err())
        .await;
}

#[tokio::test]
async fn a_program_gets_payload_and_task_and_leaves_its_output_as_the_result() {
    let field = Field::new(&[("sum", "cat; echo; env | sort")]).await;
    let payload = Bytes::from_static(b"{\"of\": [1, 2]}");
    let task =
        Task::new("exec:sum:of two", payload).id("sum 1").max_retry(7).timeout(Duration::from_secs(90));
    field.send(task.header("traceparent", "00-ab")).await;
    let view = field.reaches("sum 1", State::Completed).await;
    let mut lines = result(&view).lines();
    assert_eq!(lines.next(), Some("{\"of\": [1, 2]}"));
    let variables: Vec<(&str, &str)> = lines.map(|line| line.split_once('=').unwrap()).collect();
    let value =
        |name: &str| variables.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value);
    let path = std::env::var("PATH").unwrap();
    for (name, expected) in [
        ("CRONMILL_TASK_ID", "sum 1"),
        ("CRONMILL_TASK_TYPE", "exec:sum:of two"),
        ("CRONMILL_QUEUE", "default"),
        ("CRONMILL_ATTEMPT", "0"),
        ("CRONMILL_MAX_RETRY", "7"),
        ("CRONMILL_HEADERS", "{\"traceparent\":\"00-ab\"}"),
        ("HERE", field.folder.path().to_str().unwrap()),
        ("PATH", path.as_str()),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    let deadline: Timestamp = value("CRONMILL_DEADLINE").parse().unwrap();
    let left = deadline.duration_since(field.broker.now()).as_secs();
    assert!((30..=90).contains(&left), "{left}");
    // Nothing else, but for what a shell sets by itself.
    let others = variables.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("CRONMILL_"));
    let others: Vec<&str> =
        others.filter(|name| !["HERE", "PATH", "PWD", "OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert_eq!(others, [""; 0]);
    assert_eq!(variables.iter().filter(|(name, _)| name.starts_with("CRONMILL_")).count(), 7);
}

#[tokio::test]
async fn the_exit_code_decides_what_becomes_of_the_task() {
    let field = Field::new(&[
        ("done", "echo noise >&2"),
        ("fails", "echo one >&2; echo two >&2; echo disk full >&2; exit 3"),
        ("mute", "exit 1"),
        ("wrong", "echo no such customer >&2; exit 65"),
        ("later", "echo the bank is closed >&2; echo 500; exit 75"),
        ("sometime", "exit 75"),
        ("crashes", "echo ouch >&2; kill -SEGV $$"),
    ])
    .await;
    let cases = [
        ("done", State::Completed, ""),
        ("fails", State::Retry, "program fails exited with 3: one | two | disk full"),
        ("mute", State::Retry, "program mute exited with 1"),
        ("wrong", State::Archived, "program wrong exited with 65: no such customer"),
        ("later", State::Scheduled, ""),
        ("sometime", State::Scheduled, ""),
        ("crashes", State::Retry, "program crashes died of SIGSEGV: ouch"),
    ];
    for (name, ..) in cases {
        field.run(name).await;
    }
    for (name, state, error) in cases {
        let view = field.reaches(name, state).await;
        assert_eq!(view.message.error, error);
        assert_eq!(view.message.retried, i32::from(state == State::Retry), "{name}");
        assert_eq!(view.result, None, "{name}");
        if state == State::Scheduled {
            let left = view.at.unwrap().duration_since(field.broker.now()).as_secs();
            let (least, most) = if name == "later" { (440, 501) } else { (1, 61) };
            assert!((least..=most).contains(&left), "{name}: {left}");
        }
    }
    let history = field.broker.task_history(&field.queue, "later").await.unwrap();
    assert_eq!(history.snoozed.unwrap().1, "program later exited with 75: the bank is closed");
}

#[tokio::test]
async fn what_a_program_floods_is_read_to_the_end_and_kept_in_part() {
    let flood = "head -c 30000000 /dev/zero | tr '\\0' x";
    let script = format!("{flood}; {flood} >&2; echo >&2; echo the end >&2");
    let field = Field::new(&[("says", &script), ("fails", &format!("{script}; exit 1"))]).await;
    field.run("says").await;
    field.run("fails").await;
    let view = field.reaches("says", State::Completed).await;
    assert_eq!(view.result.unwrap(), vec![b'x'; 64 * 1024]);
    let error = field.reaches("fails", State::Retry).await.message.error;
    assert!(
        error.starts_with("program fails exited with 1: …xx") && error.ends_with("xx | the end"),
        "{error}"
    );
    assert!(error.len() < 1024, "{}", error.len());
    let logged: usize = field.worker.stderr().iter().map(String::len).sum();
    assert!(logged < 20_000, "{logged} bytes of it were logged");
}

#[tokio::test]
async fn a_program_need_not_read_its_payload() {
    let field = Field::new(&[("closes", "exec <&-; echo closed"), ("some", "head -c 5")]).await;
    let payload = Bytes::from(vec![b'x'; 3 << 20]);
    for (name, said) in [("closes", "closed\n"), ("some", "xxxxx")] {
        field.send(Task::new(format!("exec:{name}"), payload.clone()).id(name)).await;
        assert_eq!(result(&field.reaches(name, State::Completed).await), said);
    }
}

#[tokio::test]
async fn a_program_that_does_not_hear_is_killed_with_all_it_started() {
    let script = "trap '' TERM; echo $$ > $HERE/deaf; sleep 600 & echo going on >&2; sleep 600; sleep 600";
    let field = Field::new(&[("deaf", script)]).await;
    // It has to be deaf by then.
    field.send(Task::new("exec:deaf", None).id("deaf").timeout(Duration::from_secs(3))).await;
    let group = field.pid("deaf").await;
    let view = field.reaches("deaf", State::Retry).await;
    assert_eq!(
        view.message.error,
        "context deadline exceeded: program deaf was killed 3s after it was told to stop (timeout): going on"
    );
    gone("the program", group).await;
}

#[tokio::test]
async fn a_program_is_told_when_its_task_is_cancelled_and_may_tidy_up() {
    let script =
        "trap 'echo tidy > $HERE/tidy; exit 0' TERM; echo $$ > $HERE/pid; while :; do sleep 0.05; done";
    let field = Field::new(&[("long", script)]).await;
    field.run("long").await;
    let group = field.pid("pid").await;
    field.broker.cancel_task(&field.queue, "long", CancelThen::Stop).await.unwrap();
    let error = field.reaches("long", State::Archived).await.message.error;
    assert!(error.contains("program long ended when it was told to stop (cancelled by request)"), "{error}");
    assert_eq!(field.written("tidy").await, "tidy");
    gone("the program", group).await;
}

#[tokio::test]
async fn exit_code_0_of_a_program_that_was_told_to_stop_is_no_success() {
    let script = "trap 'exit 0' TERM; echo half of it; while :; do sleep 0.05; done";
    let field = Field::new(&[("half", script)]).await;
    field.send(Task::new("exec:half", None).id("half").timeout(Duration::from_secs(1))).await;
    let view = field.reaches("half", State::Retry).await;
    assert_eq!((view.message.retried, view.result), (1, None));
}

#[tokio::test]
async fn a_drain_ends_programs_and_costs_their_tasks_no_attempt() {
    let deaf = "trap '' TERM; echo $$ > $HERE/deaf; while :; do sleep 1; done";
    let scripts = [("deaf", deaf), ("quiet", "echo $$ > $HERE/quiet; exec sleep 600")];
    let mut field = Field::with(&["--shutdown-timeout=0s"], &scripts).await;
    field.run("deaf").await;
    field.run("quiet").await;
    let groups = [field.pid("deaf").await, field.pid("quiet").await];
    field.worker.terminate();
    let asked = Instant::now();
    assert_eq!(field.worker.exit(LIMIT).await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    for (group, id) in groups.into_iter().zip(["deaf", "quiet"]) {
        gone(id, group).await;
        let view = field.look(id).await;
        assert_eq!((view.state, view.message.retried), (State::Pending, 0), "{id}");
    }
}

#[tokio::test]
async fn a_killed_worker_leaves_no_program_and_its_task_comes_back() {
    // It gets its payload after the guard was told of it.
    let script = "read -r line; echo $$ > $HERE/pid; sleep 600; sleep 600";
    let mut field = Field::with(&["--lease=1s"], &[("long", script)]).await;
    field.send(Task::new("exec:long", Bytes::from_static(b"begin\n")).id("long")).await;
    let first = field.pid("pid").await;
    assert!(test_kill_process_group(first).is_ok());
    field.worker.kill9();
    gone("the first program", first).await;
    let programs = [("CRONMILL_EXEC", "long=/bin/echo again".to_owned())];
    let mut second = program(&field.redis, &["--lease=1s"], &programs, field.folder.path());
    let _second = Process::start("cronmill-worker", &mut second);
    let view = field.reaches("long", State::Completed).await;
    assert_eq!((view.message.retried, result(&view)), (0, "again\n"));
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_killed_and_holds_nothing_up() {
    let leaves = "sleep 600 & echo $$ > $HERE/leaves; echo done";
    // A session of its own is out of reach, and holds the pipes.
    let escapes = "setsid sh -c 'echo $$ > $HERE/escaped; exec sleep 600' & while ! test -s $HERE/escaped; do :; done; echo done";
    let field = Field::new(&[("leaves", leaves), ("escapes", escapes)]).await;
    let begun = Instant::now();
    for name in ["leaves", "escapes"] {
        field.run(name).await;
        assert_eq!(result(&field.reaches(name, State::Completed).await), "done\n");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    gone("the program", field.pid("leaves").await).await;
    let escaped = field.pid("escaped").await;
    assert!(test_kill_process(escaped).is_ok(), "what leaves its group is on its own");
    kill_process(escaped, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_program_that_went_away_is_retried_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lost) = (folder.path().join("tool"), folder.path().join("lost"));
    std::os::unix::fs::symlink("/bin/echo", &path).unwrap();
    // The file is there; what its first line names is not.
    std::fs::write(&lost, "#!/nowhere/sh\n").unwrap();
    std::fs::set_permissions(&lost, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let programs = format!("tool={} said\nlost={}", path.display(), lost.display());
    let field = Field::start(&[], &[("CRONMILL_EXEC", programs)], folder).await;
    field.run("tool").await;
    assert_eq!(result(&field.reaches("tool", State::Completed).await), "said\n");
    std::fs::remove_file(&path).unwrap();
    field.send(Task::new("exec:tool", None).id("again")).await;
    field.run("lost").await;
    for (id, path) in [("again", &path), ("lost", &lost)] {
        let error = field.reaches(id, State::Retry).await.message.error;
        let told =
            format!("{} is not there, or the interpreter that its first line names is not", path.display());
        assert!(error.ends_with(&told), "{error}");
    }
}

#[tokio::test]
async fn a_task_chooses_among_the_programs_of_its_worker_and_nothing_else() {
    let field = Field::new(&[("one", "echo one"), ("two", "echo \"$# $*\"")]).await;
    let strange =
        ["exec", "exec:", "exec:on", "exec:ones", "exec:/bin/sh", "exec:three", "exec:ONE", "exec:one two"];
    for kind in strange {
        field.send(Task::new(kind, None).id(kind)).await;
    }
    field.send(Task::new("exec:two:a b:$(c)", None).id("two")).await;
    assert_eq!(result(&field.reaches("two", State::Completed).await), "0 \n");
    for kind in strange {
        let view = field.reaches(kind, State::Scheduled).await;
        assert_eq!(view.message.retried, 0, "{kind} waits for a worker that has it");
    }
    field.send(Task::new("exec:one:\0", None).id("null")).await;
    let error = field.reaches("null", State::Archived).await.message.error;
    assert!(error.starts_with("start program one: the task's id, type or headers do not fit"), "{error}");
    let types = field.types().await;
    let programs: Vec<&String> = types.iter().filter(|kind| kind.starts_with("exec")).collect();
    assert_eq!(programs, ["exec:one", "exec:two"], "others are told what it serves");
}

#[tokio::test]
async fn without_an_allow_list_no_program_is_started() {
    let field = Field::with(&[], &[]).await;
    field.send(Task::new("exec:true", None).id("a")).await;
    assert_eq!(field.reaches("a", State::Scheduled).await.message.retried, 0);
    let types = field.types().await;
    assert!(!types.iter().any(|kind| kind.starts_with("exec")), "{types:?}");
}

#[tokio::test]
async fn a_program_that_cannot_be_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let field = Field::with(&[], &[]).await;
    for (flags, part) in [
        (&["--exec", "a=/nowhere/tool"][..], "--exec or CRONMILL_EXEC: program a: look at /nowhere/tool"),
        (&["--exec", "a=/etc/passwd"], "it is no file that may be executed"),
        (&["--exec", "a=tool --password s3cret"], "its program is no absolute path"),
        (&["--exec", "a=/bin/sh -c 's3cret'"], "no shell reads it"),
        (&["--exec", "a=/bin/sh", "--exec", "a=/bin/true"], "program a is named twice"),
    ] {
        let mut worker =
            Process::start("cronmill-worker", &mut program(&field.redis, flags, &[], folder.path()));
        assert_eq!(worker.exit(LIMIT).await.code(), Some(2), "{worker:#?}");
        let said = eventually(LIMIT, part, async || {
            Some(worker.stderr().join("\n")).filter(|said| said.contains(part))
        })
        .await;
        assert!(!said.contains("s3cret"), "{said}");
    }
}
