//! What is wrong with an object, before it is known who is told and how.

use std::fmt;

/// The kind of a flaw; its text is stable, for conditions, metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlawKind {
    /// A schedule or a time zone means nothing.
    InvalidSchedule,
    /// A value cannot be used.
    InvalidValue,
    /// It refers to an object or a queue that is not there.
    MissingReference,
    /// It refers to what it may not use.
    NotAllowed,
}

impl FlawKind {
    /// A stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSchedule => "InvalidSchedule",
            Self::InvalidValue => "InvalidValue",
            Self::MissingReference => "MissingReference",
            Self::NotAllowed => "NotAllowed",
        }
    }
}

/// One thing that is wrong with one object.
///
/// It prints as one line: field, what is wrong, what is allowed. It never shows a payload, a header or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The field, such as `spec.queues[0].redisName`.
    pub path: String,
    /// What kind of flaw it is.
    pub kind: FlawKind,
    /// What is wrong.
    pub message: String,
    /// What is allowed instead; empty when the message says all.
    pub allowed: String,
}

impl Flaw {
    pub(super) fn new(path: impl Into<String>, kind: FlawKind, message: impl Into<String>) -> Self {
        Self { path: path.into(), kind, message: message.into(), allowed: String::new() }
    }

    /// Says what is allowed instead.
    pub(super) fn allowing(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = allowed.into();
        self
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("{}: {}", self.path, self.message);
        if !self.allowed.is_empty() {
            line.push_str("; allowed: ");
            line.push_str(&self.allowed);
        }
        // Names and values are other people's: whatever they hold, it stays one line.
        f.write_str(&line.replace(|c: char| c.is_control(), " "))
    }
}
