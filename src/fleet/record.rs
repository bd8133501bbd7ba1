//! What is written down of a fleet.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::FleetName;
use crate::scaling::{History, Policy};

/// The format that is written, and the highest that is understood.
pub(super) const FORMAT: u32 = 1;

/// A fleet as whoever decided about it last knew it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetRecord {
    pub(super) format: u32,
    /// When it was written, by Redis's clock.
    pub at: Timestamp,
    /// Which fleet it is.
    #[serde(flatten)]
    pub name: FleetName,
    /// The queues that its workers serve, by their names in Redis.
    pub queues: Vec<String>,
    /// What its owner wants.
    pub policy: Policy,
    /// Workers there were.
    pub current: u32,
    /// Workers there were to be.
    pub replicas: u32,
    /// Why, in one fixed word.
    pub reason: String,
    /// How long a worker takes to be there.
    pub(super) lead_time_ms: u64,
    /// How long a run takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) run_time_ms: Option<u64>,
    /// What was wanted lately.
    pub history: History,
}

impl FleetRecord {
    /// Reads one; nothing where it is of a higher format, or damaged: what was learned is learned again.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let record: Self = serde_json::from_str(text).ok()?;
        (record.format <= FORMAT).then_some(record)
    }

    /// How long ago it was written; zero where another's clock is ahead.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.at)).unwrap_or(Duration::ZERO)
    }

    /// How long a worker takes to be there.
    #[must_use]
    pub fn lead_time(&self) -> Duration {
        Duration::from_millis(self.lead_time_ms)
    }

    /// How long a run takes; `None`: not known yet.
    #[must_use]
    pub fn run_time(&self) -> Option<Duration> {
        self.run_time_ms.map(Duration::from_millis)
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and times can be written")
    }
}
