//! The list of schedules for asynq's tools: who writes it, what is in it, what it may cost.

use std::time::Duration;

use cronmill::broker::{MIRROR_ENTRIES_MAX, MIRROR_EVENTS_MAX, NextTick, Owner, Page};
use cronmill::schedule::{Entry, Timing};
use cronmill::scheduler::Scheduler;
use cronmill::task::{ProtoTimestamp, SchedulerEnqueueEvent, SchedulerEntry};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::field::{Field, MINUTE};
use crate::schedule::{edited, entry};
use crate::support::redis_variant::Variant;
use crate::support::until;

const LIMIT: Duration = Duration::from_secs(20);
const LIST: &str = "asynq:schedulers:{cronmill}";
const DRAFT: &str = "cronmill:schedulers:{cronmill}:draft";
const TURN: &str = "cronmill:schedulers:{cronmill}:turn";

fn listed(n: usize, payload: usize) -> SchedulerEntry {
    SchedulerEntry {
        id: format!("id-{n}"),
        spec: "* * * * *".into(),
        task_kind: "t".into(),
        task_payload: vec![b'x'; payload].into(),
        enqueue_options: vec!["Queue(\"q\")".into()],
        next: Some(ProtoTimestamp { seconds: n as i64, nanos: 0 }),
        previous: Some(ProtoTimestamp::NEVER),
    }
}

impl Field {
    async fn publish(&self, who: &Owner, entries: &[SchedulerEntry]) -> bool {
        self.broker.publish_schedules(who, entries).await.expect("Redis answers")
    }

    async fn take_turn(&self, who: &Owner) -> bool {
        self.broker.take_mirror_turn(who, MINUTE).await.expect("Redis answers")
    }

    async fn ids(&self) -> Vec<String> {
        let entries = self.broker.scheduler_entries().await.expect("Redis answers");
        entries.into_iter().map(|entry| entry.id).collect()
    }

    /// How long a key lives on, in seconds.
    fn life(&self, key: &str) -> i64 {
        self.cli(&["TTL", key]).parse().expect("a number")
    }

    async fn put_entry(&self, entry: &Entry) {
        let timing = Timing::parse(&entry.timing).expect("valid");
        let tick = |nominal| NextTick { nominal, due: timing.due(nominal) };
        let next = timing.next_after(self.broker.now()).map(tick);
        self.broker.put_entry(entry, next, None).await.expect("Redis answers");
    }

    /// Fires and mirrors until a condition holds.
    async fn run_until(&self, what: &str, condition: impl AsyncFnMut() -> bool) {
        let (scheduler, stop) =
            (Scheduler::new(self.broker.clone(), self.owner.clone()), CancellationToken::new());
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { scheduler.run(stop).await }
        });
        until(LIMIT, what, condition).await;
        stop.cancel();
        running.await.expect("it ends in order");
    }
}

fn others() -> Owner {
    Owner::new("host", 2, "other")
}

#[tokio::test]
async fn a_list_takes_the_place_of_the_one_before_and_the_same_one_changes_nothing() {
    let field = Field::new().await;
    assert!(field.take_turn(&field.owner).await);
    let lists = [(0..250).collect::<Vec<_>>(), vec![7], vec![7], vec![]];
    for list in lists {
        let entries: Vec<_> = list.iter().map(|n| listed(*n, 10)).collect();
        assert!(field.publish(&field.owner, &entries).await);
        assert_eq!(field.ids().await, list.iter().map(|n| format!("id-{n}")).collect::<Vec<_>>());
        assert_eq!(field.cli(&["EXISTS", DRAFT]), "0");
        if !list.is_empty() {
            assert!((10..=20).contains(&field.life(LIST)));
            let stale: i64 = field.cli(&["ZSCORE", "asynq:schedulers", LIST]).parse().expect("a number");
            assert!((10..=21).contains(&(stale - field.broker.now().as_second())));
        }
    }
    assert_eq!(field.cli(&["ZCARD", "asynq:schedulers"]), "0");
    assert_eq!(field.cli(&["EXISTS", LIST]), "0");
}

#[tokio::test]
async fn only_whoever_has_the_turn_writes_the_list_or_takes_it_away() {
    let field = Field::new().await;
    assert!(field.take_turn(&field.owner).await);
    assert!(field.take_turn(&field.owner).await, "asked again");
    assert!(!field.take_turn(&others()).await);
    assert!(field.publish(&field.owner, &[listed(1, 1)]).await);
    assert!(!field.publish(&others(), &[listed(2, 1)]).await);
    assert!(!field.publish(&others(), &[]).await);
    field.broker.withdraw_schedules(&others()).await.expect("Redis answers");
    assert_eq!(field.ids().await, ["id-1"]);
    // The turn goes on to another in the middle of writing.
    field.cli(&["SET", TURN, others().as_str()]);
    let many: Vec<_> = (0..150).map(|n| listed(n, 1)).collect();
    assert!(!field.publish(&field.owner, &many).await);
    assert_eq!(field.ids().await, ["id-1"]);
    for _ in 0..2 {
        field.broker.withdraw_schedules(&others()).await.expect("Redis answers");
        assert_eq!(field.ids().await, Vec::<String>::new());
    }
    assert_eq!(field.server.keys("cronmill:schedulers:*"), Vec::<String>::new());
}

