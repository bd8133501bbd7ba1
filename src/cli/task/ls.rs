//! `cronmill task ls`: a page of a queue's tasks.

use clap::Args;
use jiff::Timestamp;

use super::many::states;
use super::view::Task;
use crate::broker::{Broker, BrokerError, Page, TaskCursor, TaskView};
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, clean, distance, print_note, relative, shorten};
use crate::cli::queue::require_queue;
use crate::task::{QueueName, State};

/// States listed when none is named, in this order. Aggregating tasks stand in their groups.
const LISTED: [State; 6] =
    [State::Active, State::Pending, State::Scheduled, State::Retry, State::Archived, State::Completed];
/// Bytes of each payload and result printed; `task show` has all of them.
const CONTENT_BYTES_MAX: usize = 1024;
/// Characters of a payload or an error in the table.
const CELL_CHARS_MAX: usize = 60;

/// Flags of `cronmill task ls`.
#[derive(Args, Debug)]
pub(in crate::cli) struct LsArgs {
    /// The queue.
    #[arg(short, long, value_name = "QUEUE")]
    queue: QueueName,
    /// Only tasks in this state. [default: one after the other, without those in groups]
    #[arg(short, long, value_name = "STATE", value_parser = states())]
    state: Option<State>,
    /// Only the tasks that wait in this group of the queue, the first to join first.
    #[arg(short, long, value_name = "NAME")]
    group: Option<String>,
    /// Tasks on a page, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Which page, from 1: the longest waiting and the earliest due come first.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    /// Go on after this place, which the page before printed: unlike --page it skips and repeats nothing while tasks
    /// come and go. For all states but active and pending.
    #[arg(long, value_name = "PLACE", requires = "state", conflicts_with = "page")]
    after: Option<TaskCursor>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

impl LsArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let state = self.wanted_state()?;
        let broker = self.connection.connect().await?;
        require_queue(&broker, &self.queue).await?;
        let (views, next) = self.read(&broker, state).await?;
        let tasks: Vec<_> = views.into_iter().map(|view| Task::new(view, CONTENT_BYTES_MAX)).collect();
        let place = if self.after.is_some() {
            "after that place".to_owned()
        } else {
            format!("on page {}", self.page)
        };
        let nothing = match state {
            Some(state) => format!("no {state} task {place} of queue {}", self.queue),
            None => format!("no task {place} of queue {}", self.queue),
        };
        let chars_max = if self.output.is_wide() { usize::MAX } else { CELL_CHARS_MAX };
        self.output.list(&tasks, &nothing, || table(&tasks, chars_max, broker.now()))?;
        if let Some(next) = next {
            print_note(&clean(&format!("there may be more: --after {next}")));
        }
        Ok(())
    }

    /// A page, and where to go on in a list whose places stay.
    async fn read(
        &self,
        broker: &Broker,
        state: Option<State>,
    ) -> Result<(Vec<TaskView>, Option<TaskCursor>), BrokerError> {
        let limit = usize::from(self.limit);
        let page = Page { offset: (self.page as usize - 1).saturating_mul(limit), limit };
        match state {
            None => Ok((one_after_the_other(broker, &self.queue, page).await?, None)),
            Some(state) if self.after.is_some() => {
                let (group, after) = (self.group.as_deref(), self.after.as_ref());
                broker.tasks_after(&self.queue, state, group, after, limit).await
            }
            Some(state) => {
                let views = match &self.group {
                    Some(group) => broker.group_tasks(&self.queue, group, page).await?,
                    None => broker.tasks(&self.queue, state, page).await?,
                };
                let next = views.last().filter(|_| views.len() == limit).and_then(TaskCursor::after);
                Ok((views, next))
            }
        }
    }

    /// A group's tasks are aggregating, and aggregating tasks are listed by group.
    fn wanted_state(&self) -> Result<Option<State>, Failure> {
        let problem = match (self.state, &self.group) {
            (Some(State::Aggregating), None) => {
                "--state aggregating needs a --group (cronmill queue groups lists them)".to_owned()
            }
            (Some(state), Some(_)) if state != State::Aggregating => {
                format!("tasks in a group are aggregating, not {state}: leave out --state or --group")
            }
            (Some(State::Active | State::Pending), None) if self.after.is_some() => {
                "--after is for states that are kept by time, not active or pending; take --page".to_owned()
            }
            (state, None) => return Ok(state),
            (_, Some(_)) => return Ok(Some(State::Aggregating)),
        };
        Err(Failure::Usage(anyhow::Error::msg(problem)))
    }
}

/// A page of all states as if they were one list.
async fn one_after_the_other(
    broker: &Broker,
    queue: &QueueName,
    page: Page,
) -> Result<Vec<TaskView>, BrokerError> {
    let counts = broker.queue_summary(queue).await?;
    let mut skip = page.offset;
    let mut views = Vec::new();
    for state in LISTED {
        let room = page.limit - views.len();
        let count = usize::try_from(counts.count(state)).unwrap_or(usize::MAX);
        if skip >= count {
            skip -= count;
        } else if room > 0 {
            views.extend(broker.tasks(queue, state, Page { offset: skip, limit: room }).await?);
            skip = 0;
        }
    }
    Ok(views)
}

fn table(tasks: &[Task], chars_max: usize, now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "ID",
        "TYPE",
        "STATE",
        "DETAIL",
        "RETRIES",
        "+>LOST",
        "+TIMEOUT",
        "+DEADLINE",
        "+RETENTION",
        "+GROUP",
        "+UNIQUE KEY",
        "PAYLOAD",
        "+RESULT",
        "LAST ERROR",
    ]);
    for task in tasks {
        let tone = match task.state {
            State::Archived => Tone::Wrong,
            State::Retry => Tone::Held,
            _ => Tone::Plain,
        };
        let cells = vec![
            task.id.clone(),
            task.kind.clone(),
            task.state.to_string(),
            detail(task, now),
            format!("{}/{}", task.retried, task.max_retry),
            task.crashes.to_string(),
            task.timeout_seconds.map_or_else(none, |seconds| distance(seconds.unsigned_abs())),
            relative(task.deadline, now),
            distance(task.retention_seconds.unsigned_abs()),
            task.group.clone().unwrap_or_else(none),
            task.unique_key.clone().unwrap_or_else(none),
            shorten(&task.payload.shown(), chars_max),
            task.result.as_ref().map_or_else(none, |result| shorten(&result.shown(), chars_max)),
            shorten(task.last_error.as_deref().unwrap_or_default(), chars_max),
        ];
        table.row(tone, cells);
    }
    table
}

fn none() -> String {
    "-".to_owned()
}

/// What matters in the task's state: its worker, or a time.
fn detail(task: &Task, now: Timestamp) -> String {
    match task.state {
        State::Active => match task.owner.as_deref() {
            // Host and process are enough for people; what follows tells runs of one process id apart.
            Some(owner) => format!("on {}", owner.rsplit_once(':').map_or(owner, |(place, _)| place)),
            None => "-".to_owned(),
        },
        State::Aggregating => match task.joined_time {
            Some(since) => format!("joined {}", relative(Some(since.min(now)), now)),
            None => "-".to_owned(),
        },
        State::Pending => match task.pending_since {
            Some(since) => format!("waits {}", distance((now.as_second() - since.as_second()).max(0) as u64)),
            None => "-".to_owned(),
        },
        State::Scheduled | State::Retry => relative(task.next_run_time, now),
        State::Archived => relative(task.archived_time, now),
        State::Completed => relative(task.completed_time, now),
    }
}
