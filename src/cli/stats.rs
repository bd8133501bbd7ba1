//! `cronmill stats`: everything at a glance.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::args::{ConnectionArgs, OutputArgs};
use super::counts::Counts;
use super::exit::Failure;
use super::output::{Sheet, count_of, distance, seconds, size};
use super::queue::summaries;
use crate::broker::{Broker, BrokerError, QueueSummary, RedisFacts};

/// Flags of `cronmill stats`.
#[derive(Args, Debug)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// Everything at a glance, as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// Redis's time.
    time: Timestamp,
    queues: usize,
    paused_queues: usize,
    /// Tasks in all states of all queues.
    size: u64,
    #[serde(flatten)]
    totals: Counts,
    /// The longest that a pending task of any queue has waited.
    wait_seconds: f64,
    schedules: u64,
    /// Workers that run; a listing ends at a thousand.
    servers: usize,
    redis: Redis,
}

/// What matters of Redis itself, as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Redis {
    address: String,
    version: String,
    role: String,
    uptime_seconds: u64,
    clients: u64,
    commands_per_second: u64,
    memory_bytes: u64,
    memory_peak_bytes: u64,
    /// Absent when there is no limit but the machine's.
    memory_max_bytes: Option<u64>,
}

impl StatsArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let stats = read(&broker).await?;
        self.output.one(&stats, || sheet(&stats))
    }
}

async fn read(broker: &Broker) -> Result<Stats, BrokerError> {
    let queues = summaries(broker).await?;
    let mut schedules = 0;
    for queue in broker.scheduled_queues().await? {
        schedules += broker.entry_count(&queue).await?;
    }
    let mut totals = Counts::default();
    queues.iter().for_each(|queue| totals.add(&queue.into()));
    let wait = queues.iter().map(|queue| queue.wait).max().unwrap_or_default();
    Ok(Stats {
        time: broker.now(),
        queues: queues.len(),
        paused_queues: queues.iter().filter(|queue| queue.paused.is_some()).count(),
        size: queues.iter().map(QueueSummary::size).sum(),
        totals,
        wait_seconds: seconds(wait),
        schedules,
        servers: broker.servers().await?.len(),
        redis: Redis::new(broker.address(), broker.facts().await?),
    })
}

impl Redis {
    fn new(address: String, facts: RedisFacts) -> Self {
        Self {
            address,
            version: facts.version,
            role: facts.role,
            uptime_seconds: facts.uptime.as_secs(),
            clients: facts.clients,
            commands_per_second: facts.commands_per_s,
            memory_bytes: facts.memory_bytes,
            memory_peak_bytes: facts.memory_peak_bytes,
            memory_max_bytes: facts.memory_bytes_max,
        }
    }
}

fn sheet(stats: &Stats) -> Sheet {
    let Stats { totals, redis, .. } = stats;
    let mut sheet = Sheet::default();
    let paused = match stats.paused_queues {
        0 => String::new(),
        paused => format!(", {paused} paused"),
    };
    sheet.field("Queues", format!("{}{paused}", stats.queues));
    sheet.field("Tasks", stats.size);
    sheet.field(
        "  pending",
        format!("{}, the oldest for {}", totals.tasks.pending, distance(stats.wait_seconds as u64)),
    );
    sheet.field("  active", totals.tasks.active);
    sheet.field("  scheduled", totals.tasks.scheduled);
    sheet.field("  retry", totals.tasks.retry);
    sheet.field("  archived", totals.tasks.archived);
    sheet.field("  completed", totals.tasks.completed);
    sheet.field("  aggregating", totals.tasks.aggregating);
    sheet.field("Today", attempts(totals.processed_today, totals.failed_today));
    sheet.field("Ever", attempts(totals.processed_total, totals.failed_total));
    sheet.field("Schedules", stats.schedules);
    sheet.field("Workers", stats.servers);
    sheet.field(
        "Redis",
        format!(
            "{} {} at {}, up {}",
            redis.version,
            redis.role,
            redis.address,
            distance(redis.uptime_seconds)
        ),
    );
    sheet.field("  clients", redis.clients);
    sheet.field("  commands", format!("{}/s", redis.commands_per_second));
    let limit =
        redis.memory_max_bytes.map_or_else(|| "no limit".to_owned(), |max| format!("limit {}", size(max)));
    let (used, peak) = (size(redis.memory_bytes), size(redis.memory_peak_bytes));
    sheet.field("  memory", format!("{used}, peak {peak}, {limit}"));
    sheet
}

/// `12 attempts, 3 failed (25.0 %)`.
fn attempts(processed: u64, failed: u64) -> String {
    let share = if processed == 0 { 0.0 } else { failed as f64 * 100.0 / processed as f64 };
    format!("{}, {failed} failed ({share:.1} %)", count_of(processed, "attempt"))
}
