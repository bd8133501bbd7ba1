//! What can go wrong between us and Redis.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::bulk::BulkVerb;
use crate::task::{DecodeError, QueueNameError, State};

/// A failed conversation with Redis. No variant's text holds a password, a payload or a full URL.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The URL does not name a Redis.
    #[error(
        "read the Redis URL: {0}; allowed are redis://[user:password@]host[:port][/db], unix:///path, redis-sentinel://[user:password@]host[:port],…[/db]?master=name, redis-cluster://[user:password@]host[:port],…, and for TLS rediss://, rediss-sentinel://, rediss-cluster://"
    )]
    Url(String),
    /// The certificate authority for TLS cannot be used.
    #[error("read the certificate authority for Redis from {path}")]
    Authority {
        /// The file.
        path: String,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// No connection.
    #[error("connect to Redis at {address}")]
    Connect {
        /// Host and port, or the socket's path.
        address: String,
        /// Why not.
        source: RedisError,
    },
    /// Redis refused who we said we are.
    #[error(
        "log in to Redis at {address} as {user}: Redis refused; check user name and password in the URL ({source})"
    )]
    Login {
        /// Host and port, or the socket's path.
        address: String,
        /// The user tried.
        user: String,
        /// What Redis said.
        source: RedisError,
    },
    /// Redis is older than we can use.
    #[error("Redis at {address} is version {found}; at least {needed} is needed")]
    TooOld {
        /// Host and port, or the socket's path.
        address: String,
        /// Its version.
        found: String,
        /// The oldest version that works.
        needed: &'static str,
    },
    /// Redis would throw tasks away when its memory is full.
    #[error(
        "Redis at {address} has maxmemory-policy {policy}, which deletes tasks when memory is full; set it to noeviction"
    )]
    Evicts {
        /// Host and port, or the socket's path.
        address: String,
        /// The policy found.
        policy: String,
    },
    /// The URL names a server that takes no writes.
    #[error(
        "Redis at {address} is a read-only replica; name its master, or its Sentinels with redis-sentinel://host:port,…?master=name"
    )]
    Replica {
        /// Host and port, or the socket's path.
        address: String,
    },
    /// The URL names another sort of server than there is.
    #[error("Redis at {address} {found}; use {instead}")]
    OtherKind {
        /// Host and port, or the socket's path.
        address: String,
        /// What it is.
        found: &'static str,
        /// How to name it.
        instead: &'static str,
    },
    /// A queue's name cannot be used.
    #[error(transparent)]
    QueueName(#[from] QueueNameError),
    /// One task is larger than Redis or our limit takes.
    #[error("task {id} has {bytes} bytes; at most {max} fit")]
    TooLarge {
        /// The task's id.
        id: String,
        /// Size of its message.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Tasks in that state cannot be handled so.
    #[error("{} {state} tasks: that can be done with tasks that are {}", verb.as_str(), names(verb.states()))]
    BulkState {
        /// What was to be done.
        verb: BulkVerb,
        /// The state asked for.
        state: State,
    },
    /// A command or script failed.
    #[error("{doing} in queue {queue}")]
    Command {
        /// What we were doing.
        doing: &'static str,
        /// On which queue; `*` for what belongs to none.
        queue: String,
        /// What Redis or the connection said.
        source: RedisError,
    },
    /// A stored message that cannot be decoded.
    #[error("read task {id} of queue {queue}")]
    Message {
        /// The task's id.
        id: String,
        /// Its queue.
        queue: String,
        /// Why.
        source: DecodeError,
    },
    /// A schedule entry in Redis that cannot be read.
    #[error("read schedule {uid} of queue {queue}: {problem}")]
    Entry {
        /// The entry's uid.
        uid: String,
        /// Its queue.
        queue: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A reply of a shape we do not know: another program answered, or a bug of ours.
    #[error("{doing}: Redis answered something unexpected ({problem})")]
    Reply {
        /// What we were doing.
        doing: &'static str,
        /// What was unexpected.
        problem: String,
    },
}

impl BrokerError {
    /// A fixed name for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Url(_) => "InvalidRedisURL",
            Self::Authority { .. } => "InvalidAuthority",
            Self::Connect { .. } => "RedisUnreachable",
            Self::Login { .. } => "RedisLoginRefused",
            Self::TooOld { .. } => "RedisTooOld",
            Self::Evicts { .. } => "RedisEvicts",
            Self::Replica { .. } => "RedisReplica",
            Self::OtherKind { .. } => "RedisOtherKind",
            Self::QueueName(_) => "InvalidQueueName",
            Self::TooLarge { .. } => "TaskTooLarge",
            Self::BulkState { .. } => "InvalidState",
            Self::Command { .. } => "RedisCommandFailed",
            Self::Message { .. } => "UndecodableMessage",
            Self::Entry { .. } => "UnreadableEntry",
            Self::Reply { .. } => "UnexpectedReply",
        }
    }

    /// Whether the same call may succeed later with nothing changed: the connection was lost, timed out, or
    /// Redis is loading, failing over or out of memory for now.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !matches!(source.kind(), ErrorKind::InvalidClientConfig),
            Self::Command { source, .. } => is_passing(source),
            _ => false,
        }
    }

    /// Whether the call may have taken effect although it failed: its reply was lost on the way.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Command { source, .. } => {
                source.is_timeout() || source.is_connection_dropped() || source.is_io_error()
            }
            _ => false,
        }
    }
}

fn names(states: &[State]) -> String {
    states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ")
}

/// Server answers that pass by themselves, and everything the network does.
fn is_passing(error: &RedisError) -> bool {
    const PASSING: [&str; 13] = [
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "MOVED",
        "ASK",
        "NOSCRIPT",
        "UNBLOCKED",
        "NOREPLICAS",
        "MISCONF",
        "OOM",
        "BUSY",
    ];
    error.is_timeout()
        || error.is_connection_dropped()
        || error.is_io_error()
        || error.is_connection_refusal()
        || error.code().is_some_and(|code| PASSING.contains(&code))
        || is_demotion(error)
}

/// Whether a server refuses to write because it is a replica, or has become one. It has changed nothing.
pub(super) fn is_demotion(error: &RedisError) -> bool {
    // Before 7.0 a script's error holds that of its command as text.
    error.code() == Some("READONLY") || error.detail().is_some_and(|text| text.contains(DEMOTED))
}

/// What a replica says to a write, after the code.
pub(super) const DEMOTED: &str = "READONLY You can't write against a read only";

/// Whether a server refuses who we said we are, or what that user may not do.
pub(super) fn is_login(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm))
}

/// Names the step and the queue of a failed command.
pub(super) trait Doing<T> {
    /// Wraps the error with what was being done, on which queue.
    fn doing(self, doing: &'static str, queue: &str) -> Result<T, BrokerError>;
}

impl<T> Doing<T> for redis::RedisResult<T> {
    fn doing(self, doing: &'static str, queue: &str) -> Result<T, BrokerError> {
        self.map_err(|source| BrokerError::Command { doing, queue: queue.to_owned(), source })
    }
}
