//! `cronmill task ls`: a page of a queue's tasks.

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use jiff::Timestamp;

use super::view::Task;
use crate::broker::{Broker, BrokerError, Page, TaskView};
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, distance, relative, shorten};
use crate::cli::queue::require_queue;
use crate::task::{QueueName, State};

/// States whose tasks can be listed, in this order. Aggregating ones stand in their groups.
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
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Tasks on a page, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Which page, from 1: the longest waiting and the earliest due come first.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

fn states() -> impl clap::builder::TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::as_str)).try_map(|name| name.parse::<State>())
}

impl LsArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let state = self.wanted_state()?;
        let broker = self.connection.connect().await?;
        require_queue(&broker, &self.queue).await?;
        let limit = usize::from(self.limit);
        let offset = (self.page as usize - 1).saturating_mul(limit);
        let page = Page { offset, limit };
        let views = match (state, &self.group) {
            (_, Some(group)) => broker.group_tasks(&self.queue, group, page).await?,
            (Some(state), None) => broker.tasks(&self.queue, state, page).await?,
            (None, None) => one_after_the_other(&broker, &self.queue, page).await?,
        };
        let tasks: Vec<_> = views.into_iter().map(|view| Task::new(view, CONTENT_BYTES_MAX)).collect();
        let nothing = match state {
            Some(state) => format!("no {state} task on page {} of queue {}", self.page, self.queue),
            None => format!("no task on page {} of queue {}", self.page, self.queue),
        };
        self.output.list(&tasks, &nothing, || table(&tasks, broker.now()))
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

fn table(tasks: &[Task], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "TYPE", "STATE", "DETAIL", "RETRIES", "PAYLOAD", "LAST ERROR"]);
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
            shorten(&task.payload.shown(), CELL_CHARS_MAX),
            shorten(task.last_error.as_deref().unwrap_or_default(), CELL_CHARS_MAX),
        ];
        table.row(tone, cells);
    }
    table
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
