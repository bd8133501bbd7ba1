//! A task as printed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

use crate::broker::{self, TaskHistory, TaskView};
use crate::task::State;

/// A task as printed. What does not apply is absent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) queue: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) state: State,
    pub(super) payload: Content,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) max_retry: i32,
    /// Retries used so far.
    pub(super) retried: i32,
    /// How often a worker vanished while running it.
    pub(super) crashes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_failed_time: Option<Timestamp>,
    /// The latest errors, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<AttemptError>,
    /// How often its handler put it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snoozes: Option<u64>,
    /// Scheduled: why its handler put it off until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snooze_reason: Option<String>,
    /// What one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout_seconds: Option<i64>,
    /// From then on it must not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<Timestamp>,
    /// It is archived unless an attempt began before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_deadline: Option<Timestamp>,
    /// How long it stays readable once it is done.
    pub(super) retention_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unique_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    /// Pending since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pending_since: Option<Timestamp>,
    /// Aggregating: in its group since then, where that was read with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) joined_time: Option<Timestamp>,
    /// Active: the worker of ours that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Active: another worker may take it from then on unless the lease is extended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_end_time: Option<Timestamp>,
    /// Active: somebody asked its worker to stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_cancelled: bool,
    /// Scheduled or retrying: pending from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_run_time: Option<Timestamp>,
    /// Archived since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archived_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed_time: Option<Timestamp>,
    /// Completed: deleted from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expiry_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Content>,
}

/// An attempt that did not succeed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttemptError {
    /// Retries used before it.
    pub(super) attempt: i32,
    pub(super) time: Timestamp,
    /// Empty when it is not known.
    pub(super) worker: String,
    pub(super) error: String,
}

impl From<broker::AttemptError> for AttemptError {
    fn from(error: broker::AttemptError) -> Self {
        let broker::AttemptError { attempt, at, owner, text } = error;
        Self { attempt, time: at, worker: owner, error: text }
    }
}

/// Bytes as printed: as text when they are UTF-8, else in base64.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// How many there are, also when fewer are shown.
    pub(super) bytes: usize,
    /// Whether fewer are shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_cut: bool,
}

impl Content {
    /// The first `bytes_max` bytes, or fewer where that would cut a character.
    fn new(bytes: &[u8], bytes_max: usize) -> Self {
        let mut shown = &bytes[..bytes.len().min(bytes_max)];
        let is_cut = shown.len() < bytes.len();
        let (text, base64) = match std::str::from_utf8(shown) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(error) => {
                // Without a length the bytes end within a character, which only the cut did.
                let is_cut_character = is_cut && error.error_len().is_none();
                let valid = &shown[..error.valid_up_to()];
                match std::str::from_utf8(valid) {
                    Ok(text) if is_cut_character => {
                        shown = valid;
                        (Some(text.to_owned()), None)
                    }
                    _ => (None, Some(STANDARD.encode(shown))),
                }
            }
        };
        Self { text, base64, bytes: bytes.len(), is_cut: shown.len() < bytes.len() }
    }

    /// As text for people.
    pub(super) fn shown(&self) -> String {
        let shown = match (&self.text, &self.base64) {
            (Some(text), _) => text.clone(),
            (None, Some(base64)) => format!("base64 {base64}"),
            (None, None) => String::new(),
        };
        if self.is_cut { format!("{shown}… ({} bytes)", self.bytes) } else { shown }
    }
}

impl Task {
    /// A task as read, with at most so many bytes of its payload and of its result.
    pub(super) fn new(view: TaskView, bytes_max: usize) -> Self {
        let TaskView { id, state, message, at, pending_since, owner, result, crashes } = view;
        let when = |wanted: &[State]| at.filter(|_| wanted.contains(&state));
        let headers = message.header_map();
        let start_deadline = message.expires_at();
        Self {
            id,
            state,
            payload: Content::new(&message.payload, bytes_max),
            headers,
            queue: message.queue,
            kind: message.kind,
            max_retry: message.max_retry,
            retried: message.retried,
            crashes,
            last_error: some_text(message.error),
            last_failed_time: second(message.last_failed_s),
            errors: Vec::new(),
            snoozes: None,
            snooze_reason: None,
            timeout_seconds: (message.timeout_s > 0).then_some(message.timeout_s),
            deadline: second(message.deadline_s),
            start_deadline,
            retention_seconds: message.retention_s,
            unique_key: some_text(message.unique_key),
            group: some_text(message.group),
            pending_since: pending_since.filter(|_| state == State::Pending),
            joined_time: when(&[State::Aggregating]),
            // It stays behind when the task leaves the worker.
            owner: owner.filter(|_| state == State::Active),
            lease_end_time: when(&[State::Active]),
            is_cancelled: false,
            next_run_time: when(&[State::Scheduled, State::Retry]),
            archived_time: when(&[State::Archived]),
            completed_time: second(message.completed_s),
            expiry_time: when(&[State::Completed]),
            result: result.map(|result| Content::new(&result, bytes_max)),
        }
    }

    /// The same with what the task remembers of attempts that did not succeed.
    pub(super) fn with_history(self, history: TaskHistory) -> Self {
        // A note counts only for the time it names.
        let is_now = |second: i64, time: Option<Timestamp>| time.is_some_and(|at| at.as_second() == second);
        let snoozed = history
            .snoozed
            .filter(|(until, _)| self.state == State::Scheduled && is_now(*until, self.next_run_time));
        Self {
            errors: history.errors.into_iter().map(AttemptError::from).collect(),
            snoozes: Some(history.snoozes).filter(|snoozes| *snoozes > 0),
            snooze_reason: snoozed.and_then(|(_, reason)| some_text(reason)),
            is_cancelled: history.cancelled_lease.is_some_and(|lease| is_now(lease, self.lease_end_time)),
            ..self
        }
    }
}

fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A moment from a message, where 0 is none.
fn second(unix_s: i64) -> Option<Timestamp> {
    if unix_s == 0 { None } else { Timestamp::from_second(unix_s).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_text_where_it_can_be() {
        let shown = |bytes: &[u8], max| Content::new(bytes, max).shown();
        assert_eq!(shown(b"{}", 10), "{}");
        assert_eq!(shown("grün".as_bytes(), 3), "gr… (5 bytes)");
        assert_eq!(shown(&[255, 0], 10), "base64 /wA=");
        assert_eq!(shown(&[97, 195], 10), "base64 YcM=");
        assert_eq!(shown(b"", 10), "");
        assert!(!Content::new("grün".as_bytes(), 5).is_cut);
    }
}
