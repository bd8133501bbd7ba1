//! From what a claim brought to an attempt, or straight to its outcome where nothing is to be run.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::attempt::{Attempt, Home};
use super::stats::AttemptResult;
use crate::broker::{ClaimedTask, Finish, FinishOutcome};
use crate::task::{Message, QueueName};

/// An attempt, and its outcome if it ends without running.
pub(super) type Admitted = (Arc<Attempt>, Option<(Finish, AttemptResult)>);

/// Makes an attempt of a claimed task.
pub(super) fn admit(home: &Arc<Home>, queue: usize, task: ClaimedTask, now: Timestamp) -> Admitted {
    let name = &home.queues[queue];
    let ClaimedTask { id, raw_id, body, raw, leased_until, pending_since, revoked, .. } = task;
    let (message, outcome) = match readable(name, &id, &raw_id, body) {
        Ok(message) if revoked => (message, Some((FinishOutcome::Done, AttemptResult::Revoked))),
        Ok(message) => match message.expired(now) {
            Some(expired) => (expired, Some((FinishOutcome::Withdraw, AttemptResult::Expired))),
            None => (message, None),
        },
        Err(reason) => {
            warn!(task.id = %id, queue.name = %name, reason, "task {id} goes to the archive: it cannot be read");
            let envelope = Message::undecodable(&id, name.as_str(), raw.clone(), &reason, now.as_second());
            (
                envelope,
                Some((FinishOutcome::Quarantine { id: raw_id, raw, reason }, AttemptResult::Quarantined)),
            )
        }
    };
    let mut attempt = Attempt::new(home, queue, message, now);
    attempt.set_lease_end(leased_until);
    attempt.queue_wait =
        pending_since.map(|since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
    let finish =
        |(outcome, result)| (Finish { message: Arc::clone(&attempt.message), outcome, leased_until }, result);
    let outcome = outcome.map(finish);
    (Arc::new(attempt), outcome)
}

/// The message, if it can be read and is the one that belongs here: ended under the id or the queue in a
/// misplaced message, another task would be ended.
fn readable<E: Error>(
    queue: &QueueName,
    id: &str,
    raw_id: &[u8],
    body: Result<Message, E>,
) -> Result<Message, String> {
    let message = body.map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    if message.id.as_bytes() == raw_id && message.queue == queue.as_str() {
        return Ok(message);
    }
    Err(format!("message of task {:?} in queue {:?} found under task {id:?}", message.id, message.queue))
}
