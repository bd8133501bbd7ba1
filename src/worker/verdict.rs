//! What becomes of a task when its attempt has ended: asynq's rules, in asynq's order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::error;

use super::attempt::Attempt;
use super::cancel::CancelReason;
use super::error::panic_text;
use super::stats::AttemptResult;
use super::{Context, HandlerError, HandlerErrorKind, Task, unserved};
use crate::broker::{CancelThen, Finish, FinishOutcome};
use crate::task::{Message, default_retry_delay};

/// What asynq's tools show for an attempt that ran into its timeout or deadline.
pub(super) const DEADLINE_EXCEEDED: &str = "context deadline exceeded";
/// What asynq's tools show for an attempt somebody cancelled, where that is a failure as it is in asynq.
const CANCELED: &str = "context canceled";

/// How long a failed task waits: retries used so far, the error, the task.
pub(super) type RetryDelay = dyn Fn(i32, &HandlerError, &Message) -> Duration + Send + Sync;
/// Whether an error counts as a failure.
pub(super) type IsFailure = dyn Fn(&HandlerError) -> bool + Send + Sync;
/// Is told of each failed attempt.
pub(super) type OnError = dyn Fn(&Context, &Task, &HandlerError) + Send + Sync;

/// The caller's say in what becomes of failed tasks.
pub(super) struct Policy {
    pub(super) retry_delay: Option<Box<RetryDelay>>,
    pub(super) is_failure: Option<Box<IsFailure>>,
    pub(super) on_error: Option<Box<OnError>>,
    /// Whether a cancelled task is retried when who cancelled it did not say.
    pub(super) retries_cancelled: bool,
}

/// How the handler's part of an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It returned, or panicked.
    Returned(Result<(), HandlerError>),
    /// It was told to stop, did not, and was dropped.
    Dropped,
    /// It was never called: the task's deadline had passed.
    NotStarted,
}

impl Policy {
    /// Decides what is reported. `reason` is why the attempt was told to stop, if it was.
    pub(super) fn judge(
        &self,
        attempt: &Arc<Attempt>,
        ended: Ended,
        reason: Option<CancelReason>,
        now: Timestamp,
    ) -> (Finish, AttemptResult) {
        let was_stopped = reason.is_some() || matches!(ended, Ended::NotStarted);
        if reason == Some(CancelReason::Requested)
            && !self.retries_cancelled(attempt)
            && let Some(cancelled) = cancelled(attempt, &ended)
        {
            return cancelled;
        }
        let error = match (ended, reason) {
            (Ended::Returned(Ok(())), _) => return succeeded(attempt, now),
            (Ended::Dropped, Some(CancelReason::Shutdown)) => return requeued(attempt),
            (Ended::Returned(Err(error)), Some(CancelReason::Shutdown)) if is_plain(&error) => {
                return requeued(attempt);
            }
            (Ended::Returned(Err(error)), None | Some(CancelReason::Shutdown | CancelReason::LeaseLost)) => {
                error
            }
            (Ended::Returned(Err(error)), Some(CancelReason::Timeout)) => {
                error.interrupted(DEADLINE_EXCEEDED)
            }
            (Ended::Returned(Err(error)), Some(CancelReason::Requested)) => error.interrupted(CANCELED),
            (Ended::Dropped, Some(CancelReason::Requested | CancelReason::LeaseLost)) => {
                HandlerError::msg(CANCELED)
            }
            (Ended::Dropped, None | Some(CancelReason::Timeout)) | (Ended::NotStarted, _) => {
                HandlerError::msg(DEADLINE_EXCEEDED)
            }
        };
        // The timer and Redis's clock need not agree to the millisecond: the timer's word is enough.
        let ran_out =
            attempt.limit.is_final && matches!(reason, None | Some(CancelReason::Timeout)) && was_stopped;
        let deadline_s = attempt.message.deadline_s;
        let is_past_deadline = ran_out || deadline_s > 0 && now.as_second() >= deadline_s;
        self.failed(attempt, &error, is_past_deadline, now)
    }

