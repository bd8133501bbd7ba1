//! `task run|archive|rm|cancel` with `--all`, `--state` or `--type`: many tasks at once.

use std::fmt::Write as _;

use anyhow::Error;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::broker::{Broker, BrokerError, BulkVerb, Selection};
use crate::cli::exit::Failure;
use crate::cli::output::{Progress, ask, can_ask, clean, count_of, print_note};
use crate::cli::queue::require_queue;
use crate::shutdown::signals;
use crate::task::{QueueName, State};

/// Queues named in a preview.
const QUEUES_SHOWN: usize = 20;

/// Which tasks, when they are many.
#[derive(Args, Debug)]
pub(super) struct ManyArgs {
    /// All tasks that --queue, --state and --type leave.
    #[arg(long)]
    all: bool,
    /// Those in this state; may be given several times. [default: each in which that can be done; tasks that are
    /// done only when they are asked for]
    #[arg(short, long, value_name = "STATE", value_parser = states())]
    state: Vec<State>,
    /// Those of this type.
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Do it without a question. Where nobody can be asked, nothing is done without this.
    #[arg(short = 'y', long)]
    yes: bool,
}

/// The states as a flag's values.
pub(super) fn states() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::as_str)).try_map(|name| name.parse::<State>())
}

/// How a verb reads.
struct Words {
    /// `delete`.
    plain: &'static str,
    /// `deleting`.
    doing: &'static str,
    /// `deleted`.
    done: &'static str,
}

fn words(verb: BulkVerb) -> Words {
    match verb {
        BulkVerb::Run => Words { plain: "run", doing: "making pending", done: "made pending" },
        BulkVerb::Archive => Words { plain: "archive", doing: "archiving", done: "archived" },
        BulkVerb::Delete => Words { plain: "delete", doing: "deleting", done: "deleted" },
        BulkVerb::Cancel(_) => {
            Words { plain: "cancel", doing: "asking workers to cancel", done: "asked to cancel" }
        }
    }
}

/// Some tasks of one queue in one state.
struct Batch {
    queue: QueueName,
    selection: Selection,
    count: u64,
}

impl ManyArgs {
    /// Whether many tasks are meant.
    pub(super) fn is_asked(&self) -> bool {
        self.all || !self.state.is_empty() || self.kind.is_some()
    }

    /// Whether `--yes` was said.
    pub(super) fn is_sure(&self) -> bool {
        self.yes
    }

    /// Counts, shows, asks, and does it.
    pub(super) async fn run(
        self,
        broker: &Broker,
        queues: Vec<QueueName>,
        verb: BulkVerb,
    ) -> Result<(), Failure> {
        if let Some(state) = self.state.iter().find(|state| !verb.states().contains(state)) {
            return Err(BrokerError::BulkState { verb, state: *state }.into());
        }
        for queue in &queues {
            require_queue(broker, queue).await?;
        }
        let queues = if queues.is_empty() { broker.queues().await? } else { queues };
        let batches = self.count(broker, queues, verb).await?;
        let total: u64 = batches.iter().map(|batch| batch.count).sum();
        if total == 0 {
            print_note("no task fits; there is nothing to do");
            return Ok(());
        }
        print_note(&preview(&batches, total, verb, self.kind.as_deref()));
        agree(self.yes, &format!("{} {}", words(verb).plain, count_of(total, "task")))?;
        perform(broker, &batches, total, verb).await
    }

    async fn count(
        &self,
        broker: &Broker,
        queues: Vec<QueueName>,
        verb: BulkVerb,
    ) -> Result<Vec<Batch>, Failure> {
        let progress = Progress::unknown("counting");
        let states: Vec<State> = match self.state.is_empty() {
            true => verb.states().iter().copied().filter(|state| is_usual(verb, *state)).collect(),
            false => verb.states().iter().copied().filter(|state| self.state.contains(state)).collect(),
        };
        let (mut batches, mut seen) = (Vec::new(), 0);
        for queue in queues {
            for state in &states {
                let selection = Selection { kind: self.kind.clone(), ..Selection::of(*state) };
                let so_far = seen;
                let report = |read| {
                    seen = so_far + read;
                    progress.at(seen);
                };
                let count = broker.count_selected(&queue, &selection, report).await?;
                if count > 0 {
                    batches.push(Batch { queue: queue.clone(), selection, count });
                }
            }
        }
        Ok(batches)
    }
}

/// Whether tasks in that state are meant when no state is named: what is done stays as it is, unless it is deleted.
fn is_usual(verb: BulkVerb, state: State) -> bool {
    verb == BulkVerb::Delete || state != State::Completed
}

/// What would be done, a line for each queue.
fn preview(batches: &[Batch], total: u64, verb: BulkVerb, kind: Option<&str>) -> String {
    let of_type = kind.map_or(String::new(), |kind| format!(" of type {}", clean(kind)));
    let mut text = format!("{} {}{of_type}:", words(verb).plain, count_of(total, "task"));
    let (mut shown, mut last) = (0, None);
    for batch in batches {
        let count = format!("{} {}", batch.count, batch.selection.state);
        if last == Some(&batch.queue) {
            let _ = write!(text, ", {count}");
        } else if shown < QUEUES_SHOWN {
            let _ = write!(text, "\n  queue {}: {count}", clean(batch.queue.as_str()));
            (shown, last) = (shown + 1, Some(&batch.queue));
        } else {
            text.push_str("\n  and more queues");
            break;
        }
    }
    text
}

/// Goes on when told so beforehand, or by whoever sits at the terminal.
///
/// # Errors
///
/// [`Failure::Negative`] for a no, [`Failure::Usage`] where nobody can be asked.
pub(in crate::cli) fn agree(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        let problem = format!("nothing was done: say --yes to {what}, or run it in a terminal to be asked");
        return Err(Failure::Usage(Error::msg(problem)));
    }
    match ask(&format!("{what}?")) {
        true => Ok(()),
        false => Err(Failure::negative("nothing was done")),
    }
}

async fn perform(broker: &Broker, batches: &[Batch], total: u64, verb: BulkVerb) -> Result<(), Failure> {
    let signals = signals().map_err(|error| Failure::failed(error).context("listen for signals"))?;
    let words = words(verb);
    let progress = Progress::of(total, words.doing);
    let (mut done, mut orphans) = (0, 0);
    for Batch { queue, selection, .. } in batches {
        let so_far = done;
        let report = |handled| {
            done = so_far + handled;
            progress.at(done);
        };
        // A signal drops what is under way between two steps.
        match signals.drain().run_until_cancelled(broker.bulk(queue, verb, selection, report)).await {
            Some(Ok(handled)) => orphans += handled.orphans,
            ended => {
                drop(progress);
                let rest = format!("{} {} of {total} tasks; the others are as they were", words.done, done);
                return Err(match ended {
                    Some(Err(error)) => Failure::from(error).context(rest),
                    _ => Failure::Failed(Error::msg(format!("interrupted: {rest}"))),
                });
            }
        }
    }
    drop(progress);
    print_note(&match done == total {
        true => format!("{} {}", words.done, count_of(done, "task")),
        false => format!("{} {done} of {total} tasks; the others moved meanwhile", words.done),
    });
    if orphans > 0 {
        print_note(&format!("took out {} that had no task", count_of(orphans, "id")));
    }
    Ok(())
}
