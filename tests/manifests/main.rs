//! Manifests as people write them: what is taken, what is refused and in which words, and what a change does.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

mod loading;
mod of_a_cluster;
mod refusals;
mod schema;
mod support;
