//! What a handler says went wrong, and why a worker cannot be built or run.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use tower::BoxError;

use crate::causes;
use crate::task::QueueNameError;

/// Longest error text kept in a task; the rest is cut. It is rewritten with the task at each attempt.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// A failed attempt. Made from any error by `?`.
///
/// It says besides what should become of the task: a plain failure is retried until the task's retries are used
/// up, [`skip_retry`](Self::skip_retry) archives it now, [`revoke`](Self::revoke) drops it,
/// [`snooze`](Self::snooze) puts it off, [`unserved`](Self::unserved) leaves it to another worker.
/// Like `anyhow::Error` it is not itself a [`std::error::Error`]; that is what lets `?` take every error.
pub struct HandlerError {
    kind: HandlerErrorKind,
    source: BoxError,
}

/// What should become of a task whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerErrorKind {
    /// Retried later, or archived when its retries are used up.
    Fail,
    /// Archived now, whatever retries are left.
    SkipRetry,
    /// Dropped, and counted as done.
    Revoke,
    /// Put off, which is no failure.
    Snooze {
        /// For how long.
        after: Duration,
    },
    /// Put back for a worker that has a handler for it, which is no failure.
    Unserved,
}

impl HandlerError {
    /// A failure that is only a text.
    #[must_use]
    pub fn msg(text: impl Into<String>) -> Self {
        Self { kind: HandlerErrorKind::Fail, source: text.into().into() }
    }

    /// Archives the task now: trying again cannot help.
    #[must_use]
    pub fn skip_retry(error: impl Into<HandlerError>) -> Self {
        Self { kind: HandlerErrorKind::SkipRetry, ..error.into() }
    }

    /// Drops the task as if it were done: it is not wanted any more.
    #[must_use]
    pub fn revoke(error: impl Into<HandlerError>) -> Self {
        Self { kind: HandlerErrorKind::Revoke, ..error.into() }
    }

    /// Puts the task off: it waits in `scheduled` and runs again after that time. That is no failure: it spends no
    /// attempt, counts nowhere but in the task's own count of snoozes, and may happen without end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cronmill::worker::HandlerError;
    /// # fn bank_is_open() -> bool { false }
    /// # fn handler() -> Result<(), HandlerError> {
    /// if !bank_is_open() {
    ///     return Err(HandlerError::snooze(Duration::from_secs(3600)).because("the bank is closed"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snooze(after: Duration) -> Self {
        Self { kind: HandlerErrorKind::Snooze { after }, source: String::new().into() }
    }

    /// This worker has no handler for tasks of that type, which [`Mux`](super::Mux) says by itself. The task waits in
    /// `scheduled` for a worker that has one, a second the first times and then ever longer, up to two minutes. That is no
    /// failure and spends no attempt. It ends at the task's deadline, if that has one.
    #[must_use]
    pub fn unserved(kind: &str) -> Self {
        let text = format!("handler not found for task {kind:?}");
        Self { kind: HandlerErrorKind::Unserved, source: text.into() }
    }

    /// The same with another text.
    #[must_use]
    pub fn because(self, text: impl Into<String>) -> Self {
        Self { kind: self.kind, source: text.into().into() }
    }

    /// Takes a boxed error, such as middleware returns. A `HandlerError` inside, at any depth, keeps its kind.
    #[must_use]
    pub fn from_boxed(error: BoxError) -> Self {
        let error = match error.downcast::<Carried>() {
            Ok(carried) => return carried.0,
            Err(error) => error,
        };
        let mut cause = error.source();
        let mut kind = HandlerErrorKind::Fail;
        while let Some(inner) = cause {
            if let Some(carried) = inner.downcast_ref::<Carried>() {
                kind = carried.0.kind;
                break;
            }
            cause = inner.source();
        }
        Self { kind, source: error }
    }

    /// What a panic's value says, as a failure.
    pub(super) fn from_panic(panic: Box<dyn Any + Send>) -> Self {
        Self { kind: HandlerErrorKind::Fail, source: Box::new(Panic(panic_text(panic.as_ref()))) }
    }

    /// The same failure of an attempt that had been told to stop, which is then what its text begins with.
    pub(super) fn interrupted(self, by: &'static str) -> Self {
        Self { kind: self.kind, source: Box::new(Interrupted { by, source: self.source }) }
    }

    /// What should become of the task.
    #[must_use]
    pub fn kind(&self) -> HandlerErrorKind {
        self.kind
    }

    /// The first error of this type: the error itself, or one among its causes.
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// Whether the handler panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.downcast_ref::<Panic>().is_some()
    }

    /// The text that is stored with the task: the error and its causes on one line, cut at 16 KiB.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = causes::on_one_line(self.source.as_ref());
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        text
    }
}

