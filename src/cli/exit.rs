//! How a command ends: exit code and the one message on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Error;

/// How a command ended, when it did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 2: what was asked for cannot be done as asked; the same command will fail again.
    Usage(Error),
    /// Exit code 3: it could not be done this time.
    Failed(Error),
}

impl Failure {
    /// A [`Failure::Usage`] of any error.
    pub fn usage(error: impl Into<Error>) -> Self {
        Self::Usage(error.into())
    }

    /// A [`Failure::Failed`] of any error.
    pub fn failed(error: impl Into<Error>) -> Self {
        Self::Failed(error.into())
    }

    /// Puts what was being done in front of the error.
    #[must_use]
    pub fn context(self, doing: impl Display + Send + Sync + 'static) -> Self {
        match self {
            Self::Usage(error) => Self::Usage(error.context(doing)),
            Self::Failed(error) => Self::Failed(error.context(doing)),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 3,
        }
    }

    fn error(&self) -> &Error {
        match self {
            Self::Usage(error) | Self::Failed(error) => error,
        }
    }
}

/// The exit code of a command: 0, or that of its failure, which is told on stderr in one line.
#[must_use]
pub fn exit_code(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    // Where stderr is closed there is nobody to tell; `eprintln!` would panic.
    let _ = writeln!(io::stderr(), "error: {}", one_line(failure.error()));
    ExitCode::from(failure.code())
}

/// An error with its causes on one line, without the causes that a message already quotes.
pub(super) fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_on_one_line_and_are_not_repeated() {
        let error = Error::msg("connection refused").context("connect to Redis (connection refused)");
        assert_eq!(one_line(&error.context("start")), "start: connect to Redis (connection refused)");
    }

    #[test]
    fn usage_is_2_and_failure_is_3() {
        assert_eq!(Failure::usage(Error::msg("x")).code(), 2);
        assert_eq!(Failure::failed(Error::msg("x")).context("y").code(), 3);
    }
}
