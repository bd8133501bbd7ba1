//! Schedules fired by several processes at once: killed, with wrong clocks, edited and deleted meanwhile.
//!
//! Every count is taken from outside: the ledger and the tasks by redis-cli, the queue by asynq's Inspector.

#[path = "../support/mod.rs"]
pub mod support;

mod edits;
mod field;
mod replicas;
