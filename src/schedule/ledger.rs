//! The record of what became of ticks, one line of text each.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::outcome::TickOutcome;

/// The format that this version writes.
pub const RECORD_FORMAT: u32 = 1;

/// What became of one tick, or of several in a row that ended alike.
///
/// As text: `1|from|to|count|outcome|at|task|reason` with from and to in Unix seconds, at in milliseconds,
/// and in the last two `%`, `|` and control characters written as `%` and two hexadecimal digits. Readers
/// ignore further fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickRecord {
    /// Nominal time of the first tick, a whole second.
    pub from: Timestamp,
    /// Nominal time of the last tick, a whole second.
    pub to: Timestamp,
    /// How many ticks there are.
    pub count: u64,
    /// What became of them.
    pub outcome: TickOutcome,
    /// When they were accounted for, in whole milliseconds.
    pub at: Timestamp,
    /// The task concerned, if there is one; never empty.
    pub task_id: Option<String>,
    /// Why, where the outcome alone does not say; never empty.
    pub reason: Option<String>,
}

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A newer version wrote it; skip it.
    #[error("read tick record: its format {found} is not {RECORD_FORMAT}, the one known here")]
    Format {
        /// The record's format.
        found: u32,
    },
    /// A newer version wrote an outcome that this one does not know; skip it.
    #[error("read tick record: unknown outcome {found:?}")]
    Outcome {
        /// The outcome as it stands there.
        found: String,
    },
    /// A field is missing or makes no sense.
    #[error("read tick record: field {field} is missing or malformed")]
    Malformed {
        /// Which field.
        field: &'static str,
    },
}

impl LedgerError {
    /// A short stable word for metrics and conditions.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Format { .. } | Self::Outcome { .. } => "NewerFormat",
            Self::Malformed { .. } => "UnreadableRecord",
        }
    }

    /// Whether trying again could help: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

impl TickRecord {
    /// The record as text.
    #[must_use]
    pub fn encode(&self) -> String {
        let Self { from, to, count, outcome, at, task_id, reason } = self;
        let (from, to, at) = (from.as_second(), to.as_second(), at.as_millisecond());
        let mut text = format!("{RECORD_FORMAT}|{from}|{to}|{count}|{outcome}|{at}|");
        escape(task_id.as_deref().unwrap_or_default(), &mut text);
        text.push('|');
        escape(reason.as_deref().unwrap_or_default(), &mut text);
        text
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`LedgerError::Format`] and [`LedgerError::Outcome`] for what a newer version wrote,
    /// [`LedgerError::Malformed`] for anything else that is no record.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let mut fields = text.split('|');
        let mut field = |name: &'static str| fields.next().ok_or(LedgerError::Malformed { field: name });
        match number("format", field("format")?)? {
            RECORD_FORMAT => {}
            found => return Err(LedgerError::Format { found }),
        }
        let second = |name, text| instant(name, Timestamp::from_second(number(name, text)?));
        let from = second("from", field("from")?)?;
        let to = second("to", field("to")?)?;
        let count = number("count", field("count")?)?;
        let outcome = field("outcome")?;
        let outcome = outcome.parse().map_err(|_| LedgerError::Outcome { found: outcome.to_owned() })?;
        let at = instant("at", Timestamp::from_millisecond(number("at", field("at")?)?))?;
        let task_id = unescape("task", field("task")?)?;
        let reason = unescape("reason", field("reason")?)?;
        Ok(Self { from, to, count, outcome, at, task_id, reason })
    }
}

fn number<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, LedgerError> {
    text.parse().map_err(|_| LedgerError::Malformed { field })
}

fn instant(field: &'static str, at: Result<Timestamp, jiff::Error>) -> Result<Timestamp, LedgerError> {
    at.map_err(|_| LedgerError::Malformed { field })
}

fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if matches!(c, '%' | '|') || c.is_ascii_control() {
            // Writing to a string cannot fail.
            let _ = write!(into, "%{:02x}", u32::from(c));
        } else {
            into.push(c);
        }
    }
}

fn unescape(field: &'static str, text: &str) -> Result<Option<String>, LedgerError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('%') {
        let code = escaped.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(u8::is_ascii);
        let code = code.ok_or(LedgerError::Malformed { field })?;
        plain.push_str(before);
        plain.push(char::from(code));
        rest = &escaped[2..];
    }
    plain.push_str(rest);
    Ok((!plain.is_empty()).then_some(plain))
}
