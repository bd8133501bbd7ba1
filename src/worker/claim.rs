//! The claim loop: fills free slots with tasks, in as few and as large claims as possible.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug_span};

use super::admit::admit;
use super::attempt::Attempt;
use super::bell::Bell;
use super::finish::Report;
use super::launch::Launcher;
use super::places::{Batch, take_places};
use super::queue_state::{POLL_MAX, QueueState};
use super::selection::Selection;
use super::shared::Shared;
use super::stats::AttemptResult;
use super::unserved::{GLANCE, GLANCED_AT, HEAD_START};
use super::verdict::requeued;
use crate::broker::Outage;
use crate::broker::{BrokerError, ClaimRequest, Claimed, ClaimedTask, Extended, Finish};

/// Tasks asked for at once.
const CLAIM_MAX: usize = 64;
/// Of a deep queue, this long is waited for half the slots, so that claims stay large.
const BATCH_WAIT: Duration = Duration::from_millis(1);
/// A worker without a free slot for this long lets others listen for work.
const BUSY_AFTER: Duration = Duration::from_millis(20);
/// A claim that brought this many bytes may have stopped at Redis's limit, not at the queue's end.
const LARGE_CLAIM_BYTES: usize = 512 * 1024;

/// Fills free slots with tasks.
pub(super) struct Claimer {
    shared: Arc<Shared>,
    selection: Selection,
    queues: Vec<QueueState>,
    slots: Arc<Semaphore>,
    concurrency: usize,
    launcher: Launcher,
    wake: Arc<Notify>,
    stop: CancellationToken,
    outage: Mutex<Outage>,
}

/// A claim's answer, and whether it took more than one try to get it.
struct Answer {
    claimed: Claimed,
    is_repeat: bool,
}

/// Redis answered with an error that does not pass by itself.
struct Refused {
    error: BrokerError,
    is_repeat: bool,
}

