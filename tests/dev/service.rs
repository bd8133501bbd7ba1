//! Services by their files, as go-zero and asynq have them: `cronmill scheduler -f` and `cronmill-worker -f`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::field::{Folder, LIMIT, cronmill, runs};
use crate::support::http::{free_address, get};
use crate::support::{Process, RedisServer, until};

const PASSWORD: &str = "G62m50oigInC30sf";

/// The tutorial's file of its worker: the addresses are the test's, everything else stands as it stood.
fn tutorials_worker(redis: u16, metrics: u16) -> String {
    format!(
        "Name: mq\nMode: dev\n\nPrometheus:\n  Host: 127.0.0.1\n  Port: {metrics}\n  Path: /metrics\n\n\
         Telemetry:\n  Name: mq\n  Endpoint: http://jaeger:14268/api/traces\n  Sampler: 1.0\n  Batcher: jaeger\n\n\
         Log:\n  ServiceName: mq\n  Level: info\n  Mode: console\n  Encoding: plain\n\n\
         Redis:\n  Host: 127.0.0.1:{redis}\n  Type: node\n  Pass: {PASSWORD}\n\n\
         OrderRpcConf:\n  Endpoints:\n    - order-rpc:2001\n  NonBlock: true\n\
         ResourcesRpcConf:\n  Endpoints:\n    - resources-rpc:2002\n  NonBlock: true\n\
         TradeRpcConf:\n  Endpoints:\n    - trade-rpc:2003\n  NonBlock: true\n\nConcurrency: 20\n"
    )
}

/// The tutorial's file of its scheduler, in the same way.
fn tutorials_scheduler(redis: u16, metrics: u16) -> String {
    format!(
        "Name: scheduler\nMode: dev\n\nPrometheus:\n  Host: 127.0.0.1\n  Port: {metrics}\n  Path: /metrics\n\n\
         Log:\n  ServiceName: scheduler\n  Level: info\n\n\
         Redis:\n  Host: 127.0.0.1:{redis}\n  Type: node\n  Pass: {PASSWORD}\n\n\
         Location: Asia/Shanghai\nTasks:\n  - Spec: \"*/20 * * * *\"\n    Type: update-user-earn\n"
    )
}

/// A file of a scheduler with these tasks, one on each line.
fn file(name: &str, redis: &RedisServer, tasks: &[&str]) -> String {
    let tasks: String = tasks.iter().map(|task| format!("- {task}\n")).collect();
    let tasks = if tasks.is_empty() { "Tasks: []\n".to_owned() } else { format!("Tasks:\n{tasks}") };
    format!("Name: {name}\nRedis: {{Host: '127.0.0.1:{}'}}\n{tasks}", redis.port())
}

/// Fires every other second.
const OFTEN: &str = "{Spec: '*/2 * * * * *', Type: hello}";
/// Fires once a year.
const SELDOM: &str = "{Spec: '0 0 1 1 *', Type: seldom}";

fn scheduler(file: &Path) -> Process {
    Process::start("cronmill scheduler", cronmill(&["scheduler", "-f"]).arg(file))
}

fn worker_command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cronmill-worker"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRONMILL_") {
            command.env_remove(name);
        }
    }
    command.arg("-f").arg(file);
    command
}

/// Waits until a line of its log holds this, and returns that line.
async fn logged(process: &Process, text: &str) -> String {
    let find = || process.stderr().into_iter().find(|line| line.contains(text));
    until(LIMIT, text, async || find().is_some()).await;
    find().unwrap()
}

fn count_logged(process: &Process, text: &str) -> usize {
    process.stderr().iter().filter(|line| line.contains(text)).count()
}

/// The names of the schedules in the queue `default`.
fn in_redis(redis: &RedisServer) -> BTreeSet<String> {
    let name = |uid: String| {
        let body = redis.cli(["HGET", &format!("cronmill:{{default}}:entry:{uid}"), "body"]);
        // Nothing where it was taken out just now.
        let body: serde_json::Value = serde_json::from_str(&body).ok()?;
        Some(format!("{}/{}", body["namespace"].as_str().unwrap(), body["name"].as_str().unwrap()))
    };
    redis.cli_lines(["ZRANGE", "cronmill:{default}:due", "0", "-1"]).into_iter().filter_map(name).collect()
}

