//! Locks of unique tasks: of all tasks of a type and a payload one is in the queue at a time.
//!
//! A lock is a key that names its holder, with asynq's name and an end, so Go producers and ours exclude each
//! other. It is given back when its task is done, given up or deleted. While its task lives its end is put off
//! again and again: `locks` says when to look at which.

use std::fmt::Write as _;
use std::time::Duration;

use md5::{Digest, Md5};

use super::claim::seconds;
use super::keys::QueueKeys;
use super::{Broker, BrokerError, script};
use crate::task::{Message, QueueName};

/// Locks one call looks at.
const LOCKS_PER_CALL: usize = 100;
/// No lock ends sooner unless it is given back: a keeper needs a few seconds to put its end off.
const LIFE_MIN_S: u64 = 10;
/// A hundred years: what Redis takes as an expiry has an end.
const LIFE_MAX_S: u64 = 100 * 365 * 24 * 3600;
/// Life of a lock whose producer did not tell us for how long it wanted it.
pub(super) const FOREIGN_LOCK_LIFE_S: u64 = 60;

/// What looking at locks did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RenewedLocks {
    /// Locks lengthened, or taken again after they had ended under a living task.
    pub kept: usize,
    /// There may be more to look at.
    pub more: bool,
}

/// The key of the lock that tasks of this type with this payload share, as asynq builds it. No payload and an
/// empty one are different.
#[must_use]
pub fn unique_key(queue: &QueueName, kind: &str, payload: Option<&[u8]>) -> String {
    let mut digest = String::new();
    if let Some(payload) = payload {
        for byte in Md5::digest(payload) {
            write!(digest, "{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    QueueKeys::new(queue).unique(kind, &digest)
}

impl Broker {
    /// Keeps the locks of unique tasks that have not ended, whatever their own end, and forgets those of tasks
    /// that have.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn renew_locks(&self, queue: &QueueName) -> Result<RenewedLocks, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RENEW_LOCKS.key(keys.locks());
        call.arg(keys.task_prefix()).arg(LOCKS_PER_CALL).arg(FOREIGN_LOCK_LIFE_S).arg(keys.unique_prefix());
        let (kept, more): (usize, u8) = self.run("renew unique locks", queue.as_str(), &call).await?;
        Ok(RenewedLocks { kept, more: more == 1 })
    }
}

/// A lock's life in Redis.
pub(super) fn life_s(lock_for: Option<Duration>) -> u64 {
    lock_for.map_or(FOREIGN_LOCK_LIFE_S, seconds).clamp(LIFE_MIN_S, LIFE_MAX_S)
}

/// The key of a message's lock, unless it lies in another queue: that would be another slot, not ours to touch.
pub(super) fn own_lock<'a>(keys: QueueKeys<'_>, message: &'a Message) -> &'a str {
    lock_in(keys, &message.unique_key)
}

/// This key, unless it is another queue's.
pub(super) fn lock_in<'a>(keys: QueueKeys<'_>, key: &'a str) -> &'a str {
    if key.starts_with(&keys.unique_prefix()) { key } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_payload_and_an_empty_one_have_different_locks() {
        let queue = QueueName::new("q").expect("valid");
        assert_eq!(unique_key(&queue, "t", None), "asynq:{q}:unique:t:");
        let empty = "asynq:{q}:unique:t:d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(unique_key(&queue, "t", Some(b"")), empty);
    }

    #[test]
    fn a_lock_has_asynqs_key() {
        let queue = QueueName::new("critical").expect("valid");
        let key = unique_key(&queue, "email:send", Some(br#"{"user_id":42}"#));
        assert_eq!(key, "asynq:{critical}:unique:email:send:1181f89307fa271072c095747d5813cc");
    }

    #[test]
    fn a_life_is_whole_seconds_within_what_redis_takes() {
        assert_eq!(life_s(Some(Duration::from_millis(1500))), LIFE_MIN_S);
        assert_eq!(life_s(Some(Duration::from_millis(3_600_001))), 3601);
        assert_eq!(life_s(Some(Duration::MAX)), LIFE_MAX_S);
    }
}
