//! Moments as people write them.

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::duration::parse_duration;

/// A moment that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a time (allowed: RFC 3339 with an offset, as in 2026-11-23T08:00:00+08:00 or 2026-11-23T00:00:00Z)"
)]
pub struct TimestampError;

/// Reads a moment in RFC 3339.
///
/// # Errors
///
/// [`TimestampError`] for anything else, also for a local time without an offset.
pub fn parse_timestamp(text: &str) -> Result<Timestamp, TimestampError> {
    text.parse().map_err(|_| TimestampError)
}

/// A moment by itself, or by its distance from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// That moment.
    At(Timestamp),
    /// So long from now.
    After(Duration),
}

/// A moment or distance that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "neither a time nor a duration (allowed: RFC 3339 with an offset, as in 2026-11-23T00:00:00Z, or as in 90s 5m 2h 7d)"
)]
pub struct MomentError;

impl Moment {
    /// The moment as seen at `now`; one that no calendar holds becomes the last that it does.
    #[must_use]
    pub fn seen_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::After(delay) => {
                let later =
                    SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok());
                later.unwrap_or(Timestamp::MAX)
            }
        }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = parse_timestamp(text).map(Self::At);
        at.or_else(|_| parse_duration(text).map(Self::After)).map_err(|_| MomentError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_an_offset() {
        let nine: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        assert_eq!(parse_timestamp("2026-11-23T09:00:00Z"), Ok(nine));
        assert_eq!(parse_timestamp("2026-11-23T17:00:00+08:00"), Ok(nine));
        for text in ["", "now", "2026-11-23", "2026-11-23T09:00:00", "2026-13-01T00:00:00Z"] {
            assert_eq!(parse_timestamp(text), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_a_distance() {
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let seen = |text: &str| text.parse().map(|moment: Moment| moment.seen_at(now).to_string());
        assert_eq!(seen("5m"), Ok("2026-11-23T09:05:00Z".into()));
        assert_eq!(seen("2026-11-24T00:00:00Z"), Ok("2026-11-24T00:00:00Z".into()));
        assert_eq!(seen("999999999999d"), Ok(Timestamp::MAX.to_string()));
        assert_eq!(seen("soon"), Err(MomentError));
    }
}
