//! How a command ends: exit code and the one message on stderr.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Error;

use super::output::clean_lines;
use crate::broker::BrokerError;
use crate::causes;

/// How a command ended, when it did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 1: the answer is no. There is no such task, or it is not in a state to do that with.
    Negative(Error),
    /// Exit code 2: what was asked for cannot be done as asked; the same command will fail again.
    Usage(Error),
    /// Exit code 3: it could not be done this time.
    Failed(Error),
}

impl Failure {
    /// A [`Failure::Negative`] with this answer.
    pub fn negative(answer: impl Display + std::fmt::Debug + Send + Sync + 'static) -> Self {
        Self::Negative(Error::msg(answer))
    }

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
            Self::Negative(error) => Self::Negative(error.context(doing)),
            Self::Usage(error) => Self::Usage(error.context(doing)),
            Self::Failed(error) => Self::Failed(error.context(doing)),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Negative(_) => 1,
            Self::Usage(_) => 2,
            Self::Failed(_) => 3,
        }
    }

    fn error(&self) -> &Error {
        match self {
            Self::Negative(error) | Self::Usage(error) | Self::Failed(error) => error,
        }
    }
}

/// Whether the user must mend something before the same request can succeed.
pub(super) fn is_users_to_mend(error: &BrokerError) -> bool {
    match error {
        BrokerError::Url(_)
        | BrokerError::Authority { .. }
        | BrokerError::Login { .. }
        | BrokerError::TooOld { .. }
        | BrokerError::Evicts { .. }
        | BrokerError::Replica { .. }
        | BrokerError::OtherKind { .. }
        | BrokerError::QueueName(_)
        | BrokerError::TooLarge { .. }
        | BrokerError::BulkState { .. } => true,
        BrokerError::Connect { .. } => !error.is_retryable(),
        _ => false,
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        if is_users_to_mend(&error) { Self::usage(error) } else { Self::failed(error) }
    }
}

/// The exit code of a command: 0, or that of its failure, which is told on stderr.
#[must_use]
pub fn exit_code(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let prefix = if matches!(failure, Failure::Negative(_)) { "" } else { "error: " };
    // Where stderr is closed there is nobody to tell; the code is what is left.
    let _ = writeln!(std::io::stderr(), "{prefix}{}", clean_lines(&one_line(failure.error())));
    ExitCode::from(failure.code())
}

/// An error with its causes on one line.
pub(super) fn one_line(error: &Error) -> String {
    causes::on_one_line(error.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_is_1_usage_is_2_and_failure_is_3() {
        assert_eq!(Failure::negative("no such task").code(), 1);
        assert_eq!(Failure::usage(Error::msg("x")).code(), 2);
        assert_eq!(Failure::failed(Error::msg("x")).context("y").code(), 3);
    }

    #[test]
    fn what_only_the_user_can_mend_is_usage() {
        let evicts = BrokerError::Evicts { address: "a:1".into(), policy: "allkeys-lru".into() };
        assert_eq!(Failure::from(evicts).code(), 2);
        let odd = BrokerError::Reply { doing: "read", problem: "text".into() };
        assert_eq!(Failure::from(odd).code(), 3);
    }
}
