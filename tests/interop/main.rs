//! Our side and real Go programs on asynq, on one Redis.

#[path = "../support/mod.rs"]
pub mod support;
