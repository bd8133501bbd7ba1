//! One field of a cron expression as a bit mask.
//!
//! The grammar is robfig's, its oddities included: empty list items are skipped, so that a field of nothing
//! but commas matches nothing; what follows a hyphen behind `*` is ignored; `5/15` runs to the end of the
//! field; ranges do not wrap around; 7 is no day of the week.

use super::error::{Fault, Field};
use super::stable_hash;

/// The values a field matches, and how it was written where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FieldMask {
    /// Bit n set: the value n matches.
    pub(super) bits: u64,
    /// `*` or `?` without a step above 1 is among the items. Decides how the two day fields combine.
    pub(super) is_star: bool,
    /// It means "every so often" rather than "at": written with `*`, `?` or a step, or matching all values.
    /// Decides what happens around a change of the clock.
    pub(super) is_spaced: bool,
}

/// A piece of the schedule's text and where it begins there.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

impl<'a> Piece<'a> {
    /// The pieces between the separators.
    fn split(self, separator: char) -> impl Iterator<Item = Piece<'a>> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let piece = Piece { at, text };
            at += text.len() + separator.len_utf8();
            piece
        })
    }

    fn fault(self, field: Field, problem: impl Into<String>) -> Fault {
        let span = self.at..self.at + self.text.len();
        Fault { span, field: Some(field), problem: problem.into(), allowed: field.allowed().to_owned() }
    }

    /// The text, short enough for a message.
    fn shown(self) -> String {
        format!("{:?}", super::error::shorten(self.text, 20))
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    /// Smallest and largest value.
    pub(super) const fn bounds(self) -> (u64, u64) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 6),
        }
    }

    /// The names of the values, the smallest value first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::DayOfWeek => &WEEKDAYS,
            _ => &[],
        }
    }

    /// All values.
    pub(super) fn all(self) -> FieldMask {
        let (min, max) = self.bounds();
        FieldMask { bits: stepped(min, max, 1), is_star: true, is_spaced: true }
    }

    /// Reads the field. `hash_key` decides what `H` stands for.
    pub(super) fn parse(self, piece: Piece<'_>, hash_key: &str) -> Result<FieldMask, Fault> {
        let mut mask = FieldMask::default();
        for item in piece.split(',').filter(|item| !item.text.is_empty()) {
            let one = match item.text.strip_prefix('H') {
                Some(rest) => self.hashed(item, Piece { at: item.at + 1, text: rest }, hash_key)?,
                None => self.item(item)?,
            };
            mask.bits |= one.bits;
            mask.is_star |= one.is_star;
            mask.is_spaced |= one.is_spaced;
        }
        mask.is_spaced |= mask.bits == self.all().bits;
        Ok(mask)
    }

    /// `*`, `?`, a value, a range; each perhaps with a step.
    fn item(self, item: Piece<'_>) -> Result<FieldMask, Fault> {
        let (range, step) = self.range_and_step(item)?;
        let mut ends = range.split('-');
        // A split always has a first part.
        let low = ends.next().unwrap_or(range);
        if matches!(low.text, "*" | "?") {
            let (min, max) = self.bounds();
            let step = step.unwrap_or(1);
            return Ok(FieldMask { bits: stepped(min, max, step), is_star: step == 1, is_spaced: true });
        }
        let (first, last) = match (ends.next(), ends.next()) {
            (None, _) => {
                let only = self.value(low)?;
                // "5/15" means from 5 to the end.
                (only, if step.is_some() { self.bounds().1 } else { only })
            }
            (Some(high), None) => (self.value(low)?, self.value(high)?),
            (Some(_), Some(_)) => return Err(range.fault(self, "a range has one hyphen")),
        };
        if first > last {
            return Err(range.fault(self, backwards(range)));
        }
        let step = step.unwrap_or(1);
        Ok(FieldMask { bits: stepped(first, last, step), is_star: false, is_spaced: step > 1 })
    }

    /// `H`, `H(a-b)`, `H/n`, `H(a-b)/n`: values that stay the same for one object and differ between objects.
    fn hashed(self, item: Piece<'_>, rest: Piece<'_>, hash_key: &str) -> Result<FieldMask, Fault> {
        let (range, step) = self.range_and_step(rest)?;
        let (min, max) = self.bounds();
        let (first, last) = if range.text.is_empty() {
            // The 28th is the last day that every month has.
            (min, if self == Self::DayOfMonth { 28 } else { max })
        } else {
            let Some(inner) = range.text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else {
                return Err(item.fault(self, format!("{} is no form of H", item.shown())));
            };
            let inner = Piece { at: range.at + 1, text: inner };
            let ends: Vec<_> = inner.split('-').collect();
            let [low, high] = ends[..] else {
                return Err(inner.fault(self, "H(…) takes a range such as H(0-29)"));
            };
            (self.value(low)?, self.value(high)?)
        };
        if first > last {
            return Err(range.fault(self, backwards(range)));
        }
        let hash = stable_hash::number(&[b"H", self.as_str().as_bytes(), hash_key.as_bytes()]);
        let choices = last - first + 1;
        let bits = match step {
            None => 1 << (first + hash % choices),
            Some(step) => stepped(first + hash % step.min(choices), last, step),
        };
        Ok(FieldMask { bits, is_star: false, is_spaced: step.is_some() })
    }

    /// Splits off the step behind a slash.
    fn range_and_step<'a>(self, item: Piece<'a>) -> Result<(Piece<'a>, Option<u64>), Fault> {
        let mut parts = item.split('/');
        let range = parts.next().unwrap_or(item);
        let step = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(step), None) => match integer(step.text) {
                Some(0) => return Err(step.fault(self, "a step of 0 goes nowhere")),
                Some(n) => Some(n),
                None => {
                    return Err(step.fault(self, format!("the step {} is not a whole number", step.shown())));
                }
            },
            (Some(_), Some(_)) => return Err(item.fault(self, "a step has one slash")),
        };
        Ok((range, step))
    }

    /// One value: a number or a name.
    fn value(self, piece: Piece<'_>) -> Result<u64, Fault> {
        let (min, max) = self.bounds();
        if let Some(place) = self.names().iter().position(|name| name.eq_ignore_ascii_case(piece.text)) {
            return Ok(min + place as u64);
        }
        let Some(number) = integer(piece.text) else {
            return Err(piece.fault(self, self.not_a_value(piece)));
        };
        match number {
            7 if self == Self::DayOfWeek => Err(piece.fault(self, "7 is above 6; Sunday is 0")),
            n if n < min => Err(piece.fault(self, format!("{n} is below {min}"))),
            n if n > max => Err(piece.fault(self, format!("{n} is above {max}"))),
            n => Ok(n),
        }
    }

    fn not_a_value(self, piece: Piece<'_>) -> String {
        let shown = piece.shown();
        if piece.text.is_empty() {
            return "a value is missing".to_owned();
        }
        if matches!(self, Self::DayOfMonth | Self::DayOfWeek) && piece.text.contains(['L', 'W', '#']) {
            return format!("{shown} is not supported: there is no L, W or #");
        }
        if piece.text.bytes().all(|b| b.is_ascii_digit()) {
            format!("{shown} is too large")
        } else if self.names().is_empty() {
            format!("{shown} is not a number")
        } else {
            format!("{shown} is neither a number nor a name")
        }
    }
}

fn backwards(range: Piece<'_>) -> String {
    format!("the range {} runs backwards; write it as two ranges in a list", range.shown())
}

/// A whole number as robfig reads it: digits, perhaps a plus sign before them, at most 63 bits.
fn integer(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|n| i64::try_from(*n).is_ok())
}

/// The bits from `first` to `last`, each `step` apart.
fn stepped(first: u64, last: u64, step: u64) -> u64 {
    let mut bits = 0;
    let mut next = Some(first);
    while let Some(value) = next.filter(|value| *value <= last) {
        bits |= 1 << value;
        next = value.checked_add(step);
    }
    bits
}