/// The text of a panic, `panic: …`.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not a text");
    format!("panic: {text}")
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { kind: HandlerErrorKind::Fail, source: Box::new(error) }
    }
}

impl From<HandlerError> for BoxError {
    fn from(error: HandlerError) -> Self {
        Box::new(Carried(error))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("kind", &self.kind).field("source", &self.source).finish()
    }
}

/// A handler that panicked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Panic(String);

/// An attempt that failed after it had been told to stop.
#[derive(Debug, thiserror::Error)]
#[error("{by}")]
struct Interrupted {
    by: &'static str,
    source: BoxError,
}

/// Carries a handler's error through middleware, whose errors are boxed standard errors.
#[derive(Debug)]
struct Carried(HandlerError);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.source()
    }
}

/// Why a worker cannot be built, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A queue is named twice.
    #[error("build worker: queue {queue} is named twice")]
    DuplicateQueue {
        /// The queue.
        queue: String,
    },
    /// A queue that would never be asked.
    #[error("build worker: queue {queue} has weight 0; allowed are 1 and more")]
    ZeroWeight {
        /// The queue.
        queue: String,
    },
    /// A name that is not a queue's.
    #[error("build worker")]
    Queue(#[from] QueueNameError),
    /// A lease too short to be extended in time.
    #[error("build worker: a lease of {given_ms} ms is too short; allowed are {least_ms} ms and more")]
    LeaseTooShort {
        /// What was asked for.
        given_ms: u128,
        /// The shortest allowed.
        least_ms: u128,
    },
    /// What was said about groups cannot be.
    #[error("build worker: {problem}")]
    Groups {
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// A part of the worker ended although it was not told to. Its tasks were handed back.
    #[error("run worker: its part \"{part}\" ended by itself")]
    PartEnded {
        /// Which part.
        part: &'static str,
    },
}

impl WorkerError {
    /// A short fixed word for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DuplicateQueue { .. } => "DuplicateQueue",
            Self::ZeroWeight { .. } => "ZeroWeight",
            Self::Queue(_) => "InvalidQueueName",
            Self::LeaseTooShort { .. } => "LeaseTooShort",
            Self::Groups { .. } => "InvalidGroups",
            Self::PartEnded { .. } => "WorkerPartEnded",
        }
    }

    /// Whether running again may help with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::PartEnded { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_text_names_each_cause_once() {
        let error = HandlerError::from(Outer(std::io::Error::other("disk full")));
        assert_eq!(error.text(), "outer: disk full");
        assert!(error.downcast_ref::<Outer>().is_some());
    }

    #[test]
    fn the_kind_survives_middleware() {
        let boxed = BoxError::from(HandlerError::skip_retry(HandlerError::msg("no")));
        let back = HandlerError::from_boxed(boxed);
        assert_eq!((back.kind(), back.text()), (HandlerErrorKind::SkipRetry, "no".to_owned()));
    }

    #[test]
    fn the_kind_survives_an_error_wrapped_around_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("logged")]
        struct Logged(#[source] BoxError);
        let inner = BoxError::from(HandlerError::revoke(HandlerError::msg("no")));
        let back = HandlerError::from_boxed(Box::new(Logged(inner)));
        assert_eq!((back.kind(), back.text()), (HandlerErrorKind::Revoke, "logged: no".to_owned()));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let error = HandlerError::msg("ü".repeat(TEXT_BYTES_MAX));
        assert_eq!(error.text().len(), TEXT_BYTES_MAX);
        let odd = HandlerError::msg(format!("x{}", "ü".repeat(TEXT_BYTES_MAX)));
        assert_eq!(odd.text().len(), TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn a_panic_is_told_by_its_text() {
        assert_eq!(HandlerError::from_panic(Box::new("boom")).text(), "panic: boom");
        assert_eq!(HandlerError::from_panic(Box::new("boom".to_owned())).text(), "panic: boom");
        assert!(HandlerError::from_panic(Box::new("boom")).interrupted("late").is_panic());
        assert_eq!(HandlerError::from_panic(Box::new(7)).text(), "panic: a value that is not a text");
    }
}
