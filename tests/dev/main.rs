//! `cronmill dev` and `cronmill check` as programs: real files in, a real Redis, real worker processes.
//!
//! What came of it is asked of others: redis-cli, ps and /proc.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

#[path = "../support/mod.rs"]
pub mod support;

mod check;
mod dead_letter;
mod ending;
mod field;
mod firing;
mod fleets;
mod many;
mod metrics;
mod mirror;
mod outage;
mod refusals;
mod service;
