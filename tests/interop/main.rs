//! Our side and real Go programs on asynq v0.26.0, on one Redis: each reads, runs, counts and recovers what the
//! other wrote.

#[path = "../support/mod.rs"]
pub mod support;

mod asynqmon;
mod attempts;
mod bulk;
mod counts;
mod crash;
mod from_go;
mod full;
mod groups;
mod headers;
mod limits;
mod recovery;
mod schedulers;
mod stage;
mod steering;
mod ticks;
mod to_go;
mod together;
mod unique;
mod unserved;
mod wire;
