//! `cronmill queue`: queues at a glance, their groups, pausing, resuming and deleting them.

mod explain;
mod groups;
mod history;
mod rm;
mod top;

use clap::{Args, Subcommand};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;

use super::args::{ConnectionArgs, Moment, OutputArgs};
use super::counts::Counts;
use super::exit::Failure;
use super::output::{Table, Tone, distance, known, print_note, relative, seconds, size};
use crate::broker::{Broker, BrokerError, Dropped, PauseNote, PauseState, QueueSummary, Resumed};
use crate::task::QueueName;

/// Queues read at the same time.
const AT_ONCE: usize = 16;
/// What our pauses name as their source.
const SOURCE: &str = "cli";

/// Queues: list them and their groups, watch, explain their workers' number, pause, resume, delete.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List the queues with their numbers.
    Ls(LsArgs),
    /// Watch the busiest queues: their numbers, and how many attempts end each second.
    Top(top::TopArgs),
    /// Show how many attempts ended and failed on each of the last days.
    History(history::HistoryArgs),
    /// List a queue's groups: tasks that wait to be made one task of.
    Groups(groups::GroupsArgs),
    /// Tell how many workers are to serve a queue, and why: the decision, and everything it is made from.
    Explain(explain::ExplainArgs),
    /// Keep workers from claiming a queue's tasks; what runs goes on.
    Pause(PauseArgs),
    /// Let workers claim a queue's tasks again, whoever paused it.
    Resume(ResumeArgs),
    /// Delete a queue and everything of it in Redis.
    Rm(rm::RmArgs),
}

impl QueueCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Ls(args) => args.run().await,
            Self::Top(args) => args.run().await,
            Self::History(args) => args.run().await,
            Self::Rm(args) => args.run().await,
            Self::Groups(args) => args.run().await,
            Self::Explain(args) => args.run().await,
            Self::Pause(args) => args.run().await,
            Self::Resume(args) => args.run().await,
        }
    }
}

/// Flags of `cronmill queue ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// Flags of `cronmill queue pause`.
#[derive(Args, Debug)]
pub(super) struct PauseArgs {
    /// The queue.
    queue: QueueName,
    /// Why, for people who look at the queue.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// When it ends by itself: RFC 3339, or so long from now, as in 90s 5m 2h 7d. [default: when resumed]
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<Moment>,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// Flags of `cronmill queue resume`.
#[derive(Args, Debug)]
pub(super) struct ResumeArgs {
    /// The queue.
    queue: QueueName,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// A queue as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    name: String,
    /// Tasks in all states.
    size: u64,
    #[serde(flatten)]
    counts: Counts,
    groups: u64,
    /// Archived tasks that the limits of the archive have cost, ever.
    archive_dropped: Dropped,
    /// How long the oldest pending task has waited.
    wait_seconds: f64,
    /// Types of tasks that no live worker has a handler for, as far as workers have met them.
    unserved_types: Vec<String>,
    paused: Option<Paused>,
}

/// A pause as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Paused {
    since: Timestamp,
    /// Which part of cronmill did it; absent when another program did.
    source: Option<String>,
    reason: Option<String>,
    actor: Option<String>,
    until: Option<Timestamp>,
}

impl LsArgs {
    async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let mut queues: Vec<Queue> = summaries(&broker).await?.into_iter().map(Queue::from).collect();
        let names: Vec<QueueName> = queues
            .iter()
            .map(|queue| QueueName::new(&queue.name))
            .collect::<Result<_, _>>()
            .map_err(BrokerError::from)?;
        for (queue, types) in queues.iter_mut().zip(broker.unserved_types(&names).await?) {
            queue.unserved_types = types;
        }
        // It takes some more commands a queue.
        let memory = if self.output.is_wide() { memory(&broker, &queues).await? } else { Vec::new() };
        self.output.list(&queues, "no queues", || table(&queues, &memory, broker.now()))
    }
}

impl PauseArgs {
    async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let queue = &self.queue;
        require_queue(&broker, queue).await?;
        let now = broker.now();
        let until = self.until.map(|until| until.seen_at(now));
        if let Some(until) = until.filter(|until| *until <= now) {
            let problem = format!("--until {until} is not in the future");
            return Err(Failure::Usage(anyhow::Error::msg(problem)));
        }
        let until = until.map(whole_second);
        let note = PauseNote { source: SOURCE.into(), reason: self.reason, actor: actor(), until };
        if !broker.pause(queue, &note).await? {
            let answer = format!("queue {queue} is paused by another program already; nothing changed");
            return Err(Failure::negative(answer));
        }
        match until {
            Some(until) => print_note(&format!("queue {queue} is paused until {until}")),
            None => print_note(&format!("queue {queue} is paused until somebody resumes it")),
        }
        Ok(())
    }
}

