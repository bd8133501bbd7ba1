//! What becomes of ticks, counted for `/metrics`.

use super::Tick;
use crate::schedule::TickOutcome;
use crate::telemetry::Metrics;

/// Shows each outcome before the first tick that ends so.
pub fn announce_outcomes(metrics: &Metrics) {
    TickOutcome::ALL.iter().for_each(|outcome| metrics.ticks(outcome.as_str(), 0));
}

/// Counts what became of a tick.
pub fn record_tick(metrics: &Metrics, tick: &Tick) {
    metrics.ticks(tick.outcome.as_str(), tick.count);
    if matches!(tick.outcome, TickOutcome::Enqueued | TickOutcome::Refired) {
        metrics.tick_fired(tick.lateness);
    }
}
