//! `cronmill task edit` and `reschedule`: another payload, another time.

use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::enqueue::PayloadArg;
use super::steer::each;
use crate::broker::{Broker, Edited, Rescheduled};
use crate::cli::args::{ConnectionArgs, parse_duration, parse_timestamp};
use crate::cli::exit::Failure;
use crate::cli::output::{clean, print_note};
use crate::cli::queue::no_such_task;
use crate::task::QueueName;

/// Flags of `cronmill task edit`.
#[derive(Args, Debug)]
pub(in crate::cli) struct EditArgs {
    /// The queue.
    #[arg(short, long, value_name = "QUEUE")]
    queue: QueueName,
    /// The task's id.
    id: String,
    /// The handler's input from now on: JSON, @FILE for a file's bytes, or - for those of standard input.
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: PayloadArg,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// Flags of `cronmill task reschedule`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RescheduleArgs {
    /// The queue.
    #[arg(short, long, value_name = "QUEUE")]
    queue: QueueName,
    /// Ids of tasks.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Run them at this time, RFC 3339; at once when that has passed.
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp, conflicts_with = "after")]
    #[arg(required_unless_present = "after")]
    at: Option<Timestamp>,
    /// Run them so long from now, as in 90s 5m 2h 7d.
    #[arg(long = "in", id = "after", value_name = "DURATION", value_parser = parse_duration)]
    after: Option<Duration>,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

impl EditArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { queue, id, payload, connection } = self;
        let payload = payload.read()?;
        let broker = connection.connect().await?;
        let (queue, id) = (&queue, &id);
        let refused = |why: String| Err(Failure::negative(why));
        match broker.edit_payload(queue, id, &payload).await? {
            Edited::In(state) => {
                print_note(&clean(&format!("task {id} has the new payload, it is {state}")));
                Ok(())
            }
            Edited::Active => {
                refused(format!("task {id} is active: a worker runs it with the payload it has"))
            }
            Edited::Duplicate { holder } => refused(format!(
                "task {id} is unique, and task {holder} has this payload already; nothing changed"
            )),
            Edited::Changing => refused(format!("task {id} changes all the time; nothing changed")),
            Edited::Undecodable => refused(format!("task {id} cannot be decoded; nothing changed")),
            Edited::Absent => Err(no_such_task(&broker, queue, id).await?),
        }
    }
}

impl RescheduleArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let now = broker.now();
        let after = self.after.map(|after| SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX));
        let due = match (self.at, after) {
            (Some(at), _) => at,
            (None, after) => now.saturating_add(after.unwrap_or_default()).unwrap_or(Timestamp::MAX),
        };
        each(&broker, &self.queue, &self.ids, async |broker, queue, id| {
            reschedule(broker, queue, id, due).await
        })
        .await
    }
}

async fn reschedule(broker: &Broker, queue: &QueueName, id: &str, due: Timestamp) -> Result<String, Failure> {
    match broker.reschedule(queue, id, due).await? {
        Rescheduled::From(state) => Ok(format!("task {id} runs at {due:.0}, it was {state}")),
        Rescheduled::Active => Err(Failure::negative(format!(
            "task {id} is active: a worker runs it, so it was not rescheduled; cancel it first"
        ))),
        Rescheduled::Locked(holder) => Err(Failure::negative(format!(
            "task {id} is unique, and task {holder} took its place since; it would run twice, so nothing changed"
        ))),
        Rescheduled::Absent => Err(no_such_task(broker, queue, id).await?),
    }
}
