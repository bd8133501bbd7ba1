//! Waiting longer after each failure in a row.

use std::time::Duration;

/// Doubles from 50 ms to 1 s; says when the state changes, so that an outage is one log line and not thousands.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Notes a failure: how long to wait, and whether it is the first in a row.
    pub(super) fn failed(&mut self) -> (Duration, bool) {
        let pause = Duration::from_millis(50 << self.failures.min(5)).min(Duration::from_secs(1));
        self.failures = self.failures.saturating_add(1);
        (pause, self.failures == 1)
    }

    /// Notes a success: whether it ends a row of failures.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_start_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..6).map(|_| backoff.failed().0.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000]);
        assert!(backoff.succeeded() && !backoff.succeeded());
        assert_eq!(backoff.failed(), (Duration::from_millis(50), true));
    }
}
