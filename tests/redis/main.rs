//! What needs a Redis: every operation of the broker, its atomicity and its answers to lost replies.

#[path = "../support/mod.rs"]
pub mod support;

mod attempts;
mod broker;
mod bulk;
mod catalogue;
mod claims;
mod dead;
mod demand;
mod edits;
mod expiring;
mod field;
mod file_mark;
mod groups;
mod mirror;
mod odd_groups;
mod odd_ids;
mod removal;
mod schedule;
mod schedule_unique;
mod set_aside;
mod together;
mod unique;
mod vacancy;
mod yard;
