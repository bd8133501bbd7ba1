//! The next instant at which a zone's clock shows a matching time.
//!
//! A zone's history is a row of stretches with one offset each. Within a stretch the wall clock runs evenly,
//! so a match is found by arithmetic on the calendar; only the seams need rules. Every step moves to a later
//! stretch, and the number of stretches within the search limit is finite, so no zone can make it hang.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::calendar::Calendar;

/// What happens to a fixed time of day where the clock jumps. Both off: a time fires whenever the clock shows
/// it, which is all that "every so often" expressions need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeamRules {
    /// A time that the clock skips fires right after the jump.
    pub(super) fires_after_gap: bool,
    /// A time that the clock shows twice fires only the first time.
    pub(super) fires_once_in_overlap: bool,
}

/// How far the search looks, in calendar years after the current one (as robfig).
const YEARS_MAX: i16 = 5;
/// A clock set back shows a time again within this span; zones move by far less than a day.
const OVERLAP_REACH: SignedDuration = SignedDuration::from_hours(48);

/// A span of time with one offset, beginning at `start`, or running already since before it.
struct Stretch {
    start: Timestamp,
    offset: Offset,
    /// Wall clock times that were skipped when this stretch began exactly at `start`: from, to (exclusive).
    gap: Option<(DateTime, DateTime)>,
    /// Every wall clock time before this one was shown before, or skipped.
    shown_before: DateTime,
}

impl Stretch {
    /// The stretch that `start` lies in, cut off before `start`.
    fn at(zone: &TimeZone, start: Timestamp, rules: SeamRules) -> Option<Self> {
        let offset = zone.to_offset(start);
        let mut stretch = Self { start, offset, gap: None, shown_before: DateTime::MIN };
        if !(rules.fires_after_gap || rules.fires_once_in_overlap) {
            return Some(stretch);
        }
        let tick = SignedDuration::from_secs(1);
        let horizon = start.checked_sub(OVERLAP_REACH).unwrap_or(Timestamp::MIN);
        for seam in zone.preceding(start.checked_add(tick).ok()?) {
            let at = seam.timestamp();
            if at <= horizon {
                break;
            }
            let before = zone.to_offset(at.checked_sub(tick).ok()?).to_datetime(at);
            stretch.shown_before = stretch.shown_before.max(before);
            if at == start {
                stretch.gap = gap(before, offset.to_datetime(at));
            }
        }
        Some(stretch)
    }

    /// The stretch after this one, given the seam between them.
    fn following(self, seam: Timestamp, offset: Offset) -> Self {
        let (before, after) = (self.offset.to_datetime(seam), offset.to_datetime(seam));
        let shown_before = self.shown_before.max(before);
        Self { start: seam, offset, gap: gap(before, after), shown_before }
    }

    /// The first instant of this stretch that fires, not looking where the stretch ends.
    fn first_match(&self, calendar: &Calendar, rules: SeamRules, last_year: i16) -> Option<Timestamp> {
        let fresh =
            |wall: DateTime| if rules.fires_once_in_overlap { wall.max(self.shown_before) } else { wall };
        if rules.fires_after_gap
            && let Some((from, to)) = self.gap
            && calendar.first_from(fresh(from), last_year).is_some_and(|missed| missed < to)
        {
            return Some(self.start);
        }
        let wall = calendar.first_from(fresh(self.offset.to_datetime(self.start)), last_year)?;
        self.offset.to_timestamp(wall).ok()
    }
}

fn gap(before: DateTime, after: DateTime) -> Option<(DateTime, DateTime)> {
    (before < after).then_some((before, after))
}

/// The first instant from `start` on, a whole second, at which `calendar` fires in `zone`. `None` if there is
/// none before the sixth new year.
pub(super) fn first_from(
    calendar: &Calendar,
    zone: &TimeZone,
    rules: SeamRules,
    start: Timestamp,
) -> Option<Timestamp> {
    let mut stretch = Stretch::at(zone, start, rules)?;
    let last_year = stretch.offset.to_datetime(start).year().saturating_add(YEARS_MAX);
    loop {
        let candidate = stretch.first_match(calendar, rules, last_year);
        let seam = zone.following(stretch.start).next();
        // Never trust a seam that would lead backwards.
        let Some(seam) = seam.filter(|seam| seam.timestamp() > stretch.start) else {
            return candidate;
        };
        if candidate.is_some_and(|at| at < seam.timestamp()) {
            return candidate;
        }
        if seam.offset().to_datetime(seam.timestamp()).year() > last_year {
            return None;
        }
        stretch = stretch.following(seam.timestamp(), seam.offset());
    }
}
