//! Schedules edited and deleted while they fire, and while Redis is away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::field::{Field, QUEUE};
use crate::support::{RedisServer, full_size, until};

/// Type and id of each pending task in the order they came.
fn kinds(field: &Field) -> Vec<(String, i64, bool)> {
    const READ: &str = "local r = {} for _, id in ipairs(redis.call('LRANGE', ARGV[1], 0, -1)) do \
         local m = redis.call('HGET', ARGV[2] .. id, 'msg') \
         r[#r+1] = id .. ' ' .. (string.find(m, 'after-edit', 1, true) and 1 or 0) end return r";
    let (pending, prefix) = (format!("asynq:{{{QUEUE}}}:pending"), format!("asynq:{{{QUEUE}}}:t:"));
    let lines = field.redis.cli_lines(["EVAL", READ, "0", &pending, &prefix]);
    let split = |line: &String| {
        let (id, edited) = line.split_once(' ').expect("id and mark");
        let (uid, second) = id.rsplit_once('-').expect("<uid>-<second>");
        (uid.to_owned(), second.parse().expect("a second"), edited == "1")
    };
    lines.iter().rev().map(split).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_edit_no_tick_of_the_old_revision_fires() {
    let schedules = full_size(200, 1000);
    let field = Field::new(RedisServer::start());
    field.write(schedules, "before-edit");
    let _one = field.start("one", 0);
    let _two = field.start("two", 0);
    field.in_force(schedules).await;
    let start = field.now_s();
    field.clock_at(start + 3).await;
    field.write(schedules, "after-edit");
    let edited = field.now_s();
    field.clock_at(edited + 4).await;
    let mut last_old: BTreeMap<String, i64> = BTreeMap::new();
    let mut first_new: BTreeMap<String, i64> = BTreeMap::new();
    let mut seconds: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (uid, second, is_new) in kinds(&field) {
        seconds.entry(uid.clone()).or_default().push(second);
        if is_new {
            first_new.entry(uid).or_insert(second);
        } else {
            last_old.insert(uid, second);
        }
    }
    assert_eq!(first_new.len(), schedules, "every edit is in force");
    for (uid, new) in &first_new {
        let old = last_old.get(uid).copied().unwrap_or(i64::MIN);
        assert!(
            old < *new,
            "{uid}: a tick of the old revision at {old} came after the first new one at {new}"
        );
        assert!(new - edited <= 2, "{uid}: the edit came into force {} s late", new - edited);
        let mut fired = seconds[uid].clone();
        fired.sort_unstable();
        assert!(
            fired.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{uid}: a tick is missing or doubled: {fired:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_redis_is_away_never_fires_again() {
    let schedules = full_size(200, 1000);
    let mut field = Field::new(RedisServer::options().durable().start());
    field.write(schedules, "t");
    let one = field.start("one", 0);
    field.in_force(schedules).await;
    let start = field.now_s();
    field.clock_at(start + 2).await;
    field.redis.kill9();
    field.delete_schedules();
    // Files are read every half second: the process knows of the deletion before Redis is back.
    let deleted = Instant::now();
    until(Duration::from_secs(20), "time passes", async || deleted.elapsed() > Duration::from_secs(3)).await;
    assert_eq!(one.stderr().iter().filter(|line| line.contains("panicked")).count(), 0, "{one:?}");
    field.redis.start_again();
    let back = field.now_s();
    until(Duration::from_secs(20), "the entries are gone", async || {
        field.redis.cli(["EXISTS", &format!("cronmill:{{{QUEUE}}}:due")]) == "0"
    })
    .await;
    field.clock_at(back + 3).await;
    let late: Vec<_> = field
        .ledgers()
        .into_iter()
        .flat_map(|(uid, records)| {
            records
                .into_iter()
                .filter(move |record| record.at_ms >= back * 1000)
                .map(move |record| (uid.clone(), record))
        })
        .collect();
    assert!(late.is_empty(), "{} ticks of deleted schedules, such as {:?}", late.len(), late.first());
    assert_eq!(field.redis.keys(&format!("cronmill:{{{QUEUE}}}:entry:*")), Vec::<String>::new());
}
