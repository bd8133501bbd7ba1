//! `cronmill queue top`: the busiest queues, again and again.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{AT_ONCE, Paused, require_queue};
use crate::broker::{Broker, QueueSummary};
use crate::cli::args::duration::parse_positive_duration;
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::counts::ByState;
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, count_of, distance, has_color, print_data, seconds};
use crate::shutdown::signals;
use crate::task::QueueName;

/// Queues read at most, unless they are named.
const QUEUES_MAX: usize = 200;
/// The other screen of a terminal, which leaves what was printed before as it was; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// To the upper left corner; and what is left of a line, of the screen, is cleared.
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_REST: &str = "\u{1b}[J";

/// Flags of `cronmill queue top`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TopArgs {
    /// These queues. [default: the first 200 by name]
    #[arg(value_name = "QUEUE")]
    queues: Vec<QueueName>,
    /// How often to look, and over how long to count what ended: as in 1s 30s 5m.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_positive_duration)]
    every: Duration,
    /// How many queues to show, the busiest first, 1 to 200.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Look once and end, as without a terminal and with every form for programs.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// A queue as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Busy {
    name: String,
    size: u64,
    #[serde(flatten)]
    tasks: ByState,
    wait_seconds: f64,
    /// Attempts that ended each second since the look before.
    processed_per_second: f64,
    failed_per_second: f64,
    paused: Option<Paused>,
}

/// One look.
struct Look {
    at: Instant,
    queues: Vec<QueueSummary>,
    /// Queues there are that were not read.
    unread: usize,
}

impl TopArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        for queue in &self.queues {
            require_queue(&broker, queue).await?;
        }
        match self.once || self.output.is_data() || !io::stdout().is_terminal() {
            true => self.once(&broker).await,
            false => self.on_and_on(&broker).await,
        }
    }

    async fn once(&self, broker: &Broker) -> Result<(), Failure> {
        let before = self.look(broker).await?;
        sleep_until(before.at + self.every).await;
        let busy = self.busy(&before, self.look(broker).await?);
        self.output.list(&busy, "no queues", || table(&busy, broker.now()))
    }

    async fn on_and_on(&self, broker: &Broker) -> Result<(), Failure> {
        let signals = signals().map_err(|error| Failure::failed(error).context("listen for signals"))?;
        print_data(ENTER)?;
        let watched = signals.drain().run_until_cancelled(self.watch(broker)).await;
        print_data(LEAVE)?;
        watched.unwrap_or(Ok(()))
    }

    async fn watch(&self, broker: &Broker) -> Result<(), Failure> {
        let mut before = self.look(broker).await?;
        loop {
            sleep_until(before.at + self.every).await;
            let look = self.look(broker).await?;
            let (at, unread, queues) = (look.at, look.unread, look.queues.clone());
            let busy = self.busy(&before, look);
            let head = match unread {
                0 => format!("{} at {}", count_of(queues.len() as u64, "queue"), broker.address()),
                more => format!(
                    "{} and {more} more at {}",
                    count_of(queues.len() as u64, "queue"),
                    broker.address()
                ),
            };
            let body = table(&busy, broker.now()).render(has_color(), self.output.is_wide());
            let screen: String = [head.as_str(), ""]
                .into_iter()
                .chain(body.lines())
                .map(|line| format!("{line}{CLEAR_LINE}\r\n"))
                .collect();
            print_data(&format!("{HOME}{screen}{CLEAR_REST}"))?;
            before = Look { at, queues, unread };
        }
    }

    async fn look(&self, broker: &Broker) -> Result<Look, Failure> {
        let mut names = if self.queues.is_empty() { broker.queues().await? } else { self.queues.clone() };
        let unread = names.len().saturating_sub(QUEUES_MAX);
        names.truncate(QUEUES_MAX);
        let at = Instant::now();
        let reads = stream::iter(&names).map(|name| broker.queue_summary(name));
        Ok(Look { at, queues: reads.buffered(AT_ONCE).try_collect().await?, unread })
    }

    /// The busiest queues of a look, with what ended since the one before.
    fn busy(&self, before: &Look, look: Look) -> Vec<Busy> {
        let seconds = (look.at - before.at).as_secs_f64();
        let earlier: HashMap<&str, &QueueSummary> =
            before.queues.iter().map(|queue| (queue.queue.as_str(), queue)).collect();
        let mut busy: Vec<Busy> = look
            .queues
            .into_iter()
            .map(|queue| {
                let old = earlier.get(queue.queue.as_str());
                Busy::new(queue, old.copied(), seconds)
            })
            .collect();
        busy.sort_by(|a, b| b.rank().partial_cmp(&a.rank()).unwrap_or(std::cmp::Ordering::Equal));
        busy.truncate(self.limit.into());
        busy
    }
}

impl Busy {
    fn new(queue: QueueSummary, before: Option<&QueueSummary>, over_s: f64) -> Self {
        let rate = |now: u64, then: Option<u64>| {
            let ended = now.saturating_sub(then.unwrap_or(now));
            // To a tenth: more says nothing.
            (ended as f64 / over_s * 10.0).round() / 10.0
        };
        Self {
            size: queue.size(),
            tasks: (&queue).into(),
            wait_seconds: seconds(queue.wait),
            processed_per_second: rate(queue.processed_total, before.map(|queue| queue.processed_total)),
            failed_per_second: rate(queue.failed_total, before.map(|queue| queue.failed_total)),
            paused: queue.paused.map(Paused::from),
            name: queue.queue,
        }
    }

    fn rank(&self) -> (f64, u64, u64) {
        (self.processed_per_second, self.tasks.active + self.tasks.pending, self.size)
    }
}

fn table(queues: &[Busy], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "QUEUE",
        ">ENDED/S",
        ">FAILED/S",
        ">PENDING",
        ">ACTIVE",
        ">SCHEDULED",
        ">RETRY",
        ">ARCHIVED",
        "+>COMPLETED",
        "+>GROUPED",
        ">WAIT",
        "PAUSED",
    ]);
    for queue in queues {
        let tone = match () {
            () if queue.failed_per_second > 0.0 => Tone::Wrong,
            () if queue.paused.is_some() => Tone::Held,
            () => Tone::Plain,
        };
        let mut cells = vec![queue.name.clone()];
        cells.extend([queue.processed_per_second, queue.failed_per_second].map(|rate| format!("{rate:.1}")));
        cells.extend(queue.tasks.in_order().map(|count| count.to_string()));
        cells.push(distance(queue.wait_seconds as u64));
        cells.push(queue.paused.as_ref().map_or_else(|| "-".to_owned(), |paused| paused.shown(now)));
        table.row(tone, cells);
    }
    table
}
