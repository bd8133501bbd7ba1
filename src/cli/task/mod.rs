//! `cronmill task`: put tasks into queues, look at them, steer them.

mod change;
mod enqueue;
mod ls;
mod many;
mod show;
mod steer;
mod view;

pub(super) use many::agree;

use clap::Subcommand;

use super::exit::Failure;

/// Tasks: enqueue, list, show, run now, archive, delete, cancel, edit, reschedule; some or many at once.
#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Put a task into a queue and print its id.
    Enqueue(Box<enqueue::EnqueueArgs>),
    /// List a queue's tasks, a page at a time.
    Ls(ls::LsArgs),
    /// Show one task with everything known of it.
    Show(show::ShowArgs),
    /// Delete tasks that no worker runs.
    Rm(steer::RmArgs),
    /// Make tasks pending that wait for their time or another attempt, were given up, or are done.
    Run(steer::RunArgs),
    /// Give up tasks that no worker runs: they go to the archive as they are.
    Archive(steer::ArchiveArgs),
    /// Ask the workers that run tasks to cancel them.
    Cancel(steer::CancelArgs),
    /// Give a task that no worker runs another payload; a unique task's lock moves with it.
    Edit(change::EditArgs),
    /// Let tasks that no worker runs wait for another time.
    Reschedule(change::RescheduleArgs),
}

impl TaskCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Enqueue(args) => args.run().await,
            Self::Ls(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::Rm(args) => args.run().await,
            Self::Run(args) => args.run().await,
            Self::Archive(args) => args.run().await,
            Self::Cancel(args) => args.run().await,
            Self::Edit(args) => args.run().await,
            Self::Reschedule(args) => args.run().await,
        }
    }
}
