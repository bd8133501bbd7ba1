//! A queue may have any name, and all its keys are in one slot.

use cronmill::broker::{
    Broker, ClaimRequest, Claimed, DemandReader, Enqueued, Finish, FinishOutcome, Finished, Owner, PauseNote,
};
use cronmill::task::QueueName;
use jiff::SignedDuration;

use crate::load::{HANG, message, queue};
use crate::support::Cluster;

const NAMES: [&str; 14] = [
    "plain",
    "with space",
    " leading",
    "a:b",
    "a:{b}",
    "{",
    "{}",
    "{a}",
    "a}b",
    "x{y}z",
    "ü–日本🙂",
    "*?[a]",
    "\\\"'",
    "a\nb",
];

#[tokio::test]
async fn a_queue_of_any_name_works_and_keeps_to_one_slot() {
    let redis = Cluster::start(3);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    for name in NAMES {
        use_queue(&broker, &queue(name)).await;
    }
    let mut listed: Vec<_> = broker.queues().await.expect("listed").iter().map(ToString::to_string).collect();
    let mut expected = NAMES.map(str::to_owned).to_vec();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    let spread = redis.nodes.iter().filter(|node| node.cli(["DBSIZE"]) != "0").count();
    assert_eq!(spread, 3, "several queues are spread");
    for name in NAMES {
        // Asked by name on the node that holds the slot: whatever the pattern, nobody else has any.
        let prefix = format!("asynq:{{{name}}}:");
        let slot = redis.slot(&prefix);
        let owner = redis.owner(slot);
        for (place, node) in redis.nodes.iter().enumerate() {
            let script = "local n = 0 for _, key in ipairs(redis.call('KEYS', '*')) do if key:find(ARGV[1], 1, true) == 1 then n = n + 1 end end return n";
            let keys: usize = node.cli(["EVAL", script, "0", &prefix]).parse().expect("a number");
            assert_eq!(keys > 0, place == owner, "{name:?} on node {place}: {keys} keys");
        }
    }
}

/// What a queue goes through, as far as each step touches other keys.
async fn use_queue(broker: &Broker, q: &QueueName) {
    let owner = Owner::new("h", 1, "x");
    let later = Some(broker.now() + SignedDuration::from_hours(1));
    for (id, due) in [("a", None), ("b", None), ("c", None), ("later", later)] {
        assert_eq!(broker.enqueue(&message(q, id), due).await.expect("stored"), Enqueued::Stored, "{q:?}");
    }
    let request = ClaimRequest { queue: q, owner: &owner, sequence: 1, max: 2, lease: 6 * HANG };
    let Claimed::Tasks(tasks) = broker.claim(&request).await.expect("claim") else {
        panic!("{q:?}: no tasks")
    };
    assert_eq!(tasks.len(), 2);
    broker.extend(q, &owner, &["a".into()], 6 * HANG).await.expect("extended");
    assert!(broker.write_result(q, &owner, "a", b"r").await.expect("written"));
    let retry = FinishOutcome::Retry { at: broker.now(), counts_as_failure: true };
    let outcomes = [("a", FinishOutcome::Done), ("b", retry)];
    let finishes: Vec<_> = outcomes
        .map(|(id, outcome)| Finish {
            message: message(q, id).into(),
            outcome,
            leased_until: tasks[0].leased_until,
        })
        .into_iter()
        .collect();
    let verdicts = broker.finish(q, &owner, &finishes).await.expect("finished");
    assert_eq!(verdicts, [Finished::Stored, Finished::Stored]);
    assert!(broker.pause(q, &PauseNote::default()).await.expect("paused"));
    let summary = broker.queue_summary(q).await.expect("a summary");
    assert_eq!(
        (summary.pending, summary.retry, summary.scheduled, summary.failed_total),
        (1, 1, 1, 1),
        "{q:?}"
    );
    assert!(summary.paused.is_some());
    broker.resume(q, None).await.expect("resumed");
    let demands = DemandReader::new(broker.clone()).read(&[(q.clone(), HANG)]).await.expect("demands");
    assert_eq!(demands[0].as_ref().expect("a demand").pending, 1);
    broker.write_fleet_records(&[(q.clone(), "{}".to_owned())]).await.expect("written");
    assert_eq!(
        broker.read_fleet_records(std::slice::from_ref(q)).await.expect("read"),
        [Some("{}".to_owned())]
    );
    assert!(broker.take_keeper_turn(q, &owner, HANG).await.expect("asked"));
    assert!(broker.take_waiter(q, &owner, HANG).await.expect("asked"));
    assert!(broker.waiter(q).await.expect("a waiter").wait(HANG).await.expect("it wakes"));
    broker.forward(q).await.expect("forwarded");
    broker.recover(q, |_| HANG).await.expect("recovered");
    broker.clean(q, cronmill::broker::ArchiveLimits::default(), 0).await.expect("cleaned");
}

#[test]
fn a_name_that_would_scatter_its_keys_is_refused() {
    for name in ["}", "}a", "", "  "] {
        QueueName::new(name).expect_err(name);
    }
}
