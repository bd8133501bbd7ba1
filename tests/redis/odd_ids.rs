//! Ids as people make them up.

use cronmill::broker::{BulkVerb, Enqueued, Selection};
use cronmill::task::State;
use jiff::SignedDuration;

use crate::yard::Yard;

fn ids() -> Vec<String> {
    let odd =
        [" a b  c ", "a/b//../c", "/", "a:b|c%d", "{x}", "a\nb\t\0c", "*?[a-z]", "ü 漢字", "-1", "'\"\\"];
    odd.map(str::to_owned).into_iter().chain(["x".repeat(300), "ü/ ".repeat(100)]).collect()
}

#[tokio::test]
async fn ids_of_300_bytes_spaces_and_slashes_go_the_whole_way() {
    let yard = Yard::new().await;
    let (broker, q) = (&yard.broker, &yard.queue);
    let hour = SignedDuration::from_hours(1);
    for id in ids() {
        let message = yard.message(&id, "t");
        assert_eq!(broker.enqueue(&message, None).await.expect("sent"), Enqueued::Stored, "{id:?}");
        assert_eq!(broker.enqueue(&message, None).await.expect("sent"), Enqueued::Conflict, "{id:?}");
        assert_eq!(yard.claim(9).await, std::slice::from_ref(&message), "{id:?}");
        assert!(yard.done(message.clone()).await, "{id:?}");
        assert_eq!(broker.task(q, &id).await.expect("read").map(|task| task.state), None, "{id:?}");

        broker.enqueue(&message, Some(broker.now() + hour)).await.expect("sent");
        broker.run_now(q, &id).await.expect("moved");
        broker.archive(q, &id).await.expect("moved");
        broker.reschedule(q, &id, broker.now() + hour).await.expect("moved");
        assert_eq!(
            broker.task(q, &id).await.expect("read").expect("there").state,
            State::Scheduled,
            "{id:?}"
        );
        yard.assert_sound();
    }
    let count = ids().len() as u64;
    assert_eq!(yard.count(State::Scheduled).await, count);
    for (verb, state) in [
        (BulkVerb::Run, State::Scheduled),
        (BulkVerb::Archive, State::Pending),
        (BulkVerb::Delete, State::Archived),
    ] {
        let selection = Selection::of(state).kind("t");
        assert_eq!(broker.bulk(q, verb, &selection, |_| {}).await.expect("handled").tasks, count, "{verb:?}");
        yard.assert_sound();
    }
    assert_eq!(yard.server.keys("asynq:{q}:t:*"), Vec::<String>::new());
}
