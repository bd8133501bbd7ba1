//! How long a run takes, learned from counters alone.

use std::time::Duration;

/// How much one new measurement weighs against the old ones.
const WEIGHT: f64 = 0.2;
/// Runs that together leave nothing of what was known before.
const ENOUGH: u64 = 100;

/// The run time of one fleet's tasks.
#[derive(Debug, Clone, Default)]
pub struct RunTime {
    seconds: Option<f64>,
    /// When it last looked, and how many attempts had ended by then.
    last: Option<(Duration, u64)>,
    /// Task-seconds run since an attempt last ended.
    running_s: f64,
}

impl RunTime {
    /// What another process has learned.
    #[must_use]
    pub fn known(run_time: Option<Duration>) -> Self {
        Self { seconds: run_time.map(|time| time.as_secs_f64()), ..Self::default() }
    }

    /// What was learned so far.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs_f64)
    }

    /// Little's law: the tasks that ran over a time, divided by those that ended in it, is how long one runs.
    ///
    /// `processed` is how many attempts had ended ever by `now`. Runs far shorter than the time between two looks come
    /// out as nearly nothing, which is right for them: one slot does many in that time. Answers how many ended since the
    /// last time.
    pub fn learn(&mut self, active: u64, processed: u64, now: Duration) -> u64 {
        let Some((then, before)) = self.last.replace((now, processed)) else { return 0 };
        self.running_s += active as f64 * now.saturating_sub(then).as_secs_f64();
        let ended = processed.saturating_sub(before);
        if ended == 0 {
            return 0;
        }
        let measured = self.running_s / ended as f64;
        self.running_s = 0.0;
        // Each run that has ended is a measurement: of many at once, nothing older is left.
        let older = (1.0 - WEIGHT).powi(ended.min(ENOUGH) as i32);
        self.seconds = Some(self.seconds.map_or(measured, |old| measured + older * (old - measured)));
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The run time learned from looks at (active, processed), 250 ms apart.
    fn learned(looks: impl IntoIterator<Item = (u64, u64)>) -> Option<f64> {
        let mut run_time = RunTime::default();
        for (place, (active, processed)) in (0..).zip(looks) {
            run_time.learn(active, processed, Duration::from_millis(250) * place);
        }
        run_time.seconds
    }

    #[test]
    fn the_run_time_of_a_steady_stream_is_found_whatever_its_length() {
        // Twenty at a time for three seconds each: one ends every 150 ms.
        let steady = learned((0..400).map(|look| (20, look * 250 / 150))).unwrap();
        assert!((2.7..3.3).contains(&steady), "{steady}");
        // One run of a minute after another.
        let long = learned((0..1200).map(|look| (1, look / 240))).unwrap();
        assert!((57.0..63.0).contains(&long), "{long}");
        // A slow one before very many quick ones: it is soon forgotten.
        let quick = learned([(0, 0), (1, 1), (1, 51), (1, 101)]).unwrap();
        assert!(quick < 0.006, "{quick}");
        // Thousands a second: hardly ever is one seen running.
        let short = learned((0..100).map(|look| (look % 2, look * 500))).unwrap();
        assert!(short < 0.001, "{short}");
    }

    #[test]
    fn nothing_is_learned_before_a_run_has_ended_or_when_the_counter_starts_again() {
        assert_eq!(learned((0..100).map(|_| (5, 7))), None);
        assert_eq!(learned([(0, 1000), (0, 0), (0, 0)]), None);
    }
}
