//! The Lua scripts: one per atomic operation, embedded, sent by hash and loaded where missing.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs};

/// A script as it is sent.
pub(super) struct Script {
    text: String,
    hash: String,
    /// How many keys it takes.
    keys: usize,
}

/// A call of a script: its keys in order, then its arguments.
pub(super) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Script {
    fn new(text: String) -> Self {
        let numbers = text.split("KEYS[").skip(1).filter_map(|rest| rest.split(']').next()?.parse().ok());
        let keys = numbers.max().unwrap_or(0);
        Self { hash: redis::Script::new(&text).get_hash().to_owned(), text, keys }
    }

    /// A call without keys and arguments yet.
    pub(super) fn call(&'static self) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(self.keys);
        Call { script: self, command }
    }

    /// A call with its first key.
    pub(super) fn key(&'static self, key: impl ToRedisArgs) -> Call {
        let mut call = self.call();
        call.key(key);
        call
    }
}

impl Call {
    /// Adds the next key. All of them come before the arguments.
    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        self.command.arg(key);
        self
    }

    /// Adds an argument, or several.
    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// What is sent.
    pub(super) fn command(&self) -> &Cmd {
        &self.command
    }

    /// What makes the script known where it is missing.
    pub(super) fn loading(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.script.text);
        command
    }
}

/// Pieces shared by scripts. They are put in front of a script's text before its hash is taken.
mod include {
    pub(super) const OWNED: &str = include_str!("lua/include/owned.lua");
    pub(super) const CANCELLED: &str = include_str!("lua/include/cancelled.lua");
    pub(super) const COUNT: &str = include_str!("lua/include/count.lua");
    pub(super) const SCORE: &str = include_str!("lua/include/score.lua");
    pub(super) const EXPIRY: &str = include_str!("lua/include/expiry.lua");
    pub(super) const LEAVE: &str = include_str!("lua/include/leave.lua");
    pub(super) const LEDGER: &str = include_str!("lua/include/ledger.lua");
    pub(super) const LIVING: &str = include_str!("lua/include/living.lua");
    pub(super) const GROUP: &str = include_str!("lua/include/group.lua");
    pub(super) const PLACE: &str = include_str!("lua/include/place.lua");
    pub(super) const RIPE: &str = include_str!("lua/include/ripe.lua");
    pub(super) const SETTLE: &str = include_str!("lua/include/settle.lua");
    pub(super) const VACANT: &str = include_str!("lua/include/vacant.lua");
    pub(super) const LOCK: &str = include_str!("lua/include/lock.lua");
    pub(super) const SOUND: &str = include_str!("lua/include/sound.lua");
    pub(super) const STRANDED: &str = include_str!("lua/include/stranded.lua");
    pub(super) const STORE: &str = include_str!("lua/include/store.lua");
    pub(super) const REVOKE: &str = include_str!("lua/include/revoke.lua");
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal $(+ $include:ident)*;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new([$(include::$include,)* include_str!(concat!("lua/", $file))].concat())
        });)*
    };
}

