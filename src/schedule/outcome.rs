//! What became of a tick.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What became of a nominal time. Each nominal time ends as exactly one of these, [`Waiting`](Self::Waiting)
/// aside, which another outcome follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TickOutcome {
    /// Its task was enqueued.
    Enqueued,
    /// Nothing was enqueued because an earlier run still lives.
    SkippedOverlap,
    /// It was noticed too late to run, or a later tick was due as well.
    TooLate,
    /// It fell into a time when the schedule was suspended.
    Suspended,
    /// It waits for an earlier run to end.
    Waiting,
    /// A task of its id was there already.
    Deduplicated,
    /// Its task was enqueued in place of an earlier run, which was cancelled.
    Replaced,
    /// Its task was enqueued again because Redis had lost the first time.
    Refired,
    /// It could not be enqueued; the record names the reason.
    Failed,
}

impl TickOutcome {
    /// All outcomes.
    pub const ALL: [Self; 9] = [
        Self::Enqueued,
        Self::SkippedOverlap,
        Self::TooLate,
        Self::Suspended,
        Self::Waiting,
        Self::Deduplicated,
        Self::Replaced,
        Self::Refired,
        Self::Failed,
    ];

    /// The outcome as spelled in Redis, metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::SkippedOverlap => "skipped-overlap",
            Self::TooLate => "too-late",
            Self::Suspended => "suspended",
            Self::Waiting => "waiting",
            Self::Deduplicated => "deduplicated",
            Self::Replaced => "replaced",
            Self::Refired => "refired",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for TickOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read tick outcome {0:?}: unknown")]
pub struct UnknownOutcome(pub String);

impl FromStr for TickOutcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|outcome| outcome.as_str() == text);
        known.ok_or_else(|| UnknownOutcome(text.to_owned()))
    }
}
