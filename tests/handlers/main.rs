//! The bundled handlers: on a real SQLite file judged by another program, over the shop's real services, and in the
//! worker's own process on a real Redis.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

#[path = "../support/mod.rs"]
pub mod support;

mod deadlines;
mod earn;
mod earnings;
mod exec;
mod http;
mod orders;
mod python;
mod services;
pub mod shop;
mod web;
mod worker;