scripts! {
    /// Store new tasks.
    ENQUEUE = "enqueue_tasks.lua" + LOCK + STORE;
    /// Take pending tasks under a lease.
    CLAIM = "claim_tasks.lua" + OWNED;
    /// Lengthen leases.
    EXTEND = "extend_leases.lua" + OWNED + CANCELLED;
    /// End attempts that leave nothing behind.
    FINISH_DONE = "finish_done.lua" + OWNED + SCORE + LEAVE + COUNT;
    /// End attempts.
    FINISH = "finish_attempts.lua" + OWNED + SCORE + LEAVE + CANCELLED + COUNT;
    /// Store a handler's result.
    RESULT = "write_result.lua" + OWNED;
    /// Move due tasks to pending.
    FORWARD = "forward_tasks.lua" + LEAVE + EXPIRY;
    /// Read tasks whose lease is over.
    EXPIRED = "read_expired.lua" + OWNED + CANCELLED + STRANDED;
    /// Read what a dead worker holds.
    HELD = "read_held.lua" + OWNED + CANCELLED + STRANDED;
    /// Read pending tasks that name a time to begin by.
    UNSTARTED = "read_unstarted.lua";
    /// Forget the times of tasks that have begun or ended.
    WEED_EXPIRING = "weed_expiring.lua";
    /// Find late tasks in a stretch of the pending list.
    FIND_EXPIRING = "find_expiring.lua";
    /// Archive pending tasks nobody began in time.
    EXPIRE = "expire_tasks.lua" + LEAVE;
    /// Ask for an attempt to be stopped.
    CANCEL = "cancel_task.lua" + OWNED;
    /// Read which attempts are to be stopped.
    CANCELS = "read_cancels.lua" + OWNED + CANCELLED;
    /// Delete what is past its time; repair what is stranded.
    CLEAN = "clean_queue.lua" + LEAVE;
    /// Become or stay a queue's keeper.
    KEEPER = "take_keeper.lua";
    /// Become or stay one of a queue's waiters.
    WAITER = "take_waiter.lua";
    /// Stop a queue from being claimed.
    PAUSE = "pause_queue.lua";
    /// Let a queue be claimed again.
    RESUME = "resume_queue.lua";
    /// Note a type without a handler.
    NOTE_UNSERVED = "note_unserved.lua";
    /// Publish a server, its running tasks and its types.
    SERVER = "write_server.lua";
    /// Move a waiting task to pending.
    RUN = "run_task.lua" + LEAVE + GROUP + PLACE + LOCK;
    /// Delete a task that is not running.
    DELETE = "delete_task.lua" + LEAVE + GROUP + PLACE;
    /// Give up a task that is not running.
    ARCHIVE = "archive_task.lua" + LEAVE + GROUP + PLACE;
    /// Give a task another time.
    RESCHEDULE = "reschedule_task.lua" + LEAVE + GROUP + PLACE + LOCK;
    /// Replace the message of a task that is not running.
    EDIT = "edit_task.lua";
    /// Handle the first tasks of a container.
    SWEEP = "sweep_tasks.lua" + LEAVE + SETTLE;
    /// Handle named tasks of a zset.
    PICK = "pick_tasks.lua" + LEAVE + SETTLE + LOCK;
    /// Handle named tasks in the middle of the pending list.
    PICK_PENDING = "pick_pending.lua" + LEAVE + SETTLE;
    /// Stop the claims of a queue that is to be deleted.
    CLOSE_QUEUE = "close_queue.lua" + VACANT;
    /// Delete keys of a queue that holds nothing.
    DROP_KEYS = "drop_keys.lua" + VACANT;
    /// Keep the locks of unique tasks that live.
    RENEW_LOCKS = "renew_locks.lua" + LEAVE + LOCK;
    /// Take what is ripe in groups.
    TAKE_SETS = "take_sets.lua" + RIPE;
    /// Count the groups that are ripe soon.
    READ_RIPE = "read_ripe.lua" + RIPE;
    /// Put a new task in the place of an aggregated set.
    FINISH_SETS = "finish_sets.lua" + LEAVE + LOCK + STORE;
    /// Say when aggregation sets go back to their groups.
    HOLD_SETS = "hold_sets.lua";
    /// Give aggregation sets back to their groups.
    RECLAIM_SETS = "reclaim_sets.lua";
    /// Archive an unreadable task of an aggregation set.
    QUARANTINE_MEMBER = "quarantine_member.lua" + LEAVE;
    /// Write a schedule entry.
    PUT_ENTRY = "put_entry.lua" + LEDGER;
    /// Remove a schedule entry, or stop it from firing.
    RETIRE_ENTRY = "retire_entry.lua";
    /// Take a queue for one TaskQueue.
    CLAIM_QUEUE = "claim_queue.lua";
    /// Give it back.
    YIELD_QUEUE = "yield_queue.lua";
    /// Set an entry aside.
    FAULT_ENTRY = "fault_entry.lua";
    /// Read the entries due soon.
    DUE = "read_due.lua";
    /// Read what a queue asks of its workers.
    DEMAND = "read_demand.lua";
    /// Write the list of schedules that asynq's tools read.
    PUBLISH_ENTRIES = "publish_entries.lua";
    /// Take that list away.
    WITHDRAW_ENTRIES = "withdraw_entries.lua";
    /// Fire due ticks.
    FIRE = "fire_entries.lua" + LEDGER + LEAVE + GROUP + LIVING + SOUND + REVOKE + LOCK + STORE;
}
