//! What queues ask of their workers: read for many at once, in a bounded time.

use std::time::Duration;

use cronmill::broker::{Broker, Demand, DemandReader, GroupLimits, NextTick, PauseNote};
use cronmill::fleet::{FleetName, FleetWatch, Work, read_records, write_records};
use cronmill::scaling::{Policy, Reason};
use cronmill::schedule::{Concurrency, Entry};
use cronmill::task::QueueName;
use jiff::SignedDuration;

use crate::field::{Field, HOUR, LIMITS, MINUTE, task};
use crate::support::entry::{changed, entry};
use crate::support::slow::SlowCalls;

const SOON: Duration = Duration::from_secs(10);

async fn read(reader: &mut DemandReader, queue: &str, ahead: Duration) -> Demand {
    let queue = QueueName::new(queue).expect("valid");
    let read = reader.read(&[(queue, ahead)]).await.expect("Redis answers");
    read.into_iter().next().expect("one queue").expect("it can be read")
}

async fn once(broker: &Broker, ahead: Duration) -> Demand {
    read(&mut DemandReader::new(broker.clone()), "q", ahead).await
}

/// Puts an entry into force that is due so long from now; answers when, in Unix ms.
async fn due(field: &Field, entry: &Entry, ms: i64) -> i64 {
    let due = field.broker.now() + SignedDuration::from_millis(ms);
    let tick = NextTick { nominal: due, due };
    field.broker.put_entry(entry, Some(tick), None).await.expect("written");
    due.as_millisecond()
}

#[tokio::test]
async fn everything_there_is_to_do_is_read_at_once_and_what_is_not_due_is_not() {
    let field = Field::new().await;
    for id in ["a", "b", "c"] {
        field.put(task(id)).await;
    }
    assert_eq!(field.claim(1).await.len(), 3);
    let held = field.cli(&["ZRANGE", "asynq:{q}:lease", "0", "0"]);
    field.cli(&["ZADD", "asynq:{q}:lease", "1000", &held]);
    field.put(task("d")).await;
    for (id, seconds) in [("soon", 8), ("sooner", 2), ("later", 60)] {
        field.put(task(id).after(Duration::from_secs(seconds))).await;
    }
    let at = |seconds: i64| (field.broker.now().as_second() + seconds).to_string();
    field.cli(&["ZADD", "asynq:{q}:retry", &at(8), "r1", &at(60), "r2"]);
    field.cli(&["ZADD", "asynq:{q}:aggregation_sets", &at(60), "set"]);
    field.cli(&["SET", "asynq:{q}:processed", "7"]);
    let demand = once(&field.broker, SOON).await;
    assert_eq!((demand.active, demand.expired, demand.pending), (3, 1, 1));
    assert_eq!((demand.scheduled_soon, demand.retry_soon), (2, 1));
    assert_eq!((demand.aggregating, demand.groups, demand.processed), (1, 0, 7));
    assert_eq!((demand.is_paused, demand.ticks_soon, demand.next_tick), (false, 0, None));
    assert_eq!(once(&field.broker, Duration::from_secs(600)).await.scheduled_soon, 3);
}

#[tokio::test]
async fn a_pause_that_ends_in_time_holds_nothing_back() {
    let field = Field::new().await;
    field.put(task("a")).await;
    let until = |seconds| Some(field.broker.now() + SignedDuration::from_secs(seconds));
    let is_paused = async |note: PauseNote| {
        assert!(field.broker.pause(&field.queue, &note).await.expect("Redis answers"));
        once(&field.broker, SOON).await.is_paused
    };
    assert!(is_paused(PauseNote::default()).await);
    assert!(is_paused(PauseNote { until: until(60), ..PauseNote::default() }).await);
    assert!(!is_paused(PauseNote { until: until(5), ..PauseNote::default() }).await);
    // The note of a pause of ours, and another program's pause.
    field.cli(&["SET", "asynq:{q}:paused", "12345"]);
    assert!(once(&field.broker, SOON).await.is_paused);
}

