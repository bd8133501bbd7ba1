//! The operator on a real API server and a real Redis, seen from outside: by kubectl and by redis-cli.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

#[path = "../support/mod.rs"]
pub mod support;

mod bounds;
mod dead;
mod endings;
mod field;
mod figures;
mod fleets;
mod idle;
mod kubelet;
mod leading;
mod outages;
mod quiet;
mod rest;
mod retired;
mod scale_in;
mod slice;
mod target;
mod targets;
mod unserved;
mod wrong;
mod zero;