impl Claimer {
    pub(super) fn new(
        shared: Arc<Shared>,
        selection: Selection,
        bells: Vec<Bell>,
        wake: Arc<Notify>,
        concurrency: usize,
        attempts: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            shared,
            selection,
            queues: bells.into_iter().map(QueueState::new).collect(),
            slots: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            launcher: Launcher::new(attempts),
            wake,
            stop,
            outage: Mutex::new(Outage::new("claim tasks")),
        }
    }

    /// Claims until told to stop. A claim that is on its way then is awaited and its tasks handed back.
    pub(super) async fn run(mut self) {
        let mut is_deep = false;
        while self.wait_for_work().await {
            let Some(slots) = self.take_slots(is_deep).await else { break };
            if !is_deep {
                self.leave_to_others().await;
            }
            is_deep = self.fill(slots).await;
        }
    }

    /// Waits until a queue may have work; `false` when told to stop.
    async fn wait_for_work(&mut self) -> bool {
        let wake = Arc::clone(&self.wake);
        loop {
            let mut rung = std::pin::pin!(wake.notified());
            rung.as_mut().enable();
            let now = Instant::now();
            self.queues.iter_mut().for_each(|queue| queue.look(now));
            if self.stop.is_cancelled() {
                return false;
            }
            if self.queues.iter().any(|queue| !queue.is_quiet) {
                return true;
            }
            let next_poll = self.queues.iter().map(|queue| queue.next_poll).min();
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = rung => {}
                () = sleep_until(next_poll.unwrap_or(now + POLL_MAX)) => {}
            }
        }
    }

    /// Takes free slots, at least one and at most a claim's worth; `None` when told to stop.
    async fn take_slots(&mut self, is_deep: bool) -> Option<OwnedSemaphorePermit> {
        let half = u32::try_from((self.concurrency / 2).clamp(1, CLAIM_MAX / 2)).unwrap_or(1);
        let batch = is_deep.then_some(Batch { places: half, wait: BATCH_WAIT });
        let slots = Arc::clone(&self.slots);
        take_places(&slots, batch, CLAIM_MAX, self.take_slot()).await
    }

    async fn take_slot(&mut self) -> Option<OwnedSemaphorePermit> {
        let acquire = || Arc::clone(&self.slots).acquire_owned();
        if let Ok(taken) = timeout(BUSY_AFTER, acquire()).await {
            return taken.ok();
        }
        let stop = self.stop.clone();
        let taking = acquire();
        self.queues.iter_mut().for_each(QueueState::let_others_listen);
        tokio::select! {
            taken = taking => taken.ok(),
            () = stop.cancelled() => None,
        }
    }

    /// Keeps off queues in which nothing is pending but what this worker has no handler for: for a moment, others get it.
    async fn leave_to_others(&mut self) {
        let (home, put_back) = (&self.shared.home, &self.shared.put_back);
        for (queue, state) in self.queues.iter_mut().enumerate() {
            if state.is_quiet || state.is_unanswered || !put_back.has_any(queue) {
                continue;
            }
            // What cannot be read is claimed, and says why.
            let pending =
                home.broker.oldest_pending(&home.queues[queue], GLANCED_AT).await.unwrap_or_default();
            if put_back.are_all(queue, &pending) {
                state.leave_to_others(HEAD_START, GLANCE);
            }
        }
    }

    /// Fills slots from the queues that may have work. `true` when there may be much more.
    async fn fill(&mut self, mut slots: OwnedSemaphorePermit) -> bool {
        for queue in self.selection.ahead_of_eligible(|queue| !self.queues[queue].is_quiet) {
            self.queues[queue].ask_before_lighter();
        }
        loop {
            let shares = self.selection.shares(slots.num_permits(), |queue| !self.queues[queue].is_quiet);
            if shares.is_empty() {
                // All slots are taken, or all queues have been emptied.
                return slots.num_permits() == 0;
            }
            let claims = shares.iter().map(|&(queue, share)| self.claim(queue, share));
            let answers = join_all(claims).await;
            for ((queue, share), answer) in shares.into_iter().zip(answers) {
                let state = &mut self.queues[queue];
                match answer {
                    None => {}
                    Some(Ok(answer)) => {
                        state.answered();
                        state.sequence += 1;
                        self.take(queue, share, answer, &mut slots).await;
                    }
                    Some(Err(Refused { error, is_repeat })) => {
                        state.is_unanswered = is_repeat;
                        state.refused(&error);
                    }
                }
            }
            if self.stop.is_cancelled() {
                return false;
            }
        }
    }

    /// Asks one queue until it answers: a claim whose answer was lost has taken tasks that only the same number
    /// brings back. An answer may be a refusal, which is no reason to keep other queues waiting. `None` when the
    /// worker waits for nothing any more.
    async fn claim(&self, queue: usize, max: usize) -> Option<Result<Answer, Refused>> {
        let home = &self.shared.home;
        let request = ClaimRequest {
            queue: &home.queues[queue],
            owner: &home.owner,
            sequence: self.queues[queue].sequence,
            max,
            lease: self.shared.lease,
        };
        let mut is_repeat = self.queues[queue].is_unanswered;
        loop {
            match home.broker.claim(&request).await {
                Ok(claimed) => {
                    self.answered(is_repeat);
                    return Some(Ok(Answer { claimed, is_repeat }));
                }
                Err(error) if !error.is_retryable() => return Some(Err(Refused { error, is_repeat })),
                Err(error) => {
                    is_repeat = true;
                    self.wait_out(&error).await?;
                }
            }
        }
    }

    /// Hands out what a claim brought.
    async fn take(&mut self, queue: usize, share: usize, answer: Answer, slots: &mut OwnedSemaphorePermit) {
        let state = &mut self.queues[queue];
        let tasks = match answer.claimed {
            Claimed::Tasks(tasks) => tasks,
            Claimed::Empty => return state.found_empty(),
            Claimed::Paused | Claimed::Cordoned => return state.found_closed(),
        };
        let bytes: usize = tasks.iter().map(|task| task.raw.len()).sum();
        if tasks.len() < share && !tasks.is_empty() && bytes < LARGE_CLAIM_BYTES {
            state.emptied();
        } else {
            state.found_work();
        }
        let tasks = if answer.is_repeat { self.still_ours(queue, tasks).await } else { tasks };
        self.start(queue, tasks, slots).await;
    }

    async fn start(&self, queue: usize, tasks: Vec<ClaimedTask>, slots: &mut OwnedSemaphorePermit) {
        let shared = &self.shared;
        let now = shared.home.broker.now_in(shared.home.queues[queue].as_str());
        let is_stopping = self.stop.is_cancelled();
        let admitted: Vec<_> = tasks.into_iter().map(|task| admit(&shared.home, queue, task, now)).collect();
        shared.stats.note_claimed(admitted.len());
        shared.table.insert(queue, admitted.iter().map(|(attempt, _)| Arc::clone(attempt)));
        let mut started = Vec::with_capacity(admitted.len());
        for (attempt, outcome) in admitted {
            let outcome = outcome.or_else(|| is_stopping.then(|| requeued(&attempt)));
            let slot = if outcome.is_none() { slots.split(1) } else { None };
            match (slot, outcome) {
                (Some(slot), _) => {
                    let span = debug_span!("attempt", task.id = attempt.message.id, queue.name = %attempt.queue_name());
                    started.push(Arc::clone(shared).run(attempt, slot).instrument(span));
                }
                // More tasks than slots would be a bug of ours; the task must not pay for it.
                (None, outcome) => {
                    let (finish, result) = outcome.unwrap_or_else(|| requeued(&attempt));
                    self.end_unrun(attempt, finish, result).await;
                }
            }
        }
        self.launcher.launch(started);
    }

    async fn end_unrun(&self, attempt: Arc<Attempt>, finish: Finish, result: AttemptResult) {
        if attempt.begin_report() {
            self.shared.tell(&attempt, Duration::ZERO, result);
            self.shared.report(Report { attempt, finish, result }).await;
        }
    }

    /// An answer that came late may speak of leases that have run out since. What is still ours gets a new one.
    async fn still_ours(&self, queue: usize, tasks: Vec<ClaimedTask>) -> Vec<ClaimedTask> {
        let home = &self.shared.home;
        let ids: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
        let verdicts = loop {
            match home.broker.extend(&home.queues[queue], &home.owner, &ids, self.shared.lease).await {
                Ok(verdicts) => break verdicts,
                Err(error) => {
                    if self.wait_out(&error).await.is_none() {
                        return Vec::new();
                    }
                }
            }
        };
        let renewed = |(mut task, verdict): (ClaimedTask, Extended)| match verdict {
            Extended::Lost => None,
            // The next extension tells of a cancellation again.
            Extended::Until(end) | Extended::Cancelled(end, _) => {
                task.leased_until = end;
                Some(task)
            }
            Extended::Revoked(end) => {
                (task.leased_until, task.revoked) = (end, true);
                Some(task)
            }
        };
        tasks.into_iter().zip(verdicts).filter_map(renewed).collect()
    }

    fn answered(&self, is_repeat: bool) {
        self.shared.stats.set_reachable(true);
        if is_repeat {
            self.outage.lock().unwrap_or_else(PoisonError::into_inner).ended();
        }
    }

    async fn wait_out(&self, error: &BrokerError) -> Option<()> {
        self.shared.stats.set_reachable(false);
        let pause = self.outage.lock().unwrap_or_else(PoisonError::into_inner).failed(error);
        tokio::select! {
            () = self.shared.hard_stop.cancelled() => None,
            () = sleep(pause) => Some(()),
        }
    }
}