/// Waits until exactly these schedules stand in Redis.
async fn in_force(redis: &RedisServer, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    until(LIMIT, &format!("{names:?} are in force"), async || in_redis(redis) == wanted).await;
}

/// The nominal times of the tasks of type `hello` that wait, in the order they were enqueued.
fn ticks(redis: &RedisServer) -> Vec<i64> {
    let ids = redis.cli_lines(["LRANGE", "asynq:{default}:pending", "0", "-1"]);
    ids.iter().rev().map(|id| id.rsplit_once('-').unwrap().1.parse().unwrap()).collect()
}

#[tokio::test]
async fn the_tutorials_two_files_start_both_services() {
    let redis = RedisServer::options().password(PASSWORD).start();
    let (one, other) = (free_address().await, free_address().await);
    let folder = Folder::with(&[
        ("mq.yaml", tutorials_worker(redis.port(), one.port())),
        ("scheduler.yaml", tutorials_scheduler(redis.port(), other.port())),
    ]);
    let mut worker = Process::start("cronmill-worker", &mut worker_command(&folder.file("mq.yaml")));
    let mut scheduler = scheduler(&folder.file("scheduler.yaml"));
    for addr in [one, other] {
        until(LIMIT, "it is ready", async || get(addr, "/readyz").await.is_some_and(|(code, _)| code == 200))
            .await;
        assert_eq!(get(addr, "/metrics").await.unwrap().0, 200);
    }
    let registered = logged(&scheduler, "registered scheduler/update-user-earn").await;
    assert!(
        registered.contains("\"*/20 * * * *\" in Asia/Shanghai, next at 2")
            && registered.contains("entry.id="),
        "{registered}"
    );
    let idle = logged(&worker, "without effect here").await;
    let keys = ["Mode (line 2)", "Telemetry (line 9)", "ResourcesRpcConf", "no handler calls it"];
    assert!(
        keys.iter().all(|key| idle.contains(key)) && count_logged(&worker, "without effect") == 1,
        "{idle}"
    );
    assert!(!idle.contains("OrderRpcConf") && !idle.contains("TradeRpcConf"), "{idle}");
    assert!(logged(&worker, "worker started").await.contains("concurrency=20"));
    // The job is fired by hand, and the worker of the other file takes it: it has no database to work on.
    let mut trigger = cronmill(&["cron", "trigger", "scheduler/update-user-earn"]);
    let fired = trigger.env("CRONMILL_REDIS_URL", redis.url()).output().unwrap();
    assert!(fired.status.success(), "{fired:?}");
    let failed = || {
        redis.cli(["ZCARD", "asynq:{default}:retry"]) != "0"
            || redis.cli(["ZCARD", "asynq:{default}:archived"]) != "0"
    };
    until(LIMIT, "the worker has tried it", async || failed()).await;
    for process in [&mut worker, &mut scheduler] {
        process.terminate();
        assert_eq!(process.exit(LIMIT).await.code(), Some(0), "{process:#?}");
        assert_eq!(count_logged(process, PASSWORD), 0);
    }
}

#[tokio::test]
async fn a_tick_of_a_file_fires_and_the_worker_of_a_file_runs_it() {
    let redis = RedisServer::start();
    let task = "{Spec: '@every 1s', Type: hello, Payload: {name: Ann}, Options: {Queue: low, Retention: 1h}}";
    let worker = format!(
        "Redis: {{Host: '127.0.0.1:{}'}}\nQueues: {{low: 1, high: 5}}\nStrictPriority: true\n",
        redis.port()
    );
    let folder = Folder::with(&[("s.yaml", file("s", &redis, &[task])), ("w.yaml", worker)]);
    let _worker = Process::start("cronmill-worker", &mut worker_command(&folder.file("w.yaml")));
    let scheduler = scheduler(&folder.file("s.yaml"));
    let completed = || redis.cli_lines(["ZRANGE", "asynq:{low}:completed", "0", "-1"]);
    until(LIMIT, "two tasks are completed", async || completed().len() >= 2).await;
    let result = redis.cli(["HGET", &format!("asynq:{{low}}:t:{}", completed()[0]), "result"]);
    assert_eq!(result, r#"{"hello":"Ann","attempt":0}"#);
    // The entry's id at its registration is that of its tasks.
    let registered = logged(&scheduler, "registered s/hello").await;
    let id = registered.split_once("entry.id=").unwrap().1.split(' ').next().unwrap();
    assert!(completed().iter().all(|task| task.starts_with(id)), "{id}");
}

#[tokio::test]
async fn several_processes_of_one_file_fire_each_tick_once() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("s.yaml", file("s", &redis, &[OFTEN, SELDOM]))]);
    let mut first = scheduler(&folder.file("s.yaml"));
    let second = scheduler(&folder.file("s.yaml"));
    for process in [&first, &second] {
        logged(process, "registered s/hello").await;
    }
    until(LIMIT, "three ticks", async || ticks(&redis).len() >= 3).await;
    let before = ticks(&redis).len();
    first.kill9();
    until(LIMIT, "the other goes on", async || ticks(&redis).len() >= before + 3).await;
    let fired = ticks(&redis);
    let each: Vec<i64> = (fired[0]..).step_by(2).take(fired.len()).collect();
    assert_eq!(fired, each);
    assert_eq!(in_redis(&redis).len(), 2);
    assert_eq!(count_logged(&second, "another file"), 0);
}

