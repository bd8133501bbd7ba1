//! Writing schedules: putting entries into force, taking them out, sweeping what is left behind.

use std::collections::HashSet;
use std::time::Duration;

use super::error::SchedulerError;
use super::fire::ENTRIES_PER_LOOK;
use super::{Scheduler, book::Parsed};
use crate::broker::{BrokerError, NextTick, Page, PutVerdict, Retired, StoredEntry};
use crate::schedule::{Entry, Revision};
use crate::task::QueueName;

/// How often an edit tries to get the tick before it fired.
const DUE_FIRST_TRIES: usize = 100;
/// Pause between two such tries.
const DUE_FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Entries read at once while sweeping.
const SWEEP_PAGE: usize = 200;

/// What became of an entry that was put into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is in force now.
    Written,
    /// It was in force already.
    Same,
    /// A newer revision is in force.
    Superseded(Revision),
}

impl Scheduler {
    /// Puts an entry into force. An edit that leaves its times alone keeps its next tick; one that moves them
    /// starts with the first tick after now, once the ticks due under the old times are accounted for.
    ///
    /// # Errors
    /// [`SchedulerError::Timing`] for what can never fire right, else [`SchedulerError::Broker`] or
    /// [`SchedulerError::Stuck`]. Safe to repeat.
    pub async fn apply(&self, entry: &Entry) -> Result<Applied, SchedulerError> {
        self.put(entry, None).await
    }

    /// Moves an entry from one queue to another: it stops firing there, goes on here from the same tick, and
    /// only then vanishes there. Safe to repeat at every step.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn apply_moved(&self, entry: &Entry, from: &QueueName) -> Result<Applied, SchedulerError> {
        self.apply_moved_from(entry, self, from).await
    }

    /// The same from a queue in another Redis, the one that `other` works on.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn apply_moved_from(
        &self,
        entry: &Entry,
        other: &Self,
        from: &QueueName,
    ) -> Result<Applied, SchedulerError> {
        let failed = |source| SchedulerError::Broker { schedule: entry.key(), source };
        let cluster = Some(entry.cluster.as_str());
        let left = other.broker.retire_entry(from, &entry.uid, cluster, true).await.map_err(failed)?;
        let carried = match left {
            Retired::Gone { next, timing } if timing == entry.timing_hash() => next,
            _ => None,
        };
        let applied = self.put(entry, carried).await?;
        other.broker.retire_entry(from, &entry.uid, cluster, false).await.map_err(failed)?;
        Ok(applied)
    }

    /// This process fires an entry no more, from this moment on, whatever stands in Redis. For an object that
    /// is gone while Redis cannot be told; [`remove`](Self::remove) follows when it can, [`apply`](Self::apply)
    /// takes it back.
    pub fn deny(&self, uid: &str) {
        self.book.deny(uid);
    }

    /// Takes an entry out of force, if it belongs to that cluster.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn remove(&self, queue: &QueueName, uid: &str, cluster: &str) -> Result<(), BrokerError> {
        self.broker.retire_entry(queue, uid, Some(cluster), false).await?;
        self.book.forget(uid);
        Ok(())
    }

    /// Takes every entry of a cluster out of force that is not to be kept; answers how many.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn sweep(&self, cluster: &str, keep: &HashSet<(String, String)>) -> Result<usize, BrokerError> {
        let is_kept =
            |queue: &QueueName, stored: &StoredEntry| keep.contains(&(queue.to_string(), stored.uid.clone()));
        self.sweep_unless(cluster, is_kept).await
    }

    /// Takes every entry of a cluster out of force of which `is_kept` does not say that it stays; answers how many.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn sweep_unless(
        &self,
        cluster: &str,
        mut is_kept: impl FnMut(&QueueName, &StoredEntry) -> bool + Send,
    ) -> Result<usize, BrokerError> {
        let mut swept = 0;
        for queue in self.broker.scheduled_queues().await? {
            let mut offset = 0;
            loop {
                let page = self.broker.entries(&queue, Page { offset, limit: SWEEP_PAGE }).await?;
                let read = page.len();
                let ours = page.into_iter().filter(|stored| stored.cluster == cluster);
                let gone: Vec<_> = ours.filter(|stored| !is_kept(&queue, stored)).collect();
                let mut removed = 0;
                for stored in gone {
                    self.remove(&queue, &stored.uid, cluster).await?;
                    removed += 1;
                }
                swept += removed;
                offset += read - removed;
                if read < SWEEP_PAGE {
                    break;
                }
            }
        }
        Ok(swept)
    }

    async fn put(&self, entry: &Entry, carried: Option<NextTick>) -> Result<Applied, SchedulerError> {
        let schedule = || entry.key();
        let failed = |source| SchedulerError::Broker { schedule: schedule(), source };
        let parsed = Parsed::new(entry.clone());
        let parsed = parsed.map_err(|source| SchedulerError::Timing { schedule: schedule(), source })?;
        let queue = QueueName::new(entry.template.queue.as_str()).map_err(|error| failed(error.into()))?;
        // An entry that Redis lost goes on where this process saw it last; the gap is for catch-up.
        let carried = carried.or_else(|| self.book.next(&entry.uid, parsed.timing_hash()));
        self.book.allow(&entry.uid);
        for _ in 0..DUE_FIRST_TRIES {
            let next = parsed
                .timing
                .next_after(self.broker.now_in(queue.as_str()))
                .map(|nominal| parsed.tick(nominal));
            match self.broker.put_entry(entry, next, carried).await.map_err(failed)? {
                PutVerdict::Written => return Ok(Applied::Written),
                PutVerdict::Same => return Ok(Applied::Same),
                PutVerdict::Older { stored } => match stored.parse() {
                    Ok(revision) => return Ok(Applied::Superseded(revision)),
                    Err(_) => return Err(SchedulerError::Stuck { schedule: schedule() }),
                },
                PutVerdict::DueFirst => self.fire_first(&queue, &entry.uid).await.map_err(failed)?,
            }
            tokio::time::sleep(DUE_FIRST_PAUSE).await;
        }
        Err(SchedulerError::Stuck { schedule: schedule() })
    }

    /// Fires one entry that is due, as the firing loop would.
    async fn fire_first(&self, queue: &QueueName, uid: &str) -> Result<(), BrokerError> {
        let mut page = Page { offset: 0, limit: ENTRIES_PER_LOOK };
        loop {
            let soon = self.broker.due_entries(queue, Duration::ZERO, page).await?;
            page.offset += soon.entries.len();
            let due: Vec<_> = soon.entries.into_iter().filter(|entry| entry.uid == uid).collect();
            self.fire(queue, &due, soon.now).await?;
            if !due.is_empty() || soon.later.is_none_or(|later| later > soon.now) {
                return Ok(());
            }
        }
    }
}
