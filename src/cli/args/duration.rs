//! Durations as people write them.

use std::time::Duration;

/// A duration that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration (allowed: a whole number and one of the units s, m, h, d, as in 90s 5m 2h 7d)")]
pub struct DurationError;

/// Reads `90s`, `5m`, `2h` or `7d`.
///
/// # Errors
///
/// [`DurationError`] for anything else, and for what does not fit into 64 bits of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let unit = text.chars().next_back().ok_or(DurationError)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(DurationError),
    };
    let digits = &text[..text.len() - 1];
    // `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError);
    }
    let count: u64 = digits.parse().map_err(|_| DurationError)?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or(DurationError)
}

/// Reads a duration of at least one second.
///
/// # Errors
///
/// As [`parse_duration`], and for zero.
pub fn parse_positive_duration(text: &str) -> Result<Duration, DurationError> {
    parse_duration(text).and_then(|read| if read.is_zero() { Err(DurationError) } else { Ok(read) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "s", "5", "-5s", "+5s", "1.5h", "5 m", "5ms", "1h30m", "5µ", "99999999999999999d"] {
            assert_eq!(parse_duration(text), Err(DurationError), "{text}");
        }
        assert_eq!(parse_positive_duration("0m"), Err(DurationError));
    }
}
