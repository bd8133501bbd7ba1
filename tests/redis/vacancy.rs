//! Queues with nothing to keep: they cost next to nothing, and what one of them gets is seen to at once.

use std::collections::BTreeMap;
use std::time::Duration;

use cronmill::broker::{ArchiveLimits, Broker, PauseNote};
use cronmill::keeper::Keepers;
use cronmill::producer::Client;
use cronmill::task::QueueName;
use jiff::SignedDuration;

use crate::field::{Field, HOUR, task};
use crate::support::until;

const LIMIT: Duration = Duration::from_secs(20);
/// Tasks that ended are looked for less often.
const SELDOM: Duration = Duration::from_secs(60);

fn keep<'a>(field: &Field, names: impl IntoIterator<Item = &'a str>) -> Keepers {
    let queues =
        names.into_iter().map(|name| (QueueName::new(name).expect("valid"), ArchiveLimits::default()));
    let mut keepers = Keepers::new(field.broker.clone(), field.owner.clone(), |_, _| {});
    keepers.keep(&queues.collect::<BTreeMap<_, _>>());
    keepers
}

/// Waits until no keeper calls a script any more.
async fn quiet(field: &Field) {
    let mut before = field.server.calls("evalsha");
    let still = async || {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let now = field.server.calls("evalsha");
        std::mem::replace(&mut before, now) == now
    };
    until(LIMIT, "nothing is kept", still).await;
}

#[tokio::test]
async fn queues_with_nothing_to_keep_cost_a_few_questions_a_second_together() {
    const QUEUES: u64 = 50;
    let field = Field::new().await;
    let names: Vec<_> = (0..QUEUES).map(|n| format!("empty-{n}")).collect();
    let mut keepers = keep(&field, names.iter().map(String::as_str));
    quiet(&field).await;
    let before = [field.server.calls("evalsha"), field.server.calls("exists")];
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = [field.server.calls("evalsha") - before[0], field.server.calls("exists") - before[1]];
    keepers.end().await;
    assert_eq!(used[0], 0, "scripts");
    // Where their keys may be on different servers, each is asked about by itself.
    let questions = if field.server.is_cluster() { QUEUES..=4 * QUEUES } else { 2..=QUEUES / 2 };
    assert!(questions.contains(&used[1]), "{} questions", used[1]);
}

#[tokio::test]
async fn one_queue_with_something_to_keep_has_none_of_the_others_kept() {
    let field = Field::new().await;
    let names: Vec<_> = (0..100).map(|n| format!("empty-{n}")).collect();
    let mut keepers = keep(&field, names.iter().map(String::as_str));
    quiet(&field).await;
    for queue in ["empty-5", "empty-77"] {
        field.put(task("x").queue(queue).after(HOUR)).await;
        let kept = async || {
            let before = field.server.calls("evalsha");
            tokio::time::sleep(Duration::from_secs(1)).await;
            field.server.calls("evalsha") - before
        };
        until(LIMIT, "it is kept", async || kept().await > 0).await;
        // One takes some fifteen a second.
        let scripts = kept().await;
        assert!((5..40).contains(&scripts), "{scripts} scripts while there is something in {queue}");
        field.cli(&["DEL", &format!("asynq:{{{queue}}}:scheduled")]);
        quiet(&field).await;
    }
    keepers.end().await;
}

/// A queue of each sort of thing that is to be kept; each is empty before it gets that.
struct Cases<'a> {
    field: &'a Field,
    client: Client,
    broker: &'a Broker,
}

