//! What local mode tells whoever runs it.

use std::sync::Arc;

use super::manifest::ManifestError;
use crate::scheduler::{SchedulerError, Tick};

/// Something worth telling.
#[derive(Debug, Clone)]
pub enum Event {
    /// This Redis is used.
    Redis {
        /// Where it is, without secrets.
        address: String,
        /// Whether it was started for this run and forgets everything with it.
        is_private: bool,
    },
    /// Something is wrong in a manifest; everything else goes on.
    Wrong(ManifestError),
    /// Something is wrong with a schedule that its manifest did not show.
    Refused(Arc<SchedulerError>),
    /// What is good to know.
    Note(String),
    /// Everything that was read stands in Redis now.
    InForce {
        /// CronTasks in force.
        tasks: usize,
        /// TaskQueues in force.
        queues: usize,
        /// CronTasks that are new or different.
        written: usize,
        /// CronTasks that are gone.
        removed: usize,
    },
    /// A tick was accounted for.
    Tick(Tick),
    /// The limits of a queue's archive have cost tasks.
    Dropped {
        /// The queue's name in Redis.
        queue: String,
        /// Tasks that were archived longer ago than the limit.
        age: u64,
        /// The oldest of too many.
        number: u64,
    },
    /// A fleet changes its size.
    Fleet {
        /// `namespace/name` of its TaskQueue.
        name: String,
        /// Workers so far.
        from: u32,
        /// Workers from now on.
        to: u32,
        /// Why.
        why: String,
    },
}

/// Who is told. It is called by the firing loop too, so it must not block.
pub(super) type Tell = Arc<dyn Fn(Event) + Send + Sync>;
