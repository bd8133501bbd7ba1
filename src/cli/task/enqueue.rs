//! `cronmill task enqueue`: a task from the command line.

use std::io::Read as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Error;
use bytes::Bytes;
use clap::Args;
use jiff::Timestamp;
use serde::de::IgnoredAny;

use crate::cli::args::duration::{parse_duration, parse_positive_duration};
use crate::cli::args::{ConnectionArgs, Moment, parse_timestamp};
use crate::cli::exit::{Failure, is_users_to_mend};
use crate::cli::output::print_data;
use crate::producer::{Client, EnqueueError, Task};
use crate::task::{DEFAULT_MAX_RETRY, DEFAULT_QUEUE, QueueName};

/// Flags of `cronmill task enqueue`.
#[derive(Args, Debug)]
pub(in crate::cli) struct EnqueueArgs {
    /// The task's type: which handler runs it.
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: String,
    /// The queue it goes to.
    #[arg(short, long, value_name = "QUEUE", default_value = DEFAULT_QUEUE)]
    queue: QueueName,
    /// The handler's input: JSON, @FILE for a file's bytes, or - for those of standard input. [default: none]
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: Option<PayloadArg>,
    /// Its id, unique within its queue. [default: a random UUID]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How many retries may follow a failure.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_RETRY as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(i32::MAX)))]
    max_retry: u32,
    /// What one attempt may take, as in 90s 5m 2h. [default: 30m, none with a deadline]
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    timeout: Option<Duration>,
    /// When all attempts must be over: RFC 3339, or so long from now, as in 90s 5m 2h 7d. [default: never]
    #[arg(long, value_name = "TIME|DURATION")]
    deadline: Option<Moment>,
    /// How long it stays readable with its result once it is done, as in 90s 5m 2h 7d; 0s for not at all.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    retention: Duration,
    /// A header for the handler; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<HeaderArg>,
    /// Refuse it while another task of its type and payload has not ended; the lock holds so long at least, and
    /// longer while workers keep the queue. As in 90s 5m 2h 7d. [default: not unique]
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    unique: Option<Duration>,
    /// Put it into this group of its queue, which a worker with an aggregator makes one task of.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Start it at this time, RFC 3339; at once when that has passed. [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp, conflicts_with = "after")]
    at: Option<Timestamp>,
    /// Start it so long from now, as in 90s 5m 2h 7d.
    #[arg(long = "in", id = "after", value_name = "DURATION", value_parser = parse_duration)]
    after: Option<Duration>,
    /// Archive it unless a worker has begun it by this time, RFC 3339. [default: it waits for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp, conflicts_with = "expires_in")]
    expires_at: Option<Timestamp>,
    /// The same, so long from now, as in 90s 5m 2h 7d.
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    expires_in: Option<Duration>,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// Where a payload comes from. `Debug` does not show it.
#[derive(Clone)]
pub(super) enum PayloadArg {
    Json(String),
    File(PathBuf),
    Stdin,
}

impl From<&str> for PayloadArg {
    fn from(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(file) => Self::File(file.into()),
            None if text == "-" => Self::Stdin,
            None => Self::Json(text.to_owned()),
        }
    }
}

impl std::fmt::Debug for PayloadArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(text) => write!(f, "Json({} bytes)", text.len()),
            Self::File(file) => write!(f, "File({})", file.display()),
            Self::Stdin => f.write_str("Stdin"),
        }
    }
}

impl PayloadArg {
    pub(super) fn read(self) -> Result<Bytes, Failure> {
        match self {
            Self::Json(text) => match serde_json::from_str::<IgnoredAny>(&text) {
                Ok(IgnoredAny) => Ok(text.into()),
                Err(error) => {
                    let problem = format!("--payload is not JSON: {error} (allowed: JSON, @FILE, or -)");
                    Err(Failure::Usage(Error::msg(problem)))
                }
            },
            Self::File(file) => std::fs::read(&file).map(Bytes::from).map_err(|error| {
                Failure::usage(error).context(format!("read the payload from {}", file.display()))
            }),
            Self::Stdin => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).map_err(|error| {
                    Failure::failed(error).context("read the payload from standard input")
                })?;
                Ok(bytes.into())
            }
        }
    }
}

#[derive(Clone, Debug)]
struct HeaderArg {
    name: String,
    value: String,
}

#[derive(Debug, thiserror::Error)]
#[error("not a header (allowed: NAME=VALUE)")]
struct HeaderArgError;

impl FromStr for HeaderArg {
    type Err = HeaderArgError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(HeaderArgError),
        }
    }
}

impl EnqueueArgs {
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let payload = self.payload.take().map(PayloadArg::read).transpose()?;
        let broker = self.connection.connect().await?;
        let task = self.task(payload, broker.now());
        let receipt = Client::new(broker).enqueue(task).await.map_err(refusal)?;
        print_data(&format!("{}\n", receipt.id))
    }

    fn task(self, payload: Option<Bytes>, now: Timestamp) -> Task {
        let headers = self.headers.into_iter().map(|header| (header.name, header.value));
        let mut task = Task::new(self.kind, payload)
            .queue(self.queue.as_str())
            .max_retry(self.max_retry)
            .retention(self.retention)
            .headers(headers);
        if let Some(id) = self.id {
            task = task.id(id);
        }
        if let Some(at_most) = self.unique {
            task = task.unique(at_most);
        }
        if let Some(group) = self.group {
            task = task.group(group);
        }
        if let Some(timeout) = self.timeout {
            task = task.timeout(timeout);
        }
        if let Some(deadline) = self.deadline {
            task = task.deadline(deadline.seen_at(now));
        }
        if let Some(time) = self.expires_at {
            task = task.expires_at(time);
        }
        if let Some(time) = self.expires_in {
            task = task.expires_in(time);
        }
        match (self.at, self.after) {
            (Some(at), _) => task.at(at),
            (None, Some(after)) => task.after(after),
            (None, None) => task,
        }
    }
}

fn refusal(error: EnqueueError) -> Failure {
    match &error {
        EnqueueError::Conflict { .. } | EnqueueError::Duplicate { .. } => Failure::negative(error),
        EnqueueError::Broker { source, .. } if !is_users_to_mend(source) => Failure::failed(error),
        _ => Failure::usage(error),
    }
}
