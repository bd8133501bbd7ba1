//! Names of groups as other programs may write them: any bytes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use cronmill::broker::{Archived, BulkVerb, Deleted, Ran, Selection, SetFinished};
use cronmill::producer::Task;
use cronmill::task::State;

use crate::field::{Field, HOUR, LIMITS, MINUTE};

/// Not UTF-8, with what separates the parts of a key, and alike once what is no text is replaced.
const NAMES: [&[u8]; 2] = [b"\xff:\xc3( g", b"\xfe:\xc3( g"];
const SHOWN: &str = "\u{fffd}:\u{fffd}( g";

const WAITING: State = State::Aggregating;

impl Field {
    fn cli_raw(&self, args: &[&[u8]]) -> Vec<u8> {
        self.server.cli_bytes(args.iter().map(|arg| OsStr::from_bytes(arg)))
    }

    /// Has a unique task of this id join a group of this name an hour ago.
    async fn join(&self, name: &[u8], id: &str) {
        self.put(Task::new(id, None).queue("q").id(id).group("text").unique(HOUR)).await;
        self.cli(&["DEL", "asynq:{q}:g:text"]);
        self.cli(&["SREM", "asynq:{q}:groups", "text"]);
        self.cli_raw(&[b"ZADD", &group_key(name), b"1000", id.as_bytes()]);
        self.cli_raw(&[b"SADD", b"asynq:{q}:groups", name]);
        self.cli_raw(&[b"HSET", format!("asynq:{{q}}:t:{id}").as_bytes(), b"group", name]);
    }
}

fn group_key(name: &[u8]) -> Vec<u8> {
    [b"asynq:{q}:g:", name].concat()
}

// Names and keys of sets were read as text, so such a set was taken, never found again, and put back, for ever.
#[tokio::test]
async fn a_group_whose_name_is_no_text_is_aggregated_like_any_other() {
    let field = Field::new().await;
    for (name, ids) in NAMES.into_iter().zip([["a", "b"], ["c", "d"]]) {
        for id in ids {
            field.join(name, id).await;
        }
    }
    field.cli(&["HSET", "asynq:{q}:t:b", "msg", "nonsense"]);
    let mut sets = field.take(&LIMITS).await;
    sets.sort_by_key(|set| set.tasks[0].id.clone());
    let found: Vec<_> = sets.iter().map(|set| (set.group.as_ref(), set.tasks.len())).collect();
    assert_eq!(found, [(NAMES[0], 1), (NAMES[1], 2)]);
    for set in &sets {
        assert!(field.broker.hold_set(&field.queue, &set.key, MINUTE).await.expect("Redis answers"));
    }
    let shown = field.broker.groups(&field.queue, 10).await.expect("Redis answers");
    let shown: Vec<_> = shown.iter().map(|group| (group.name.as_str(), group.aggregating)).collect();
    assert_eq!(shown, [(SHOWN, 2), (SHOWN, 2)]);

    // What nobody can read in it is archived.
    let (id, raw, reason) = sets[0].unreadable[0].clone();
    let archived = field.broker.quarantine_member(&field.queue, &sets[0].key, &id, raw, &reason).await;
    assert!(archived.expect("Redis answers"));
    for (set, made) in sets.iter().zip(["m", "n"]) {
        assert_eq!(field.finish_set(set, field.made(made)).await, SetFinished::Stored);
        assert_eq!(field.finish_set(set, field.made(made)).await, SetFinished::Lost);
    }
    assert_eq!(field.cli(&["LRANGE", "asynq:{q}:pending", "0", "-1"]), "n\nm");
    assert_eq!(field.server.keys("asynq:{q}:t:*"), ["b", "m", "n"].map(|id| format!("asynq:{{q}}:t:{id}")));
    assert_eq!(field.cli(&["EXISTS", "asynq:{q}:groups", "asynq:{q}:aggregation_sets"]), "0");
    field.assert_no_lock();
}

#[tokio::test]
async fn a_set_goes_back_to_a_group_whose_name_is_no_text() {
    let field = Field::new().await;
    field.join(NAMES[0], "a").await;
    let set = field.take(&LIMITS).await.remove(0);
    field.cli_raw(&[b"ZADD", b"asynq:{q}:aggregation_sets", b"1", &set.key]);
    assert_eq!(field.reclaim().await, 1);
    assert_eq!(field.cli_raw(&[b"SMEMBERS", b"asynq:{q}:groups"]), NAMES[0]);
    assert_eq!(field.cli_raw(&[b"ZRANGE", &group_key(NAMES[0]), b"0", b"-1"]), b"a");
    assert_eq!(field.finish_set(&set, field.made("late")).await, SetFinished::Lost);
    assert_eq!(field.take(&LIMITS).await.remove(0).group, NAMES[0]);
}

#[tokio::test]
async fn a_task_leaves_a_group_whose_name_is_no_text_with_its_name() {
    let field = Field::new().await;
    let (broker, q) = (&field.broker, &field.queue);
    for step in ["delete", "run", "archive", "all"] {
        field.join(NAMES[0], step).await;
        match step {
            "delete" => {
                assert_eq!(broker.delete(q, step).await.expect("Redis answers"), Deleted::From(WAITING))
            }
            "run" => assert_eq!(broker.run_now(q, step).await.expect("Redis answers"), Ran::From(WAITING)),
            "archive" => {
                assert_eq!(broker.archive(q, step).await.expect("Redis answers"), Archived::From(WAITING));
            }
            _ => {
                let selection = Selection::of(WAITING);
                let handled = broker.bulk(q, BulkVerb::Delete, &selection, |_| {}).await;
                assert_eq!(handled.expect("Redis answers").tasks, 1);
            }
        }
        assert_eq!(field.cli(&["EXISTS", "asynq:{q}:groups"]), "0", "{step}");
        assert_eq!(field.cli_raw(&[b"EXISTS", &group_key(NAMES[0])]), b"0", "{step}");
    }
}
