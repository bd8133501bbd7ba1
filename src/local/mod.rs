//! Local mode: the same manifests without a cluster.
//!
//! Files take the place of the API server, worker processes that of Deployments; everything after that is what
//! runs in a cluster: schedule entries in Redis, the firing loop, the keeper, the scaling function.
//!
//! [`Dev`] is the one entry: it reads files, hands what they say to the parts that put it into force, and sizes
//! the fleets. Not here: a Kubernetes client, flags, and how events are shown.

mod dev;
mod error;
mod event;
mod fleet;
mod group;
mod guard;
pub mod manifest;
mod observe;
mod private_redis;
mod put;
mod read;
mod squad;

pub use dev::{Dev, Options, Redis};
pub use error::LocalError;
pub use event::Event;
pub use guard::{GuardCommand, guard};
