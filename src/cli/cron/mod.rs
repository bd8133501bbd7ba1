//! `cronmill cron`: schedules, their next times and what became of their ticks.

mod entry_lookup;
mod ls;
mod next;
mod ticks;
mod trigger;

use clap::Subcommand;

use super::exit::Failure;

/// Schedules: list them, look ahead, look back, run one now.
#[derive(Debug, Subcommand)]
pub(super) enum CronCommand {
    /// Print the next times of an object, or of a schedule as text.
    Next(next::NextArgs),
    /// List the schedules in force.
    Ls(ls::LsArgs),
    /// Print what became of an object's latest ticks, newest first.
    Ticks(ticks::TicksArgs),
    /// Enqueue an object's task now, under an id of its own; the schedule stays as it is.
    ///
    /// Prints the task's id. The nominal time in the task's headers is now.
    Trigger(trigger::TriggerArgs),
}

impl CronCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Next(args) => args.run().await,
            Self::Ls(args) => args.run().await,
            Self::Ticks(args) => args.run().await,
            Self::Trigger(args) => args.run().await,
        }
    }
}
