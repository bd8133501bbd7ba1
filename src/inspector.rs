//! Looking at queues and tasks, and steering them: what asynq's `Inspector` does, and more.
//!
//! Everything is a method of [`Broker`]; this module names it all in one place. Reads write nothing, so a read-only
//! user may do them. Whatever touches many tasks does so in bounded steps, says how far it is, and may be interrupted
//! anywhere.
//!
//! | asynq's `Inspector` | here |
//! | --- | --- |
//! | `Queues` | [`Broker::queues`] |
//! | `GetQueueInfo` | [`Broker::queue_summary`]; its `MemoryUsage` is [`Broker::queue_memory`] |
//! | `History` | [`Broker::history`] |
//! | `Groups` | [`Broker::groups`] |
//! | `DeleteQueue` | [`Broker::remove_queue`] |
//! | `PauseQueue`, `UnpauseQueue` | [`Broker::pause`], [`Broker::resume`], [`Broker::pause_state`] |
//! | `GetTaskInfo` | [`Broker::task`] |
//! | `ListPendingTasks`, `ListActiveTasks` | [`Broker::tasks`] |
//! | `ListScheduledTasks`, `ListRetryTasks`, `ListArchivedTasks`, `ListCompletedTasks` | [`Broker::tasks`] by page, [`Broker::tasks_after`] by place |
//! | `ListAggregatingTasks` | [`Broker::group_tasks`] by page, [`Broker::tasks_after`] by place with [`State::Aggregating`] and a group |
//! | `RunTask` | [`Broker::run_now`] |
//! | `ArchiveTask` | [`Broker::archive`] |
//! | `DeleteTask` | [`Broker::delete`] |
//! | `UpdateTaskPayload` | [`Broker::edit_payload`] |
//! | – | [`Broker::reschedule`] |
//! | `CancelProcessing` | [`Broker::cancel_task`]; [`Broker::cancel`] does only what asynq's does |
//! | `RunAllScheduledTasks`, `RunAllRetryTasks`, `RunAllArchivedTasks`, `RunAllAggregatingTasks` | [`Broker::bulk`] with [`BulkVerb::Run`] |
//! | `ArchiveAllPendingTasks`, `ArchiveAllScheduledTasks`, `ArchiveAllRetryTasks`, `ArchiveAllAggregatingTasks` | [`Broker::bulk`] with [`BulkVerb::Archive`] |
//! | `DeleteAllPendingTasks`, `DeleteAllScheduledTasks`, `DeleteAllRetryTasks`, `DeleteAllArchivedTasks`, `DeleteAllCompletedTasks`, `DeleteAllAggregatingTasks` | [`Broker::bulk`] with [`BulkVerb::Delete`] |
//! | – | [`Broker::bulk`] with [`BulkVerb::Cancel`], [`Broker::count_selected`] |
//! | `Servers` | [`Broker::servers`] |
//! | `SchedulerEntries` | [`Broker::scheduler_entries`] |
//! | `ListSchedulerEnqueueEvents` | [`Broker::scheduler_events`] |
//! | `ClusterKeySlot` | [`cluster_key_slot`] |
//! | `ClusterNodes` | [`Broker::cluster_nodes`] |
//! | `Close` | drop the [`Broker`] |
//!
//! ```no_run
//! use cronmill::inspector::{Broker, BulkVerb, QueueName, Selection, State};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::connect(&"redis://127.0.0.1:6379".parse()?).await?;
//! let mails = QueueName::new("mails")?;
//! let failed = Selection::of(State::Archived).kind("mail:welcome");
//! let run = broker.bulk(&mails, BulkVerb::Run, &failed, |done| println!("{done} so far")).await?;
//! println!("{} tasks get another chance", run.tasks);
//! # Ok(())
//! # }
//! ```

pub use crate::broker::{
    Archived, Broker, BrokerError, BulkVerb, CancelThen, Cancelled, ClusterNode, DayCount, Deleted, Demand,
    DemandReader, Edited, GroupSummary, Handled, LiveServer, Page, PauseNote, PauseState, QueueRemoval,
    QueueSummary, Ran, Rescheduled, Resumed, Selection, TaskCursor, TaskView, cluster_key_slot,
};
pub use crate::task::{Message, QueueName, SchedulerEnqueueEvent, SchedulerEntry, State};
