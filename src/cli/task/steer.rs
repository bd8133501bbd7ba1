//! `cronmill task rm`, `run` and `cancel`: steering tasks by hand.

use clap::Args;

use crate::broker::{Broker, CancelThen, Cancelled, Deleted, Ran};
use crate::cli::args::ConnectionArgs;
use crate::cli::exit::Failure;
use crate::cli::output::{clean, print_note};
use crate::cli::queue::no_such_task;
use crate::task::QueueName;

/// Which tasks.
#[derive(Args, Debug)]
struct Chosen {
    /// The queue.
    #[arg(short, long, value_name = "QUEUE")]
    queue: QueueName,
    /// Ids of tasks.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// Flags of `cronmill task rm`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RmArgs {
    #[command(flatten)]
    chosen: Chosen,
}

/// Flags of `cronmill task run`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    chosen: Chosen,
}

/// Flags of `cronmill task cancel`.
#[derive(Args, Debug)]
pub(in crate::cli) struct CancelArgs {
    /// Let a cancelled task count as failed and be retried. Otherwise it is archived, which is no failure.
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    chosen: Chosen,
}

impl RmArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.chosen.each(delete).await
    }
}

impl RunArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.chosen.each(run_now).await
    }
}

impl CancelArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let then = if self.retry { CancelThen::Retry } else { CancelThen::Stop };
        self.chosen.each(async |broker, queue, id| cancel(broker, queue, id, then).await).await
    }
}

impl Chosen {
    /// Does something to each task and tells what became of it. One that cannot be helped does not keep the
    /// others from it; the last of several negative answers is the command's.
    async fn each(
        &self,
        act: impl AsyncFn(&Broker, &QueueName, &str) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let mut negative: Option<anyhow::Error> = None;
        for id in &self.ids {
            match act(&broker, &self.queue, id).await {
                Ok(done) => print_note(&clean(&done)),
                Err(Failure::Negative(answer)) => {
                    if let Some(earlier) = negative.replace(answer) {
                        print_note(&earlier.to_string());
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        negative.map_or(Ok(()), |answer| Err(Failure::Negative(answer)))
    }
}

async fn delete(broker: &Broker, queue: &QueueName, id: &str) -> Result<String, Failure> {
    match broker.delete(queue, id).await? {
        Deleted::From(state) => Ok(format!("deleted task {id}, which was {state}")),
        Deleted::Active => Err(Failure::negative(format!(
            "task {id} is active: a worker runs it, so it was not deleted; cancel it first"
        ))),
        Deleted::Absent => Err(no_such_task(broker, queue, id).await?),
    }
}

async fn run_now(broker: &Broker, queue: &QueueName, id: &str) -> Result<String, Failure> {
    match broker.run_now(queue, id).await? {
        Ran::From(state) => Ok(format!("task {id} is pending, it was {state}")),
        Ran::Already(state) => Ok(format!("task {id} is {state} already")),
        Ran::Locked(holder) => Err(Failure::negative(format!(
            "task {id} is unique, and task {holder} took its place since; it would run twice, so nothing changed"
        ))),
        Ran::Absent => Err(no_such_task(broker, queue, id).await?),
    }
}

async fn cancel(broker: &Broker, queue: &QueueName, id: &str, then: CancelThen) -> Result<String, Failure> {
    match broker.cancel_task(queue, id, then).await? {
        Cancelled::Absent => Err(no_such_task(broker, queue, id).await?),
        Cancelled::NotActive(state) => {
            Err(Failure::negative(format!("task {id} is {state}, not active: there is no run to cancel")))
        }
        Cancelled::Asked(Some(worker)) => Ok(format!("task {id}: asked {worker} to cancel it")),
        Cancelled::Asked(None) => Ok(format!(
            "task {id}: asked the worker that runs it to cancel it; it is not one of cronmill's, and may not hear it"
        )),
    }
}
