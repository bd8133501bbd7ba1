//! What the operator may cost, and what it must stand: many schedules, and leaders that are killed again and again.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::field::{Field, LIMIT, Replica, queue, task};
use crate::support::{full_size, until, until_seldom};

/// How many kubectl work at once.
const SIDE_BY_SIDE: usize = 10;

/// Does something with CronTasks `task-0` … by kubectl, in batches side by side: one alone is slowed down by itself.
pub(crate) fn in_batches(count: usize, act: impl Fn(std::ops::Range<usize>) + Sync) {
    std::thread::scope(|scope| {
        for first in (0..count).step_by(count.div_ceil(SIDE_BY_SIDE)) {
            let act = &act;
            scope.spawn(move || act(first..count.min(first + count.div_ceil(SIDE_BY_SIDE))));
        }
    });
}

fn create(field: &Field, name: &str, count: usize, schedule: &str) {
    in_batches(count, |tasks| {
        let manifests: String = tasks.map(|number| task(&format!("{name}-{number}"), schedule, "")).collect();
        let words = ["create", "-n", &field.namespace, "--validate=false", "-f", "-"];
        field.api.try_kubectl(&words, &manifests).expect("objects that are right");
    });
}

fn reschedule(field: &Field, count: usize, schedule: &str) {
    let patch = format!("{{\"spec\":{{\"schedule\":\"{schedule}\"}}}}");
    in_batches(count, |tasks| {
        let names: Vec<_> = tasks.map(|number| format!("crontask/task-{number}")).collect();
        let words = ["patch", "-n", &field.namespace, "--type=merge", "-p", &patch];
        let words: Vec<_> = words.into_iter().chain(names.iter().map(String::as_str)).collect();
        field.api.kubectl(&words);
    });
}

/// The newest time at which a CronTask became Ready, in seconds since 1970, and how many are.
fn ready(field: &Field) -> (usize, i64) {
    let path = "-o=jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status} \
                {.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}{\"\\n\"}{end}";
    let told = field.api.kubectl(&["get", "crontasks", "-n", &field.namespace, path]);
    let times: Vec<i64> = told
        .lines()
        .filter_map(|line| line.strip_prefix("True "))
        .map(|time| time.parse::<jiff::Timestamp>().expect("a time").as_second())
        .collect();
    (times.len(), times.iter().max().copied().unwrap_or_default())
}

/// How many writes of a status the API server has counted so far.
fn status_writes(field: &Field) -> u64 {
    ["crontasks", "taskqueues"].map(|resource| field.writes(resource, "status")).iter().sum()
}

/// A process' memory in MB, as the system tells it: `VmRSS` now, `VmHWM` at its peak.
pub(crate) fn memory(replica: &Replica, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.process.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the system tells it");
    let kib: f64 = line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().expect("a number");
    kib / 1000.0
}

/// Writes of status per second while nobody changes anything: between the first and the last of them, since what comes
/// five times a second stands 51 times in ten seconds that begin with one.
async fn write_rate(field: &Field) -> f64 {
    let span = full_size(Duration::from_secs(10), Duration::from_secs(120));
    let (began, before) = (Instant::now(), status_writes(field));
    tokio::time::sleep(span).await;
    let pauses = (status_writes(field) - before).saturating_sub(1);
    pauses as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test]
async fn many_schedules_are_ready_soon_and_cost_neither_memory_nor_writes() {
    let field = Field::alone();
    let count = full_size(300, 10_000);
    field.apply(&queue(""));
    let mut operator = field.operator("a", &[]).await;
    until(LIMIT, "it leads", async || operator.leads().await).await;
    let idle = memory(&operator, "VmRSS");
    let began = Instant::now();
    create(&field, "task", count, "* * * * *");
    let (creating, created) = (began.elapsed().as_secs_f64(), jiff::Timestamp::now().as_second());
    let patience = full_size(LIMIT, Duration::from_secs(300));
    // Asked of Redis first, and seldom: telling of ten thousand objects again and again is much work for the API server.
    let between = full_size(Duration::from_millis(5), Duration::from_secs(1));
    until_seldom(between, patience, "all are in force", async || {
        field.cli(&["ZCARD", "cronmill:{default}:due"]) == count.to_string()
    })
    .await;
    until_seldom(between, patience, "all are ready", async || ready(&field).0 == count).await;
    let took = (ready(&field).1 - created).max(0);

    // The first round of refreshing is behind it when the status of each tells a time.
    let once = write_rate(&field).await;
    reschedule(&field, count, "*/30 * * * * *");
    let observed = async || {
        let path =
            "-o=jsonpath={range .items[*]}{.metadata.generation} {.status.observedGeneration}{\"\\n\"}{end}";
        let told = field.api.kubectl(&["get", "crontasks", "-n", &field.namespace, path]);
        told.lines().all(|line| line == "2 2")
    };
    until_seldom(between, patience, "all are seen in their new form", observed).await;
    let twice = write_rate(&field).await;
    let (peak, now) = (memory(&operator, "VmHWM"), memory(&operator, "VmRSS"));
    operator.process.terminate();
    assert!(operator.process.exit_blocking(LIMIT).success());
    println!(
        "{count} CronTasks, created in {creating:.1} s: all Ready {took} s after the last of them; operator {idle:.1} MB idle, {peak:.1} MB at its peak, {now:.1} MB now; {once:.2} status writes a second, {twice:.2} with twice the ticks"
    );
    assert!(once <= 5.0 && twice <= 5.0, "{once} and {twice} writes a second");
    if full_size(false, true) {
        assert!(took <= 20, "{took} s");
        assert!(idle <= 25.0 && peak <= 80.0, "{idle} MB idle, {peak} MB at the peak");
    }
}

