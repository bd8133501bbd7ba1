//! The closed sets of label values.
//!
//! A label value is a variant here, a word fixed in the code, or the name of a queue that this process serves or of
//! a fleet whose size it decides: their number is bounded by the configuration. Never the name of a schedule, a task id or an error text.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// How one attempt of a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// The handler succeeded.
    Succeeded,
    /// The handler failed and the task will run again.
    Retried,
    /// The task failed for good and went to the archive.
    Archived,
    /// The task went back unharmed, without an attempt spent: the worker was draining.
    Requeued,
    /// The handler asked for the task to be dropped.
    Revoked,
    /// The message could not be decoded and went to the archive.
    Quarantined,
    /// Somebody cancelled it, and the task went to the archive.
    Cancelled,
    /// The handler put the task off.
    Snoozed,
    /// The worker has no handler for its type.
    Unserved,
    /// The task had not begun in time and went to the archive.
    Expired,
}

impl TaskOutcome {
    /// Every outcome, in declaration order.
    pub const ALL: [Self; 10] = [
        Self::Succeeded,
        Self::Retried,
        Self::Archived,
        Self::Requeued,
        Self::Revoked,
        Self::Quarantined,
        Self::Cancelled,
        Self::Snoozed,
        Self::Unserved,
        Self::Expired,
    ];

    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Retried => "retried",
            Self::Archived => "archived",
            Self::Requeued => "requeued",
            Self::Revoked => "revoked",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
            Self::Snoozed => "snoozed",
            Self::Unserved => "unserved",
            Self::Expired => "expired",
        }
    }
}

impl EncodeLabelValue for TaskOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TickLabels {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QueueLabels {
    pub(super) queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FinishLabels {
    pub(super) queue: String,
    pub(super) outcome: TaskOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FleetLabels {
    pub(super) task_queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) queue: String,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DropLabels {
    pub(super) queue: String,
    pub(super) limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}