#[tokio::test]
async fn half_a_draft_never_becomes_the_list() {
    let field = Field::new().await;
    assert!(field.take_turn(&field.owner).await);
    assert!(field.publish(&field.owner, &[listed(1, 1)]).await);
    // The last part of two, sent once more when the first one has vanished, or was sent twice.
    let script =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/broker/lua/publish_entries.lua"));
    let script = script.expect("it is in the repository");
    let last_of_two = || {
        let who = field.owner.as_str();
        field.cli(&["EVAL", &script, "3", TURN, DRAFT, LIST, who, "20", "100", "1", "last"])
    };
    assert_eq!(last_of_two(), "0");
    field.cli(&["RPUSH", DRAFT, "left"]);
    assert_eq!(last_of_two(), "0");
    assert_eq!(field.ids().await, ["id-1"]);
    // What was left is not part of the next list.
    let many: Vec<_> = (0..150).map(|n| listed(n, 1)).collect();
    assert!(field.publish(&field.owner, &many).await);
    assert_eq!((field.ids().await.len(), field.cli(&["LLEN", LIST])), (150, "150".to_owned()));
}

#[tokio::test]
async fn of_many_schedules_the_thousand_that_are_due_soonest_are_listed() {
    let field = Field::new().await;
    let base = field.broker.now().as_second() + 3600;
    let due = |n: i64| Timestamp::from_second(base + n).expect("valid");
    // Two queues, their entries due in turn; the script that puts one is bounded, so this takes a moment.
    for n in 0..1100 {
        let mut entry = entry(&format!("u{n}"), "0 0 1 1 *");
        entry.template.queue = format!("q{}", n % 2);
        let next = NextTick { nominal: due(n), due: due(n) };
        field.broker.put_entry(&entry, Some(next), None).await.expect("Redis answers");
    }
    let mut numbers: Vec<i64> = Vec::new();
    for state in field.broker.soonest_schedules().await.expect("Redis answers") {
        let n = state.uid[1..].parse().expect("a number");
        assert_eq!((state.next, state.last), (Some(due(n)), None));
        numbers.push(n);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..MIRROR_ENTRIES_MAX as i64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_thousand_large_entries_are_written_in_steps_that_hold_redis_for_a_moment() {
    let field = Field::new().await;
    assert!(field.take_turn(&field.owner).await);
    field.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "2000"]);
    field.cli(&["SLOWLOG", "RESET"]);
    field.cli(&["CONFIG", "SET", "slowlog-max-len", "1000"]);
    let entries: Vec<_> = (0..1200).map(|n| listed(n, 1024)).collect();
    const LISTS: usize = 20;
    for _ in 0..LISTS {
        assert!(field.publish(&field.owner, &entries).await);
    }
    assert_eq!(field.ids().await.len(), MIRROR_ENTRIES_MAX);
    let slow: usize = field.cli(&["SLOWLOG", "LEN"]).parse().expect("a number");
    let is_alone = !matches!(Variant::of_this_run(), Variant::Cluster | Variant::Sentinel);
    // A busy machine may stop Redis in the middle of anything; each list is ten calls.
    assert!(!is_alone || slow <= LISTS / 2, "{slow} of {} calls were slow", LISTS * 10);
}

#[tokio::test]
async fn a_history_keeps_the_newest_fifty_events_for_a_week_however_often_they_are_told() {
    let field = Field::new().await;
    let event = |n: i64| {
        let at = Timestamp::from_millisecond(1_700_000_000_000 + n * 500).expect("valid");
        SchedulerEnqueueEvent { task_id: format!("u-{n}"), enqueued: Some(at.into()) }
    };
    let newest_first = |range: std::ops::Range<i64>| range.rev().map(event).collect::<Vec<_>>();
    for told in [0..40, 0..40, 30..80, 40..90] {
        field
            .broker
            .note_enqueues(&[("u", newest_first(told)), ("v", Vec::new())])
            .await
            .expect("Redis answers");
    }
    let page = Page { offset: 0, limit: 100 };
    let kept = field.broker.scheduler_events("u", page).await.expect("Redis answers");
    assert_eq!(kept.len(), MIRROR_EVENTS_MAX);
    let mut numbers: Vec<i64> =
        kept.iter().map(|event| event.task_id[2..].parse().expect("a number")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (40..90).collect::<Vec<_>>());
    let week = 7 * 24 * 3600;
    assert!((week - 60..=week).contains(&field.life("asynq:scheduler_history:u")));
    assert_eq!(field.cli(&["EXISTS", "asynq:scheduler_history:v"]), "0");
}

