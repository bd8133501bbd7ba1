//! What needs a Redis: every operation of the broker, its atomicity and its answers to lost replies.

#[path = "../support/mod.rs"]
pub mod support;

mod attempts;
mod broker;
mod field;
mod groups;
mod schedule;
mod unique;
