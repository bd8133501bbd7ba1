//! The firing loop.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use futures::{FutureExt as _, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::book::Parsed;
use super::mirror::Mirror;
use super::{Scheduler, Tick};
use crate::broker::{
    BrokerError, DueEntries, DueEntry, FireRequest, FireVerdict, Outage, Page, Replica, tick_task,
};
use crate::schedule::{EntryError, TickOutcome, decide};
use crate::task::QueueName;

/// Longest a process goes without looking, so that an edit is in force everywhere within a second.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Entries looked at in one go.
pub(super) const ENTRIES_PER_LOOK: usize = 200;
/// Queues looked at at once.
const QUEUES_AT_ONCE: usize = 16;
/// How long a process counts as alive after its last sign.
const REPLICA_LIFE: Duration = Duration::from_secs(5);
/// How much longer each further process waits before it fires what the first should have fired.
const RANK_STEP: Duration = Duration::from_millis(100);
/// Processes beyond this wait no longer than this one.
const RANK_MAX: usize = 5;

/// The place of this process among those that fire.
#[derive(Debug, Clone, Copy)]
struct Standing {
    place: usize,
    of: usize,
}

impl Standing {
    /// How long this process leaves a due tick of a queue to others. Who comes first differs by queue.
    fn patience(self, queue: &QueueName) -> Duration {
        let mut hasher = DefaultHasher::new();
        queue.hash(&mut hasher);
        let turn = (hasher.finish() % self.of.max(1) as u64) as usize;
        let rank = (self.place + turn) % self.of.max(1);
        RANK_STEP * rank.min(RANK_MAX) as u32
    }
}

