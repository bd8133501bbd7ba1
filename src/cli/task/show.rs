//! `cronmill task show`: everything known of one task.

use clap::Args;
use jiff::Timestamp;

use super::view::{AttemptError, Content, Task};
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Sheet, clean, relative, shorten};
use crate::cli::queue::no_such_task;
use crate::task::QueueName;

/// Bytes of a payload and of a result shown to people; JSON has all of them.
const SHOWN_BYTES_MAX: usize = 4096;
/// Characters of an earlier error shown to people; JSON has all that is kept.
const LINE_CHARS_MAX: usize = 200;

/// Flags of `cronmill task show`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ShowArgs {
    /// The queue.
    #[arg(short, long, value_name = "QUEUE")]
    queue: QueueName,
    /// The task's id.
    id: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

impl ShowArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let Some(view) = broker.task(&self.queue, &self.id).await? else {
            return Err(no_such_task(&broker, &self.queue, &self.id).await?);
        };
        let bytes_max = if self.output.is_data() { usize::MAX } else { SHOWN_BYTES_MAX };
        let history = broker.task_history(&self.queue, &self.id).await?;
        let task = Task::new(view, bytes_max).with_history(history);
        self.output.one(&task, || sheet(&task, broker.now()))
    }
}

fn sheet(task: &Task, now: Timestamp) -> Sheet {
    let at = |time: Option<Timestamp>| time.map(|time| format!("{time} ({})", relative(Some(time), now)));
    let seconds = |amount: i64| format!("{amount} s");
    let mut sheet = Sheet::default();
    sheet.field("Id", &task.id);
    sheet.field("Queue", &task.queue);
    sheet.field("Type", &task.kind);
    sheet.field("State", task.state);
    sheet.maybe("Pending since", at(task.pending_since));
    sheet.maybe("Owner", task.owner.as_ref());
    sheet.maybe("Lease until", at(task.lease_end_time));
    if task.is_cancelled {
        sheet.field("Cancelled", "yes, its worker is told");
    }
    sheet.maybe("Next run", at(task.next_run_time));
    sheet.maybe("Archived", at(task.archived_time));
    sheet.maybe("Completed", at(task.completed_time));
    sheet.maybe("Kept until", at(task.expiry_time));
    sheet.field("Retries", format!("{} of {}", task.retried, task.max_retry));
    if task.crashes > 0 {
        sheet.field("Workers lost", task.crashes);
    }
    sheet.maybe("Last error", task.last_error.as_ref());
    sheet.maybe("Last failed", at(task.last_failed_time));
    let errors: Vec<String> = task.errors.iter().map(|error| error_line(error, now)).collect();
    if !errors.is_empty() {
        // A line of its own each, below the label.
        sheet.field("Errors", format!("{}\n", errors.join("\n")));
    }
    if let Some(snoozes) = task.snoozes {
        sheet.field("Snoozed", format!("{snoozes} times"));
    }
    sheet.maybe("Snooze reason", task.snooze_reason.as_ref());
    sheet.maybe("Timeout", task.timeout_seconds.map(seconds));
    sheet.maybe("Deadline", at(task.deadline));
    sheet.maybe("To begin by", at(task.start_deadline));
    sheet.field("Retention", seconds(task.retention_seconds));
    sheet.maybe("Unique key", task.unique_key.as_ref());
    sheet.maybe("Group", task.group.as_ref());
    let headers: Vec<String> = task.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !headers.is_empty() {
        // A line of its own each, below the label.
        sheet.field("Headers", format!("{}\n", headers.join("\n")));
    }
    sheet.field("Payload", task.payload.shown());
    sheet.maybe("Result", task.result.as_ref().map(Content::shown));
    sheet
}

/// When, which attempt, where, and what went wrong.
fn error_line(error: &AttemptError, now: Timestamp) -> String {
    let worker = if error.worker.is_empty() { "an unknown worker" } else { &error.worker };
    let when = relative(Some(error.time), now);
    format!(
        "{} ({when}), attempt {} on {worker}: {}",
        error.time,
        error.attempt,
        clean(&shorten(&error.error, LINE_CHARS_MAX))
    )
}
