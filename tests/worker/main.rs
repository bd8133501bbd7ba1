//! The worker, the producer and the keeper against a real Redis, one of its own per test.

#[path = "../support/mod.rs"]
pub mod support;

mod attempts;
mod cancelling;
mod drain;
mod fixture;
mod groups;
mod keeping;
mod outage;
mod postponing;
mod producing;
mod redis;
mod selection;
mod unserved;
mod visibility;
