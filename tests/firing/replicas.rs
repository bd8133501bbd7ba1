//! Three processes fire the same schedules on one Redis.

use std::collections::BTreeMap;

use crate::field::{Field, QUEUE, by_uid};
use crate::support::{Peers, RedisServer, full_size};

/// One is killed without warning and started again every three seconds, one runs a minute ahead and one a
/// minute behind: each tick is enqueued once, none is missing and none comes early by Redis's clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tick_is_enqueued_once_by_three_processes_that_die_and_disagree() {
    let (schedules, seconds) = (full_size(200, 1000), full_size(9, 30));
    let field = Field::new(RedisServer::start());
    field.write(schedules, "t");
    let _ahead = field.start("ahead", 60);
    let _behind = field.start("behind", -60);
    let mut killed = field.start("killed", 0);
    field.in_force(schedules).await;
    let first = field.now_s() + 2;
    let last = first + seconds - 1;
    let mut kills = 0;
    for at in (first..=last).step_by(3) {
        field.clock_at(at).await;
        killed.kill9();
        killed = field.start("killed", 0);
        kills += 1;
    }
    // Whatever was due by then is accounted for a moment later.
    field.clock_at(last + 2).await;
    let within = |second: i64| (first..=last).contains(&second);

    let expected = schedules * usize::try_from(seconds).expect("positive");
    let tasks: Vec<_> = field.pending().into_iter().filter(|(_, second)| within(*second)).collect();
    let by_task = by_uid(&tasks);
    let ledgers = field.ledgers();
    let mut recorded = 0;
    let mut late_ms = Vec::new();
    for (uid, records) in &ledgers {
        for record in records.iter().filter(|record| within(record.from)) {
            assert_eq!((record.outcome.as_str(), record.count), ("enqueued", 1), "{uid}: {record:?}");
            assert!(record.at_ms >= record.from * 1000, "early by Redis's clock: {uid}: {record:?}");
            late_ms.push(record.at_ms - record.from * 1000);
            recorded += 1;
        }
    }
    late_ms.sort_unstable();
    let inspected = inspect(&field);
    println!(
        "{schedules} schedules, {seconds} s, {kills} kills: {expected} ticks; ledger {recorded}, tasks {}, distinct {}, \
         asynq's Inspector {}; lateness p50 {} ms, p99 {} ms, most {} ms",
        tasks.len(),
        by_task.values().map(std::collections::BTreeSet::len).sum::<usize>(),
        inspected.len(),
        late_ms[late_ms.len() / 2],
        late_ms[late_ms.len() * 99 / 100],
        late_ms[late_ms.len() - 1],
    );
    assert_eq!(ledgers.len(), schedules);
    assert_eq!((tasks.len(), recorded), (expected, expected));
    for (uid, ticks) in &by_task {
        assert!(ticks.iter().copied().eq(first..=last), "{uid}: {ticks:?}");
    }
    let seen = inspected.iter().filter(|(_, second)| within(*second)).count();
    assert_eq!(seen, expected, "by asynq's Inspector");
}

/// The pending tasks as asynq's Inspector lists them.
fn inspect(field: &Field) -> Vec<(String, i64)> {
    let peers = Peers::on(&field.redis.url());
    let tasks = peers.inspect(&["list", QUEUE, "pending"]);
    let ids =
        tasks.as_array().expect("a list").iter().map(|task| task["id"].as_str().expect("an id").to_owned());
    let mut ticks: BTreeMap<String, i64> = BTreeMap::new();
    for id in ids {
        let (_, second) = id.rsplit_once('-').expect("<uid>-<second>");
        let second = second.parse().expect("a second");
        assert_eq!(ticks.insert(id, second), None, "listed twice");
    }
    ticks.into_iter().collect()
}
