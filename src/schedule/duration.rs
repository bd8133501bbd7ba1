//! The period of `@every`: Go's duration text, and days.

use std::ops::Range;

use super::error::{Fault, shorten};

const ALLOWED: &str = "at least 1s, written as in 90s, 5m, 1h30m or 2d (units ms, s, m, h, d)";
const NANOS_PER_S: u64 = 1_000_000_000;
/// As in Go: what fits into 63 bits of nanoseconds, about 292 years.
const NANOS_MAX: u64 = i64::MAX as u64;

/// Reads a period in whole seconds, fractions of a second cut off. `at` is where the text begins in its
/// schedule.
pub(super) fn parse_period(text: &str, at: usize) -> Result<i64, Fault> {
    let (is_negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let whole = at..at + text.len();
    if unsigned.is_empty() {
        return Err(fault(whole, "the period is missing".to_owned()));
    }
    let nanos = if unsigned == "0" { 0 } else { sum(unsigned, at + text.len() - unsigned.len())? };
    if is_negative || nanos < NANOS_PER_S {
        return Err(fault(whole, format!("a period of {text:.20} is shorter than a second")));
    }
    // No overflow: the sum is at most 63 bits of nanoseconds.
    Ok((nanos / NANOS_PER_S) as i64)
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a length of time: {problem}; allowed: {allowed}")]
pub struct PeriodError {
    /// What is wrong.
    pub problem: String,
    /// What is allowed instead.
    pub allowed: &'static str,
}

/// Reads a length of time as in `@every`, in whole seconds; fractions of a second are cut off, as asynq does.
///
/// # Errors
/// [`PeriodError`] for less than a second, more than 292 years, and what is no length of time.
pub fn period_s(text: &str) -> Result<i64, PeriodError> {
    parse_period(text, 0).map_err(|fault| PeriodError { problem: fault.problem, allowed: ALLOWED })
}

/// Adds up parts such as `1h`, `30m`, `.5s`, in nanoseconds.
fn sum(text: &str, at: usize) -> Result<u64, Fault> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let start = at + text.len() - rest.len();
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_len);
        let span = start..start + number_len + unit_len;
        let part = nanos(number, unit).map_err(|problem| fault(span.clone(), problem))?;
        total = match total.checked_add(part) {
            Some(sum) if sum <= NANOS_MAX => sum,
            _ => return Err(fault(at..at + text.len(), "the period is longer than 292 years".to_owned())),
        };
        rest = after;
    }
    Ok(total)
}

fn nanos(number: &str, unit: &str) -> Result<u64, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(format!("{:?} does not begin with a number", shorten(&format!("{number}{unit}"), 20)));
    }
    let per_unit: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS_PER_S,
        "m" => 60 * NANOS_PER_S,
        "h" => 3_600 * NANOS_PER_S,
        "d" => 86_400 * NANOS_PER_S,
        "" => return Err(format!("{number:.20} has no unit")),
        _ => return Err(format!("unknown unit {:?}", shorten(unit, 20))),
    };
    let too_long = || format!("{number:.20}{unit} is longer than 292 years");
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
    let whole = whole.checked_mul(per_unit).ok_or_else(too_long)?;
    // Digits beyond the 18th are worth less than a nanosecond in every unit that matters here.
    let digits = &fraction[..fraction.len().min(18)];
    let fraction: u128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| too_long())? };
    let part = fraction * u128::from(per_unit) / 10_u128.pow(digits.len() as u32);
    // No overflow: a fraction is less than one unit, and a day has 47 bits of nanoseconds.
    whole.checked_add(part as u64).ok_or_else(too_long)
}

fn fault(span: Range<usize>, problem: String) -> Fault {
    Fault { span, field: None, problem, allowed: ALLOWED.to_owned() }
}
