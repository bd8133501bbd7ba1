//! The built program as users and scripts meet it: what each command prints, and how it ends.

#[path = "../support/mod.rs"]
pub mod support;

mod attempts;
mod cron;
mod explain;
mod groups;
mod help;
mod many;
mod next;
mod queue;
mod queue_more;
mod refusals;
mod stage;
mod task;
