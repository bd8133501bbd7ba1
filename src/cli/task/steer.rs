//! `cronmill task rm`, `run`, `archive` and `cancel`: steering tasks by hand, some by their ids or many at once.

use anyhow::Error;
use clap::Args;

use super::many::ManyArgs;
use crate::broker::{Archived, Broker, BulkVerb, CancelThen, Cancelled, Deleted, Ran};
use crate::cli::args::ConnectionArgs;
use crate::cli::exit::Failure;
use crate::cli::output::{clean, print_note};
use crate::cli::queue::no_such_task;
use crate::task::QueueName;

/// Which tasks.
#[derive(Args, Debug)]
struct Chosen {
    /// The queue; with many tasks several may be given. [default with many: every queue]
    #[arg(short, long, value_name = "QUEUE")]
    queue: Vec<QueueName>,
    /// Ids of tasks of one queue.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten, next_help_heading = "Many at once")]
    many: ManyArgs,
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

/// Flags of `cronmill task archive`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ArchiveArgs {
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
        self.chosen.run(BulkVerb::Delete, delete).await
    }
}

impl RunArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.chosen.run(BulkVerb::Run, run_now).await
    }
}

impl ArchiveArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        self.chosen.run(BulkVerb::Archive, archive).await
    }
}

impl CancelArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let then = if self.retry { CancelThen::Retry } else { CancelThen::Stop };
        let verb = BulkVerb::Cancel(then);
        self.chosen.run(verb, async |broker, queue, id| cancel(broker, queue, id, then).await).await
    }
}

impl Chosen {
    async fn run(
        self,
        verb: BulkVerb,
        act: impl AsyncFn(&Broker, &QueueName, &str) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let wrong = |problem: &str| Err(Failure::Usage(Error::msg(problem.to_owned())));
        match (self.ids.is_empty(), self.many.is_asked()) {
            (true, false) => return wrong("no task is named (allowed: ids, or --all, --state, --type)"),
            (false, true) => return wrong("either ids or --all, --state, --type, not both"),
            (false, false) if self.many.is_sure() => return wrong("--yes is for --all, --state, --type"),
            (false, false) if self.queue.len() != 1 => return wrong("ids need one --queue they are in"),
            _ => {}
        }
        let broker = self.connection.connect().await?;
        match self.ids.is_empty() {
            true => self.many.run(&broker, self.queue, verb).await,
            false => each(&broker, &self.queue[0], &self.ids, act).await,
        }
    }
}

/// Does something to each task and tells what became of it. One that cannot be helped does not keep the others from
/// it; the last of several negative answers is the command's.
pub(super) async fn each(
    broker: &Broker,
    queue: &QueueName,
    ids: &[String],
    act: impl AsyncFn(&Broker, &QueueName, &str) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut negative: Option<Error> = None;
    for id in ids {
        match act(broker, queue, id).await {
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

async fn archive(broker: &Broker, queue: &QueueName, id: &str) -> Result<String, Failure> {
    match broker.archive(queue, id).await? {
        Archived::From(state) => Ok(format!("task {id} is archived, it was {state}")),
        Archived::Already => Ok(format!("task {id} is archived already")),
        Archived::Active => Err(Failure::negative(format!(
            "task {id} is active: a worker runs it, so it was not archived; cancel it first"
        ))),
        Archived::Absent => Err(no_such_task(broker, queue, id).await?),
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
