//! Why a timing is refused, precisely enough to point at the place.

use std::fmt;
use std::ops::Range;

/// One field of a cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// 0 to 59; only in expressions of six fields.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12 or a name.
    Month,
    /// 0 (Sunday) to 6 or a name.
    DayOfWeek,
}

impl Field {
    /// The field's name as people say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        }
    }

    /// What may stand in the field.
    #[must_use]
    pub(super) const fn allowed(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => "0-59, *, lists a,b, ranges a-b, steps */n a-b/n, H",
            Self::Hour => "0-23, *, lists a,b, ranges a-b, steps */n a-b/n, H",
            Self::DayOfMonth => "1-31, *, lists a,b, ranges a-b, steps */n a-b/n, H",
            Self::Month => "1-12, JAN-DEC, *, lists a,b, ranges a-b, steps */n a-b/n, H",
            Self::DayOfWeek => "0-6 (0 is Sunday), SUN-SAT, *, lists a,b, ranges a-b, steps */n a-b/n, H",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a [`TimingSource`](super::TimingSource) cannot be used. Nothing but an edit of the source helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// There is no schedule at all.
    #[error(r#"read schedules: none is given; allowed: at least one, such as "*/20 * * * *""#)]
    NoSchedule,
    /// More schedules than one object may have.
    #[error("read schedules: {found} are given; allowed: at most {max}", max = super::SCHEDULES_MAX)]
    TooManySchedules {
        /// How many there are.
        found: usize,
    },
    /// One schedule cannot be read.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The time zone is not in the IANA database.
    #[error(
        "read time zone {name:?}: unknown name{}; allowed: IANA names such as Europe/Berlin or UTC",
        nearest.as_ref().map(|n| format!(", did you mean {n}?")).unwrap_or_default()
    )]
    UnknownZone {
        /// The name as given, cut to a length worth showing.
        name: String,
        /// The known name that looks most like it, if one comes close.
        nearest: Option<String>,
    },
}

impl TimingError {
    /// A short stable word for metrics, conditions and events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoSchedule | Self::TooManySchedules { .. } | Self::Spec(_) => "InvalidSchedule",
            Self::UnknownZone { .. } => "UnknownTimeZone",
        }
    }

    /// Whether trying again could help: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }

    /// The schedule and, below it, carets under the part that is wrong; for a time zone the name instead.
    /// `None` when there is no text to point at.
    #[must_use]
    pub fn caret(&self) -> Option<String> {
        match self {
            Self::NoSchedule | Self::TooManySchedules { .. } => None,
            Self::Spec(spec) => Some(spec.caret()),
            Self::UnknownZone { name, .. } => Some(picture(name, &(0..name.len()))),
        }
    }
}

/// What is wrong with one schedule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "read schedule {text:?}: {}{problem}; allowed: {allowed}",
    field.map(|f| format!("{f}: ")).unwrap_or_default()
)]
pub struct SpecError {
    /// Which of the schedules, from 0.
    pub schedule: usize,
    /// The schedule as given, cut to a length worth showing.
    pub text: String,
    /// The bytes of `text` that are wrong; both ends lie on character boundaries.
    pub span: Range<usize>,
    /// The field it stands in, if it is about one.
    pub field: Option<Field>,
    /// What is wrong.
    pub problem: String,
    /// What may stand there.
    pub allowed: String,
}

impl SpecError {
    /// The schedule and, below it, carets under the part that is wrong.
    #[must_use]
    pub fn caret(&self) -> String {
        picture(&self.text, &self.span)
    }
}

/// What is wrong within a text that the caller knows: the inner half of a [`SpecError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) field: Option<Field>,
    pub(super) problem: String,
    pub(super) allowed: String,
}

impl Fault {
    /// Longest text that an error carries, in bytes.
    const TEXT_MAX: usize = 200;

    /// Adds which schedule it is about.
    pub(super) fn in_schedule(self, schedule: usize, text: &str) -> SpecError {
        let shown = shorten(text, Self::TEXT_MAX);
        let start = text.floor_char_boundary(self.span.start.min(shown.len()));
        let end = text.ceil_char_boundary(self.span.end).clamp(start, shown.len());
        let Self { field, problem, allowed, .. } = self;
        SpecError { schedule, text: shown.to_owned(), span: start..end, field, problem, allowed }
    }
}

/// The longest beginning of `text` of at most `bytes_max` bytes.
pub(super) fn shorten(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// `text` on one line and carets under `span` on the next. Control characters show as blanks, so that the
/// carets stand where they belong.
fn picture(text: &str, span: &Range<usize>) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let indent = text[..span.start].chars().count();
    let carets = text[span.clone()].chars().count().max(1);
    format!("{line}\n{}{}", " ".repeat(indent), "^".repeat(carets))
}
