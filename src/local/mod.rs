//! Local mode: the same manifests without a cluster.
//!
//! Files take the place of the API server, worker processes that of Deployments; everything after that is what
//! runs in a cluster: schedule entries in Redis, the firing loop, the keeper, the scaling function.
//!
//! Not here: a Kubernetes client, flags, and how events are shown.

mod dev;
mod error;
mod fleet;
mod leash;
pub mod manifest;
mod observe;
mod private_redis;
mod put;

pub use dev::{Dev, Event, Options};
pub use error::LocalError;
pub use leash::{Leash, run_leashed};
pub use private_redis::PrivateRedis;
