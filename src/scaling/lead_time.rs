//! How long a worker takes until it is there.

use std::time::Duration;

/// Longest lead time that is believed: what takes longer is no start but an accident.
const MOST: Duration = Duration::from_secs(600);
/// What is added to be on the safe side: work is looked at now and then only.
const MARGIN: Duration = Duration::from_secs(1);

/// How long it takes from more workers being asked for to the first one's sign of life, as learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeadTime(Duration);

impl LeadTime {
    /// What is assumed until something is measured, or was learned before.
    #[must_use]
    pub fn assumed(lead_time: Duration) -> Self {
        Self(lead_time.min(MOST))
    }

    /// What was learned so far.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }

    /// How far ahead to look so that a worker is there in time.
    #[must_use]
    pub fn ahead(self) -> Duration {
        self.0 + self.0 / 4 + MARGIN
    }

    /// Learns from one start. A longer one is believed at once, since who is late once is late; shorter ones little by
    /// little.
    #[must_use]
    pub fn learned(self, took: Duration) -> Self {
        let took = took.min(MOST);
        if took >= self.0 {
            return Self(took);
        }
        Self(self.0 - (self.0 - took) / 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_start_counts_at_once_and_quick_ones_little_by_little() {
        let seconds = Duration::from_secs;
        let slow = LeadTime::assumed(seconds(5)).learned(seconds(12));
        assert_eq!((slow.get(), slow.ahead()), (seconds(12), seconds(16)));
        let quick = slow.learned(seconds(2));
        assert_eq!(quick.get(), seconds(10));
        let quicker = (0..50).fold(quick, |known, _| known.learned(seconds(2)));
        assert!((2.0..2.1).contains(&quicker.get().as_secs_f64()), "{quicker:?}");
        assert_eq!(slow.learned(seconds(86_400)).get(), seconds(600), "no fleet looks a day ahead");
    }
}
