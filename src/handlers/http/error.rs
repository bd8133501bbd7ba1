//! What can go wrong with web servers.

use std::error::Error;

use url::Url;

use super::request::shown;

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nobody accepts connections there, or not with a certificate that is trusted.
    #[error("POST {url}: cannot connect")]
    Connect {
        /// Where.
        url: String,
        /// What the client met.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection ended, or what came back is no HTTP.
    #[error("POST {url}: no answer")]
    Exchange {
        /// Where.
        url: String,
        /// What the client met.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer ended before its end.
    #[error("POST {url}: the answer broke off")]
    BrokenOff {
        /// Where.
        url: String,
        /// What the client met.
        source: hyper::Error,
    },
    /// An answer that says no.
    #[error("POST {url}: answered {status}")]
    Status {
        /// Where.
        url: String,
        /// Number and name of the status.
        status: String,
    },
    /// A redirect that is not followed.
    #[error(
        "POST {url}: answered {status} to {to}; followed are 307 and 308 to the same scheme, host and port only"
    )]
    Redirect {
        /// Where.
        url: String,
        /// Number and name of the status.
        status: String,
        /// Where it leads.
        to: String,
    },
    /// Redirects without end.
    #[error("POST {url}: redirected more than {most} times")]
    Redirects {
        /// The last place.
        url: String,
        /// How many are followed.
        most: usize,
    },
    /// A name that the configuration does not know.
    #[error("no HTTP target for task type {kind:?}; this worker has: {known}")]
    UnknownTarget {
        /// The task's type.
        kind: String,
        /// Names that it knows.
        known: String,
    },
    /// A task that does not say where to go.
    #[error("a task of type http needs the header http-url with a URL that begins with http:// or https://")]
    NoUrl,
    /// A task that wants to go where it may not.
    #[error("host {host} is not among those that tasks may name (this worker allows: {allowed})")]
    Forbidden {
        /// Host and port.
        host: String,
        /// Those that are allowed.
        allowed: String,
    },
    /// Something that no HTTP header can hold.
    #[error(
        "header {name:?} of the task cannot be sent over HTTP: its name or value has characters that HTTP forbids"
    )]
    Header {
        /// The header's name.
        name: String,
    },
}

impl HttpError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "CannotConnect",
            Self::Exchange { .. } => "NoAnswer",
            Self::BrokenOff { .. } => "AnswerBrokenOff",
            Self::Status { .. } => "BadStatus",
            Self::Redirect { .. } | Self::Redirects { .. } => "Redirected",
            Self::UnknownTarget { .. } => "UnknownTarget",
            Self::NoUrl => "NoUrl",
            Self::Forbidden { .. } => "HostForbidden",
            Self::Header { .. } => "BadHeader",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let passes = matches!(self, Self::Connect { .. } | Self::Exchange { .. } | Self::BrokenOff { .. });
        // A newer worker may know the name, and a status is judged by its number.
        passes || matches!(self, Self::UnknownTarget { .. } | Self::Status { .. })
    }
}

/// An error of the client, before it is said where it was met.
#[derive(Debug)]
pub(super) struct Unsent(pub(super) hyper_util::client::legacy::Error);

impl Unsent {
    pub(super) fn at(self, url: &Url) -> HttpError {
        let url = shown(url);
        let is_connect = self.0.is_connect();
        // Its own text only says that it is a client's error.
        let source: Box<dyn Error + Send + Sync> = self.0.into();
        match is_connect {
            true => HttpError::Connect { url, source },
            false => HttpError::Exchange { url, source },
        }
    }
}

/// A configuration that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpConfigError {
    /// A target that is not one. The text is not shown: it may hold a password.
    #[error(
        "target {number} is not one: {problem} (allowed: NAME=URL,…; names of a-z, 0-9, - and _; http:// or https://)"
    )]
    Target {
        /// Its place, from 1.
        number: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A name that stands twice.
    #[error("target {name} is named twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A host that is not one.
    #[error(
        "{host:?} is not a host (allowed: HOST, HOST:PORT, *.DOMAIN, *.DOMAIN:PORT, separated by commas)"
    )]
    Host {
        /// What stood there.
        host: String,
    },
    /// Authorities that are no certificates.
    #[error("the certificate authorities are not certificates in PEM")]
    Authorities,
}

impl HttpConfigError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Target { .. } => "BadTarget",
            Self::Duplicate { .. } => "DuplicateTarget",
            Self::Host { .. } => "BadHost",
            Self::Authorities => "BadAuthorities",
        }
    }

    /// Never: the same configuration is refused again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}