#[tokio::test]
async fn a_task_that_is_taken_out_of_the_file_is_taken_out_of_redis() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("s.yaml", file("s", &redis, &[OFTEN, SELDOM]))]);
    let path = folder.file("s.yaml");
    let mut running = scheduler(&path);
    in_force(&redis, &["s/hello", "s/seldom"]).await;
    until(LIMIT, "it fires", async || !ticks(&redis).is_empty()).await;
    // While it runs:
    folder.write("s.yaml", &file("s", &redis, &[SELDOM]));
    in_force(&redis, &["s/seldom"]).await;
    logged(&running, "s/hello is no longer in the file and was taken out").await;
    let fired = ticks(&redis).len();
    folder.write("s.yaml", &file("s", &redis, &[SELDOM, "{Spec: '@daily', Type: new}"]));
    in_force(&redis, &["s/new", "s/seldom"]).await;
    assert_eq!(ticks(&redis).len(), fired);
    running.terminate();
    assert_eq!(running.exit(LIMIT).await.code(), Some(0));
    // While it does not:
    folder.write("s.yaml", &file("s", &redis, &[]));
    let _again = scheduler(&path);
    in_force(&redis, &[]).await;
}

#[tokio::test]
async fn an_edit_keeps_the_entry_and_an_edited_queue_moves_it() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("s.yaml", file("s", &redis, &["{Spec: '@daily', Type: a}"]))]);
    let scheduler = scheduler(&folder.file("s.yaml"));
    let entries = |queue: &str| redis.cli_lines(["ZRANGE", &format!("cronmill:{{{queue}}}:due"), "0", "-1"]);
    logged(&scheduler, "registered s/a: \"@daily\"").await;
    let uid = entries("default");
    folder.write("s.yaml", &file("s", &redis, &["{Spec: '@hourly', Type: a}"]));
    logged(&scheduler, "registered s/a: \"@hourly\"").await;
    assert_eq!(entries("default"), uid);
    folder.write("s.yaml", &file("s", &redis, &["{Spec: '@hourly', Type: a, Options: {Queue: low}}"]));
    until(LIMIT, "it has moved", async || entries("low") == uid && entries("default").is_empty()).await;
}

#[tokio::test]
async fn files_of_other_names_leave_each_other_alone() {
    let redis = RedisServer::start();
    let folder =
        Folder::with(&[("a.yaml", file("a", &redis, &[OFTEN])), ("b.yaml", file("b", &redis, &[SELDOM]))]);
    let mut first = scheduler(&folder.file("a.yaml"));
    until(LIMIT, "it fires", async || !ticks(&redis).is_empty()).await;
    let second = scheduler(&folder.file("b.yaml"));
    in_force(&redis, &["a/hello", "b/seldom"]).await;
    first.terminate();
    assert_eq!(first.exit(LIMIT).await.code(), Some(0));
    // What belongs to the other is not fired here either, as with asynq.
    let fired = ticks(&redis).len();
    let last = *ticks(&redis).last().unwrap();
    let now = || redis.cli_lines(["TIME"])[0].parse::<i64>().unwrap();
    until(LIMIT, "three more ticks are due", async || now() > last + 6).await;
    assert_eq!(ticks(&redis).len(), fired);
    assert_eq!(count_logged(&second, "another file"), 0);
    // The one that starts again makes up for what was missed, once.
    let _again = scheduler(&folder.file("a.yaml"));
    until(LIMIT, "it fires", async || ticks(&redis).len() >= fired + 2).await;
    assert!(ticks(&redis)[fired] > last + 3, "the latest of what was missed");
}

