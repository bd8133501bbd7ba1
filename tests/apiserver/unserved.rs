//! A type that no worker serves, as a condition.

use cronmill::broker::Broker;
use cronmill::producer::{Client, Task as NewTask};
use cronmill::task::QueueName;
use cronmill::worker::{Context, Mux, Server, Task};
use tokio_util::sync::CancellationToken;

use crate::field::{Field, LIMIT, queue};
use crate::support::until;

/// A worker of the queue `default` with handlers for these types, until the token is cancelled.
fn work(broker: &Broker, kinds: &[&str]) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let mut mux = Mux::new();
    for kind in kinds {
        mux.handle(*kind, |_: Context, _: Task| async { Ok(()) }).unwrap();
    }
    let token = CancellationToken::new();
    let server =
        Server::builder(broker.clone()).queue(QueueName::new("default").unwrap(), 1).build().unwrap();
    let running = server.run(mux, token.clone());
    (token, tokio::spawn(async move { running.await.unwrap() }))
}

#[tokio::test]
async fn a_type_that_no_worker_serves_is_told_until_one_does() {
    let field = Field::new();
    let _operator = field.operator("a", &[]).await;
    field.apply(&queue(""));
    field.ready("taskqueue", "main").await;
    let broker = Broker::connect(&field.redis.plain_url().parse().unwrap()).await.unwrap();
    let condition = || field.condition("taskqueue", "main", "HandlersAvailable");
    let (stop_old, old) = work(&broker, &["known"]);
    Client::new(broker.clone()).enqueue(NewTask::new("strange", None).max_retry(0)).await.unwrap();
    until(LIMIT, "it is told", async || condition().is_some()).await;
    let (status, reason, message) = condition().unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "TypeNotServed"));
    assert!(message.contains("\"strange\" in queue default"), "{message}");
    let ready = field.condition("taskqueue", "main", "Ready").map(|(status, _, _)| status);
    assert_eq!(ready.as_deref(), Some("True"), "the spec is in force all the same");

    let (stop_new, new) = work(&broker, &["known", "strange"]);
    until(LIMIT, "it is told no more", async || condition().is_none()).await;
    let queue = QueueName::new("default").unwrap();
    until(LIMIT, "the task has run", async || broker.queue_summary(&queue).await.unwrap().size() == 0).await;
    let summary = broker.queue_summary(&queue).await.unwrap();
    assert_eq!((summary.processed_total, summary.failed_total), (1, 0));
    for (stop, running) in [(stop_old, old), (stop_new, new)] {
        stop.cancel();
        running.await.unwrap();
    }
}
