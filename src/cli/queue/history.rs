//! `cronmill queue history`: the last days of a queue.

use clap::Args;
use serde::Serialize;

use super::require_queue;
use crate::broker::DayCount;
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone};
use crate::task::QueueName;

/// Flags of `cronmill queue history`.
#[derive(Args, Debug)]
pub(in crate::cli) struct HistoryArgs {
    /// The queue.
    queue: QueueName,
    /// How many days, today (UTC) included, 1 to 90.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=90))]
    days: u16,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// A day as printed.
#[derive(Debug, Serialize)]
struct Day {
    day: String,
    /// Attempts ended, failures included.
    processed: u64,
    failed: u64,
}

impl From<DayCount> for Day {
    fn from(count: DayCount) -> Self {
        Self { day: count.day, processed: count.processed, failed: count.failed }
    }
}

impl HistoryArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        require_queue(&broker, &self.queue).await?;
        let days = broker.history(&self.queue, self.days).await?;
        let days: Vec<Day> = days.into_iter().map(Day::from).collect();
        self.output.list(&days, "no days", || table(&days))
    }
}

fn table(days: &[Day]) -> Table {
    let mut table = Table::new(&["DAY", ">ENDED", ">FAILED", ">SHARE"]);
    for day in days {
        let share = if day.processed == 0 { 0.0 } else { day.failed as f64 * 100.0 / day.processed as f64 };
        let tone = if day.failed > 0 { Tone::Held } else { Tone::Plain };
        let cells =
            vec![day.day.clone(), day.processed.to_string(), day.failed.to_string(), format!("{share:.1} %")];
        table.row(tone, cells);
    }
    table
}
