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
    pub(super) const LEAVE: &str = include_str!("lua/include/leave.lua");
    pub(super) const LEDGER: &str = include_str!("lua/include/ledger.lua");
    pub(super) const LIVING: &str = include_str!("lua/include/living.lua");
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
    ENQUEUE = "enqueue_tasks.lua";
    /// Take pending tasks under a lease.
    CLAIM = "claim_tasks.lua" + OWNED;
    /// Lengthen leases.
    EXTEND = "extend_leases.lua" + OWNED;
    /// End attempts.
    FINISH = "finish_attempts.lua" + OWNED + LEAVE;
    /// Store a handler's result.
    RESULT = "write_result.lua" + OWNED;
    /// Move due tasks to pending.
    FORWARD = "forward_tasks.lua";
    /// Read tasks whose lease is over.
    EXPIRED = "read_expired.lua";
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
    /// Publish a server and its running tasks.
    SERVER = "write_server.lua";
    /// Move a waiting task to pending.
    RUN = "run_task.lua";
    /// Delete a task that is not running.
    DELETE = "delete_task.lua" + LEAVE;
    /// Write a schedule entry.
    PUT_ENTRY = "put_entry.lua" + LEDGER;
    /// Remove a schedule entry, or stop it from firing.
    RETIRE_ENTRY = "retire_entry.lua";
    /// Set an entry aside.
    FAULT_ENTRY = "fault_entry.lua";
    /// Read the entries due soon.
    DUE = "read_due.lua";
    /// Count the ticks due soon.
    FORECAST = "read_forecast.lua";
    /// Fire due ticks.
    FIRE = "fire_entries.lua" + LEDGER + LEAVE + LIVING + REVOKE;
}
