//! Keeping a queue: what is due goes forward, what lost its worker comes back, what is past its time goes.
//!
//! Each call handles a bounded number of tasks and says whether there is more.

use std::time::Duration;

use jiff::Timestamp;

use super::claim::Owner;
use super::finish::Holder;
use super::keys::QueueKeys;
use super::reply::{Reply, from_s};
use super::stranded::{Settled, Stranded};
use super::{Broker, BrokerError, script};
use crate::task::{EXPIRES_HEADER, Message, QueueName};

/// Tasks one call handles.
const TASKS_PER_CALL: usize = 100;
/// Grace for leases that carry another program's clock, as asynq gives them.
const FOREIGN_GRACE_S: i64 = 30;

/// What `forward` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// Tasks moved.
    pub moved: usize,
    /// More are due already.
    pub more: bool,
    /// When the next one is due, by Redis's clock.
    pub next_due: Option<Timestamp>,
}

/// What `recover` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Went to the back of the queue without losing an attempt.
    pub requeued: usize,
    /// Lost an attempt and will be retried.
    pub retried: usize,
    /// Had no attempt left.
    pub archived: usize,
    /// Were to be cancelled, and went to the archive.
    pub cancelled: usize,
    /// There may be more.
    pub more: bool,
}

/// How much of the archive is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Tasks at most.
    pub tasks_max: u64,
    /// For how long.
    pub age_max: Duration,
}

impl Default for ArchiveLimits {
    /// asynq's: 10,000 tasks for 90 days.
    fn default() -> Self {
        Self { tasks_max: 10_000, age_max: Duration::from_secs(90 * 24 * 3600) }
    }
}

/// Archived tasks that the limits of the archive cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Archived longer ago than the limit.
    pub age: u64,
    /// The oldest of too many.
    pub number: u64,
}

impl Dropped {
    /// By either limit.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.age + self.number
    }
}

/// What `clean` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Completed tasks past their retention, deleted.
    pub expired: usize,
    /// Archived tasks over the limits, deleted.
    pub dropped: Dropped,
    /// Ids found in `active` without a lease, or without a task.
    pub stranded: usize,
    /// More is left to do.
    pub more: bool,
    /// From where in `active` to look next time.
    pub next_place: usize,
}

impl Broker {
    /// Becomes or stays the process that keeps this queue; `false`: another one is.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn take_keeper_turn(
        &self,
        queue: &QueueName,
        who: &Owner,
        turn: Duration,
    ) -> Result<bool, BrokerError> {
        let mut call = script::KEEPER.key(QueueKeys::new(queue).keeper());
        call.arg(who.as_str()).arg(millis(turn));
        let taken: i64 = self.run("take a keeper's turn", queue.as_str(), &call).await?;
        Ok(taken == 1)
    }

    /// Becomes or stays the worker that looks at this queue's groups; `false`: another one does.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn take_aggregator_turn(
        &self,
        queue: &QueueName,
        who: &Owner,
        turn: Duration,
    ) -> Result<bool, BrokerError> {
        let mut call = script::KEEPER.key(QueueKeys::new(queue).aggregator());
        call.arg(who.as_str()).arg(millis(turn));
        let taken: i64 = self.run("take an aggregator's turn", queue.as_str(), &call).await?;
        Ok(taken == 1)
    }

    /// Moves tasks whose time has come, scheduled ones and retries, to pending.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn forward(&self, queue: &QueueName) -> Result<Forwarded, BrokerError> {
        const DOING: &str = "forward due tasks";
        let keys = QueueKeys::new(queue);
        let mut all = Forwarded { moved: 0, more: false, next_due: None };
        // A task that is tried again has begun.
        for (source, header) in [(keys.scheduled(), EXPIRES_HEADER), (keys.retry(), "")] {
            let mut call = script::FORWARD.key(source);
            call.key(keys.pending()).key(keys.groups()).key(keys.locks()).key(keys.expiring());
            call.arg(keys.task_prefix()).arg(keys.group_prefix()).arg(TASKS_PER_CALL).arg(header);
            let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
            all.moved += usize::try_from(reply.int()?).unwrap_or(0);
            all.more |= reply.int()? == 1;
            let next = reply.maybe_int()?.map(from_s);
            all.next_due = [all.next_due, next].into_iter().flatten().min();
        }
        Ok(all)
    }

    /// Brings back tasks whose lease ran out: to the back of the queue for the first crashes, then at the cost
    /// of an attempt. `retry_delay_s` says how long a task with that many retries waits.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat: each task is moved only while its lease is the one found.
    pub async fn recover(
        &self,
        queue: &QueueName,
        retry_delay_s: impl Fn(&Message) -> Duration + Send,
    ) -> Result<Recovered, BrokerError> {
        let (found, more) = self.expired(queue).await?;
        let now = self.now_in(queue.as_str());
        let settled: Vec<_> =
            found.iter().map(|task| task.settle(queue, now, None, &retry_delay_s)).collect();
        let endings: Vec<_> = settled.iter().map(Settled::ending).collect();
        let verdicts = self.end_attempts(queue, Holder::Expired, &endings).await?;
        let mut recovered = Recovered { more, ..Recovered::default() };
        recovered.add(queue, &settled, verdicts);
        Ok(recovered)
    }

    /// Deletes completed tasks past their retention and archived ones over the limits, gives a lease to what
    /// another program left in `active` without one, and lifts a pause of ours that is over.
    ///
    /// `place` is where in `active` to look for strays: 0 first, then what the last call answered.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn clean(
        &self,
        queue: &QueueName,
        limits: ArchiveLimits,
        place: usize,
    ) -> Result<Cleaned, BrokerError> {
        const DOING: &str = "clean the queue";
        let keys = QueueKeys::new(queue);
        let mut call = script::CLEAN.key(keys.completed());
        call.key(keys.archived())
            .key(keys.active())
            .key(keys.lease())
            .key(keys.paused())
            .key(keys.pause_note())
            .key(keys.locks())
            .key(keys.dropped())
            .key(keys.holders());
        call.arg(keys.task_prefix()).arg(TASKS_PER_CALL).arg(limits.tasks_max).arg(limits.age_max.as_secs());
        call.arg(place).arg(FOREIGN_GRACE_S);
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let mut count = || Ok::<_, BrokerError>(usize::try_from(reply.int()?).unwrap_or(0));
        let expired = count()?;
        let dropped = Dropped { age: count()? as u64, number: count()? as u64 };
        Ok(Cleaned { expired, dropped, stranded: count()?, more: count()? == 1, next_place: count()? })
    }

    /// Tasks whose leases are over, and whether there may be more.
    async fn expired(&self, queue: &QueueName) -> Result<(Vec<Stranded>, bool), BrokerError> {
        const DOING: &str = "read expired leases";
        let keys = QueueKeys::new(queue);
        let mut call = script::EXPIRED.key(keys.lease());
        call.key(keys.holders()).arg(keys.task_prefix()).arg(TASKS_PER_CALL).arg(FOREIGN_GRACE_S);
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let more = reply.int()? == 1;
        Ok((self.read_stranded(queue, reply).await?, more))
    }
}

/// Milliseconds for PX and PEXPIRE, at least one.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
