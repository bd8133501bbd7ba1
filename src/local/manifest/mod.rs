//! Manifests from files: read, defaulted, checked and resolved as a cluster would, and re-read when they
//! change.
//!
//! [`Manifests`] is the one entry. A file is split into documents; each document is filled in and checked
//! against the schema of its kind, its rules and what its fields mean; objects are then resolved against each
//! other. Whatever is wrong becomes one [`ManifestError`], and everything else goes on working: an object
//! whose new version is refused stays in force as it was.
//!
//! Not here: applying the result to Redis and running workers.

mod admission;
mod error;
mod file;
mod kind;
mod reading;
mod resolve;
mod schema;
mod set;
mod source;
mod worker;

pub use error::{FaultKind, ManifestError};
pub use kind::{Kind, ObjectKey};
pub use resolve::{ResolvedQueue, ResolvedTask, Source};
pub use set::{Changes, Manifests, SETTLE};
pub use worker::{CommandLine, WorkerProgram};
