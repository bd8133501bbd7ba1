//! The bundled handlers: on a real SQLite file judged by another program, and in the worker's own process on a
//! real Redis.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

#[path = "../support/mod.rs"]
pub mod support;

mod earnings;
mod exec;
mod http;
mod python;
pub mod shop;
mod web;
mod worker;
