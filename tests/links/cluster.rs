//! Several nodes as one Redis.

use std::time::Instant;

use cronmill::broker::{Broker, Owner, QueueRemoval, Replica, unique_key};
use cronmill::task::{Message, QueueName, ServerInfo};
use jiff::{SignedDuration, Timestamp};

use crate::load::{HANG, Producer, Worker, account, message, queue, until_done};
use crate::support::{Cluster, full_size, until};

#[tokio::test]
async fn what_belongs_to_no_queue_is_found_on_whatever_node_it_is() {
    let redis = Cluster::start(3);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let info =
        |name: &str| ServerInfo { host: "h".into(), pid: 1, server_id: name.into(), ..ServerInfo::default() };
    let names: Vec<String> = (0..20).map(|number| format!("server-{number:02}")).collect();
    for name in &names {
        broker.publish_server(&info(name), &[], None, 6 * HANG).await.expect("published");
    }
    let mut found: Vec<_> =
        broker.servers().await.expect("listed").into_iter().map(|server| server.info.server_id).collect();
    found.sort();
    assert_eq!(found, names);
    let holders = redis.nodes.iter().filter(|node| !node.keys("asynq:servers:{*").is_empty()).count();
    assert_eq!(holders, 3, "the records are spread");
    for name in &names {
        broker.withdraw_server(&info(name)).await.expect("withdrawn");
    }
    assert_eq!(broker.servers().await.expect("listed"), []);
    for node in &redis.nodes {
        assert_eq!(node.keys("asynq:*"), Vec::<String>::new());
    }
    let replica = Replica::new(&Owner::new("h", 1, "a"), None);
    let (place, of) = broker.join_replicas(&replica, HANG).await.expect("joined");
    assert_eq!((place, of), (0, 1));
}

#[tokio::test]
async fn a_cancellation_is_heard_on_every_node() {
    let redis = Cluster::start(3);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let mut heard = Vec::new();
    for node in &redis.nodes {
        let url = format!("redis-cluster://127.0.0.1:{}", node.port());
        let other = Broker::connect(&url.parse().expect("a URL")).await.expect("one node is enough");
        heard.push(other.cancellations().await.expect("it listens"));
    }
    broker.cancel("task-1").await.expect("told");
    for channel in &mut heard {
        let id = tokio::time::timeout(HANG, channel.next()).await.expect("in time");
        assert_eq!(id.as_deref(), Some("task-1"));
    }
}

#[tokio::test]
async fn a_queue_is_deleted_with_all_its_keys_on_whatever_node_it_is() {
    let redis = Cluster::start(3);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let queues = ["a", "b", "c", "d", "e", "f"].map(|name| QueueName::new(name).expect("valid"));
    for queue in &queues {
        for number in 0..120 {
            let task = Message {
                kind: "t".into(),
                id: format!("{queue}-{number}"),
                queue: queue.to_string(),
                unique_key: unique_key(queue, "t", Some(format!("{number}").as_bytes())),
                ..Message::default()
            };
            broker.enqueue(&task, None).await.expect("stored");
        }
    }
    let holders = redis.nodes.iter().filter(|node| !node.keys("asynq:{?}:pending").is_empty()).count();
    assert!(holders > 1, "the queues are spread");
    for queue in &queues[1..] {
        let refused = broker.remove_queue(queue, false, |_| {}).await.expect("answered");
        assert_eq!(refused, QueueRemoval::NotEmpty { tasks: 120, orphans: 0 }, "{queue}");
        let removed = broker.remove_queue(queue, true, |_| {}).await.expect("deleted");
        assert_eq!(removed, QueueRemoval::Removed { tasks: 120 }, "{queue}");
        for node in &redis.nodes {
            assert_eq!(node.keys(&format!("*{{{queue}}}*")), Vec::<String>::new());
        }
    }
    assert_eq!(broker.queues().await.expect("listed"), queues[..1]);
    assert_eq!(broker.queue_summary(&queues[0]).await.expect("read").pending, 120);
}

