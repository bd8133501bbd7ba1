//! Which types workers serve, and which they met in vain.

use cronmill::task::{QueueName, QueueWeight, ServerInfo};

use crate::field::{Field, MINUTE, task};

fn info(name: &str, queue: &str) -> ServerInfo {
    ServerInfo {
        host: name.into(),
        pid: 1,
        server_id: "x".into(),
        queues: vec![QueueWeight { queue: Some(queue.into()), weight: Some(1) }],
        status: "active".into(),
        ..ServerInfo::default()
    }
}

fn owned(types: &[&str]) -> Vec<String> {
    types.iter().map(|kind| (*kind).to_owned()).collect()
}

async fn publish(field: &Field, name: &str, types: Option<&[&str]>) {
    let types = types.map(owned);
    let info = info(name, "q");
    field.broker.publish_server(&info, &[], types.as_deref(), MINUTE).await.expect("published");
}

async fn unserved(field: &Field) -> Vec<String> {
    let other = QueueName::new("other").expect("valid");
    let mut found = field.broker.unserved_types(&[other, field.queue.clone()]).await.expect("read");
    assert_eq!(found.len(), 2);
    assert!(found[0].is_empty(), "{found:?}");
    found.remove(1)
}

async fn note(field: &Field, id: &str, kind: &str) -> u64 {
    field.broker.note_unserved(&field.queue, id, kind).await.expect("noted")
}

#[tokio::test]
async fn a_type_is_unserved_until_a_live_worker_tells_that_it_serves_it() {
    let field = Field::new().await;
    publish(&field, "a", Some(&["known"])).await;
    for _ in 0..2 {
        assert_eq!(note(&field, "1", "strange:b").await, 0);
        assert_eq!(note(&field, "2", "strange:a").await, 0);
    }
    assert_eq!(unserved(&field).await, ["strange:a", "strange:b"]);
    publish(&field, "b", Some(&["strange:a"])).await;
    assert_eq!(unserved(&field).await, ["strange:b"]);
    // A worker of Go tells nothing.
    publish(&field, "go", None).await;
    assert_eq!(unserved(&field).await, [""; 0]);
    let servers = field.broker.servers().await.expect("read");
    let types =
        |host: &str| servers.iter().find(|one| one.info.host == host).expect("it lives").types.clone();
    assert_eq!((types("a"), types("go")), (Some(owned(&["known"])), None));
    for (name, left) in [("go", &["strange:b"][..]), ("b", &["strange:a", "strange:b"])] {
        field.broker.withdraw_server(&info(name, "q")).await.expect("withdrawn");
        assert_eq!(unserved(&field).await, left);
    }
}

#[tokio::test]
async fn a_worker_that_stops_serves_nothing_more() {
    let field = Field::new().await;
    note(&field, "1", "strange").await;
    publish(&field, "a", Some(&["strange"])).await;
    assert_eq!(unserved(&field).await, [""; 0]);
    let stopped = ServerInfo { status: "stopped".into(), ..info("a", "q") };
    let types = owned(&["strange"]);
    field.broker.publish_server(&stopped, &[], Some(&types), MINUTE).await.expect("published");
    assert_eq!(unserved(&field).await, ["strange"]);
}

#[tokio::test]
async fn types_met_in_vain_are_few_short_and_lapse() {
    let field = Field::new().await;
    let key = "cronmill:{q}:unserved";
    note(&field, "1", &"x".repeat(257)).await;
    assert_eq!(field.cli(&["EXISTS", key]), "0", "half of it would be another type");
    let now = field.broker.now().as_second();
    field.cli(&["ZADD", key, &(now - 1).to_string(), "long ago"]);
    assert_eq!(unserved(&field).await, [""; 0]);
    for number in 0..30 {
        note(&field, "1", &format!("type-{number:02}")).await;
    }
    assert_eq!(unserved(&field).await.len(), 20);
    assert_eq!(field.cli(&["ZSCORE", key, "long ago"]), "");
    let left: i64 = field.cli(&["TTL", key]).parse().expect("a number");
    assert!((290..=300).contains(&left), "{left}");
}

#[tokio::test]
async fn it_is_told_how_often_a_task_was_put_off_whatever_stands_in_its_place() {
    let field = Field::new().await;
    field.put(task("1")).await;
    field.cli(&["HSET", "asynq:{q}:t:1", "cronmill_snoozes", "7"]);
    field.cli(&["HSET", "asynq:{q}:t:2", "cronmill_snoozes", "many"]);
    field.cli(&["SET", "asynq:{q}:t:3", "no task"]);
    for (id, times) in [("1", 7), ("2", 0), ("3", 0), ("gone", 0)] {
        assert_eq!(note(&field, id, "strange").await, times, "{id}");
    }
}