impl Cases<'_> {
    const NAMES: [&'static str; 7] = ["scheduled", "retry", "lease", "expiring", "pause", "set", "completed"];

    fn cli(&self, words: &[&str]) -> String {
        self.field.cli(words)
    }

    async fn put(&self, queue: &str, after: Duration) {
        let new = task("x").queue(queue).after(after);
        self.client.enqueue(new).await.expect("stored");
    }

    /// Gives each queue what its name says, long past its time.
    async fn give(&self) {
        self.put("scheduled", HOUR).await;
        self.cli(&["ZADD", "asynq:{scheduled}:scheduled", "1000", "x"]);
        self.put("retry", HOUR).await;
        self.cli(&["HSET", "asynq:{retry}:t:x", "state", "retry"]);
        self.cli(&["ZADD", "asynq:{retry}:retry", "1000", "x"]);
        self.cli(&["DEL", "asynq:{retry}:scheduled"]);
        self.put("lease", Duration::ZERO).await;
        self.cli(&["HSET", "asynq:{lease}:t:x", "state", "active"]);
        self.cli(&["ZADD", "asynq:{lease}:lease", "1000", "x"]);
        self.cli(&["LMOVE", "asynq:{lease}:pending", "asynq:{lease}:active", "LEFT", "LEFT"]);
        let soon = task("x").queue("expiring").expires_at(self.broker.now() + SignedDuration::from_secs(2));
        self.client.enqueue(soon).await.expect("stored");
        let until = Some(self.broker.now() + SignedDuration::from_secs(1));
        let pause = PauseNote { source: "cli".into(), until, ..PauseNote::default() };
        self.broker.pause(&QueueName::new("pause").expect("valid"), &pause).await.expect("paused");
        self.cli(&["ZADD", "asynq:{set}:g:g:old", "1000", "x"]);
        self.cli(&["ZADD", "asynq:{set}:aggregation_sets", "1000", "asynq:{set}:g:g:old"]);
        self.put("completed", HOUR).await;
        self.cli(&["HSET", "asynq:{completed}:t:x", "state", "completed"]);
        self.cli(&["ZADD", "asynq:{completed}:completed", "1000", "x"]);
        self.cli(&["DEL", "asynq:{completed}:scheduled"]);
    }

    fn state(&self, queue: &str) -> String {
        self.cli(&["HGET", &format!("asynq:{{{queue}}}:t:x"), "state"])
    }

    /// Whether what keeping does has been done there.
    fn is_kept(&self, queue: &str) -> bool {
        match queue {
            "expiring" => self.state(queue) == "archived",
            "pause" => self.cli(&["EXISTS", "asynq:{pause}:paused"]) == "0",
            "set" => self.cli(&["EXISTS", "asynq:{set}:aggregation_sets"]) == "0",
            "completed" => self.cli(&["EXISTS", "asynq:{completed}:t:x"]) == "0",
            due => self.state(due) == "pending",
        }
    }
}

#[tokio::test]
async fn whatever_a_queue_gets_that_was_empty_is_kept() {
    let field = Field::new().await;
    let mut keepers = keep(&field, Cases::NAMES);
    quiet(&field).await;
    let cases = Cases { field: &field, client: Client::new(field.broker.clone()), broker: &field.broker };
    cases.give().await;
    for queue in Cases::NAMES {
        let limit = if queue == "completed" { SELDOM } else { LIMIT };
        until(limit, queue, async || cases.is_kept(queue)).await;
    }
    keepers.end().await;
}

#[tokio::test]
async fn a_queue_that_is_kept_no_more_is_left_alone() {
    let field = Field::new().await;
    let mut keepers = keep(&field, ["a", "b"]);
    quiet(&field).await;
    keepers.keep(&BTreeMap::from([(QueueName::new("b").expect("valid"), ArchiveLimits::default())]));
    for queue in ["a", "b"] {
        field.put(task("x").queue(queue).after(HOUR)).await;
        field.cli(&["ZADD", &format!("asynq:{{{queue}}}:scheduled"), "1000", "x"]);
    }
    let state = |queue: &str| field.cli(&["HGET", &format!("asynq:{{{queue}}}:t:x"), "state"]);
    until(LIMIT, "the other is kept", async || state("b") == "pending").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(state("a"), "scheduled");
    keepers.end().await;
}