#[tokio::test]
async fn a_schedule_that_fired_far_more_than_is_read_at_once_has_its_whole_history() {
    let field = Field::new().await;
    let now = field.broker.now();
    field.put_entry(&entry("u", "0 0 1 1 *")).await;
    field.cli(&["HSET", "cronmill:{q}:entry:u", "last", "1700000000"]);
    let record = |n: i64| {
        let (tick, at) = (1_700_000_000 + n, now.as_millisecond() + n * 1000);
        let outcome = if n % 10 == 3 { "skipped-overlap" } else { "enqueued" };
        format!("1|{tick}|{tick}|1|{outcome}|{at}|u-{tick}|")
    };
    let push = |from: i64, to: i64| {
        let records: Vec<_> = (from..to).map(record).collect();
        let words = ["LPUSH", "cronmill:{q}:ticks:u"].map(str::to_owned).into_iter().chain(records);
        field.server.cli(words);
        field.cli(&["HSET", "cronmill:{q}:entry:u", "last", &(1_700_000_000 + to - 1).to_string()]);
    };
    let count = || field.cli(&["ZCARD", "asynq:scheduler_history:u"]);
    push(0, 5);
    field
        .run_until("all of it is there, also what came in one go", async || {
            if count() == "4" {
                push(5, 40);
            }
            count() == "36"
        })
        .await;
    assert_eq!(field.cli(&["EXISTS", LIST]), "0", "what has stopped is not listed");
}

#[tokio::test]
async fn what_breaks_the_mirror_delays_no_tick() {
    let field = Field::new().await;
    // Keys that it cannot write.
    field.cli(&["SET", "asynq:schedulers", "broken"]);
    field.cli(&["SET", "asynq:scheduler_history:u", "broken"]);
    field.put_entry(&entry("u", "* * * * * *")).await;
    field
        .run_until("four ticks fire", async || {
            let ticks = field.broker.ticks(&field.queue, "u", 10).await.expect("Redis answers");
            ticks.len() >= 4
        })
        .await;
    for tick in field.broker.ticks(&field.queue, "u", 10).await.expect("Redis answers") {
        let late = tick.at.duration_since(tick.from);
        assert!(late < SignedDuration::from_millis(900), "{late}");
    }
    assert_eq!(field.cli(&["GET", "asynq:schedulers"]), "broken");
}

#[tokio::test]
async fn a_list_that_somebody_deletes_is_back_within_seconds() {
    let field = Field::new().await;
    field.put_entry(&entry("u", "0 0 1 1 *")).await;
    let mut deleted = 0;
    field
        .run_until("it is back", async || {
            let is_there = field.ids().await == ["u"];
            if is_there && deleted < 2 {
                field.cli(&["DEL", [LIST, "asynq:schedulers"][deleted]]);
                deleted += 1;
                return false;
            }
            is_there
        })
        .await;
    assert_eq!(deleted, 2);
}

#[tokio::test]
async fn what_another_wrote_meanwhile_is_written_over_by_whoever_gets_the_turn_back() {
    let field = Field::new().await;
    field.put_entry(&entry("u", "0 0 1 1 *")).await;
    let mut is_taken = false;
    field
        .run_until("its own list is back", async || {
            let ids = field.ids().await;
            if ids == ["u"] && !is_taken {
                // For as long as a turn lasts, in which it is asked for three times.
                field.cli(&["SET", TURN, others().as_str(), "PX", "3000"]);
                assert!(field.publish(&others(), &[listed(1, 1)]).await);
                is_taken = true;
                return false;
            }
            is_taken && ids == ["u"]
        })
        .await;
}

#[tokio::test]
async fn an_edit_shows_in_the_list_and_an_end_in_order_takes_it_away() {
    let field = Field::new().await;
    let first = entry("u", "0 0 1 1 *");
    field.put_entry(&first).await;
    let second = edited(first, 2, |entry| entry.template.kind = "edited".into());
    let mut is_edited = false;
    field
        .run_until("the edit is listed", async || {
            let listed = field.broker.scheduler_entries().await.expect("Redis answers");
            let kind = listed.first().map(|entry| entry.task_kind.clone()).unwrap_or_default();
            if kind == "t" && !is_edited {
                field.put_entry(&second).await;
                is_edited = true;
            }
            kind == "edited"
        })
        .await;
    assert_eq!(field.cli(&["EXISTS", LIST, TURN]), "0");
}

#[tokio::test]
async fn entries_set_aside_or_written_by_a_newer_version_are_not_listed() {
    let field = Field::new().await;
    for uid in ["good", "faulty", "newer"] {
        field.put_entry(&entry(uid, "0 0 1 1 *")).await;
    }
    let revision = field.cli(&["HGET", "cronmill:{q}:entry:faulty", "rev"]);
    assert!(field.broker.fault_entry(&field.queue, "faulty", &revision, "why").await.expect("Redis answers"));
    field.cli(&["HSET", "cronmill:{q}:entry:newer", "body", r#"{"format":9}"#]);
    field.run_until("one is listed", async || field.ids().await == ["good"]).await;
}
