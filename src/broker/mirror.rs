//! Reading what schedulers of asynq's kind publish: their entries, and what these enqueued. Writes nothing.

use prost::Message as _;

use super::keys::{SCHEDULERS, scheduler_history};
use super::{Broker, BrokerError, Page};
use crate::task::{SchedulerEnqueueEvent, SchedulerEntry};

/// Schedulers one listing reads at most, and entries of each.
const SCHEDULERS_MAX: isize = 100;
const ENTRIES_MAX: isize = 1000;

impl Broker {
    /// The entries of all schedulers of asynq's kind that are alive: what asynqmon shows on its page of schedulers.
    /// Our own schedules are among them, with their uids as ids, as far as they are mirrored for asynq's tools; what
    /// is to list them whole takes [`entries`](Self::entries).
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn scheduler_entries(&self) -> Result<Vec<SchedulerEntry>, BrokerError> {
        const DOING: &str = "list scheduler entries";
        let mut pipe = redis::pipe();
        pipe.cmd("ZRANGE").arg(SCHEDULERS).arg(self.now().as_second()).arg("+inf").arg("BYSCORE");
        pipe.arg("LIMIT").arg(0).arg(SCHEDULERS_MAX);
        let (lists,): (Vec<Vec<u8>>,) = self.pipe(DOING, "*", &pipe).await?;
        let mut entries = Vec::new();
        for list in lists {
            let mut pipe = redis::pipe();
            pipe.lrange(list, 0, ENTRIES_MAX - 1);
            let (raw,): (Vec<Vec<u8>>,) = self.pipe(DOING, "*", &pipe).await?;
            entries.extend(raw.iter().filter_map(|raw| SchedulerEntry::decode(raw.as_slice()).ok()));
        }
        Ok(entries)
    }

    /// What an entry enqueued, newest first.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn scheduler_events(
        &self,
        entry: &str,
        page: Page,
    ) -> Result<Vec<SchedulerEnqueueEvent>, BrokerError> {
        let limit = page.limit.clamp(1, ENTRIES_MAX as usize);
        let mut pipe = redis::pipe();
        let (first, last) = (page.offset as i64, (page.offset + limit - 1) as i64);
        pipe.cmd("ZRANGE").arg(scheduler_history(entry)).arg(first).arg(last).arg("REV");
        let (raw,): (Vec<Vec<u8>>,) = self.pipe("list scheduler events", "*", &pipe).await?;
        Ok(raw.iter().filter_map(|raw| SchedulerEnqueueEvent::decode(raw.as_slice()).ok()).collect())
    }
}
