//! `cronmill task`: put tasks into queues, look at them, steer them.

mod enqueue;
mod ls;
mod show;
mod steer;
mod view;

use clap::Subcommand;

use super::exit::Failure;

/// Tasks: enqueue, list, show, delete, run now, cancel.
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
    /// Ask the worker that runs a task to cancel it.
    Cancel(steer::CancelArgs),
}

impl TaskCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Enqueue(args) => args.run().await,
            Self::Ls(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::Rm(args) => args.run().await,
            Self::Run(args) => args.run().await,
            Self::Cancel(args) => args.run().await,
        }
    }
}