#[tokio::test]
async fn a_tick_counts_unless_it_makes_no_work() {
    let field = Field::new().await;
    let of = |uid: &str, concurrency| changed(entry(uid, "@yearly"), |entry| entry.concurrency = concurrency);
    let plain = due(&field, &of("plain", Concurrency::Allow), 9_000).await;
    due(&field, &of("far", Concurrency::Allow), 60_000).await;
    due(&field, &changed(entry("suspended", "@yearly"), |entry| entry.suspend = true), 1_000).await;
    due(&field, &of("aside", Concurrency::Allow), 1_000).await;
    field.cli(&["HSET", "cronmill:{q}:entry:aside", "fault", "a key of another type"]);
    due(&field, &of("waiting", Concurrency::Replace), 200).await;
    field.cli(&["HSET", "cronmill:{q}:entry:waiting", "waiting", "1000", "waiting_since", "1000"]);
    let demand = once(&field.broker, SOON).await;
    assert_eq!((demand.ticks_soon, demand.waiting_ticks), (1, 1));
    assert_eq!(demand.next_tick.map(|tick| tick.as_millisecond()), Some(plain));

    // One that forbids a second run needs nobody more while a run is there, but for one that is pulled out of retry.
    due(&field, &of("forbid", Concurrency::Forbid), 5_000).await;
    assert_eq!(once(&field.broker, SOON).await.ticks_soon, 2);
    let packed = r"return redis.call('HSET', KEYS[1], 'living', cmsgpack.pack({'old', 'run'}))";
    field.cli(&["EVAL", packed, "1", "cronmill:{q}:entry:forbid"]);
    for (state, expected) in [("active", 1), ("pending", 1), ("retry", 2), ("completed", 2)] {
        field.cli(&["HSET", "asynq:{q}:t:run", "state", state]);
        assert_eq!(once(&field.broker, SOON).await.ticks_soon, expected, "{state}");
    }
}

#[tokio::test]
async fn a_group_counts_once_it_is_ripe_within_the_time_looked_ahead() {
    let field = Field::new().await;
    for (id, group) in [("a", "fresh"), ("b", "ripe"), ("c", "ripe too")] {
        field.put(task(id).group(group)).await;
    }
    assert_eq!(once(&field.broker, SOON).await.ripe_groups, 0, "nothing has waited for a minute");
    field.age("ripe");
    field.age("ripe too");
    // Nobody has said that these are ever aggregated: enough to wake a worker that will say it, and no more.
    assert_eq!(once(&field.broker, SOON).await.ripe_groups, 1);
    field.broker.say_group_limits(&field.queue, &LIMITS).await.expect("written");
    assert_eq!(once(&field.broker, SOON).await.ripe_groups, 2);
    assert_eq!(
        once(&field.broker, MINUTE + SOON).await.ripe_groups,
        3,
        "it will be, a minute after it was joined"
    );
    let sized = GroupLimits { max_size: 1, ..LIMITS };
    field.broker.say_group_limits(&field.queue, &sized).await.expect("written");
    assert_eq!(once(&field.broker, SOON).await.ripe_groups, 3);
    let delayed = GroupLimits { grace: HOUR, max_delay: Some(MINUTE), max_size: 200 };
    field.broker.say_group_limits(&field.queue, &delayed).await.expect("written");
    assert_eq!(once(&field.broker, SOON).await.ripe_groups, 2, "what has waited for over a minute");
}

#[tokio::test]
async fn of_very_many_groups_each_is_seen_within_some_looks_and_none_is_forgotten() {
    let field = Field::new().await;
    field.broker.say_group_limits(&field.queue, &LIMITS).await.expect("written");
    let make = r"
        for i = 1, 3000 do
          redis.call('ZADD', ARGV[1] .. 'g:' .. i, i % 100 == 0 and 1000 or ARGV[2], 'id' .. i)
          redis.call('SADD', ARGV[1] .. 'groups', i)
        end";
    let now = field.broker.now().as_second().to_string();
    field.cli(&["EVAL", make, "1", "asynq:{q}:groups", "asynq:{q}:", &now]);
    let mut reader = DemandReader::new(field.broker.clone());
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(read(&mut reader, "q", SOON).await.ripe_groups);
    }
    assert_eq!(*seen.last().expect("forty"), 30, "{seen:?}");
    assert!(seen[0] < 30, "one look does not see all: {seen:?}");
    let whole = seen.iter().position(|ripe| *ripe == 30).expect("seen above");
    assert!(
        seen[whole..].iter().all(|ripe| *ripe == 30),
        "nothing is forgotten between two passes: {seen:?}"
    );
}