#[tokio::test]
async fn of_two_files_of_one_name_the_one_read_last_is_in_force_and_the_other_says_so() {
    let redis = RedisServer::start();
    let folder =
        Folder::with(&[("a.yaml", file("s", &redis, &[OFTEN])), ("b.yaml", file("s", &redis, &[SELDOM]))]);
    let first = scheduler(&folder.file("a.yaml"));
    in_force(&redis, &["s/hello"]).await;
    let mut second = scheduler(&folder.file("b.yaml"));
    in_force(&redis, &["s/seldom"]).await;
    let told = logged(&first, "another file of this Name was read").await;
    assert!(told.contains("b.yaml") && told.contains("WARN"), "{told}");
    assert_eq!(count_logged(&second, "another file"), 0);
    // It goes on firing what is in force, and writes nothing.
    folder.write("b.yaml", &file("s", &redis, &["{Spec: '* * * * * *', Type: mail}"]));
    in_force(&redis, &["s/mail"]).await;
    second.kill9();
    let fired = redis.cli(["LLEN", "asynq:{default}:pending"]).parse::<i64>().unwrap();
    let waiting = || redis.cli(["LLEN", "asynq:{default}:pending"]).parse::<i64>().unwrap();
    until(LIMIT, "the first one fires it", async || waiting() >= fired + 2).await;
    assert_eq!(in_redis(&redis), BTreeSet::from(["s/mail".to_owned()]));
    // An edit puts its own into force again.
    folder.write("a.yaml", &file("s", &redis, &[OFTEN, SELDOM]));
    in_force(&redis, &["s/hello", "s/seldom"]).await;
}

