//! What the number of workers is decided from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is known of the work at one moment, over all queues that one fleet serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Tasks that run, whose workers live.
    pub active: u64,
    /// Attempts that ended since the look before.
    pub ended: u64,
    /// Groups that are being aggregated, which takes a worker but none of its slots.
    pub aggregating: u64,
    /// Tasks that can be claimed.
    pub pending: u64,
    /// Tasks whose workers vanished: their leases are over, and keeping is about to bring them back.
    pub expired: u64,
    /// Scheduled tasks that are due within the time looked ahead.
    pub scheduled_soon: u64,
    /// Tasks to be tried again within that time.
    pub retry_soon: u64,
    /// Groups that are ripe, or will be within that time.
    pub ripe_groups: u64,
    /// Ticks that wait for the run they replace to end.
    pub waiting_ticks: u64,
    /// Ticks of schedules that are due within that time.
    pub ticks_soon: u64,
    /// Tasks in paused queues, of any of these sorts but the active ones. They count for nothing: no worker could do
    /// anything about them.
    pub held_back: u64,
    /// How long until the next tick that is known; `None`: no tick is known.
    pub next_tick: Option<Duration>,
    /// How long a run takes, as learned; `None`: not known yet.
    pub run_time: Option<Duration>,
    /// How long a new worker takes to be there, as learned.
    pub lead_time: Duration,
    /// How far ahead was looked: the lead time, and something to be on the safe side.
    pub ahead: Duration,
    /// Workers there are now.
    pub current: u32,
}

impl Snapshot {
    /// Tasks that wait, or will within the time looked ahead.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        let soon =
            [self.scheduled_soon, self.retry_soon, self.ripe_groups, self.waiting_ticks, self.ticks_soon];
        soon.into_iter().fold(self.backlog_now(), u64::saturating_add)
    }

    /// What a worker could begin with at this moment, or within a second.
    pub(super) fn backlog_now(&self) -> u64 {
        self.pending.saturating_add(self.expired)
    }
}

/// What the fleet's owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// A fixed number of workers: nothing is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<u32>,
    /// Fewest workers.
    pub min: u32,
    /// Most workers.
    pub max: u32,
    /// Tasks one worker runs at once.
    pub concurrency: u32,
    /// How long a task may wait for a worker.
    #[serde(rename = "targetWaitMs", with = "millis")]
    pub target_wait: Duration,
    /// How long fewer workers must have been enough before there are fewer.
    #[serde(rename = "stabilizationMs", with = "millis")]
    pub stabilization: Duration,
}

/// Durations as whole milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(deserializer)?))
    }
}