impl ResumeArgs {
    async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let queue = &self.queue;
        require_queue(&broker, queue).await?;
        match broker.resume(queue, None).await? {
            Resumed::Lifted => print_note(&format!("queue {queue} is resumed")),
            Resumed::NotPaused => print_note(&format!("queue {queue} was not paused")),
            // Only asked for when a source is named.
            Resumed::Foreign => {
                return Err(Failure::negative(format!("queue {queue} was paused by somebody else")));
            }
        }
        Ok(())
    }
}

/// Pauses end at whole seconds, none before its time.
fn whole_second(at: Timestamp) -> Timestamp {
    let up = i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(at.as_second() + up).unwrap_or(at)
}

/// Who types, as far as the environment tells.
fn actor() -> String {
    let name = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    name.unwrap_or_default()
}

/// About how many bytes each of the queues takes.
async fn memory(broker: &Broker, queues: &[Queue]) -> Result<Vec<u64>, BrokerError> {
    let reads =
        stream::iter(queues).map(async |queue| broker.queue_memory(&QueueName::new(&queue.name)?).await);
    reads.buffered(AT_ONCE).try_collect().await
}

/// The numbers of all queues, sorted by name.
pub(super) async fn summaries(broker: &Broker) -> Result<Vec<QueueSummary>, BrokerError> {
    let names = broker.queues().await?;
    let reads = stream::iter(&names).map(|name| broker.queue_summary(name));
    reads.buffered(AT_ONCE).try_collect().await
}

/// Fails unless somebody has used that queue.
///
/// # Errors
///
/// [`Failure::Negative`] with the queues there are.
pub(super) async fn require_queue(broker: &Broker, queue: &QueueName) -> Result<(), Failure> {
    let queues = broker.queues().await?;
    if queues.binary_search(queue).is_ok() {
        return Ok(());
    }
    let names = queues.iter().map(ToString::to_string).collect();
    Err(Failure::negative(format!("no queue named {queue}; known: {}", known(names))))
}

/// The answer that there is no such task, or not even its queue.
pub(super) async fn no_such_task(broker: &Broker, queue: &QueueName, id: &str) -> Result<Failure, Failure> {
    require_queue(broker, queue).await?;
    Ok(Failure::negative(format!("no task {id} in queue {queue}")))
}

impl From<QueueSummary> for Queue {
    fn from(summary: QueueSummary) -> Self {
        Self {
            size: summary.size(),
            counts: (&summary).into(),
            name: summary.queue,
            groups: summary.groups,
            archive_dropped: summary.dropped,
            unserved_types: Vec::new(),
            wait_seconds: seconds(summary.wait),
            paused: summary.paused.map(Paused::from),
        }
    }
}

impl From<PauseState> for Paused {
    fn from(state: PauseState) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let note = state.note.unwrap_or_default();
        Self {
            since: state.since,
            source: some(note.source),
            reason: some(note.reason),
            actor: some(note.actor),
            until: note.until,
        }
    }
}

fn table(queues: &[Queue], memory: &[u64], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "QUEUE",
        ">SIZE",
        ">PENDING",
        ">ACTIVE",
        ">SCHEDULED",
        ">RETRY",
        ">ARCHIVED",
        ">COMPLETED",
        ">GROUPED",
        ">WAIT",
        ">TODAY",
        ">FAILED",
        "+>GROUPS",
        "+>EVER",
        "+>EVER FAILED",
        "+>DROPPED",
        "+>MEMORY",
        "+UNSERVED",
        "PAUSED",
    ]);
    for (place, queue) in queues.iter().enumerate() {
        let counts = &queue.counts;
        let mut cells = vec![queue.name.clone(), queue.size.to_string()];
        cells.extend(counts.tasks.in_order().map(|number| number.to_string()));
        cells.push(distance(queue.wait_seconds as u64));
        cells.extend([counts.processed_today, counts.failed_today].map(|number| number.to_string()));
        let more = [
            queue.groups,
            counts.processed_total,
            counts.failed_total,
            queue.archive_dropped.age + queue.archive_dropped.number,
        ];
        cells.extend(more.map(|number| number.to_string()));
        cells.push(memory.get(place).map_or_else(String::new, |bytes| size(*bytes)));
        cells.push(match queue.unserved_types.is_empty() {
            true => "-".to_owned(),
            false => queue.unserved_types.join(" "),
        });
        cells.push(queue.paused.as_ref().map_or_else(|| "-".to_owned(), |paused| paused.shown(now)));
        table.row(if queue.paused.is_some() { Tone::Held } else { Tone::Plain }, cells);
    }
    table
}

impl Paused {
    /// `5m ago by ann (cli), ends in 1h: migration`.
    fn shown(&self, now: Timestamp) -> String {
        let mut text = relative(Some(self.since), now);
        match (&self.actor, &self.source) {
            (Some(actor), Some(source)) => text.push_str(&format!(" by {actor} ({source})")),
            (None, Some(source)) => text.push_str(&format!(" by {source}")),
            (_, None) => text.push_str(" by another program"),
        }
        if self.until.is_some() {
            text.push_str(&format!(", ends {}", relative(self.until, now)));
        }
        if let Some(reason) = &self.reason {
            text.push_str(&format!(": {reason}"));
        }
        text
    }
}
