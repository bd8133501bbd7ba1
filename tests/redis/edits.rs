//! One task archived, edited or given another time.

use bytes::Bytes;
use cronmill::broker::{Archived, Deleted, Edited, Rescheduled};
use cronmill::task::{Message, State};
use jiff::SignedDuration;

use crate::yard::Yard;

const WAITING: [State; 6] =
    [State::Pending, State::Scheduled, State::Retry, State::Archived, State::Completed, State::Aggregating];
/// MD5 of `{}` and of `{"a":1}`.
const OLD: &str = "asynq:{q}:unique:mail:99914b932bd37a50b983c5e7c90ae93b";
const NEW: &str = "asynq:{q}:unique:mail:bb6cb5c68df4652941caf652a366f2d8";

impl Yard {
    async fn edit(&self, id: &str) -> Edited {
        let payload = Bytes::from_static(br#"{"a":1}"#);
        self.broker.edit_payload(&self.queue, id, &payload).await.expect("edit")
    }

    async fn unique(&self, id: &str) {
        let message = Message { unique_key: OLD.into(), ..self.message(id, "mail") };
        self.broker.enqueue(&message, None).await.expect("enqueue");
        self.cli(&["SET", OLD, id, "EX", "1000"]);
        self.cli(&["HSET", &format!("asynq:{{q}}:t:{id}"), "unique_key", OLD]);
    }

    async fn stored(&self, id: &str) -> Message {
        self.broker.task(&self.queue, id).await.expect("read").expect("there").message
    }
}

#[tokio::test]
async fn a_task_in_any_state_is_archived_once() {
    for state in WAITING {
        let yard = Yard::new().await;
        yard.fill(state, 3, "a", |_| "t".to_owned()).await;
        let expected = if state == State::Archived { Archived::Already } else { Archived::From(state) };
        assert_eq!(yard.broker.archive(&yard.queue, "a00001").await.expect("asked"), expected);
        yard.assert_sound();
        assert_eq!(yard.broker.archive(&yard.queue, "a00001").await.expect("asked"), Archived::Already);
        assert_eq!(yard.broker.archive(&yard.queue, "none").await.expect("asked"), Archived::Absent);
    }
    let yard = Yard::new().await;
    yard.fill(State::Active, 1, "a", |_| "t".to_owned()).await;
    assert_eq!(yard.broker.archive(&yard.queue, "a00000").await.expect("asked"), Archived::Active);
    yard.assert_sound();
}

#[tokio::test]
async fn a_task_that_is_being_aggregated_is_let_alone() {
    let yard = Yard::new().await;
    yard.fill(State::Aggregating, 2, "a", |_| "t".to_owned()).await;
    yard.cli(&["RENAME", "asynq:{q}:g:g0", "asynq:{q}:g:g0:set"]);
    yard.cli(&["ZADD", "asynq:{q}:aggregation_sets", "9999999999", "asynq:{q}:g:g0:set"]);
    let id = "a00000";
    let all = |yard: &Yard| {
        let keys = yard.server.keys("*");
        keys.into_iter().map(|key| (yard.server.cli_bytes(["DUMP", &key]), key)).collect::<Vec<_>>()
    };
    let before = all(&yard);
    assert_eq!(yard.broker.archive(&yard.queue, id).await.expect("asked"), Archived::Active);
    assert_eq!(yard.broker.delete(&yard.queue, id).await.expect("asked"), Deleted::Active);
    let due = yard.broker.now();
    assert_eq!(yard.broker.reschedule(&yard.queue, id, due).await.expect("asked"), Rescheduled::Active);
    assert_eq!(all(&yard), before);
}

#[tokio::test]
async fn a_task_gets_another_time_whatever_it_waits_for() {
    for state in WAITING {
        let yard = Yard::new().await;
        yard.fill(state, 3, "a", |_| "t".to_owned()).await;
        let due = yard.broker.now() + SignedDuration::from_hours(5);
        for _ in 0..2 {
            let done = yard.broker.reschedule(&yard.queue, "a00001", due).await.expect("asked");
            let waits = if state == State::Retry { State::Retry } else { State::Scheduled };
            assert!(matches!(done, Rescheduled::From(was) if was == state || was == waits), "{done:?}");
            yard.assert_sound();
            let score = yard.cli(&["ZSCORE", &format!("asynq:{{q}}:{waits}"), "a00001"]);
            assert_eq!(score.parse::<i64>().expect("a number") - due.as_second(), 1, "rounded up");
        }
    }
}

#[tokio::test]
async fn an_edited_payload_takes_the_lock_of_a_unique_task_along() {
    let yard = Yard::new().await;
    yard.unique("a").await;
    assert_eq!(yard.edit("a").await, Edited::In(State::Pending));
    assert_eq!(yard.cli(&["EXISTS", OLD]), "0");
    assert_eq!(yard.cli(&["GET", NEW]), "a");
    let left: i64 = yard.cli(&["TTL", NEW]).parse().expect("a number");
    assert!((900..=1000).contains(&left), "{left}");
    let stored = yard.stored("a").await;
    assert_eq!((stored.payload.as_ref(), stored.unique_key.as_str()), (&br#"{"a":1}"#[..], NEW));
    assert_eq!(yard.cli(&["HGET", "asynq:{q}:t:a", "unique_key"]), NEW);
    assert_eq!(yard.edit("a").await, Edited::In(State::Pending), "again, and nothing changes");
    assert_eq!(yard.cli(&["GET", NEW]), "a");
    assert_eq!(yard.broker.delete(&yard.queue, "a").await.expect("asked"), Deleted::From(State::Pending));
    assert_eq!(yard.cli(&["EXISTS", NEW]), "0");
}

#[tokio::test]
async fn an_edit_that_would_make_a_second_unique_task_changes_nothing() {
    let yard = Yard::new().await;
    yard.unique("a").await;
    yard.cli(&["SET", NEW, "b"]);
    assert_eq!(yard.edit("a").await, Edited::Duplicate { holder: "b".into() });
    assert_eq!((yard.cli(&["GET", OLD]), yard.cli(&["GET", NEW])), ("a".into(), "b".into()));
    assert_eq!(yard.stored("a").await.payload.as_ref(), b"{}");
    // One whose lock has run out holds none, so it takes none from anybody.
    yard.cli(&["DEL", OLD]);
    assert_eq!(yard.edit("a").await, Edited::In(State::Pending));
    assert_eq!((yard.cli(&["EXISTS", OLD]), yard.cli(&["GET", NEW])), ("0".into(), "b".into()));
}

#[tokio::test]
async fn what_runs_or_is_not_there_is_not_edited() {
    let yard = Yard::new().await;
    yard.fill(State::Active, 1, "a", |_| "t".to_owned()).await;
    assert_eq!(yard.edit("a00000").await, Edited::Active);
    assert_eq!(yard.edit("none").await, Edited::Absent);
    yard.cli(&["HSET", "asynq:{q}:t:bad", "msg", "\u{1}", "state", "archived"]);
    assert_eq!(yard.edit("bad").await, Edited::Undecodable);
    assert_eq!(yard.stored("a00000").await.payload.as_ref(), b"{}");
}
