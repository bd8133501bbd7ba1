//! The only code that speaks Redis.
//!
//! What must happen atomically is one Lua script in `lua/`; what is read is a pipeline of plain commands. Every
//! call may be repeated: a reply lost on the way never loses, doubles or strands a task. No script works on
//! more than a bounded number of tasks, so none holds Redis for long.
//!
//! Not here: Kubernetes, metrics, and what becomes of a failed attempt.

mod bulk;
mod cancel;
mod catalogue;
mod claim;
mod clock;
mod cluster_node;
mod connection;
mod demand;
mod edit;
mod endpoint;
mod enqueue;
mod entry;
mod error;
mod expire;
mod extent;
mod facts;
mod file_mark;
mod finish;
mod fire;
mod fleet_record;
mod group;
mod group_list;
mod history;
mod holders;
mod inspect;
mod keep;
mod keys;
mod link;
mod listing;
mod mirror;
mod mirror_write;
mod outage;
mod packed;
mod paging;
mod pause;
mod queue_claim;
mod release;
mod remove;
mod replica;
mod reply;
mod script;
mod select;
mod server;
mod server_kind;
mod steer;
mod stranded;
mod turn;
mod unique;
mod vacancy;
mod wake;

pub use bulk::{BulkVerb, Handled, Selection};
pub use cancel::{CancelThen, Cancelled};
pub use claim::{ClaimRequest, Claimed, ClaimedTask, Extended, Owner};
pub use cluster_node::ClusterNode;
pub use connection::Broker;
pub use demand::{Demand, DemandReader, GROUPS_PER_READ};
pub use edit::{Edited, Rescheduled};
pub use endpoint::Endpoint;
pub use enqueue::{Enqueued, MESSAGE_BYTES_MAX, NewTask};
pub use entry::{DueEntries, DueEntry, NextTick, PutVerdict, Retired, StoredEntry};
pub use error::BrokerError;
pub use expire::{ExpirySearch, ExpiryStep};
pub use extent::cluster_key_slot;
pub use facts::RedisFacts;
pub use file_mark::FileMark;
pub use finish::{Finish, FinishOutcome, Finished};
pub use fire::{FireRequest, FireVerdict, tick_task};
pub use group::{GroupLimits, GroupSummary, Looked, SET_TASKS_MAX, SetFinish, SetFinished, SetKey, TakenSet};
pub use history::{AttemptError, TaskHistory};
pub use inspect::{DayCount, Page, QueueSummary, TaskView};
pub use keep::{ArchiveLimits, Cleaned, Dropped, Forwarded, Recovered};
pub use listing::{TaskCursor, TaskCursorError};
pub use mirror_write::{MIRROR_ENTRIES_MAX, MIRROR_EVENTS_MAX, ScheduleState};
pub(crate) use outage::Outage;
pub use pause::{PauseNote, PauseState, Resumed};
pub use queue_claim::{CLAIM_LIFE, Claimant, QueueClaim};
pub use release::DeadWorkers;
pub use remove::QueueRemoval;
pub use replica::Replica;
pub use server::LiveServer;
pub use steer::{Archived, Deleted, Ran};
pub(crate) use turn::{Duty, Turn};
pub use unique::{RenewedLocks, unique_key};
pub(crate) use vacancy::{Concern, Question};
pub use wake::{Cancellations, Waiter};
