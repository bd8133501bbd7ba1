//! Redis behind Sentinels, as a cluster, and as what it should not be: masters that die, slots that move.

#[path = "../support/mod.rs"]
pub mod support;

mod cluster;
mod load;
mod names;
mod nodes;
mod programs;
mod refusals;
mod sentinel;
mod single;
mod slots;
mod tls;
