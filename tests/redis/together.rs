//! Many callers of one producer at the same time share their round trips, and nothing else.

use std::time::Duration;

use cronmill::producer::{Client, EnqueueError};
use futures::future::join_all;
use tokio::time::timeout;

use crate::field::{Field, HOUR, task};

/// Whoever is stranded would wait for ever.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn many_callers_share_calls_and_each_learns_of_its_own_task() {
    let field = Field::new().await;
    let client = Client::new(field.broker.clone());
    let before = field.server.calls("evalsha");
    let tasks = (0..500).map(|n| task(&format!("{}", n / 2)));
    let outcomes = timeout(LIMIT, join_all(tasks.map(|task| client.enqueue(task)))).await;
    let outcomes = outcomes.expect("nobody is stranded");
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let taken =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(EnqueueError::Conflict { .. }))).count();
    assert_eq!((stored, taken), (250, 250));
    assert!(outcomes.iter().flatten().all(|receipt| field.state(&receipt.id) == "pending"));
    assert_eq!(field.cli(&["LLEN", "asynq:{q}:pending"]), "250");
    let sent = field.server.calls("evalsha") - before;
    assert!((1..=20).contains(&sent), "{sent} calls for 500 tasks");
}

#[tokio::test]
async fn a_caller_that_loses_interest_strands_no_other() {
    let field = Field::new().await;
    field.put(task("first").unique(HOUR)).await;
    let client = Client::new(field.broker.clone());
    field.cli(&["CLIENT", "PAUSE", "300", "WRITE"]);
    let callers: Vec<_> = (0..50)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.enqueue(task(&n.to_string())).await })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    // The first ones send; of those who wait, some go as well.
    let (gone, waiting): (Vec<_>, Vec<_>) = callers.into_iter().enumerate().partition(|(n, _)| *n < 8);
    gone.iter().for_each(|(_, caller)| caller.abort());
    let served = async {
        for (n, caller) in waiting {
            let receipt = caller.await.expect("no panic").expect("stored");
            assert_eq!(receipt.id, n.to_string());
        }
        client.enqueue(task("last")).await.expect("the producer goes on");
    };
    timeout(LIMIT, served).await.expect("nobody is stranded");
}
