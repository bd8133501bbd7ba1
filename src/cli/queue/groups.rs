//! `cronmill queue groups`: what waits to be made one task of.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::require_queue;
use crate::broker::GroupSummary;
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, relative};
use crate::task::QueueName;

/// Flags of `cronmill queue groups`.
#[derive(Args, Debug)]
pub(in crate::cli) struct GroupsArgs {
    /// The queue.
    queue: QueueName,
    /// Groups listed, 1 to 1000; which ones, where there are more, is left to Redis.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// A group as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    /// Tasks that wait in it.
    tasks: u64,
    /// Tasks taken out of it that a worker aggregates now.
    aggregating: u64,
    /// When the first of the waiting tasks joined, and the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_joined_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_joined_time: Option<Timestamp>,
}

impl GroupsArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        require_queue(&broker, &self.queue).await?;
        let groups = broker.groups(&self.queue, usize::from(self.limit)).await?;
        let groups: Vec<Group> = groups.into_iter().map(Group::from).collect();
        let nothing = format!("no groups in queue {}", self.queue);
        self.output.list(&groups, &nothing, || table(&groups, broker.now()))
    }
}

impl From<GroupSummary> for Group {
    fn from(group: GroupSummary) -> Self {
        Self {
            name: group.name,
            tasks: group.tasks,
            aggregating: group.aggregating,
            oldest_joined_time: group.oldest,
            newest_joined_time: group.newest,
        }
    }
}

/// Times of joining are whole seconds, rounded up.
fn joined(at: Option<Timestamp>, now: Timestamp) -> String {
    relative(at.map(|at| at.min(now)), now)
}

fn table(groups: &[Group], now: Timestamp) -> Table {
    let mut table = Table::new(&["GROUP", ">TASKS", ">AGGREGATING", "OLDEST", "NEWEST"]);
    for group in groups {
        let cells = vec![
            group.name.clone(),
            group.tasks.to_string(),
            group.aggregating.to_string(),
            joined(group.oldest_joined_time, now),
            joined(group.newest_joined_time, now),
        ];
        table.row(Tone::Plain, cells);
    }
    table
}
