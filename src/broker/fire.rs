//! Accounting for due ticks.

use std::time::Duration;

use jiff::Timestamp;

use super::entry::{NextTick, add_tick};
use super::expire::begin_by;
use super::keep::millis;
use super::keys::QueueKeys;
use super::reply::Reply;
use super::unique::{life_s, own_lock, unique_key};
use super::{Broker, BrokerError, NewTask, script};
use crate::schedule::{Entry, PassedTicks, TickOutcome};
use crate::task::QueueName;

/// Entries one script call handles: bounded so that none holds Redis for 2 ms.
const ENTRIES_PER_CALL: usize = 50;
/// Message bytes one script call carries, unless a single task is larger.
const BYTES_PER_CALL: usize = 256 * 1024;
/// How long a new run waits for the run it replaces to end.
const REPLACED_WAIT: Duration = Duration::from_secs(10);
/// When an entry is looked at again that was set aside, since a key it needs holds something else.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What is to happen to one entry.
#[derive(Debug, Clone)]
pub struct FireRequest {
    /// The entry's uid.
    pub uid: String,
    /// The revision it must have.
    pub revision: String,
    /// The next tick it must have.
    pub expected: Option<Timestamp>,
    /// Its next tick from then on.
    pub next: Option<NextTick>,
    /// The tick to run, if any, and its task, see [`tick_task`].
    pub run: Option<(NextTick, NewTask)>,
    /// What a run is recorded as: enqueued, or refired after Redis lost writes.
    pub outcome: TickOutcome,
    /// Ticks that pass without a run.
    pub passed: Vec<PassedTicks>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FireVerdict {
    /// The tick is accounted for.
    Ran {
        /// As what: enqueued, refired, skipped, deduplicated, or waiting for the run it replaces.
        outcome: TickOutcome,
        /// How long after it was due.
        lateness: Duration,
        /// Running tasks to cancel, since this run replaces them.
        cancel: Vec<String>,
    },
    /// Ticks passed, none ran.
    Passed,
    /// Another process fired it, or it was edited, or Redis lost writes: this is what stands there.
    Stale {
        /// The revision found.
        revision: String,
        /// The next tick found.
        next: Option<Timestamp>,
    },
    /// Not due yet by Redis's clock.
    Early(Duration),
    /// There is no such entry.
    Gone,
    /// A key that it needs holds something else. Nothing was fired and its tick stays; it is looked at again in a while.
    Aside {
        /// Which key, and what to do about it.
        reason: String,
        /// Nobody has found that before.
        is_new: bool,
    },
}

/// The task of a tick of an entry in that queue, with its lock if it is unique.
#[must_use]
pub fn tick_task(queue: &QueueName, entry: &Entry, nominal: Timestamp) -> NewTask {
    let mut task = NewTask::new(entry.message(nominal), None);
    if let Some(seconds) = entry.template.unique_s {
        task.lock_for = Some(Duration::from_secs(seconds.unsigned_abs()));
        // Manifests know no payload of no bytes: it is none, as in Go.
        let payload = Some(task.message.payload.as_ref()).filter(|payload| !payload.is_empty());
        task.message.unique_key = unique_key(queue, &task.message.kind, payload);
    }
    task
}

impl Broker {
    /// Accounts for due ticks of entries of one queue, each exactly once, and answers for each in its place.
    ///
    /// Safe to repeat: what was done the first time answers [`FireVerdict::Stale`] the second time.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; repeat to know what was done.
    pub async fn fire(
        &self,
        queue: &QueueName,
        requests: &[FireRequest],
    ) -> Result<Vec<FireVerdict>, BrokerError> {
        self.register_queue_sometimes(queue).await?;
        let mut verdicts = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_len(rest));
            self.fire_chunk(queue, chunk, &mut verdicts).await?;
            rest = later;
        }
        Ok(verdicts)
    }

    async fn fire_chunk(
        &self,
        queue: &QueueName,
        requests: &[FireRequest],
        verdicts: &mut Vec<FireVerdict>,
    ) -> Result<(), BrokerError> {
        const DOING: &str = "fire schedules";
        let keys = QueueKeys::new(queue);
        let mut call = script::FIRE.key(keys.due());
        call.key(keys.pending()).key(keys.retry()).key(keys.scheduled()).key(keys.locks());
        call.key(keys.groups()).key(keys.holders()).key(keys.expiring());
        call.arg(keys.task_prefix())
            .arg(keys.entry_prefix())
            .arg(keys.ticks_prefix())
            .arg(millis(REPLACED_WAIT))
            .arg(keys.group_prefix())
            .arg(millis(LOOK_AGAIN));
        for request in requests {
            call.arg(&request.uid).arg(&request.revision);
            call.arg(request.expected.map_or(String::new(), |tick| tick.as_second().to_string()));
            add_tick(&mut call, request.next);
            match &request.run {
                Some((tick, NewTask { message, lock_for, .. })) => {
                    add_tick(&mut call, Some(*tick));
                    call.arg(&message.id).arg(message.encode().as_ref()).arg(&message.group);
                    call.arg(own_lock(keys, message)).arg(life_s(*lock_for));
                    call.arg(begin_by(message).map_or(String::new(), |ms| ms.to_string()));
                }
                None => {
                    // No tick, and nothing of its task.
                    call.arg([""; 8].as_slice());
                }
            }
            call.arg(request.outcome.as_str()).arg(request.passed.len());
            for passed in &request.passed {
                let (from, to) = (passed.from.as_second(), passed.to.as_second());
                call.arg(format!("{from}|{to}|{}|{}", passed.count, passed.outcome));
            }
        }
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        for request in requests {
            verdicts.push(verdict(request, &mut reply.nested()?)?);
        }
        Ok(())
    }
}

fn chunk_len(requests: &[FireRequest]) -> usize {
    let mut bytes = 0;
    let fits = |request: &&FireRequest| {
        bytes += 256 + request.run.as_ref().map_or(0, |(_, task)| task.message.payload.len());
        bytes <= BYTES_PER_CALL
    };
    requests.iter().take(ENTRIES_PER_CALL).take_while(fits).count().max(1)
}

fn verdict(request: &FireRequest, reply: &mut Reply) -> Result<FireVerdict, BrokerError> {
    let word = reply.text()?;
    let outcome = match word.as_str() {
        "fired" => request.outcome,
        "skipped" => TickOutcome::SkippedOverlap,
        "waiting" => TickOutcome::Waiting,
        "deduplicated" => TickOutcome::Deduplicated,
        "passed" => return Ok(FireVerdict::Passed),
        "early" => return Ok(FireVerdict::Early(ms(reply.int()?))),
        "gone" => return Ok(FireVerdict::Gone),
        "aside" => return Ok(FireVerdict::Aside { reason: reply.text()?, is_new: reply.int()? == 1 }),
        _ => {
            let (revision, next) = (reply.text()?, reply.maybe_int()?);
            return Ok(FireVerdict::Stale { revision, next: next.map(super::reply::from_s) });
        }
    };
    let _task_id = reply.text()?;
    let lateness = ms(reply.int()?);
    let mut cancel = Vec::new();
    while !reply.is_empty() {
        cancel.push(reply.text()?);
    }
    Ok(FireVerdict::Ran { outcome, lateness, cancel })
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