#[tokio::test]
async fn facts_are_those_of_all_nodes() {
    let redis = Cluster::start(3);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let facts = broker.facts().await.expect("facts");
    assert_eq!((facts.run_id.split(',').count(), facts.role.as_str()), (3, "master"));
    let again = Broker::connect(&redis.endpoint()).await.expect("connect");
    assert_eq!(again.facts().await.expect("facts").run_id, facts.run_id, "whoever is asked first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_is_told_in_time_and_found_again_when_it_is_back() {
    let mut redis = Cluster::start(3);
    let q = queue("q");
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    broker.enqueue(&message(&q, "a"), None).await.expect("stored");
    let owner = redis.owner(redis.slot("{q}"));
    redis.nodes[owner].freeze();
    for id in ["b", "c"] {
        let start = Instant::now();
        let error = broker.enqueue(&message(&q, id), None).await.expect_err("nobody answers");
        assert!(error.is_retryable(), "{error}");
        assert!(start.elapsed() < HANG, "{:?}", start.elapsed());
    }
    redis.nodes[owner].thaw();
    redis.nodes[owner].kill9();
    let start = Instant::now();
    let error = broker.enqueue(&message(&q, "d"), None).await.expect_err("nobody is there");
    assert!(error.is_retryable() && start.elapsed() < HANG, "{error} {:?}", start.elapsed());
    redis.nodes[owner].start_again();
    until(3 * HANG, "it is found again", async || broker.enqueue(&message(&q, "e"), None).await.is_ok())
        .await;
    assert_eq!(redis.cli(&["HGET", "asynq:{q}:t:e", "state"]), "pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_under_load_is_replaced_by_its_replica_and_nothing_hangs() {
    let mut redis = Cluster::start_with_replicas(3);
    let queues = [queue("a"), queue("b"), queue("c")];
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let worker = Worker::start(&broker, &queues);
    let producer = Producer::start(&broker, &queues);
    until(HANG, "it is under way", async || worker.ran() > full_size(300, 3000)).await;
    let before = producer.told.stored();
    let victim = redis.owner(redis.slot("{a}"));
    redis.nodes[victim].kill9();
    until(2 * HANG, "tasks are taken again", async || producer.told.stored() > before + 100).await;
    let ran = worker.ran();
    until(HANG, "tasks run again", async || worker.ran() > ran + 100).await;
    let told = producer.stop().await;
    for queue in &queues {
        until_done(&broker, queue).await;
    }
    let (lost, doubled) = account(&told, &worker.stop().await);
    println!(
        "{} stored, {} calls failed, longest {:?}; {} lost by replication, {doubled} runs beyond one each",
        told.stored(),
        told.failures(),
        told.longest(),
        lost.len(),
    );
    assert!(told.failures() > 0, "nobody noticed");
    assert!(told.longest() < HANG, "{:?}", told.longest());
    assert!(lost.len() <= 200 && doubled <= 200, "{} lost, {doubled} doubled", lost.len());
}

#[tokio::test]
async fn a_queue_goes_by_the_clock_of_the_node_that_holds_it() {
    let clocks = [0, 100, -100];
    let redis = Cluster::start_with_clocks(&clocks);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let mut seen = std::collections::BTreeSet::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        let q = queue(name);
        let node = redis.owner(redis.slot(&format!("{{{name}}}")));
        seen.insert(node);
        let off = |at: Timestamp| at.as_second() - Timestamp::now().as_second();
        assert!((off(broker.now_in(name)) - clocks[node]).abs() <= 2, "{name}: {}", broker.now_in(name));
        // Due in a minute by this machine's clock and that of one node: past by the others' or not.
        let due = Timestamp::now() + SignedDuration::from_mins(1);
        broker.enqueue(&message(&q, "1"), Some(due)).await.expect("stored");
        let is_past = clocks[node] > 60;
        let state = redis.cli(&["HGET", &format!("asynq:{{{name}}}:t:1"), "state"]);
        assert_eq!(state, if is_past { "pending" } else { "scheduled" }, "{name}");
    }
    assert_eq!(seen.len(), 3, "each node holds one of them");
    // Less or more the time that a question and its answer take.
    assert_eq!(broker.clock_offset().abs().as_secs_f64().round(), 100.0);
}