    fn failed(
        &self,
        attempt: &Arc<Attempt>,
        error: &HandlerError,
        is_past_deadline: bool,
        now: Timestamp,
    ) -> (Finish, AttemptResult) {
        if let HandlerErrorKind::Snooze { after } = error.kind()
            && !is_past_deadline
        {
            return (put_off(attempt, after, error, now), AttemptResult::Snoozed);
        }
        if error.kind() == HandlerErrorKind::Unserved && !is_past_deadline {
            return (put_off(attempt, unserved::DELAY_MIN, error, now), AttemptResult::Unserved);
        }
        let (context, task) = Context::new(attempt);
        let mut text = error.text();
        if let Some(on_error) = &self.on_error {
            guarded("error callback", &mut text, || on_error(&context, &task, error));
        }
        if error.kind() == HandlerErrorKind::Revoke {
            let message = Arc::clone(&attempt.message);
            return (finish(attempt, message, FinishOutcome::Done), AttemptResult::Revoked);
        }
        let mut message = Message::clone(&attempt.message);
        message.last_failed_s = now.as_second();
        let is_used_up = message.retried >= message.max_retry;
        let (outcome, result) =
            if is_used_up || is_past_deadline || error.kind() == HandlerErrorKind::SkipRetry {
                (FinishOutcome::Archive, AttemptResult::Archived)
            } else {
                let counts_as_failure = self.counts(error, &mut text);
                let delay = self.delay(error, &attempt.message, &mut text);
                message.retried = message.retried.saturating_add(i32::from(counts_as_failure));
                let at = later(now, delay);
                (FinishOutcome::Retry { at, counts_as_failure }, AttemptResult::Retried)
            };
        message.error = text;
        (finish(attempt, message.into(), outcome), result)
    }

    fn retries_cancelled(&self, attempt: &Attempt) -> bool {
        match attempt.cancel_then() {
            Some(then) => then == CancelThen::Retry,
            None => self.retries_cancelled,
        }
    }

    fn counts(&self, error: &HandlerError, text: &mut String) -> bool {
        let Some(is_failure) = &self.is_failure else { return true };
        guarded("is-failure callback", text, || is_failure(error)).unwrap_or(true)
    }

    /// How long a task waits before its next attempt. A panic of the caller's
    /// function adds to `text`.
    pub(super) fn delay(&self, error: &HandlerError, task: &Message, text: &mut String) -> Duration {
        let retried = task.retried;
        let chosen = self.retry_delay.as_ref().and_then(|retry_delay| {
            guarded("retry-delay callback", text, || retry_delay(retried, error, task))
        });
        chosen.unwrap_or_else(|| default_retry_delay(retried, fastrand::u32(..)))
    }
}

/// An error the handler returned because it was told to stop, as far as one can tell.
fn is_plain(error: &HandlerError) -> bool {
    error.kind() == HandlerErrorKind::Fail && !error.is_panic()
}

/// A cancelled task is archived, and that is no failure; unless its handler succeeded, or says itself what shall
/// become of the task.
fn cancelled(attempt: &Attempt, ended: &Ended) -> Option<(Finish, AttemptResult)> {
    let why = match ended {
        Ended::Dropped => String::new(),
        Ended::Returned(Err(error)) => match error.kind() {
            HandlerErrorKind::Fail | HandlerErrorKind::Snooze { .. } | HandlerErrorKind::Unserved => {
                error.text()
            }
            HandlerErrorKind::SkipRetry | HandlerErrorKind::Revoke => return None,
        },
        Ended::Returned(Ok(())) | Ended::NotStarted => return None,
    };
    let message = Arc::new(attempt.message.cancelled(&why));
    Some((finish(attempt, message, FinishOutcome::Withdraw), AttemptResult::Cancelled))
}

fn put_off(attempt: &Attempt, after: Duration, error: &HandlerError, now: Timestamp) -> Finish {
    let outcome = FinishOutcome::Snooze { at: later(now, after), reason: error.text() };
    finish(attempt, Arc::clone(&attempt.message), outcome)
}

pub(super) fn later(now: Timestamp, delay: Duration) -> Timestamp {
    let at = SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok());
    at.unwrap_or(Timestamp::MAX)
}

fn succeeded(attempt: &Attempt, now: Timestamp) -> (Finish, AttemptResult) {
    let message = Arc::clone(&attempt.message);
    let finish = if message.retention_s > 0 {
        let message = Message { completed_s: now.as_second(), ..Message::clone(&message) };
        finish(attempt, message.into(), FinishOutcome::Complete)
    } else {
        finish(attempt, message, FinishOutcome::Done)
    };
    (finish, AttemptResult::Succeeded)
}

/// Back to the front of the queue, at no cost to the task.
pub(super) fn requeued(attempt: &Attempt) -> (Finish, AttemptResult) {
    (finish(attempt, Arc::clone(&attempt.message), FinishOutcome::Requeue), AttemptResult::Requeued)
}

fn finish(attempt: &Attempt, message: Arc<Message>, outcome: FinishOutcome) -> Finish {
    Finish { message, outcome, leased_until: attempt.lease_end() }
}

/// Calls the user's code; a panic in it is logged and told in the attempt's error text.
fn guarded<T>(callback: &'static str, text: &mut String, call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(panic) => {
            error!(callback, "a callback panicked");
            text.push_str("; ");
            text.push_str(&panic_text(panic.as_ref()));
            text.push_str(" (in the ");
            text.push_str(callback);
            text.push(')');
            None
        }
    }
}
