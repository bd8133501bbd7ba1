//! What can go wrong while schedules are written.

use crate::broker::BrokerError;
use crate::schedule::TimingError;

/// A schedule could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// Its spec or zone is wrong.
    #[error("schedule {schedule}")]
    Timing {
        /// `namespace/name`.
        schedule: String,
        /// What is wrong.
        source: TimingError,
    },
    /// Redis did not do it.
    #[error("schedule {schedule}")]
    Broker {
        /// `namespace/name`.
        schedule: String,
        /// What Redis said.
        source: BrokerError,
    },
    /// A tick under the old times stays due and nobody fires it.
    #[error(
        "schedule {schedule}: a tick due under its old times could not be accounted for; the edit is not in force"
    )]
    Stuck {
        /// `namespace/name`.
        schedule: String,
    },
}

impl SchedulerError {
    /// A fixed name for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timing { .. } => "InvalidSchedule",
            Self::Broker { source, .. } => source.reason(),
            Self::Stuck { .. } => "TickStuck",
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timing { .. } => false,
            Self::Broker { source, .. } => source.is_retryable(),
            Self::Stuck { .. } => true,
        }
    }
}
