//! What is as it should be is not written again, however often it is looked at.

use crate::field::{Field, LIMIT, queue, task};
use crate::support::until;

#[tokio::test]
async fn a_look_without_news_writes_neither_status_nor_workers() {
    let field = Field::alone();
    let operator = field.operator("a", &["--status-writes-per-second", "50"]).await;
    field.apply(&queue("workers: {}"));
    field.apply(&task("seldom", "@yearly", ""));
    field.ready("crontask", "seldom").await;
    let is_told = |kind: &str, name: &str| field.get(kind, name)["status"]["observedAt"].is_string();
    until(LIMIT, "all is told", async || {
        is_told("crontask", "seldom")
            && is_told("taskqueue", "main")
            && field.get("taskqueue", "main")["status"]["workers"]["shown"] == "0/0"
    })
    .await;
    let written = || {
        let sorts = [("crontasks", "status"), ("taskqueues", "status"), ("deployments", ""), ("secrets", "")];
        sorts.map(|(resource, subresource)| field.writes(resource, subresource))
    };
    let looks = async || operator.metric("cronmill_operator_status_refreshes_total").await;
    let (before, refreshed) = (written(), looks().await);
    assert!(before[0] >= 2 && before[1] >= 2 && before[2] >= 1 && before[3] >= 1, "{before:?}");
    // Each of these has the operator look at the object, and changes nothing that it tells.
    for number in 0..10 {
        let note = format!("note={number}");
        for (kind, name) in [("crontask", "seldom"), ("taskqueue", "main")] {
            field.api.kubectl(&["annotate", "-n", &field.namespace, "--overwrite", kind, name, &note]);
        }
    }
    // What comes after them has been looked at after them.
    field.apply(&task("last", "@yearly", ""));
    field.ready("crontask", "last").await;
    until(LIMIT, "it is told too", async || is_told("crontask", "last")).await;
    let ours = [2, 0, 0, 0];
    let more: Vec<_> = written().iter().zip(before).map(|(now, before)| now - before).collect();
    assert_eq!(more, ours, "two writes tell of the last one");
    assert_eq!(looks().await.zip(refreshed).map(|(now, before)| now - before), Some(1.0));
}
