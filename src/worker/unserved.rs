//! Tasks whose type the worker has no handler for: they wait for a worker that has one, each time longer, and others
//! are told of the type.

use std::time::Duration;

use tracing::debug;

use super::attempt::Attempt;
use super::verdict::later;
use crate::broker::{Finish, FinishOutcome};

/// How long such a task waits at first.
pub(super) const DELAY_MIN: Duration = Duration::from_secs(1);
/// How often it waits that long: of two workers, the one with the handler has taken it by then. Afterwards the wait is
/// doubled each time.
const QUICK_TRIES: u64 = 6;
/// How long it waits at most.
const DELAY_MAX: Duration = Duration::from_secs(120);

/// Tells of the type, and has the task wait as long as is due after all it was put off before.
pub(super) async fn note(attempt: &Attempt, finish: &mut Finish) {
    let (broker, queue, message) = (&attempt.home.broker, attempt.queue_name(), &attempt.message);
    match broker.note_unserved(queue, &message.id, &message.kind).await {
        Ok(times) => {
            if let FinishOutcome::Snooze { at, .. } = &mut finish.outcome {
                *at = later(broker.now_in(queue.as_str()), delay(times));
            }
        }
        // It waits for the shortest time then, and is met again.
        Err(error) => debug!(reason = error.reason(), "a type without a handler is not told: {error}"),
    }
}

fn delay(times: u64) -> Duration {
    let doublings = u32::try_from(times.saturating_sub(QUICK_TRIES - 1).min(16)).unwrap_or(16);
    DELAY_MIN.saturating_mul(1 << doublings).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_short_while_another_may_take_it_and_doubles_then_up_to_two_minutes() {
        let seconds: Vec<u64> = (0..15).map(|times| delay(times).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert_eq!(delay(u64::MAX), DELAY_MAX);
    }
}