impl Scheduler {
    /// Fires until the token is cancelled. Errors of Redis end nothing: it waits and goes on.
    ///
    /// Write the schedules first ([`apply`](Self::apply), [`sweep`](Self::sweep)), so that nothing fires which
    /// was deleted while no process ran.
    ///
    /// Beside it, one of the processes that fire on a Redis shows its schedules to asynq's tools.
    pub async fn run(&self, stop: CancellationToken) {
        let mirror = Mirror::new(self.broker.clone(), self.owner.clone());
        let mirroring = AbortOnDropHandle::new(tokio::spawn(mirror.run(stop.clone())));
        let replica = Replica::new(&self.owner, self.cluster.clone());
        let firing = async {
            let mut outage = Outage::new("fire schedules");
            loop {
                let pause = match self.round(&replica).await {
                    Ok(pause) => {
                        outage.ended();
                        pause
                    }
                    Err(error) => outage.failed(&error),
                };
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(firing).await;
        let (left, mirrored) = tokio::join!(self.broker.leave_replicas(&replica), mirroring);
        if let Err(error) = left {
            tracing::debug!(error = &error as &dyn std::error::Error, "could not sign off");
        }
        if let Err(error) = mirrored {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "showing schedules to asynq's tools ended"
            );
        }
    }

    /// Looks at all queues for up to a second; answers how long to sleep.
    async fn round(&self, replica: &Replica) -> Result<Duration, BrokerError> {
        self.broker.sync_clock().await?;
        let (place, of) = self.broker.join_replicas(replica, REPLICA_LIFE).await?;
        let standing = Standing { place, of };
        let queues = self.broker.scheduled_queues().await?;
        let until = tokio::time::Instant::now() + LOOK_AGAIN;
        loop {
            let looks: Vec<_> = queues.iter().map(|queue| self.look(queue, standing).boxed()).collect();
            let pauses: Vec<_> = stream::iter(looks).buffer_unordered(QUEUES_AT_ONCE).collect().await;
            let mut pause = LOOK_AGAIN;
            for looked in pauses {
                pause = pause.min(looked?);
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if pause >= left {
                return Ok(left);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Fires what is due in one queue; answers how long until more is.
    async fn look(&self, queue: &QueueName, standing: Standing) -> Result<Duration, BrokerError> {
        let patience = SignedDuration::try_from(standing.patience(queue)).unwrap_or(SignedDuration::ZERO);
        let mut page = Page { offset: 0, limit: ENTRIES_PER_LOOK };
        loop {
            let soon = self.broker.due_entries(queue, LOOK_AGAIN, page).await?;
            let ripe =
                |entry: &&DueEntry| entry.due + patience <= soon.now && !self.book.is_denied(&entry.uid);
            let due: Vec<_> = soon.entries.iter().filter(ripe).cloned().collect();
            if !due.is_empty() && self.fire(queue, &due, soon.now).await? {
                return Ok(Duration::ZERO);
            }
            // What others own, and do not fire, is passed over.
            page.offset += soon.entries.len();
            if soon.later.is_none_or(|later| later + patience > soon.now) {
                return Ok(until_next(&soon, patience));
            }
        }
    }

    /// Accounts for the due ticks of entries; answers whether anything changed.
    pub(super) async fn fire(
        &self,
        queue: &QueueName,
        due: &[DueEntry],
        now: Timestamp,
    ) -> Result<bool, BrokerError> {
        let parsed = self.parse(queue, due).await?;
        let mut firing = Vec::new();
        for entry in due {
            let Some(parsed) = parsed.get(&entry.uid).filter(|parsed| self.fires(&parsed.entry)) else {
                continue;
            };
            if let Some(request) = self.request(queue, entry, parsed, now) {
                firing.push((request, Arc::clone(parsed)));
            }
        }
        let requests: Vec<_> = firing.iter().map(|(request, _)| request.clone()).collect();
        let verdicts = self.broker.fire(queue, &requests).await?;
        let mut progress = false;
        for ((request, parsed), verdict) in firing.iter().zip(verdicts) {
            progress |= self.settle(queue, request, parsed, verdict).await;
        }
        Ok(progress)
    }

    /// What is to happen to an entry: `None` when nothing is due after all.
    fn request(
        &self,
        queue: &QueueName,
        due: &DueEntry,
        parsed: &Parsed,
        now: Timestamp,
    ) -> Option<FireRequest> {
        let decision = due.next.map(|next| decide(&parsed.entry, &parsed.timing, next, now));
        let (passed, fire, next) = match decision {
            Some(decision) => (decision.passed, decision.fire, decision.next),
            None => (Vec::new(), None, None),
        };
        // A newer tick takes the place of one that waits.
        let run = fire.or(due.waiting);
        if run.is_none() && passed.is_empty() {
            return None;
        }
        let again = run.is_some_and(|tick| Some(tick) != due.waiting && self.book.has_fired(&due.uid, tick));
        Some(FireRequest {
            uid: due.uid.clone(),
            revision: due.revision.clone(),
            expected: due.next,
            next: next.map(|next| parsed.tick(next)),
            run: run.map(|tick| (parsed.tick(tick), tick_task(queue, &parsed.entry, tick))),
            outcome: if again { TickOutcome::Refired } else { TickOutcome::Enqueued },
            passed,
        })
    }

    /// Notes and tells what became of a request; answers whether anything changed.
    async fn settle(
        &self,
        queue: &QueueName,
        request: &FireRequest,
        parsed: &Parsed,
        verdict: FireVerdict,
    ) -> bool {
        let tell = |nominal, count, outcome, lateness, task_id| {
            let schedule = parsed.entry.key();
            (self.on_tick)(&Tick {
                queue: queue.clone(),
                schedule,
                nominal,
                count,
                outcome,
                lateness,
                task_id,
            });
        };
        let (outcome, lateness, cancel) = match verdict {
            FireVerdict::Ran { outcome, lateness, cancel } => (Some(outcome), lateness, cancel),
            FireVerdict::Passed => (None, Duration::ZERO, Vec::new()),
            // Another process did it, or it was edited: what stands there is read anew.
            FireVerdict::Stale { .. } | FireVerdict::Early(_) | FireVerdict::Gone => return false,
            FireVerdict::Aside { reason, is_new } => {
                if is_new {
                    let schedule = parsed.entry.key();
                    tracing::error!(%schedule, queue.name = %queue, %reason, "a schedule cannot fire for now");
                }
                return false;
            }
        };
        for passed in &request.passed {
            tell(passed.to, passed.count, passed.outcome, Duration::ZERO, None);
        }
        let ran = request.run.as_ref().map(|(tick, task)| (tick.nominal, task.message.id.clone()));
        self.book.note(parsed, ran.as_ref().map(|(nominal, _)| *nominal), request.next);
        if let (Some(outcome), Some((nominal, id))) = (outcome, ran)
            && outcome != TickOutcome::Waiting
        {
            let enqueued = matches!(outcome, TickOutcome::Enqueued | TickOutcome::Refired);
            tell(nominal, 1, outcome, lateness, enqueued.then_some(id));
        }
        for id in cancel {
            // Lost here, the mark in Redis still reaches the worker with its next extension.
            if let Err(error) = self.broker.cancel(&id).await {
                tracing::debug!(error = &error as &dyn std::error::Error, task.id = %id, "could not publish");
            }
        }
        true
    }

    /// The entries with their schedules parsed, from the book or from Redis. What cannot be fired is set aside.
    async fn parse(
        &self,
        queue: &QueueName,
        due: &[DueEntry],
    ) -> Result<HashMap<String, Arc<Parsed>>, BrokerError> {
        let mut parsed = HashMap::with_capacity(due.len());
        let mut unknown = Vec::new();
        for entry in due {
            match self.book.parsed(&entry.uid, &entry.revision) {
                Some(known) => drop(parsed.insert(entry.uid.clone(), known)),
                None if entry.revision.is_empty() => {
                    // Its hash has vanished: nothing is left to fire.
                    self.broker.retire_entry(queue, &entry.uid, None, false).await?;
                }
                None => unknown.push(entry.uid.clone()),
            }
        }
        for stored in self.broker.read_entries(queue, &unknown).await? {
            let fault = match stored.entry {
                Ok(entry) => match Parsed::new(entry) {
                    Ok(known) => {
                        let known = Arc::new(known);
                        self.book.keep(&stored.revision, Arc::clone(&known));
                        parsed.insert(stored.uid, known);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Err(error) if matches!(*error, EntryError::Format { .. }) => {
                    tracing::debug!(schedule.uid = %stored.uid, %error, "left to a newer version");
                    continue;
                }
                Err(error) => error.to_string(),
            };
            if self.broker.fault_entry(queue, &stored.uid, &stored.revision, &fault).await? {
                tracing::error!(schedule.uid = %stored.uid, %fault, "a schedule cannot fire and is set aside");
            }
        }
        Ok(parsed)
    }
}

/// How long until an entry is due, at most a second and at least one millisecond.
fn until_next(soon: &DueEntries, patience: SignedDuration) -> Duration {
    let dues = soon.entries.iter().map(|entry| entry.due + patience).chain(soon.later);
    let next = dues.filter(|due| *due > soon.now).min();
    let wait =
        next.map_or(LOOK_AGAIN, |due| Duration::try_from(due.duration_since(soon.now)).unwrap_or(LOOK_AGAIN));
    wait.clamp(Duration::from_millis(1), LOOK_AGAIN)
}
