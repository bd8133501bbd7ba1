//! The text of every Redis key. Nothing else in the project spells one.
//!
//! asynq's own keys begin with `asynq:`, ours with `cronmill:`. All keys of one queue share the hash tag
//! `{<queue>}` and so one Redis Cluster slot, whatever the queue's name.

use crate::task::{QueueName, State};

/// Set of all queue names.
pub(super) const QUEUES: &str = "asynq:queues";
/// Zset of the keys of live servers, scored by when they go stale.
pub(super) const SERVERS: &str = "asynq:servers";
/// Zset of the keys of the running-task hashes, scored by when they go stale.
pub(super) const WORKERS: &str = "asynq:workers";
/// Channel on which the id of a task to cancel is published.
pub(super) const CANCEL: &str = "asynq:cancel";
/// Set of the queues that hold schedule entries.
pub(super) const SCHEDULED_QUEUES: &str = "cronmill:schedules";
/// Zset of the processes that fire schedules, scored by when they go stale.
pub(super) const REPLICAS: &str = "cronmill:replicas";

/// Zset of the keys of lists of periodic entries, scored by when they go stale.
pub(super) const SCHEDULERS: &str = "asynq:schedulers";

/// The key of a list of periodic entries; `scheduler` is `<host>:<pid>:<id>` with asynq, a fixed word with ours.
pub(super) fn scheduler_entries(scheduler: &str) -> String {
    format!("asynq:schedulers:{{{scheduler}}}")
}

/// Who writes such a list at the moment, of the processes that may.
pub(super) fn mirror_turn(scheduler: &str) -> String {
    format!("cronmill:schedulers:{{{scheduler}}}:turn")
}

/// Such a list while it is being written.
pub(super) fn mirror_draft(scheduler: &str) -> String {
    format!("cronmill:schedulers:{{{scheduler}}}:draft")
}

/// Which file of schedules is in force under a name.
pub(super) fn file_mark(scheduler: &str) -> String {
    format!("cronmill:schedulers:{{{scheduler}}}:file")
}

/// The key of what asynq's tools show as the history of a periodic entry.
pub(super) fn scheduler_history(entry: &str) -> String {
    format!("asynq:scheduler_history:{entry}")
}

/// A text in which Redis's patterns see nothing but itself.
pub(super) fn glob_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The key of a server's record; `owner` is `<host>:<pid>:<id>`.
pub(super) fn server(owner: &str) -> String {
    format!("asynq:servers:{{{owner}}}")
}

/// The owner whose server's record has that key.
pub(super) fn owner_of_server(record: &str) -> Option<&str> {
    let owner = record.split_once('{')?.1.strip_suffix('}')?;
    (server(owner) == record).then_some(owner)
}

/// The key of the types that a server serves.
pub(super) fn server_types(owner: &str) -> String {
    format!("cronmill:servers:{{{owner}}}:types")
}

/// The key of the hash of a server's running tasks.
pub(super) fn server_workers(owner: &str) -> String {
    format!("asynq:workers:{{{owner}}}")
}

/// A key that never exists, in the slot of a hash tag: see the link to a cluster.
pub(super) fn never(tag: &str) -> String {
    format!("cronmill:{{{tag}}}:never")
}

/// Builds the keys of one queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueKeys<'a> {
    queue: &'a str,
}

impl<'a> QueueKeys<'a> {
    pub(super) fn new(queue: &'a QueueName) -> Self {
        Self { queue: queue.as_str() }
    }

    /// What every key of this queue begins with, asynq's and ours.
    pub(super) fn prefixes(self) -> [String; 2] {
        let nothing = String::new();
        [self.asynq(&nothing), self.ours(&nothing)]
    }

    fn asynq(self, rest: &str) -> String {
        format!("asynq:{{{}}}:{rest}", self.queue)
    }

    fn ours(self, rest: &str) -> String {
        format!("cronmill:{{{}}}:{rest}", self.queue)
    }

    pub(super) fn pending(self) -> String {
        self.asynq("pending")
    }

    pub(super) fn active(self) -> String {
        self.asynq("active")
    }

    pub(super) fn lease(self) -> String {
        self.asynq("lease")
    }

    pub(super) fn scheduled(self) -> String {
        self.asynq("scheduled")
    }

    pub(super) fn retry(self) -> String {
        self.asynq("retry")
    }

    pub(super) fn archived(self) -> String {
        self.asynq("archived")
    }

    pub(super) fn completed(self) -> String {
        self.asynq("completed")
    }

    pub(super) fn groups(self) -> String {
        self.asynq("groups")
    }

    /// Key of a group's members is this and the group's name.
    pub(super) fn group_prefix(self) -> String {
        self.asynq("g:")
    }

    /// Zset of the keys of sets that are being aggregated, scored by when they go back to their groups.
    pub(super) fn aggregation_sets(self) -> String {
        self.asynq("aggregation_sets")
    }

    pub(super) fn paused(self) -> String {
        self.asynq("paused")
    }

