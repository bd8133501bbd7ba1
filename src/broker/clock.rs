//! Redis's clock as seen from here.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Longest time an answer may take to tell something about the clock.
const TELLING: SignedDuration = SignedDuration::from_millis(100);

/// This machine's clock, corrected to Redis's.
///
/// What must not be early or late by a machine's wrong clock reads Redis's time inside the script. This clock
/// serves everything else: times put into messages, and how long to sleep.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead_us: AtomicI64,
    is_known: AtomicBool,
}

impl Clock {
    /// Redis's time now, as well as we know it.
    pub(super) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_micros(self.ahead_us.load(Ordering::Relaxed));
        let here = Timestamp::now();
        here.checked_add(offset).unwrap_or(here)
    }

    /// Learns the offset from a reading of Redis's clock that began and ended at these local times.
    ///
    /// An answer that took long says little about when the clock was read, and is passed over.
    pub(super) fn learn(&self, asked: Timestamp, answered: Timestamp, redis_us: i64) {
        let was_known = self.is_known.swap(true, Ordering::Relaxed);
        if was_known && answered.duration_since(asked).abs() > TELLING {
            return;
        }
        let middle = asked.as_microsecond() + (answered.as_microsecond() - asked.as_microsecond()) / 2;
        self.ahead_us.store(redis_us - middle, Ordering::Relaxed);
    }

    /// How far Redis's clock is ahead of this machine's; negative when it is behind.
    pub(super) fn offset(&self) -> SignedDuration {
        SignedDuration::from_micros(self.ahead_us.load(Ordering::Relaxed))
    }
}
