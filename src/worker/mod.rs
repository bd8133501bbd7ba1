//! Claims tasks and runs handlers on them.
//!
//! A user registers handlers in a [`Mux`], builds a [`Server`] and runs it. Underneath, one task of the worker
//! claims, each attempt is one task of its own, one reports outcomes, one extends leases, one hears
//! cancellations, one shows the worker to tools, one per queue looks at groups if there is an aggregator; none of them waits for another's round trip.
//!
//! What holds at all times:
//! - a slot is taken until the handler and everything it blocks on are gone, whatever its task's fate;
//! - an outcome is reported once, and never for a task that was lost or given out anew;
//! - a drain costs no task an attempt.
//!
//! Not here: Redis (broker), keeping (keeper), particular handlers, metric registries.

mod admit;
mod aggregate;
mod attempt;
mod bell;
mod cancel;
mod claim;
mod context;
mod error;
mod finish;
mod group;
mod group_finish;
mod group_options;
mod handler;
mod launch;
mod lease;
mod listen;
mod monitor;
mod mux;
mod places;
mod queue_state;
mod selection;
mod serve;
mod server;
mod shared;
mod stats;
mod unserved;
mod verdict;

pub use aggregate::{AggregationSet, Aggregator};
pub use cancel::CancelReason;
pub use context::{Context, ResultError, ResultWriter, Task};
pub use error::{HandlerError, HandlerErrorKind, WorkerError};
pub use handler::{Handler, Job, JobService, service_handler};
pub use mux::{Mux, MuxError};
pub use server::{Builder, Server};
pub use stats::{AttemptEvent, AttemptResult, Events, WorkerStats};
