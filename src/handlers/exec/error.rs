//! What can go wrong with programs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::worker::HandlerError;

/// A program that did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It could not be started.
    #[error("start program {name} ({})", path.display())]
    Start {
        /// Its name in the configuration.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not there, or what it names as its interpreter is not.
    #[error("start program {name}: {} is not there, or the interpreter that its first line names is not", path.display())]
    Missing {
        /// Its name in the configuration.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// What the task gives it does not fit into an environment.
    #[error("start program {name}: the task's id, type or headers do not fit into environment variables")]
    Environment {
        /// Its name in the configuration.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// It says that it did not.
    #[error("program {name} {status}{}", told(said))]
    Failed {
        /// Its name in the configuration.
        name: String,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// It was told to stop.
    #[error("program {name} {how} ({reason}){}", told(said))]
    Stopped {
        /// Its name in the configuration.
        name: String,
        /// Why.
        reason: &'static str,
        /// How it ended.
        how: Stop,
        /// Its last words.
        said: String,
    },
}

/// How a program ended that was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It ended when it was told to.
    Heard,
    /// It had to be killed after that time.
    Killed(Duration),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Heard => f.write_str("ended when it was told to stop"),
            Self::Killed(after) => write!(f, "was killed {after:?} after it was told to stop"),
        }
    }
}

fn told(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl ExecError {
    /// The error of a program that could not be started, as its task meets it.
    pub(super) fn start(name: &str, path: &Path, source: io::Error) -> HandlerError {
        let (name, path) = (name.to_owned(), path.to_owned());
        let error = match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { name, path },
            io::ErrorKind::InvalidInput | io::ErrorKind::ArgumentListTooLong => {
                Self::Environment { name, source }
            }
            _ => Self::Start { name, path, source },
        };
        if error.is_retryable() { error.into() } else { HandlerError::skip_retry(error) }
    }

    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Start { .. } => "CannotStart",
            Self::Missing { .. } => "ProgramMissing",
            Self::Environment { .. } => "BadEnvironment",
            Self::Failed { .. } => "ProgramFailed",
            Self::Stopped { .. } => "ProgramStopped",
        }
    }

    /// Whether the same task may succeed later. What a program's exit code says besides is not counted here.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Environment { .. })
    }
}

/// A configuration that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecConfigError {
    /// A line that names no program. Its text is not shown: it may hold a password.
    #[error(
        "line {line}: {problem} (allowed: NAME=/PATH ARG… or NAME=[\"/PATH\",\"ARG\",…] on each line; names of a-z, 0-9, - and _)"
    )]
    Program {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A name that stands twice.
    #[error("program {name} is named twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The process that would end programs if this one were killed.
    #[error("start the guard of programs ({})", program.display())]
    Guard {
        /// What it is.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A program that is not there or cannot be executed.
    #[error("program {name}: look at {}", path.display())]
    NoProgram {
        /// Its name.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// What was met.
        source: io::Error,
    },
}

impl ExecConfigError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Program { .. } => "BadProgram",
            Self::Duplicate { .. } => "DuplicateProgram",
            Self::Guard { .. } => "NoGuard",
            Self::NoProgram { .. } => "NoProgram",
        }
    }

    /// Whether the same configuration may be taken later: a program may be put where it should be.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Guard { .. } | Self::NoProgram { .. })
    }
}