    pub(super) fn processed(self) -> String {
        self.asynq("processed")
    }

    pub(super) fn failed(self) -> String {
        self.asynq("failed")
    }

    /// Key of one UTC day's count; `day` is `YYYY-MM-DD`.
    pub(super) fn processed_on(self, day: &str) -> String {
        self.asynq(&format!("processed:{day}"))
    }

    /// Key of one UTC day's count of failures.
    pub(super) fn failed_on(self, day: &str) -> String {
        self.asynq(&format!("failed:{day}"))
    }

    /// Key of a task is this and its id.
    pub(super) fn task_prefix(self) -> String {
        self.asynq("t:")
    }

    pub(super) fn task(self, id: &str) -> String {
        self.asynq(&format!("t:{id}"))
    }

    /// What the key of every unique lock of this queue begins with.
    pub(super) fn unique_prefix(self) -> String {
        self.asynq("unique:")
    }

    /// The lock of unique tasks of a type with a payload; `digest` is empty when there is none.
    pub(super) fn unique(self, kind: &str, digest: &str) -> String {
        let mut key = self.unique_prefix();
        key.push_str(kind);
        key.push(':');
        key.push_str(digest);
        key
    }

    /// The container that holds the ids of a state. Aggregating tasks are held per group, not here.
    pub(super) fn container(self, state: State) -> String {
        self.asynq(state.as_str())
    }

    /// Hash of who holds which active task: `<lease end> <owner>`, with ` revoked` behind it once it was taken back.
    pub(super) fn holders(self) -> String {
        self.ours("holders")
    }

    /// What an owner's last claim was given, so that the same request can be answered again.
    pub(super) fn receipt(self, owner: &str) -> String {
        self.ours(&format!("receipt:{owner}"))
    }

    /// Exists while an owner must not be given work.
    pub(super) fn cordon(self, owner: &str) -> String {
        self.ours(&format!("cordon:{owner}"))
    }

    /// Zset of the owners that wait blocked for work.
    pub(super) fn waiters(self) -> String {
        self.ours("waiters")
    }

    /// The process that keeps this queue at the moment.
    pub(super) fn keeper(self) -> String {
        self.ours("keeper")
    }

    /// How many tasks the limits of the archive have cost, by which limit.
    pub(super) fn dropped(self) -> String {
        self.ours("dropped")
    }

    /// Zset of unique tasks by when their locks are to be looked at again, in Unix s.
    pub(super) fn locks(self) -> String {
        self.ours("locks")
    }

    /// Zset of tasks that are of no use unless they begin in time, by that time in Unix ms.
    pub(super) fn expiring(self) -> String {
        self.ours("expiring")
    }

    /// The worker that looks at this queue's groups at the moment.
    pub(super) fn aggregator(self) -> String {
        self.ours("aggregator")
    }

    /// When this queue's groups are ripe, as the workers that aggregate them say.
    pub(super) fn grouping(self) -> String {
        self.ours("grouping")
    }

    /// What whoever decides about the number of this queue's workers goes by, and decided last.
    pub(super) fn fleet(self) -> String {
        self.ours("fleet")
    }

    /// Who paused the queue, why and until when.
    pub(super) fn pause_note(self) -> String {
        self.ours("pause")
    }

    /// Zset of types that a worker met without having a handler, by when that was too long ago to count.
    pub(super) fn unserved(self) -> String {
        self.ours("unserved")
    }

    /// The TaskQueue that the queue belongs to.
    pub(super) fn claim(self) -> String {
        self.ours("claim")
    }

    /// Zset of schedule entries by when they are due, in Unix ms.
    pub(super) fn due(self) -> String {
        self.ours("due")
    }

    /// Key of a schedule entry is this and its uid.
    pub(super) fn entry_prefix(self) -> String {
        self.ours("entry:")
    }

    pub(super) fn entry(self, uid: &str) -> String {
        self.ours(&format!("entry:{uid}"))
    }

    /// Key of an entry's tick ledger is this and its uid.
    pub(super) fn ticks_prefix(self) -> String {
        self.ours("ticks:")
    }

    pub(super) fn ticks(self, uid: &str) -> String {
        self.ours(&format!("ticks:{uid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_queue_has_its_hash_tag() {
        let queue = QueueName::new("a:b c").expect("valid");
        let keys = QueueKeys::new(&queue);
        assert_eq!(keys.task("x"), "asynq:{a:b c}:t:x");
        assert_eq!(keys.processed_on("2026-11-23"), "asynq:{a:b c}:processed:2026-11-23");
        assert_eq!(keys.due(), "cronmill:{a:b c}:due");
        assert_eq!(keys.container(State::Archived), keys.archived());
        assert_eq!(keys.prefixes(), ["asynq:{a:b c}:", "cronmill:{a:b c}:"]);
    }

    #[test]
    fn a_pattern_means_its_text() {
        assert_eq!(glob_escaped("a:{b*[c]?}^\\"), r"a:{b\*\[c\]\?}\^\\");
    }
}
