//! Manifests as people write them: what is taken, what is refused and in which words, and what a change does.

mod loading;
mod refusals;
mod schema;
mod support;
