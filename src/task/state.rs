//! The states of a task, spelled as in Redis.

use std::fmt;
use std::str::FromStr;

/// Where a task stands. The text form names the container that holds its id, so spelling matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A worker runs it under a lease.
    Active,
    /// Waiting for a worker.
    Pending,
    /// Waiting for its time.
    Scheduled,
    /// Failed; waiting for its next attempt.
    Retry,
    /// Given up; kept for people to look at.
    Archived,
    /// Succeeded; kept for its retention.
    Completed,
    /// Waiting in a group.
    Aggregating,
}

impl State {
    /// All states, in the order tools list them.
    pub const ALL: [Self; 7] = [
        Self::Active,
        Self::Pending,
        Self::Aggregating,
        Self::Scheduled,
        Self::Retry,
        Self::Archived,
        Self::Completed,
    ];

    /// The state as spelled in Redis.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Retry => "retry",
            Self::Archived => "archived",
            Self::Completed => "completed",
            Self::Aggregating => "aggregating",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown task state {0:?}; known are active, pending, aggregating, scheduled, retry, archived, completed"
)]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}
