//! What a task remembers of attempts that did not succeed: fields of its own beside the message, which other
//! programs rewrite.

use std::collections::HashMap;

use jiff::Timestamp;

use super::keys::QueueKeys;
use super::reply::from_ms;
use super::{Broker, BrokerError};
use crate::task::QueueName;

/// Errors a task remembers: the size of the ring in `finish_attempts.lua`.
pub(super) const ERRORS_KEPT: usize = 10;
/// Bytes of an error text, or of a reason, that are remembered.
const TEXT_BYTES_MAX: usize = 1024;
/// Bytes of a worker's name that are remembered.
const OWNER_BYTES_MAX: usize = 256;

/// What a task remembers of attempts that did not succeed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskHistory {
    /// The last errors, the latest first; 10 at most.
    pub errors: Vec<AttemptError>,
    /// How many errors there were in all.
    pub errors_total: u64,
    /// How often its handler put it off.
    pub snoozes: u64,
    /// Until when it is put off, in Unix seconds, and why. It counts only for a task scheduled for that very time.
    pub snoozed: Option<(i64, String)>,
    /// Somebody asked for the running attempt to be stopped. It counts only for a lease that ends at that second.
    pub cancelled_lease: Option<i64>,
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptError {
    /// Retries used before it: what its handler saw as the attempt's number, 0 at first.
    pub attempt: i32,
    /// When it ended.
    pub at: Timestamp,
    /// The worker; empty when that is not known.
    pub owner: String,
    /// What went wrong, cut at 1 KiB.
    pub text: String,
}

impl Broker {
    /// What a task remembers of attempts that did not succeed; nothing when there is no such task.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn task_history(&self, queue: &QueueName, id: &str) -> Result<TaskHistory, BrokerError> {
        let ring: Vec<String> = (0..ERRORS_KEPT).map(|place| format!("cronmill_error:{place}")).collect();
        let singles = ["cronmill_errors", "cronmill_snoozes", "cronmill_snoozed", "cronmill_cancel"];
        let names: Vec<&str> = singles.into_iter().chain(ring.iter().map(String::as_str)).collect();
        let mut pipe = redis::pipe();
        pipe.hmget(QueueKeys::new(queue).task(id), &names);
        let (values,): (Vec<Option<Vec<u8>>>,) = self.pipe("read a task", queue.as_str(), &pipe).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let mut fields: HashMap<&str, String> =
            names.into_iter().zip(values).filter_map(|(name, value)| Some((name, text(value?)))).collect();
        let mut errors: Vec<(u64, AttemptError)> =
            ring.iter().filter_map(|name| read_record(&fields.remove(name.as_str())?)).collect();
        errors.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let snoozed = fields.remove("cronmill_snoozed").and_then(|note| {
            let (until, reason) = note.split_once('|')?;
            Some((until.parse().ok()?, reason.to_owned()))
        });
        let cancelled = fields.get("cronmill_cancel").and_then(|mark| mark.split_once('|')?.0.parse().ok());
        let count = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(TaskHistory {
            errors_total: count("cronmill_errors"),
            errors: errors.into_iter().map(|(_, error)| error).collect(),
            snoozes: count("cronmill_snoozes"),
            snoozed,
            cancelled_lease: cancelled,
        })
    }
}

/// The record of an error: `attempt|at (Unix ms)|owner|text`. The script puts the format and its number before it.
pub(super) fn error_record(attempt: i32, at: Timestamp, owner: &str, text: &str) -> String {
    let owner = owner[..owner.floor_char_boundary(OWNER_BYTES_MAX)].replace('|', "/");
    format!("{attempt}|{}|{owner}|{}", at.as_millisecond(), cut(text))
}

/// As much of a text as is remembered.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// Reads `1|number|attempt|at|owner|text`; nothing for a higher format.
fn read_record(record: &str) -> Option<(u64, AttemptError)> {
    let mut parts = record.splitn(6, '|');
    let mut next = || parts.next();
    if next()? != "1" {
        return None;
    }
    let number = next()?.parse().ok()?;
    let (attempt, at) = (next()?.parse().ok()?, from_ms(next()?.parse().ok()?));
    Some((number, AttemptError { attempt, at, owner: next()?.to_owned(), text: next()?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_is_bounded() {
        let at = Timestamp::from_millisecond(1_700_000_000_123).expect("a time");
        let long = "ü".repeat(2000);
        let record = error_record(3, at, &format!("a|b:{}", "h".repeat(500)), &format!("a|b\n{long}"));
        let (number, error) = read_record(&format!("1|12|{record}")).expect("read");
        assert_eq!((number, error.attempt, error.at), (12, 3, at));
        assert!(error.owner.starts_with("a/b:h") && error.owner.len() == OWNER_BYTES_MAX);
        assert!(error.text.starts_with("a|b\nü") && error.text.len() <= TEXT_BYTES_MAX);
        assert_eq!(read_record(&format!("2|12|{record}")), None, "a higher format is left alone");
        assert_eq!(read_record("1|x"), None);
    }
}
