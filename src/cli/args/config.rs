//! A service's file, beside flags and environment.

use std::io::Write as _;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::Listen;
use crate::cli::exit::Failure;
use crate::cli::output::clean_lines;
use crate::config::{ConfigError, LogEncoding, Service};
use crate::telemetry::LogFormat;

/// A path, or none when empty.
#[derive(Clone, Debug)]
pub struct PathArg(pub Option<PathBuf>);

impl From<&str> for PathArg {
    fn from(text: &str) -> Self {
        Self(if text.is_empty() { None } else { Some(text.into()) })
    }
}

/// Which flags were given, by themselves or by their variables.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a>(&'a ArgMatches);

impl<'a> Given<'a> {
    /// Those of one command.
    #[must_use]
    pub fn of(matches: &'a ArgMatches) -> Self {
        Self(matches)
    }

    /// Whether the flag or its variable was given.
    #[must_use]
    pub fn has(self, flag: &str) -> bool {
        matches!(self.0.value_source(flag), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    }

    /// What was given, or else what the file says, or else the default, which is `typed` where nothing was given.
    pub fn or<T>(self, flag: &str, typed: T, in_file: Option<T>) -> T {
        if self.has(flag) { typed } else { in_file.unwrap_or(typed) }
    }

    /// Where to listen, by flag, variable or file.
    #[must_use]
    pub fn listen(self, typed: Listen, service: Option<&Service>) -> Listen {
        self.or("listen", typed, service.and_then(|service| service.listen).map(|addr| Listen(Some(addr))))
    }
}

/// How the file has log lines look.
#[must_use]
pub fn log_format(service: &Service) -> Option<LogFormat> {
    service.log_encoding.map(|encoding| match encoding {
        LogEncoding::Plain => LogFormat::Text,
        LogEncoding::Json => LogFormat::Json,
    })
}

/// What is to be said of a file once there are logs.
#[derive(Debug)]
pub struct FileNotes {
    /// The file.
    pub path: PathBuf,
    /// What the service is called.
    pub name: Option<String>,
    /// What of it does nothing here.
    pub idle: Vec<String>,
}

impl FileNotes {
    /// Says it.
    pub fn tell(&self) {
        let (file, name) = (self.path.display(), self.name.as_deref().unwrap_or_default());
        tracing::info!(service.name = name, config.file = %file, "configured by {file}");
        if !self.idle.is_empty() {
            tracing::warn!(config.file = %file, "{file}: without effect here: {}", self.idle.join(", "));
        }
    }
}

/// Everything that is wrong with a file, as one failure: all but the last are told at once.
pub fn refused(mut errors: Vec<ConfigError>) -> Failure {
    let Some(last) = errors.pop() else { return Failure::Usage(anyhow::Error::msg("the file is refused")) };
    for error in errors {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "error: {}", clean_lines(&error.to_string()));
    }
    Failure::usage(last)
}
