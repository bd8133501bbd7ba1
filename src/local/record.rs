//! What local mode counts for `/metrics`.

use crate::schedule::TickOutcome;
use crate::scheduler::Tick;
use crate::telemetry::{self, Metrics};

/// Counts what became of a tick.
pub(super) fn tick(metrics: &Metrics, tick: &Tick) {
    metrics.ticks(label(tick.outcome), tick.count);
    if matches!(tick.outcome, TickOutcome::Enqueued | TickOutcome::Refired) {
        metrics.tick_fired(tick.lateness);
    }
}

/// The label of an outcome: telemetry knows no types of ours.
fn label(outcome: TickOutcome) -> telemetry::TickOutcome {
    match outcome {
        TickOutcome::Enqueued => telemetry::TickOutcome::Enqueued,
        TickOutcome::SkippedOverlap => telemetry::TickOutcome::SkippedOverlap,
        TickOutcome::TooLate => telemetry::TickOutcome::TooLate,
        TickOutcome::Suspended => telemetry::TickOutcome::Suspended,
        TickOutcome::Waiting => telemetry::TickOutcome::Waiting,
        TickOutcome::Deduplicated => telemetry::TickOutcome::Deduplicated,
        TickOutcome::Replaced => telemetry::TickOutcome::Replaced,
        TickOutcome::Refired => telemetry::TickOutcome::Refired,
        TickOutcome::Failed => telemetry::TickOutcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_the_same_name_in_metrics_as_in_the_ledger() {
        for outcome in TickOutcome::ALL {
            assert_eq!(label(outcome).as_str(), outcome.as_str());
        }
    }
}
