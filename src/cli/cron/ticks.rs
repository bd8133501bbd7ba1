//! `cronmill cron ticks`: what became of an object's latest ticks.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::entry_lookup;
use crate::cli::args::{ConnectionArgs, ObjectName, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, distance};
use crate::schedule::{TickOutcome, TickRecord};

/// Flags of `cronmill cron ticks`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TicksArgs {
    /// The object as name or namespace/name.
    object: ObjectName,
    /// How many records, 1 to 100, which is as many as are kept.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// One tick, or several in a row that ended alike, as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ticks {
    /// Nominal time of the first.
    from: Timestamp,
    /// Nominal time of the last.
    to: Timestamp,
    count: u64,
    outcome: TickOutcome,
    /// When it was accounted for.
    at: Timestamp,
    task_id: Option<String>,
    reason: Option<String>,
}

impl TicksArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let (placed, _) = entry_lookup::find(&broker, &self.object).await?;
        let records = broker.ticks(&placed.queue, &placed.stored.uid, self.limit.into()).await?;
        let ticks: Vec<_> = records.into_iter().map(Ticks::from).collect();
        self.output.list(&ticks, "no tick yet", || table(&ticks))
    }
}

impl From<TickRecord> for Ticks {
    fn from(record: TickRecord) -> Self {
        let TickRecord { from, to, count, outcome, at, task_id, reason } = record;
        Self { from, to, count, outcome, at, task_id, reason }
    }
}

fn table(ticks: &[Ticks]) -> Table {
    let mut table = Table::new(&["NOMINAL TIME", ">TICKS", "OUTCOME", ">AFTER", "TASK", "REASON"]);
    for tick in ticks {
        let nominal =
            if tick.from == tick.to { tick.to.to_string() } else { format!("{} … {}", tick.from, tick.to) };
        let tone = match tick.outcome {
            TickOutcome::Failed | TickOutcome::TooLate => Tone::Wrong,
            TickOutcome::SkippedOverlap | TickOutcome::Suspended | TickOutcome::Waiting => Tone::Held,
            _ => Tone::Plain,
        };
        let cells = vec![
            nominal,
            tick.count.to_string(),
            tick.outcome.to_string(),
            after(tick),
            tick.task_id.clone().unwrap_or_default(),
            tick.reason.clone().unwrap_or_default(),
        ];
        table.row(tone, cells);
    }
    table
}

/// How long after the last nominal time it was accounted for.
fn after(tick: &Ticks) -> String {
    let ms = tick.at.as_millisecond() - tick.to.as_millisecond();
    match ms {
        ..10_000 => format!("{ms}ms"),
        _ => distance(ms.unsigned_abs() / 1000),
    }
}
