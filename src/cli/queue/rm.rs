//! `cronmill queue rm`: a queue and everything of it.

use clap::Args;

use super::{known, require_queue};
use crate::broker::{Broker, QueueRemoval};
use crate::cli::args::ConnectionArgs;
use crate::cli::exit::Failure;
use crate::cli::output::{Progress, clean, count_of, print_note};
use crate::cli::task::agree;
use crate::task::{QueueName, State};

/// Schedules or workers named in an answer.
const NAMED_MAX: usize = 500;

/// Flags of `cronmill queue rm`.
#[derive(Args, Debug)]
pub(in crate::cli) struct RmArgs {
    /// The queue. One that has running tasks or schedules is not deleted.
    queue: QueueName,
    /// Delete the tasks that wait in it as well, and what is kept of those that are done.
    #[arg(short, long)]
    force: bool,
    /// With --force: do it without a question. Where nobody can be asked, nothing is deleted without this.
    #[arg(short = 'y', long)]
    yes: bool,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

impl RmArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let queue = &self.queue;
        require_queue(&broker, queue).await?;
        let counts = broker.queue_summary(queue).await?;
        let waiting = counts.size() - counts.active;
        if self.force && waiting > 0 {
            let held: Vec<String> = State::ALL
                .into_iter()
                .filter(|state| *state != State::Active && counts.count(*state) > 0)
                .map(|state| format!("{} {state}", counts.count(state)))
                .collect();
            let tasks = count_of(waiting, "task");
            print_note(&format!("queue {} holds {tasks}: {}", clean(queue.as_str()), held.join(", ")));
            agree(self.yes, &format!("delete queue {} with {tasks}", clean(queue.as_str())))?;
        }
        let progress = Progress::of(waiting, "deleting");
        let removal = broker.remove_queue(queue, self.force, |done| progress.at(done)).await?;
        drop(progress);
        answer(&broker, queue, removal).await
    }
}

async fn answer(broker: &Broker, queue: &QueueName, removal: QueueRemoval) -> Result<(), Failure> {
    let because = match removal {
        QueueRemoval::Removed { tasks } => {
            let with = if tasks > 0 { format!(" with {}", count_of(tasks, "task")) } else { String::new() };
            print_note(&clean(&format!("deleted queue {queue}{with}")));
            let served = servers(broker, queue).await?;
            if !served.is_empty() {
                let workers = known(served);
                print_note(&clean(&format!("workers still serve it, so its name comes back: {workers}")));
            }
            return Ok(());
        }
        QueueRemoval::Absent => "somebody else has deleted it".to_owned(),
        QueueRemoval::Active { tasks: 0 } => "groups of it are being aggregated; try again later".to_owned(),
        QueueRemoval::Active { tasks } => {
            format!("workers run {} of it; pause it and wait, or cancel them", count_of(tasks, "task"))
        }
        QueueRemoval::Schedules { count } => {
            let names = known(schedules(broker, queue).await?);
            format!("{} for it, delete or move them first: {names}", make(count))
        }
        QueueRemoval::NotEmpty { tasks, orphans } => {
            let stray = match orphans {
                0 => String::new(),
                orphans => format!(" and {} that no list has", count_of(orphans, "task")),
            };
            format!("it holds {}{stray}; --force deletes them as well", count_of(tasks, "task"))
        }
        QueueRemoval::Refilled { tasks } => format!(
            "others go on filling it; {} deleted so far, and it is paused: stop them and try again",
            count_of(tasks, "task")
        ),
    };
    Err(Failure::negative(format!("queue {queue} was not deleted: {because}")))
}

/// `3 schedules make tasks`.
fn make(count: u64) -> String {
    format!("{} {} tasks", count_of(count, "schedule"), if count == 1 { "makes" } else { "make" })
}

/// The schedules that make tasks for a queue.
async fn schedules(broker: &Broker, queue: &QueueName) -> Result<Vec<String>, Failure> {
    let page = crate::broker::Page { offset: 0, limit: NAMED_MAX };
    let entries = broker.entries(queue, page).await?;
    let name = |stored: crate::broker::StoredEntry| match stored.entry {
        Ok(entry) => format!("{}/{}", entry.namespace, entry.name),
        Err(_) => stored.uid,
    };
    Ok(entries.into_iter().map(name).collect())
}

/// The workers that serve a queue.
async fn servers(broker: &Broker, queue: &QueueName) -> Result<Vec<String>, Failure> {
    let serves = |server: &crate::broker::LiveServer| {
        server.info.queues.iter().any(|served| served.queue.as_deref() == Some(queue.as_str()))
    };
    let servers = broker.servers().await?.into_iter().filter(serves);
    Ok(servers.map(|server| format!("{}:{}", server.info.host, server.info.pid)).collect())
}
