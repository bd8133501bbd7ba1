//! Stopping a queue from being claimed, with a note of who did it, why and until when.

use std::collections::HashMap;

use jiff::Timestamp;

use super::keys::QueueKeys;
use super::reply::{ceil_s, from_s};
use super::{Broker, BrokerError, script};
use crate::task::QueueName;

/// Why a queue is paused.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct PauseNote {
    /// Which part of cronmill did it: `cli`, `manifest`.
    pub source: String,
    /// Why, for people.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// When it ends by itself; `None`: when somebody resumes it.
    pub until: Option<Timestamp>,
}

/// A pause as found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PauseState {
    /// Since when.
    pub since: Timestamp,
    /// Our note; `None` when another program paused it.
    pub note: Option<PauseNote>,
}

/// What became of a wish to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// The queue runs again.
    Lifted,
    /// It was not paused.
    NotPaused,
    /// Somebody else paused it; nothing changed.
    Foreign,
}

impl Broker {
    /// Pauses a queue, or renews our note of a pause. `false`: another program has paused it already.
    ///
    /// Tasks in hand go on, and keeping goes on; only claims stop.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn pause(&self, queue: &QueueName, note: &PauseNote) -> Result<bool, BrokerError> {
        let keys = QueueKeys::new(queue);
        let until = note.until.map_or(String::new(), |until| ceil_s(until).to_string());
        let mut call = script::PAUSE.key(keys.paused());
        call.key(keys.pause_note()).arg(self.now_in(queue.as_str()).as_second());
        call.arg(&note.source).arg(&note.reason).arg(&note.actor).arg(until);
        let paused: i64 = self.run("pause the queue", queue.as_str(), &call).await?;
        Ok(paused == 1)
    }

    /// Resumes a queue. With a `source`, only a pause of that source is lifted.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn resume(&self, queue: &QueueName, source: Option<&str>) -> Result<Resumed, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::RESUME.key(keys.paused());
        call.key(keys.pause_note()).arg(source.unwrap_or(""));
        Ok(match self.run::<i64>("resume the queue", queue.as_str(), &call).await? {
            1 => Resumed::Lifted,
            0 => Resumed::NotPaused,
            _ => Resumed::Foreign,
        })
    }

    /// Whether and why a queue is paused.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn pause_state(&self, queue: &QueueName) -> Result<Option<PauseState>, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut pipe = redis::pipe();
        pipe.get(keys.paused()).hgetall(keys.pause_note());
        let (since, note): (Option<String>, HashMap<String, String>) =
            self.pipe("read the pause", queue.as_str(), &pipe).await?;
        let Some(since) = since else { return Ok(None) };
        let ours = note.get("since") == Some(&since);
        let field = |name: &str| note.get(name).cloned().unwrap_or_default();
        let note = ours.then(|| PauseNote {
            source: field("source"),
            reason: field("reason"),
            actor: field("actor"),
            until: field("until").parse().ok().map(from_s),
        });
        Ok(Some(PauseState { since: from_s(since.parse().unwrap_or(0)), note }))
    }
}
