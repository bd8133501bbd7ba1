//! cronmill: schedules and task queues on Redis, in asynq's wire format, for Kubernetes and without it.
//!
//! The flow is one way; no later stage is imported by an earlier one:
//!
//! ```text
//! manifest ─► crd ─► schedule entry in Redis ─► scheduler fires a tick ─► queue ─► worker claims
//!                                                              handler runs ─► finish ─► outcome
//! ```
//!
//! A library user needs [`producer`] to enqueue, [`worker`] to run handlers, and [`inspector`] to look and steer.

#![forbid(unsafe_code)]

pub mod broker;
pub mod causes;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "crd")]
pub mod crd;
#[cfg(feature = "document")]
pub mod document;
pub mod fleet;
#[cfg(feature = "handlers")]
pub mod handlers;
pub mod inspector;
pub mod keeper;
#[cfg(feature = "local")]
pub mod local;
pub mod nearest;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(feature = "config")]
pub mod periodic;
pub mod producer;
#[cfg(feature = "crd")]
pub mod resolve;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod scaling;
pub mod schedule;
pub mod scheduler;
#[cfg(feature = "shop")]
pub mod shop;
pub mod shutdown;
pub mod task;
pub mod telemetry;
pub mod worker;
