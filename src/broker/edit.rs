//! Changing a task that waits: another payload, another time.

use bytes::Bytes;
use jiff::Timestamp;

use super::keys::QueueKeys;
use super::reply::ceil_s;
use super::unique::{FOREIGN_LOCK_LIFE_S, lock_in, unique_key};
use super::{Broker, BrokerError, script};
use crate::task::{Message, QueueName, State};

/// How often an edit is tried again that met another change of the task.
const TRIES: usize = 10;

/// What became of a wish to edit a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edited {
    /// It is changed; this is where it stands.
    In(State),
    /// A worker runs it; nothing changed.
    Active,
    /// With this payload it would be the same as another unique task, which holds the lock; nothing changed.
    Duplicate {
        /// That task's id.
        holder: String,
    },
    /// It changes all the time; nothing changed.
    Changing,
    /// Its message cannot be decoded; nothing changed.
    Undecodable,
    /// There is no such task.
    Absent,
}

/// What became of a wish to give a task another time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescheduled {
    /// It waits for that time now; this is where it was.
    From(State),
    /// A worker runs or aggregates it; nothing changed.
    Active,
    /// It is unique, it had ended, and this task has taken its place since; nothing changed.
    Locked(String),
    /// There is no such task.
    Absent,
}

impl Broker {
    /// Gives a task that is not running another payload. A unique task's lock moves to the new payload, for as long
    /// as the old one would have held.
    ///
    /// # Errors
    /// [`BrokerError::TooLarge`], [`BrokerError::Command`]; safe to repeat.
    pub async fn edit_payload(
        &self,
        queue: &QueueName,
        id: &str,
        payload: &Bytes,
    ) -> Result<Edited, BrokerError> {
        const DOING: &str = "edit a task";
        let keys = QueueKeys::new(queue);
        let task = keys.task(id);
        for _ in 0..TRIES {
            let mut pipe = redis::pipe();
            pipe.hget(&task, "msg");
            let (raw,): (Option<Vec<u8>>,) = self.pipe(DOING, queue.as_str(), &pipe).await?;
            let Some(raw) = raw.map(Bytes::from) else { return Ok(Edited::Absent) };
            let Ok(old) = Message::decode(raw.clone()) else { return Ok(Edited::Undecodable) };
            let new = with_payload(queue, &old, payload.clone());
            let encoded = new.encode();
            super::enqueue::check_size(id, encoded.len())?;
            let mut call = script::EDIT.key(&task);
            call.arg(id).arg(raw.as_ref()).arg(encoded.as_ref());
            call.arg(lock_in(keys, &old.unique_key)).arg(lock_in(keys, &new.unique_key));
            let (verdict, state, holder): (String, String, String) =
                self.run(DOING, queue.as_str(), &call).await?;
            match (verdict.as_str(), state.parse()) {
                ("edited", Ok(state)) => return Ok(Edited::In(state)),
                ("active", _) => return Ok(Edited::Active),
                ("taken", _) => return Ok(Edited::Duplicate { holder }),
                ("absent", _) => return Ok(Edited::Absent),
                _ => {}
            }
        }
        Ok(Edited::Changing)
    }

    /// Lets a task that is not running wait for this time. One that waits for a retry goes on waiting for it; any
    /// other becomes scheduled, and one with a group joins it at that time. A unique one that had ended takes its
    /// lock again.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn reschedule(
        &self,
        queue: &QueueName,
        id: &str,
        due: Timestamp,
    ) -> Result<Rescheduled, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RESCHEDULE.key(keys.task(id));
        call.key(keys.pending()).key(keys.scheduled()).key(keys.retry()).key(keys.archived());
        call.key(keys.completed()).key(keys.groups()).key(keys.locks());
        call.arg(id).arg(ceil_s(due)).arg(keys.group_prefix()).arg(keys.task_prefix());
        call.arg(self.now_in(queue.as_str()).as_second()).arg(FOREIGN_LOCK_LIFE_S);
        let (state, holder): (String, String) = self.run("reschedule a task", queue.as_str(), &call).await?;
        Ok(match state.parse() {
            _ if !holder.is_empty() => Rescheduled::Locked(holder),
            Err(_) => Rescheduled::Absent,
            Ok(State::Active) => Rescheduled::Active,
            Ok(state) => Rescheduled::From(state),
        })
    }
}

/// The message with another payload, and the lock that goes with it. A lock of another making is kept.
fn with_payload(queue: &QueueName, old: &Message, payload: Bytes) -> Message {
    let usual = |payload| unique_key(queue, &old.kind, payload);
    let is_usual = old.unique_key == usual(Some(&old.payload))
        || (old.payload.is_empty() && old.unique_key == usual(None));
    let unique_key = if is_usual { usual(Some(&payload)) } else { old.unique_key.clone() };
    Message { payload, unique_key, ..old.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_lock_follows_the_payload_and_another_is_kept() {
        let queue = QueueName::new("q").expect("valid");
        let edited = |unique_key: &str, old: &'static [u8]| {
            let payload = Bytes::from_static(old);
            let old =
                Message { kind: "mail".into(), payload, unique_key: unique_key.into(), ..Message::default() };
            with_payload(&queue, &old, Bytes::from_static(b"{}")).unique_key
        };
        let new = "asynq:{q}:unique:mail:99914b932bd37a50b983c5e7c90ae93b";
        assert_eq!(edited("asynq:{q}:unique:mail:", b""), new);
        assert_eq!(edited("asynq:{q}:unique:mail:d41d8cd98f00b204e9800998ecf8427e", b""), new);
        assert_eq!(edited("asynq:{q}:unique:mail:0cc175b9c0f1b6a831c399e269772661", b"a"), new);
        assert_eq!(edited("asynq:{q}:unique:mail:by-hand", b"a"), "asynq:{q}:unique:mail:by-hand");
        assert_eq!(edited("", b"a"), "");
    }
}
