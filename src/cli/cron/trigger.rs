//! `cronmill cron trigger`: an object's task, now.

use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::entry_lookup;
use crate::broker::{Broker, Enqueued, tick_task};
use crate::cli::args::{ConnectionArgs, ObjectName};
use crate::cli::exit::Failure;
use crate::cli::output::{print_data, print_note};
use crate::schedule::Entry;
use crate::task::QueueName;

/// Flags of `cronmill cron trigger`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TriggerArgs {
    /// The object as name or namespace/name.
    object: ObjectName,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

impl TriggerArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let (placed, entry) = entry_lookup::find(&broker, &self.object).await?;
        let id = enqueue(&broker, &placed.queue, &entry).await?;
        print_note(&format!("enqueued the task of {} in queue {}", entry.key(), entry.template.queue));
        print_data(&format!("{id}\n"))
    }
}

async fn enqueue(broker: &Broker, queue: &QueueName, entry: &Entry) -> Result<String, Failure> {
    let now = broker.now();
    // Nominal times are whole seconds, also in what handlers read from the headers.
    let nominal = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut task = tick_task(queue, entry, nominal);
    // Not the id of a tick: were one due this second, it would count as enqueued already.
    let id = format!("{}-manual-{}", entry.uid, Uuid::new_v4());
    task.message.id.clone_from(&id);
    match broker.enqueue_unique(&task.message, task.due, task.lock_for).await? {
        Enqueued::Stored => Ok(id),
        Enqueued::Conflict => Err(Failure::negative(format!("task {id} is there already"))),
        Enqueued::Duplicate { holder } => {
            Err(Failure::negative(format!("task {holder} is unique and has not ended; nothing was enqueued")))
        }
    }
}
