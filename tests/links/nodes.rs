//! Which nodes hold a queue.

use cronmill::broker::Broker;
use cronmill::task::QueueName;

use crate::support::{Cluster, RedisServer, until};

#[tokio::test]
async fn the_nodes_of_a_queue_are_its_master_and_that_ones_replicas() {
    let redis = Cluster::start_with_replicas(3);
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    let mut masters = Vec::new();
    for name in ["a", "b", "c", "two words", "a}b", "{", "ü"] {
        let queue = QueueName::new(name).expect("valid");
        let slot = redis.slot(&format!("asynq:{{{name}}}:pending"));
        let port = redis.nodes[redis.owner(slot)].port();
        // What each node says of itself and the others: id, address, flags, whose replica it is, and so on.
        let told = redis.cli(&["CLUSTER", "NODES"]);
        let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split(' ').collect()).collect();
        let address = |line: &[&str]| line[1].split('@').next().expect("a text").to_owned();
        let master =
            lines.iter().find(|line| address(line) == format!("127.0.0.1:{port}")).expect("it is known");
        let replica = lines.iter().find(|line| line[3] == master[0]).expect("each master has one");
        let expected: Vec<_> = [master, replica].map(|line| (line[0].to_owned(), address(line))).into();
        // A node may learn of a replica a moment later than the others.
        until(crate::load::HANG, "both nodes are told", async || {
            let nodes = broker.cluster_nodes(&queue).await.expect("answered");
            nodes.into_iter().map(|node| (node.id, node.address)).collect::<Vec<_>>() == expected
        })
        .await;
        masters.push(port);
    }
    masters.sort_unstable();
    masters.dedup();
    assert!(masters.len() > 1, "the queues are spread");
}

#[tokio::test]
async fn a_single_server_has_no_nodes() {
    let redis = RedisServer::options().start();
    let broker = Broker::connect(&redis.endpoint()).await.expect("connect");
    assert_eq!(broker.cluster_nodes(&QueueName::new("q").expect("valid")).await.expect("answered"), []);
}
