//! The master dies, is replaced while it lives, or is silent.

use std::time::Duration;

use cronmill::broker::{Broker, Enqueued, NewTask};

use crate::load::{HANG, Producer, Worker, account, message, queue, until_done};
use crate::support::{Sentinels, full_size, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_is_replaced_under_load_and_nothing_hangs() {
    let mut redis = Sentinels::start(2);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let worker = Worker::start(&broker, std::slice::from_ref(&q));
    let producer = Producer::start(&broker, std::slice::from_ref(&q));
    until(HANG, "it is under way", async || worker.ran() > full_size(500, 5000)).await;
    let before = producer.told.stored();
    redis.servers[0].kill9();
    until(HANG, "tasks are taken again", async || producer.told.stored() > before + 50).await;
    let ran = worker.ran();
    until(HANG, "tasks run again", async || worker.ran() > ran + 50).await;
    assert_ne!(redis.master(), 0);
    let told = producer.stop().await;
    until_done(&broker, &q).await;
    let ran = worker.stop().await;
    let (lost, doubled) = account(&told, &ran);
    println!(
        "{} stored, {} calls failed, the longest took {:?}; lost by replication: {}, runs beyond one each: {doubled}",
        told.stored(),
        told.failures(),
        told.longest(),
        lost.len(),
    );
    assert!(told.failures() > 0, "nobody noticed");
    assert!(told.longest() < HANG, "{:?}", told.longest());
    // What the dead master had not passed on yet: a few milliseconds' worth.
    assert!(lost.len() <= 200, "{} lost", lost.len());
    assert!(doubled <= 200, "{doubled} runs too many");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_and_lives_on_gets_no_more_work() {
    let redis = Sentinels::start(1);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let producer = Producer::start(&broker, std::slice::from_ref(&q));
    until(HANG, "it is under way", async || producer.told.stored() > 100).await;
    redis.fail_over();
    until(HANG, "there is another master", async || redis.master() == 1).await;
    // It cuts all connections when it becomes a replica.
    let role = || redis.servers[0].cli_if_it_answers(["INFO", "replication"]);
    let is_replica = async || role().is_some_and(|role| role.contains("role:slave"));
    until(3 * HANG, "the old one follows it", is_replica).await;
    let told = producer.stop().await;
    let stored = told.stored.lock().expect("no panic under the lock").clone();
    let there = redis.servers[1].cli_lines(["LRANGE", "asynq:{q}:pending", "0", "-1"]);
    let lost = stored.iter().filter(|id| !there.contains(id)).count();
    println!(
        "{} stored, {lost} of them in the old master only; longest call {:?}",
        stored.len(),
        told.longest()
    );
    // It took writes until we heard of its successor: we ask once a second, and write once a millisecond.
    assert!(lost <= 2500, "{lost} of {} went to the old master", stored.len());
    assert!(told.longest() < HANG, "{:?}", told.longest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_demoted_master_refuses_goes_to_the_new_one_at_once() {
    let redis = Sentinels::start(1);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    for round in 0..6 {
        let (old, new) = (round % 2, (round + 1) % 2);
        // By hand, and faster than the Sentinels: nobody cuts our connection, which is to a replica from now on.
        redis.hand_over(old, new);
        let id = round.to_string();
        let stored = broker.enqueue(&message(&q, &id), None).await;
        assert_eq!(stored.expect("the new master takes it"), Enqueued::Stored);
        assert_eq!(redis.servers[new].cli(["HGET", &format!("asynq:{{q}}:t:{id}"), "state"]), "pending");
        // A pipeline of plain commands as well.
        broker
            .cordon(std::slice::from_ref(&q), &[cronmill::broker::Owner::new("h", 1, &id)], HANG)
            .await
            .expect("cordoned");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_a_demoted_master_refuses_is_stored_by_the_new_one() {
    use cronmill::broker::{ClaimRequest, Claimed, Finish, FinishOutcome, Finished, Owner};
    let redis = Sentinels::start(1);
    let (q, owner) = (queue("q"), Owner::new("h", 1, "x"));
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    broker.enqueue(&message(&q, "a"), None).await.expect("stored");
    let request = ClaimRequest { queue: &q, owner: &owner, sequence: 1, max: 1, lease: 6 * HANG };
    let Claimed::Tasks(tasks) = broker.claim(&request).await.expect("claim") else { panic!("no task") };
    redis.synced(1);
    redis.hand_over(0, 1);
    // The script meets the refusal where it expects one, and answers it as this task's own.
    let retry = Finish {
        message: message(&q, "a").into(),
        outcome: FinishOutcome::Retry { at: broker.now(), counts_as_failure: true },
        leased_until: tasks[0].leased_until,
    };
    let mut verdicts = Vec::new();
    until(HANG, "the outcome is stored", async || {
        match broker.finish(&q, &owner, std::slice::from_ref(&retry)).await {
            Ok(answer) => verdicts = answer,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        !verdicts.is_empty()
    })
    .await;
    assert_eq!(verdicts, [Finished::Stored]);
    assert_eq!(redis.servers[1].cli(["ZRANGE", "asynq:{q}:retry", "0", "-1"]), "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_in_the_middle_of_a_batch_gives_no_wrong_count() {
    let mut redis = Sentinels::start(1);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let all: Vec<_> = (0..full_size(20_000, 100_000))
        .map(|number| NewTask::new(message(&q, &number.to_string()), None))
        .collect();
    let sending = tokio::spawn({
        let (broker, all) = (broker.clone(), all.clone());
        async move { broker.enqueue_batch(&all).await }
    });
    let pending = |server: usize, redis: &Sentinels| -> usize {
        redis.servers[server].cli(["LLEN", "asynq:{q}:pending"]).parse().expect("a number")
    };
    until(HANG, "a part has arrived", async || pending(0, &redis) > 500).await;
    redis.servers[0].kill9();
    let verdicts = sending.await.expect("no panic");
    let mut stored = Vec::new();
    let mut open = Vec::new();
    for (task, verdict) in all.iter().zip(&verdicts) {
        match verdict {
            Ok(Enqueued::Stored) => stored.push(task.message.id.clone()),
            Ok(Enqueued::Conflict | Enqueued::Duplicate { .. }) => {
                panic!("task {} was sent once and is said to be there", task.message.id)
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                open.push(task.clone());
            }
        }
    }
    assert!(!open.is_empty(), "the batch was over before the master died");
    let sent_again = open.len();
    until(3 * HANG, "the rest is taken", async || {
        let verdicts = broker.enqueue_batch(&open).await;
        let mut left = verdicts.iter();
        open.retain(|_| left.next().is_some_and(Result::is_err));
        open.is_empty()
    })
    .await;
    let there = redis.servers[1].cli_lines(["LRANGE", "asynq:{q}:pending", "0", "-1"]);
    let distinct: std::collections::BTreeSet<_> = there.iter().collect();
    assert_eq!(distinct.len(), there.len(), "no id is there twice");
    let lost = stored.iter().filter(|id| !distinct.contains(id)).count();
    println!("{} of {} sent again, {lost} lost by replication", sent_again, all.len());
    assert_eq!(distinct.len() + lost, all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_master_and_a_silent_sentinel_hold_nobody_up() {
    let redis = Sentinels::start(1);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let worker = Worker::start(&broker, std::slice::from_ref(&q));
    let producer = Producer::start(&broker, std::slice::from_ref(&q));
    until(HANG, "it is under way", async || worker.ran() > 100).await;
    redis.sentinels[0].freeze();
    redis.servers[0].freeze();
    let before = producer.told.stored();
    until(3 * HANG, "tasks are taken again", async || producer.told.stored() > before + 50).await;
    let ran = worker.ran();
    until(HANG, "tasks run again", async || worker.ran() > ran + 50).await;
    redis.servers[0].thaw();
    let told = producer.stop().await;
    assert!(told.longest() < HANG, "{:?}", told.longest());
    until_done(&broker, &q).await;
    // An idle worker waits at the new master.
    broker.enqueue(&message(&q, "last"), None).await.expect("stored");
    until(Duration::from_secs(2), "the last one runs", async || worker.has_run("last")).await;
    let (lost, doubled) = account(&told, &worker.stop().await);
    println!(
        "{} stored, {} lost, {doubled} runs too many, longest call {:?}",
        told.stored(),
        lost.len(),
        told.longest()
    );
    assert!(lost.len() <= 200, "{} lost", lost.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_to_cancellations_hears_them_after_a_failover() {
    let mut redis = Sentinels::start(1);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let listening = tokio::spawn({
        let broker = broker.clone();
        async move {
            loop {
                let Ok(mut channel) = broker.cancellations().await else { continue };
                while let Some(id) = channel.next().await {
                    if id == "after" {
                        return;
                    }
                }
            }
        }
    });
    redis.servers[0].kill9();
    until(2 * HANG, "it is heard", async || {
        let _told = broker.cancel("after").await;
        listening.is_finished()
    })
    .await;
}
