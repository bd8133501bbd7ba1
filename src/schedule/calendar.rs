//! A cron expression against the calendar, without any time zone.

use jiff::civil::{Date, DateTime, Time};

use super::field::FieldMask;

/// The wall clock times that a cron expression matches, as bit masks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Calendar {
    second: u64,
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// A day must match both day fields rather than either.
    needs_both_days: bool,
    /// It names times of day, rather than meaning "every so often".
    is_fixed_time: bool,
}

/// The parsed fields of an expression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) second: FieldMask,
    pub(super) minute: FieldMask,
    pub(super) hour: FieldMask,
    pub(super) day: FieldMask,
    pub(super) month: FieldMask,
    pub(super) weekday: FieldMask,
}

impl Calendar {
    pub(super) fn new(fields: Fields) -> Self {
        let Fields { second, minute, hour, day, month, weekday } = fields;
        Self {
            second: second.bits,
            minute: minute.bits,
            hour: hour.bits,
            day: day.bits,
            month: month.bits,
            weekday: weekday.bits,
            needs_both_days: day.is_star || weekday.is_star,
            is_fixed_time: !(second.is_spaced || minute.is_spaced || hour.is_spaced),
        }
    }

    /// Whether it names times of day (`30 2 * * *`), which daylight saving rules move or deduplicate, rather
    /// than meaning "every so often" (`*/20 * * * *`).
    pub(super) const fn is_fixed_time(&self) -> bool {
        self.is_fixed_time
    }

    /// The first matching wall clock time at or after `from`, up to the end of `last_year`.
    pub(super) fn first_from(&self, from: DateTime, last_year: i16) -> Option<DateTime> {
        let (date, time) = (from.date(), from.time());
        if from.year() <= last_year
            && self.matching_days(date.year(), date.month()) & (1 << date.day()) != 0
            && let Some(time) = self.time_from(time)
        {
            return Some(date.to_datetime(time));
        }
        let first_time = self.time_from(Time::midnight())?;
        Some(self.day_after(date, last_year)?.to_datetime(first_time))
    }

    /// The first matching time of day at or after the given one.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let first_second = lowest_from(self.second, 0)?;
        let first_minute = lowest_from(self.minute, 0)?;
        let same_hour = self.hour & (1 << hour) != 0;
        if same_hour
            && self.minute & (1 << minute) != 0
            && let Some(second) = lowest_from(self.second, second)
        {
            return Some(Time::constant(hour, minute, second, 0));
        }
        if same_hour && let Some(minute) = lowest_from(self.minute, minute + 1) {
            return Some(Time::constant(hour, minute, first_second, 0));
        }
        let hour = lowest_from(self.hour, hour + 1)?;
        Some(Time::constant(hour, first_minute, first_second, 0))
    }

    /// The first matching day after `date`, up to the end of `last_year`.
    fn day_after(&self, date: Date, last_year: i16) -> Option<Date> {
        let (mut year, mut month, mut next_day) = (date.year(), date.month(), date.day() + 1);
        while year <= last_year {
            if let Some(day) = lowest_from(self.matching_days(year, month), next_day) {
                return Date::new(year, month, day).ok();
            }
            next_day = 1;
            month += 1;
            if month > 12 {
                month = 1;
                year = year.checked_add(1)?;
            }
        }
        None
    }

    /// The matching days of a month: bit n for day n.
    fn matching_days(&self, year: i16, month: i8) -> u64 {
        if self.month & (1 << month) == 0 {
            return 0;
        }
        let Ok(first) = Date::new(year, month, 1) else { return 0 };
        let existing = (1_u64 << (first.days_in_month() + 1)) - 2;
        let start = first.weekday().to_sunday_zero_offset();
        // One week beginning with the first's day of the week, then five of them, then bit 1 for day 1.
        let week = (self.weekday >> start | self.weekday << (7 - start)) & 0x7f;
        let by_weekday = (week * 0x1020_4081) << 1;
        let matching = if self.needs_both_days { self.day & by_weekday } else { self.day | by_weekday };
        matching & existing
    }
}

/// The place of the lowest set bit at or above `from`; `from` is at most 60.
fn lowest_from(bits: u64, from: i8) -> Option<i8> {
    let left = bits & (u64::MAX << from);
    // A place within 64 bits fits.
    (left != 0).then(|| left.trailing_zeros() as i8)
}
