//! How a loop behaves while Redis does not answer: it waits longer each time and logs only the changes.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::BrokerError;
use crate::causes;

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(1);

/// One activity's run of failures, if it is in one.
#[derive(Debug)]
pub(crate) struct Outage {
    activity: &'static str,
    since: Option<Instant>,
    delay: Duration,
}

impl Outage {
    /// An activity that works so far, named as in "cannot {activity}".
    pub(crate) fn new(activity: &'static str) -> Self {
        Self { activity, since: None, delay: DELAY_MIN }
    }

    /// Notes a failure and returns how long to wait: 50 ms doubling to 1 s, less a random quarter so that many
    /// processes do not come back in step.
    pub(crate) fn failed(&mut self, error: &BrokerError) -> Duration {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            let causes = causes::on_one_line(error);
            warn!(reason = error.reason(), "cannot {}: {causes}; trying on", self.activity);
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(DELAY_MAX);
        delay.mul_f64(1.0 - fastrand::f64() / 4.0)
    }

    /// Notes that it works.
    pub(crate) fn ended(&mut self) {
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs_f64();
            info!("can {} again after {seconds:.1} s", self.activity);
            self.delay = DELAY_MIN;
        }
    }

    /// Rests after a step of a loop, until `stop` is cancelled at the latest: as long as the step says that there is
    /// nothing to do, or longer and longer while it fails. Zero means that more is due at once: it goes on as soon as
    /// others had the thread.
    pub(crate) async fn rest_after(&mut self, step: Result<Duration, BrokerError>, stop: &CancellationToken) {
        let pause = match step {
            Ok(pause) => {
                self.ended();
                pause
            }
            Err(error) => self.failed(&error),
        };
        if pause.is_zero() {
            return yield_now().await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}
