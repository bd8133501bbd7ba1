//! What is wrong with a configuration file, in one line.

use std::fmt;
use std::path::PathBuf;

use crate::document;

/// The kind of a fault; its text is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigFault {
    /// The file cannot be read.
    Unreadable,
    /// The text is neither YAML nor JSON, or not one object.
    Syntax,
    /// Nobody knows such a key.
    UnknownKey,
    /// The value cannot be used.
    InvalidValue,
    /// A schedule or a time zone means nothing.
    InvalidSchedule,
    /// It stands there twice.
    Duplicate,
}

impl ConfigFault {
    /// A stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "Unreadable",
            Self::Syntax => "Syntax",
            Self::UnknownKey => "UnknownKey",
            Self::InvalidValue => "InvalidValue",
            Self::InvalidSchedule => "InvalidSchedule",
            Self::Duplicate => "Duplicate",
        }
    }
}

/// One thing that is wrong with a configuration file.
///
/// It prints as one line: file, line, key, what is wrong, what is allowed. It never shows a password or a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1; `None` when it concerns the whole file.
    pub line: Option<usize>,
    /// The key, such as `Redis.Host`; empty when it concerns the whole file.
    pub key: String,
    /// What kind of fault it is.
    pub fault: ConfigFault,
    /// What is wrong.
    pub message: String,
    /// What is allowed instead; empty when the message says all.
    pub allowed: String,
}

impl ConfigError {
    /// A stable word for logs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.fault.as_str()
    }

    /// Whether it can pass without an edit: a file may come that is not there yet.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.fault, ConfigFault::Unreadable)
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&document::told(&self.file, self.line, &[&self.key, &self.message], &self.allowed))
    }
}
