//! The bundled handlers: over the shop's real services, judged by another program, and in the worker's own process on a
//! real Redis.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

#[path = "../support/mod.rs"]
pub mod support;

mod deadlines;
mod earn;
mod exec;
mod http;
mod orders;
mod python;
mod services;
mod web;
mod worker;