/// Each schedule's ticks in a queue as redis-cli has them: the nominal second, and when it was enqueued.
fn ticks(field: &Field) -> BTreeMap<String, Vec<(i64, f64)>> {
    let told = field.cli(&[
        "SORT",
        "asynq:{default}:pending",
        "BY",
        "nosort",
        "GET",
        "#",
        "GET",
        "asynq:{default}:t:*->pending_since",
    ]);
    let lines: Vec<&str> = told.lines().collect();
    let mut found = BTreeMap::<String, Vec<_>>::new();
    for pair in lines.chunks(2) {
        let (uid, tick) = pair[0].rsplit_once('-').expect("the id of a tick");
        let since: f64 = pair[1].parse().expect("nanoseconds");
        found.entry(uid.to_owned()).or_default().push((tick.parse().expect("a time"), since / 1e9));
    }
    found.values_mut().for_each(|ticks| ticks.sort_by_key(|(tick, _)| *tick));
    found
}

#[tokio::test]
async fn leaders_killed_again_and_again_lose_and_double_nothing() {
    let field = Field::new();
    let (schedules, kills) = full_size((20, 2), (100, 30));
    let pause = full_size(Duration::from_secs(5), Duration::from_secs(10));
    let mut replicas = vec![field.operator("r0", &[]).await, field.operator("r1", &[]).await];
    field.apply(&queue(""));
    create(&field, "task", schedules, "@every 1s");
    until(LIMIT, "all are in force", async || field.entries("default").len() == schedules).await;
    let holder = || field.get("lease", "cronmill-operator")["spec"]["holderIdentity"].clone();
    let mut killed = Vec::new();
    for number in 0..kills {
        tokio::time::sleep(pause).await;
        // One is killed, and not while the other is only about to fire.
        let newest = &replicas[replicas.len() - 1];
        until(LIMIT, "whoever came last serves", async || newest.is_ready().await).await;
        let leader = holder();
        // With fifteen seconds of Lease, the leader may be one that was killed before: then any one goes.
        let name = leader.as_str().and_then(|name| name.strip_prefix('r')).and_then(|name| name.parse().ok());
        let victim = match name {
            Some(name) if !killed.contains(&name) => name,
            _ => replicas.len() - 1,
        };
        replicas[victim].process.kill9();
        killed.push(victim);
        replicas.push(field.operator(&format!("r{}", number + 2), &[]).await);
    }
    let last = replicas.last().expect("one more than was killed");
    until(LIMIT, "the last one serves", async || last.is_ready().await).await;
    until(LIMIT, "somebody leads", async || {
        let leader: Value = holder();
        (0..replicas.len()).any(|name| !killed.contains(&name) && leader == format!("r{name}"))
    })
    .await;
    tokio::time::sleep(pause).await;
    drop(replicas);

    let ticks = ticks(&field);
    assert_eq!(ticks.len(), schedules);
    let (mut count, mut lost, mut doubled, mut gap) = (0, 0, 0, 0.0_f64);
    for ticks in ticks.values() {
        let distinct = ticks.iter().map(|(tick, _)| tick).collect::<HashSet<_>>().len();
        let whole = (ticks[ticks.len() - 1].0 - ticks[0].0 + 1) as usize;
        count += ticks.len();
        lost += whole - distinct;
        doubled += ticks.len() - distinct;
        gap = ticks.windows(2).map(|pair| pair[1].1 - pair[0].1).fold(gap, f64::max);
    }
    println!(
        "{kills} leaders killed: {count} ticks of {schedules} schedules, {lost} lost, {doubled} doubled; longest gap {gap:.2} s"
    );
    assert_eq!((lost, doubled), (0, 0));
    assert!(gap <= full_size(5.0, 2.0), "longest gap {gap} s");
}
