//! Which ticks pass and which one fires, given how late it is.

use jiff::{SignedDuration, Timestamp};

use super::entry::{CatchUp, Entry};
use super::outcome::TickOutcome;
use super::timing::Timing;

/// Seconds that a tick may be late under [`CatchUp::None`]: what a restart or a fail-over takes is no reason
/// to drop a tick.
pub const NO_CATCH_UP_GRACE_S: i64 = 10;

/// Most ticks that one decision accounts for. After a long absence the caller decides again from
/// [`Decision::next`].
pub const TICKS_PER_DECISION_MAX: u64 = 10_000;

/// What to do about the ticks due by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Ticks that pass without a run, in order.
    pub passed: Vec<PassedTicks>,
    /// The tick that fires; the firing script still applies the concurrency policy.
    pub fire: Option<Timestamp>,
    /// The first tick not accounted for by `passed` and `fire`; `None`: there is none.
    pub next: Option<Timestamp>,
}

/// Consecutive ticks that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedTicks {
    /// Nominal time of the first.
    pub from: Timestamp,
    /// Nominal time of the last.
    pub to: Timestamp,
    /// How many there are, at least 1.
    pub count: u64,
    /// What became of them.
    pub outcome: TickOutcome,
}

/// Ticks collected so far.
struct Due {
    first: Timestamp,
    /// The last but one.
    before_last: Timestamp,
    last: Timestamp,
    count: u64,
}

/// Decides about all ticks from `next`, the stored nominal time that is not accounted for yet, up to `now`.
///
/// Of several due ticks only the last can fire; a tick is missed only because a later one is due too. That
/// one fires however late, unless it is more than the starting deadline behind, or, under
/// [`CatchUp::None`], more than [`NO_CATCH_UP_GRACE_S`]. Lateness counts in whole seconds from when the
/// tick was due, jitter included.
///
/// At most [`TICKS_PER_DECISION_MAX`] ticks are looked at. When more are due, all that were looked at have
/// passed, nothing fires, and `next` is due already: decide again from there.
#[must_use]
pub fn decide(entry: &Entry, timing: &Timing, next: Timestamp, now: Timestamp) -> Decision {
    let is_due = |tick: &Timestamp| timing.due(*tick) <= now;
    let mut upcoming = Some(next);
    let mut due: Option<Due> = None;
    while let Some(tick) = upcoming.filter(is_due) {
        let count = due.as_ref().map_or(0, |due| due.count);
        if count == TICKS_PER_DECISION_MAX {
            // A later tick is due, so all of these are missed.
            let passed = due.map(|due| {
                due.all(if entry.suspend { TickOutcome::Suspended } else { TickOutcome::TooLate })
            });
            return Decision { passed: passed.into_iter().collect(), fire: None, next: upcoming };
        }
        due = Some(match due {
            None => Due { first: tick, before_last: tick, last: tick, count: 1 },
            Some(due) => Due { before_last: due.last, last: tick, count: count + 1, ..due },
        });
        upcoming = timing.next_after(tick);
    }
    let (passed, fire) = match due {
        None => (None, None),
        Some(due) if entry.suspend => (Some(due.all(TickOutcome::Suspended)), None),
        Some(due) if is_too_late(entry, timing.due(due.last), now) => {
            (Some(due.all(TickOutcome::TooLate)), None)
        }
        Some(due) => (due.all_but_last(), Some(due.last)),
    };
    Decision { passed: passed.into_iter().collect(), fire, next: upcoming }
}

impl Due {
    fn all(&self, outcome: TickOutcome) -> PassedTicks {
        PassedTicks { from: self.first, to: self.last, count: self.count, outcome }
    }

    fn all_but_last(&self) -> Option<PassedTicks> {
        let count = self.count - 1;
        let missed =
            || PassedTicks { from: self.first, to: self.before_last, count, outcome: TickOutcome::TooLate };
        (count > 0).then(missed)
    }
}

fn is_too_late(entry: &Entry, due: Timestamp, now: Timestamp) -> bool {
    let late_s = now.duration_since(due).max(SignedDuration::ZERO).as_secs();
    entry.starting_deadline_s.is_some_and(|deadline_s| late_s > deadline_s.max(0))
        || (entry.catch_up == CatchUp::None && late_s > NO_CATCH_UP_GRACE_S)
}
