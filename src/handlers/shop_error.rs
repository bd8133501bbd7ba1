//! What can go wrong with the shop's services, and what then becomes of the task.

use std::error::Error;

use tonic::{Code, Status};

use crate::worker::HandlerError;

/// A call of the shop that came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopCallError {
    /// The service, or the way to it, says no.
    #[error("{doing} at the shop ({url}): {}: {text}", code_name(*code))]
    Status {
        /// What was being done.
        doing: &'static str,
        /// Where.
        url: String,
        /// What kind of no it is.
        code: Code,
        /// What was said, causes included.
        text: String,
        /// The call got no answer of the service.
        is_lost: bool,
    },
    /// An answer without what it must have: another version speaks there.
    #[error("{doing} at the shop: its answer is incomplete")]
    Incomplete {
        /// What was being done.
        doing: &'static str,
    },
    /// A batch that has other entries than it was said to have.
    #[error("count batch {batch}: {listed} entries were listed, {told} were told")]
    Uneven {
        /// The batch.
        batch: String,
        /// Those listed.
        listed: i64,
        /// Those that it should have.
        told: i64,
    },
    /// A sum that no number holds.
    #[error(
        "count batch {batch}: the total of user {user_id} in {currency} is too large to be added up; nothing of it was credited"
    )]
    Overflow {
        /// The batch.
        batch: String,
        /// Whose total.
        user_id: i64,
        /// In which currency.
        currency: String,
    },
}

impl ShopCallError {
    pub(super) fn answered(doing: &'static str, url: &str, status: Status) -> Self {
        let mut text = status.message().to_owned();
        let mut cause = status.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        let is_lost = status.source().is_some();
        Self::Status { doing, url: url.to_owned(), code: status.code(), text, is_lost }
    }

    /// Whether the call may succeed in a moment: nobody answered it, or who did is about to stop or to start.
    pub(super) fn may_pass_soon(&self) -> bool {
        match self {
            Self::Status { code, is_lost, .. } => {
                *code == Code::Unavailable
                    || *is_lost && !matches!(code, Code::DeadlineExceeded | Code::Cancelled)
            }
            Self::Incomplete { .. } | Self::Uneven { .. } | Self::Overflow { .. } => false,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: Code::NotFound, .. })
    }

    /// Whether things stood otherwise than the call takes for granted.
    pub(super) fn is_overtaken(&self) -> bool {
        matches!(self, Self::Status { code: Code::FailedPrecondition, .. }) && !self.is_retryable()
    }

    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Status { code, .. } => code_name(*code),
            Self::Incomplete { .. } => "Incomplete",
            Self::Uneven { .. } => "UnevenBatch",
            Self::Overflow { .. } => "Overflow",
        }
    }

    /// Whether a later attempt may succeed with nothing changed in the task.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // It can be written to again some time.
            Self::Status { code: Code::FailedPrecondition, text, .. } => text.contains("read-only"),
            Self::Status { code, .. } => !matches!(
                code,
                Code::NotFound
                    | Code::InvalidArgument
                    | Code::OutOfRange
                    | Code::AlreadyExists
                    | Code::Unauthenticated
                    | Code::PermissionDenied
            ),
            Self::Incomplete { .. } | Self::Uneven { .. } => true,
            Self::Overflow { .. } => false,
        }
    }

    /// As the failure of an attempt.
    pub(super) fn into_failure(self) -> HandlerError {
        if self.is_retryable() { self.into() } else { HandlerError::skip_retry(self) }
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A target that cannot be. The URL is not shown: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopTargetError {
    /// No address of a service.
    #[error(
        "it is no address of a service (allowed: http://HOST:PORT or https://HOST:PORT, without user and path)"
    )]
    Url,
    /// Authorities that are no certificates.
    #[error("the certificate authorities are not certificates in PEM")]
    Authorities,
    /// Authorities where nothing is certified.
    #[error("certificate authorities are for a target with https:// only")]
    NoTls,
}

impl ShopTargetError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Url => "BadTarget",
            Self::Authorities => "BadAuthorities",
            Self::NoTls => "NoTls",
        }
    }

    /// Never: the same configuration is refused again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::HandlerErrorKind;

    fn failure(code: Code, text: &str) -> HandlerErrorKind {
        ShopCallError::answered("test", "http://shop", Status::new(code, text)).into_failure().kind()
    }

    #[test]
    fn every_code_means_another_attempt_or_none() {
        use Code::*;
        for code in [
            NotFound,
            InvalidArgument,
            FailedPrecondition,
            Unauthenticated,
            PermissionDenied,
            OutOfRange,
            AlreadyExists,
        ] {
            assert_eq!(failure(code, "no"), HandlerErrorKind::SkipRetry, "{code:?}");
        }
        for code in [
            Unavailable,
            DeadlineExceeded,
            ResourceExhausted,
            Aborted,
            Internal,
            Unknown,
            Cancelled,
            Unimplemented,
            DataLoss,
        ] {
            assert_eq!(failure(code, "no"), HandlerErrorKind::Fail, "{code:?}");
        }
        assert_eq!(failure(FailedPrecondition, "the database is read-only"), HandlerErrorKind::Fail);
    }

    #[test]
    fn a_failure_says_what_was_done_where_and_what_was_answered() {
        let error = ShopCallError::answered(
            "read an order",
            "http://shop:1",
            Status::not_found("there is no order 7"),
        );
        assert_eq!(
            error.to_string(),
            "read an order at the shop (http://shop:1): NOT_FOUND: there is no order 7"
        );
        assert_eq!((error.reason(), error.is_not_found(), error.may_pass_soon()), ("NOT_FOUND", true, false));
    }

    #[test]
    fn only_what_nobody_answered_is_sent_again_at_once() {
        let soon = |status| ShopCallError::answered("test", "http://shop", status).may_pass_soon();
        assert!(soon(Status::unavailable("the database is away")));
        assert!(soon(Status::from_error(Box::new(std::io::Error::other("connection reset")))));
        for code in
            [Code::Internal, Code::Unknown, Code::Aborted, Code::ResourceExhausted, Code::DeadlineExceeded]
        {
            assert!(!soon(Status::new(code, "no")), "{code:?}");
        }
    }
}
