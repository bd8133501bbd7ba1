//! One schedule as text.

use super::calendar::{Calendar, Fields};
use super::duration::parse_period;
use super::error::{Fault, Field};
use super::field::{FieldMask, Piece};

/// A parsed schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spec {
    /// Wall clock times.
    Calendar(Calendar),
    /// A fixed period in whole seconds, at least 1.
    Every(i64),
}

/// Longest schedule accepted, in bytes: three times what a list of all values of all fields takes.
const BYTES_MAX: usize = 2_000;
const FORMS: &str = "\"minute hour day-of-month month day-of-week\", a field of seconds before them, \
                     @yearly @annually @monthly @weekly @daily @midnight @hourly, or \"@every 90s\"";
const EVERY: &str = "@every ";

impl Spec {
    /// Reads a schedule. `hash_key` decides what `H` stands for.
    pub(super) fn parse(text: &str, hash_key: &str) -> Result<Self, Fault> {
        if text.len() > BYTES_MAX {
            return Err(whole(text, format!("it is {} bytes long", text.len()), "at most 2000 bytes"));
        }
        if let Some(prefix) = ["TZ=", "CRON_TZ="].into_iter().find(|prefix| text.starts_with(prefix)) {
            let end = text.find(char::is_whitespace).unwrap_or(text.len());
            let problem =
                format!("the prefix {prefix} is not supported, name the zone in the field timeZone");
            return Err(Fault { span: 0..end, field: None, problem, allowed: FORMS.to_owned() });
        }
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields = words(text);
        let fault = |problem: &str| Err(whole(text, problem.to_owned(), FORMS));
        let (second, rest) = match fields.len() {
            0 => return fault("it is empty"),
            5 => (FieldMask { bits: 1, ..FieldMask::default() }, &fields[..]),
            6 => (Field::Second.parse(fields[0], hash_key)?, &fields[1..]),
            1 => return fault("it has 1 field, not 5 or 6"),
            n => return fault(&format!("it has {n} fields, not 5 or 6")),
        };
        Ok(Self::Calendar(Calendar::new(Fields {
            second,
            minute: Field::Minute.parse(rest[0], hash_key)?,
            hour: Field::Hour.parse(rest[1], hash_key)?,
            day: Field::DayOfMonth.parse(rest[2], hash_key)?,
            month: Field::Month.parse(rest[3], hash_key)?,
            weekday: Field::DayOfWeek.parse(rest[4], hash_key)?,
        })))
    }
}

/// `@daily` and its like. As in robfig nothing may stand before or behind them.
fn descriptor(text: &str) -> Result<Spec, Fault> {
    if let Some(period) = text.strip_prefix(EVERY) {
        return parse_period(period, EVERY.len()).map(Spec::Every);
    }
    let only = |value: u64| FieldMask { bits: 1 << value, ..FieldMask::default() };
    let daily = Fields {
        second: only(0),
        minute: only(0),
        hour: only(0),
        day: Field::DayOfMonth.all(),
        month: Field::Month.all(),
        weekday: Field::DayOfWeek.all(),
    };
    let fields = match text {
        "@yearly" | "@annually" => Fields { day: only(1), month: only(1), ..daily },
        "@monthly" => Fields { day: only(1), ..daily },
        "@weekly" => Fields { weekday: only(0), ..daily },
        "@daily" | "@midnight" => daily,
        "@hourly" => Fields { hour: Field::Hour.all(), ..daily },
        _ => return Err(whole(text, "it is no known shorthand".to_owned(), FORMS)),
    };
    Ok(Spec::Calendar(Calendar::new(fields)))
}

/// The words between white space and where they begin.
fn words(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::with_capacity(6);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        pieces.push(Piece { at: text.len() - rest.len(), text: &rest[..end] });
        rest = rest[end..].trim_start();
    }
    pieces
}

fn whole(text: &str, problem: String, allowed: &str) -> Fault {
    Fault { span: 0..text.len(), field: None, problem, allowed: allowed.to_owned() }
}