#[tokio::test]
async fn one_queue_with_a_key_of_another_type_spoils_no_other_and_scripts_are_loaded_by_themselves() {
    let field = Field::new().await;
    field.put(task("a")).await;
    field.cli(&["SET", "asynq:{ill}:active", "no list"]);
    let mut reader = DemandReader::new(field.broker.clone());
    let queues = ["ill", "q", "nobody wrote to"].map(|name| (QueueName::new(name).expect("valid"), SOON));
    for round in 0..2 {
        let read = reader.read(&queues).await.expect("Redis answers");
        let pending = |at: usize| read[at].as_ref().map(|demand| demand.pending).ok();
        assert_eq!([pending(0), pending(1), pending(2)], [None, Some(1), Some(0)], "round {round}");
        for node in field.server.nodes() {
            node.cli_here(["SCRIPT", "FLUSH"]);
        }
    }
}

#[tokio::test]
async fn no_look_holds_redis_for_two_milliseconds_however_much_there_is() {
    let field = Field::new().await;
    field.broker.say_group_limits(&field.queue, &LIMITS).await.expect("written");
    let make = r"
        local now = tonumber(redis.call('TIME')[1])
        for i = 1, 5000 do
          local group = ARGV[1] .. 'g:' .. i
          for j = 1, 20 do redis.call('ZADD', group, now - j, i .. ':' .. j) end
          redis.call('SADD', ARGV[1] .. 'groups', i)
          redis.call('LPUSH', ARGV[1] .. 'pending', i)
          redis.call('ZADD', ARGV[1] .. 'scheduled', now + i, i)
        end
        local living = cmsgpack.pack({'t'})
        redis.call('HSET', ARGV[1] .. 't:t', 'state', 'active')
        for i = 1, 1000 do
          redis.call('ZADD', ARGV[2] .. 'due', now * 1000 + i, i)
          redis.call('HSET', ARGV[2] .. 'entry:' .. i, 'rev', '1', 'policy', 'forbid', 'living', living)
        end";
    field.cli(&["EVAL", make, "1", "asynq:{q}:groups", "asynq:{q}:", "cronmill:{q}:"]);
    let mut reader = DemandReader::new(field.broker.clone());
    let mut calls = SlowCalls::watch(&field.server, Duration::from_millis(2));
    for _ in 0..100 {
        calls.of(read(&mut reader, "q", MINUTE)).await;
    }
    calls.assert_rare(50);
}

#[tokio::test]
async fn what_is_known_of_a_fleet_is_found_by_who_decides_next() {
    let field = Field::new().await;
    let other = QueueName::new("other").expect("valid");
    let policy =
        Policy { fixed: None, min: 0, max: 10, concurrency: 1, target_wait: SOON, stabilization: MINUTE };
    let watch = |queues| {
        let name = FleetName { name: "shop/main".into(), owner: "uid".into() };
        FleetWatch::new(name, queues, Duration::from_secs(5))
    };
    let mut first = watch(vec![field.queue.clone(), other.clone()]);
    first.recall(&[], &policy, 0, field.broker.now());
    first.learn_start(Duration::from_secs(21));
    for id in ["a", "b", "c"] {
        field.put(task(id)).await;
    }
    let work = Work::of([&once(&field.broker, first.ahead()).await]);
    assert_eq!(first.decide(&work, &policy, 0, field.broker.now()).replicas, 3);
    write_records(&field.broker, [&mut first], field.broker.now()).await.expect("written");

    // It serves another set of queues by now; one of them is enough.
    let mut second = watch(vec![other.clone(), QueueName::new("new").expect("valid")]);
    let records = read_records(&field.broker, second.queues()).await.expect("read");
    second.recall(&records, &policy, 3, field.broker.now());
    assert_eq!(second.lead_time(), Duration::from_secs(21));
    let plan = second.decide(&Work::default(), &policy, 3, field.broker.now());
    assert_eq!((plan.replicas, plan.reason), (3, Reason::Stabilizing));
    let life: i64 = field.cli(&["TTL", "cronmill:{other}:fleet"]).parse().expect("a number");
    assert!((600_000..=604_800).contains(&life), "{life}");
}
