//! What all parts of a running worker have in common, and the life of one attempt.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::attempt::{Attempt, Home, Table};
use super::cancel::CancelReason;
use super::finish::Report;
use super::handler::AnyHandler;
use super::stats::{AttemptEvent, AttemptResult, Events, WorkerStats};
use super::unserved::{self, PutBack};
use super::verdict::{Ended, Policy};
use super::{Context, HandlerError};
use crate::task::QueueName;

/// What a handler gets to return once the worker stops and will not wait any longer.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// What all parts of a running worker have in common.
pub(super) struct Shared {
    pub(super) home: Arc<Home>,
    pub(super) handler: Arc<dyn AnyHandler>,
    pub(super) policy: Policy,
    pub(super) events: Option<Arc<dyn Events>>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) table: Table,
    /// What this worker has no handler for.
    pub(super) put_back: PutBack,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) lease: Duration,
    pub(super) cancel_grace: Duration,
    /// Cancelled when a stopping worker waits for nothing any more.
    pub(super) hard_stop: CancellationToken,
}

impl Shared {
    /// Runs one attempt to its end and hands the outcome to the finisher. The slot is free afterwards, and
    /// not before the handler and everything it blocks on are gone.
    pub(super) async fn run(self: Arc<Self>, attempt: Arc<Attempt>, slot: OwnedSemaphorePermit) {
        let begun = Instant::now();
        let ended = if attempt.limit.is_final && attempt.limit.at <= attempt.started {
            Ended::NotStarted
        } else {
            self.drive(&attempt).await
        };
        self.conclude(&attempt, ended, begun.elapsed()).await;
        drop(slot);
    }

    async fn drive(&self, attempt: &Arc<Attempt>) -> Ended {
        let _running = self.stats.note_running();
        let (context, task) = Context::new(attempt);
        let mut handler =
            Box::pin(AssertUnwindSafe(Arc::clone(&self.handler).call(context, task)).catch_unwind());
        // The handler is looked at first: one that never waits costs no timer.
        let first = tokio::select! {
            biased;
            returned = &mut handler => Some(returned),
            _ = attempt.cancel.thrown() => None,
            () = sleep_until(attempt.limit.instant) => {
                attempt.cancel.throw(CancelReason::Timeout);
                None
            }
        };
        let returned = match first {
            Some(returned) => Some(returned),
            None => tokio::select! {
                biased;
                returned = &mut handler => Some(returned),
                () = sleep(self.grace(attempt)) => None,
                () = self.hard_stop.cancelled() => None,
            },
        };
        if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
            error!(task.id = attempt.message.id, "a handler panicked while it was dropped");
        }
        tokio::select! {
            biased;
            () = attempt.blocking.all_ended() => {}
            () = self.hard_stop.cancelled() => {}
        }
        match returned {
            Some(Ok(result)) => Ended::Returned(result),
            Some(Err(panic)) => {
                error!(task.id = attempt.message.id, task.kind = attempt.message.kind, "a handler panicked");
                Ended::Returned(Err(HandlerError::from_panic(panic)))
            }
            None => Ended::Dropped,
        }
    }

    fn grace(&self, attempt: &Attempt) -> Duration {
        match attempt.cancel.reason() {
            Some(CancelReason::Shutdown) => self.cancel_grace.min(SHUTDOWN_GRACE),
            _ => self.cancel_grace,
        }
    }

    async fn conclude(&self, attempt: &Arc<Attempt>, ended: Ended, run_time: Duration) {
        let reason = attempt.cancel.reason();
        if !attempt.begin_report() {
            self.table.remove(attempt.queue, std::iter::once(attempt));
            attempt.release(&self.stats);
            if attempt.is_lost() {
                self.stats.note_result(AttemptResult::Lost);
                self.tell(attempt, run_time, AttemptResult::Lost);
            }
            return;
        }
        let (mut finish, result) =
            self.policy.judge(attempt, ended, reason, self.home.broker.now_in(attempt.queue_name().as_str()));
        if result == AttemptResult::Unserved {
            unserved::note(&self.put_back, attempt, &mut finish).await;
        }
        log_failure(attempt, &finish.message.error, result);
        self.tell(attempt, run_time, result);
        self.report(Report { attempt: Arc::clone(attempt), finish, result }).await;
    }

    /// Hands an outcome to the finisher. Waits while many others do.
    pub(super) async fn report(&self, report: Report) {
        if let Err(mpsc::error::SendError(report)) = self.reports.send(report).await {
            // The finisher ends last. Should it be gone, the task's lease runs out and another worker takes it.
            error!(task.id = report.attempt.message.id, "an outcome came too late to be stored");
            report.attempt.release(&self.stats);
        }
    }

    /// Notes what the keeper archived because nobody had begun it in time.
    pub(super) fn expired(&self, queue: &QueueName, tasks: usize) {
        self.stats.note_expired(tasks);
        if let Some(events) = &self.events
            && catch_unwind(AssertUnwindSafe(|| events.expired(queue, tasks))).is_err()
        {
            error!(callback = "events", "a callback panicked");
        }
    }

    pub(super) fn tell(&self, attempt: &Attempt, run_time: Duration, result: AttemptResult) {
        let Some(events) = &self.events else { return };
        let event = AttemptEvent {
            queue: attempt.queue_name(),
            kind: &attempt.message.kind,
            queue_wait: attempt.queue_wait,
            run_time,
            result,
        };
        if catch_unwind(AssertUnwindSafe(|| events.attempt(&event))).is_err() {
            error!(callback = "events", "a callback panicked");
        }
    }
}

fn log_failure(attempt: &Attempt, error: &str, result: AttemptResult) {
    let message = &attempt.message;
    let (id, kind, queue) = (&message.id, &message.kind, attempt.queue_name());
    match result {
        AttemptResult::Archived => {
            warn!(task.id = %id, task.kind = %kind, queue.name = %queue, error, "task {id} failed for good");
        }
        AttemptResult::Retried => {
            info!(task.id = %id, task.kind = %kind, queue.name = %queue, error, "task {id} failed and is retried");
        }
        AttemptResult::Cancelled => {
            info!(task.id = %id, task.kind = %kind, queue.name = %queue, "task {id} was cancelled and is archived");
        }
        AttemptResult::Snoozed => {
            debug!(task.id = %id, task.kind = %kind, queue.name = %queue, "task {id} is put off by its handler");
        }
        AttemptResult::Unserved => {
            warn!(task.id = %id, task.kind = %kind, queue.name = %queue, "this worker has no handler for the type of task {id}, which goes back for another");
        }
        AttemptResult::Requeued => {
            debug!(task.id = %id, task.kind = %kind, queue.name = %queue, "task {id} goes back to its queue");
        }
        _ => {}
    }
}
