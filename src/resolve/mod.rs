//! What an object means: its schedule parsed, its queues named, and both as what the rest works with.
//!
//! The operator and the local mode read the same objects from different places; what they make of them is made
//! here, once. No input or output: who has the objects hands them in. What is wrong becomes a [`Flaw`], which the
//! one shows as a condition and the other as a line of a file.
//!
//! Not here: the shape of objects (`crd`), and putting anything into force.

mod cron_task;
mod flaw;
mod task_queue;

pub use cron_task::{Identity, QueueView, check_timing, entry, find_queue, timing_source};
pub use flaw::{Flaw, FlawKind};
pub use task_queue::{FleetPlan, QueuePlan, ServedQueue};

#[cfg(test)]
mod tests;
