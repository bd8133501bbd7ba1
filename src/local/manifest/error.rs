//! What is wrong with a manifest, in one line.

use std::fmt;
use std::path::PathBuf;

use crate::document::{self, FieldPath};
use crate::resolve::{Flaw, FlawKind};

/// The kind of a fault; its text is stable, for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The file or folder cannot be read.
    Unreadable,
    /// The text is neither YAML nor JSON.
    Syntax,
    /// `apiVersion` or `kind` is missing, or names nothing that exists here.
    UnknownKind,
    /// The schema knows no such field.
    UnknownField,
    /// The schema refuses a value.
    InvalidValue,
    /// A schedule or a time zone means nothing.
    InvalidSchedule,
    /// A rule over several fields is broken.
    BrokenRule,
    /// Another object has the same name, or claims the same queue.
    Duplicate,
    /// It refers to an object or a queue that is not there.
    MissingReference,
    /// It refers to what it may not use.
    NotAllowed,
    /// It asks for what only a cluster can do.
    NeedsCluster,
}

impl FaultKind {
    /// A stable word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "Unreadable",
            Self::Syntax => "Syntax",
            Self::UnknownKind => "UnknownKind",
            Self::UnknownField => "UnknownField",
            Self::InvalidValue => "InvalidValue",
            Self::InvalidSchedule => "InvalidSchedule",
            Self::BrokenRule => "BrokenRule",
            Self::Duplicate => "Duplicate",
            Self::MissingReference => "MissingReference",
            Self::NotAllowed => "NotAllowed",
            Self::NeedsCluster => "NeedsCluster",
        }
    }
}

impl From<FlawKind> for FaultKind {
    fn from(kind: FlawKind) -> Self {
        match kind {
            FlawKind::InvalidSchedule => Self::InvalidSchedule,
            FlawKind::InvalidValue => Self::InvalidValue,
            FlawKind::MissingReference => Self::MissingReference,
            FlawKind::NotAllowed => Self::NotAllowed,
        }
    }
}

/// One thing that is wrong with one manifest.
///
/// It prints as one line: place, object, field, what is wrong, what is allowed. A value is shown only where
/// it cannot be a secret: never one of a payload, a header or a pod template.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestError {
    /// The file, or the folder that cannot be read.
    pub file: PathBuf,
    /// The line in it, from 1; `None` when it concerns the whole file.
    pub line: Option<usize>,
    /// The object, such as `CronTask default/hello`; empty when it cannot be told.
    pub object: String,
    /// The field, such as `spec.task.timeout`; empty when it concerns the whole object.
    pub field: String,
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// What is wrong.
    pub message: String,
    /// What is allowed instead; empty when the message says all.
    pub allowed: String,
}

impl ManifestError {
    /// A stable word for metrics, conditions and events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.kind.as_str()
    }

    /// Whether it can pass without an edit of this file: another file may bring what is missing.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        use FaultKind::{Duplicate, MissingReference, NotAllowed, Unreadable};
        matches!(self.kind, Unreadable | Duplicate | MissingReference | NotAllowed)
    }
}

impl std::error::Error for ManifestError {}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.object.as_str(), &self.field, &self.message];
        f.write_str(&document::told(&self.file, self.line, &parts, &self.allowed))
    }
}

/// A fault within one document, before it is known where the document stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: FieldPath,
    pub(super) kind: FaultKind,
    pub(super) message: String,
    pub(super) allowed: String,
    /// The line within the document where the path does not tell it.
    pub(super) line: Option<usize>,
}

impl Fault {
    pub(super) fn new(path: FieldPath, kind: FaultKind, message: impl Into<String>) -> Self {
        Self { path, kind, message: message.into(), allowed: String::new(), line: None }
    }

    /// Says what is allowed instead.
    pub(super) fn allowing(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = allowed.into();
        self
    }
}

impl From<Flaw> for Fault {
    fn from(flaw: Flaw) -> Self {
        let path = FieldPath::parse(&flaw.path);
        Self::new(path, flaw.kind.into(), flaw.message).allowing(flaw.allowed)
    }
}
