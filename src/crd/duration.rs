//! The one duration type of every field.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;

/// Days, hours, minutes and seconds, in this order, each at most once and at least one of them.
///
/// The number of digits bounds the whole to less than 100 years, so that no sum of it overflows anywhere and
/// an API server refuses what this type refuses.
pub(super) const PATTERN: &str = "^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$";

/// One unit: its letter, its length in seconds, and the largest number of it that may be written.
struct Unit {
    letter: char,
    seconds: i64,
    count_max: i64,
}

/// The units in the order they are written; the largest counts are those [`PATTERN`] has digits for.
const UNITS: [Unit; 4] = [
    Unit { letter: 'd', seconds: 86_400, count_max: 9_999 },
    Unit { letter: 'h', seconds: 3_600, count_max: 99_999 },
    Unit { letter: 'm', seconds: 60, count_max: 9_999_999 },
    Unit { letter: 's', seconds: 1, count_max: 999_999_999 },
];

/// A span of whole seconds, written `90s`, `5m`, `2h`, `7d` or `1h30m`.
///
/// It prints in the largest single unit that loses nothing: `90s` stays `90s`, `300s` becomes `5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    seconds: i64,
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; write it like 90s, 5m, 2h, 7d or 1h30m")]
pub struct DurationError(String);

impl Duration {
    /// A number of seconds. For the defaults in this module, where it is known to fit the written form.
    pub const fn seconds(seconds: u32) -> Self {
        Self { seconds: seconds as i64 }
    }

    /// The length in seconds; never negative, at most 90 years.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.seconds
    }

    /// The length as the standard library's type.
    #[must_use]
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.seconds.unsigned_abs())
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || DurationError(text.chars().take(40).collect());
        let (mut rest, mut seconds, mut units) = (text, 0, UNITS.iter());
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letter = rest[digits..].chars().next().ok_or_else(refused)?;
            let unit = units.find(|unit| unit.letter == letter).ok_or_else(refused)?;
            let count: i64 = rest[..digits].parse().map_err(|_| refused())?;
            if digits > unit.count_max.ilog10() as usize + 1 {
                return Err(refused());
            }
            seconds += count * unit.seconds;
            rest = &rest[digits + letter.len_utf8()..];
        }
        if text.is_empty() { Err(refused()) } else { Ok(Self { seconds }) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole =
            |unit: &&Unit| self.seconds % unit.seconds == 0 && self.seconds / unit.seconds <= unit.count_max;
        if self.seconds == 0 {
            return f.write_str("0s");
        }
        if let Some(unit) = UNITS.iter().find(whole) {
            return write!(f, "{}{}", self.seconds / unit.seconds, unit.letter);
        }
        let mut rest = self.seconds;
        for unit in &UNITS {
            let count = (rest / unit.seconds).min(unit.count_max);
            if count > 0 {
                write!(f, "{count}{}", unit.letter)?;
            }
            rest -= count * unit.seconds;
        }
        Ok(())
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": PATTERN, "minLength": 2, "maxLength": 29 })
    }
}
