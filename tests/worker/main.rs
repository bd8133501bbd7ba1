//! The worker, the producer and the keeper against a real Redis, one of its own per test.

mod attempts;
mod drain;
mod keeping;
mod outage;
mod producing;
mod proxy;
mod redis;
mod selection;
mod support;
mod visibility;
