//! The configuration files of services, as go-zero's and asynq's programs have them: text in, checked values out.
//!
//! [`read_worker`] is for `cronmill-worker`, [`read_scheduler`] for `cronmill scheduler`. Keys mean what they mean there, upper
//! and lower case alike as with go-zero. A key nobody knows is an error; one that is known there and does nothing here
//! is an [`Idle`], for a warning. Whatever is wrong becomes one [`ConfigError`] with file, line and key, and all of them
//! are told at once. No message shows a password or a payload.
//!
//! Not here: flags and the environment, which win over a file; putting schedules into force.

mod entries;
mod error;
mod findings;
mod rpc;
mod scheduler;
mod section;
mod server;
mod service;
mod worker;

pub use error::{ConfigError, ConfigFault};
pub use findings::{Idle, read_text};
pub use rpc::RpcClient;
pub use scheduler::{SchedulerFile, read_scheduler};
pub use service::{LogEncoding, Service};
pub use worker::{WorkerFile, read_worker};

#[cfg(test)]
mod tests;