#[tokio::test]
async fn a_broken_edit_and_a_missing_file_leave_what_was_in_force() {
    let redis = RedisServer::start();
    let good = file("s", &redis, &[OFTEN]);
    let folder = Folder::with(&[("s.yaml", good.clone())]);
    let mut scheduler = scheduler(&folder.file("s.yaml"));
    until(LIMIT, "it fires", async || !ticks(&redis).is_empty()).await;
    folder.write("s.yaml", &good.replace("Spec", "Spce"));
    let told = logged(&scheduler, "unknown key, did you mean Spec?").await;
    assert!(
        told.contains("s.yaml:4: Tasks[0].Spce") && told.contains("what was in force stays so"),
        "{told}"
    );
    folder.remove("s.yaml");
    logged(&scheduler, "No such file or directory").await;
    let fired = ticks(&redis).len();
    until(LIMIT, "it fires on", async || ticks(&redis).len() >= fired + 2).await;
    folder.write("s.yaml", &good.replace("Name: s", "Name: t"));
    logged(&scheduler, "the file's Name has changed: that takes a restart").await;
    folder.write("s.yaml", &file("s", &redis, &[SELDOM]));
    in_force(&redis, &["s/seldom"]).await;
    // SIGHUP has it read once more, and ends nothing.
    let pid = rustix::process::Pid::from_raw(scheduler.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    logged(&scheduler, "SIGHUP received").await;
    folder.write("s.yaml", &good);
    in_force(&redis, &["s/hello"]).await;
    assert!(runs(scheduler.pid()));
    scheduler.terminate();
    assert_eq!(scheduler.exit(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn a_redis_that_lost_everything_gets_its_schedules_again() {
    let redis = RedisServer::start();
    let folder = Folder::with(&[("s.yaml", file("s", &redis, &[OFTEN, SELDOM]))]);
    let scheduler = scheduler(&folder.file("s.yaml"));
    until(LIMIT, "it fires", async || !ticks(&redis).is_empty()).await;
    redis.cli(["FLUSHALL"]);
    in_force(&redis, &["s/hello", "s/seldom"]).await;
    until(LIMIT, "it fires", async || !ticks(&redis).is_empty()).await;
    assert_eq!(count_logged(&scheduler, "Redis has lost what was in force"), 1);
}

#[tokio::test]
async fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let redis = RedisServer::start();
    let text = format!(
        "Redis: {{Host: '127.0.0.1:{}'}}\nConcurrency: 3\nQueues: {{a: 2}}\nLog: {{Encoding: json}}\n",
        redis.port()
    );
    let folder = Folder::with(&[("w.yaml", text)]);
    let path = folder.file("w.yaml");
    let started = async |change: &dyn Fn(&mut Command)| {
        let mut command = worker_command(&path);
        change(&mut command);
        let worker = Process::start("cronmill-worker", &mut command);
        logged(&worker, "worker started").await
    };
    let by_file = started(&|_| {}).await;
    assert!(
        by_file.starts_with('{') && by_file.contains("\"concurrency\":3") && by_file.contains("\\\"a\\\""),
        "{by_file}"
    );
    let variables = |worker: &mut Command| {
        worker
            .env("CRONMILL_CONCURRENCY", "4")
            .env("CRONMILL_QUEUES", "b")
            .env("CRONMILL_LOG_FORMAT", "text");
    };
    let by_variable = started(&variables).await;
    assert!(by_variable.contains("concurrency=4") && by_variable.contains("[\"b\"]"), "{by_variable}");
    let flag = |worker: &mut Command| {
        worker.env("CRONMILL_CONCURRENCY", "4").arg("--concurrency=5");
    };
    let by_flag = started(&flag).await;
    assert!(by_flag.contains("\"concurrency\":5"), "{by_flag}");
    // A Redis of a flag stands in place of all that the file says of one.
    let other = RedisServer::start();
    let mut elsewhere = worker_command(&path);
    let _elsewhere = Process::start("cronmill-worker", elsewhere.arg("--redis-url").arg(other.url()));
    until(LIMIT, "it is in the other Redis", async || other.cli(["ZCARD", "asynq:servers"]) == "1").await;
}

#[test]
fn what_is_wrong_with_a_file_is_told_at_once_and_no_password_is_shown() {
    let folder = Folder::with(&[
        ("w.yaml", format!("Name: mq\nRedis:\n  Hots: h\n  Pass: {PASSWORD}\nConcurency: 3\nTasks: []\n")),
        (
            "s.yaml",
            format!("Redis: {{Host: ':{PASSWORD}@h:1'}}\nTasks:\n- {{Spec: '61 * * * *', Type: a}}\n"),
        ),
    ]);
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains(PASSWORD), "{text}");
        let place = format!("error: {}/", folder.path().display());
        text.lines().map(|line| line.strip_prefix(&place).expect(line).to_owned()).collect::<Vec<_>>()
    };
    let by_worker = refused(&mut worker_command(&folder.file("w.yaml")));
    for (line, part) in by_worker.iter().zip([
        "w.yaml:2: Redis.Host: is missing; allowed: host:port",
        "w.yaml:3: Redis.Hots: unknown key, did you mean Host?",
        "w.yaml:5: Concurency: unknown key, did you mean Concurrency?",
        "w.yaml:6: Tasks: is a key of cronmill scheduler, not of this program",
    ]) {
        assert!(line.starts_with(part), "{line}");
    }
    assert_eq!(by_worker.len(), 4);
    let by_scheduler = refused(cronmill(&["scheduler", "--config"]).arg(folder.file("s.yaml")));
    assert!(
        by_scheduler[0].starts_with("s.yaml:1: Redis.Host: is no address of a server"),
        "{by_scheduler:?}"
    );
    assert!(
        by_scheduler[1].starts_with("s.yaml:3: Tasks[0].Spec: \"61 * * * *\": minute: 61"),
        "{by_scheduler:?}"
    );
    let missing = refused(&mut worker_command(&folder.file("none.yaml")));
    assert!(missing[0].starts_with("none.yaml: No such file or directory"), "{missing:?}");
}

#[tokio::test]
async fn a_wrong_password_in_a_file_ends_the_program_and_is_not_shown() {
    let redis = RedisServer::options().password("another").start();
    let folder = Folder::with(&[("s.yaml", tutorials_scheduler(redis.port(), free_address().await.port()))]);
    let mut scheduler = scheduler(&folder.file("s.yaml"));
    assert_eq!(scheduler.exit(LIMIT).await.code(), Some(2));
    logged(&scheduler, "log in to Redis").await;
    assert_eq!(count_logged(&scheduler, PASSWORD), 0);
}
