//! `cronmill cron ls`: the schedules in force.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::entry_lookup::{self, Placed};
use crate::causes;
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Table, Tone, distance, relative};
use crate::schedule::{CatchUp, Concurrency, Entry, Gap, Overlap};

/// Flags of `cronmill cron ls`.
#[derive(Args, Debug)]
pub(in crate::cli) struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// A schedule as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Schedule {
    uid: String,
    queue: String,
    /// Absent when the entry cannot be read; `fault` says why.
    #[serde(flatten)]
    object: Option<Object>,
    /// The last tick that was enqueued.
    last_time: Option<Timestamp>,
    /// The next tick.
    next_time: Option<Timestamp>,
    /// A tick that waits for the run it replaces to end.
    waiting_time: Option<Timestamp>,
    /// How many ticks ended as what.
    outcomes: BTreeMap<String, u64>,
    /// Why it does not fire, when something is wrong with it.
    fault: Option<String>,
}

/// What the object says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    namespace: String,
    name: String,
    cluster: String,
    schedules: Vec<String>,
    time_zone: String,
    daylight_saving: DaylightSaving,
    jitter_seconds: u32,
    concurrency_policy: Concurrency,
    catch_up: CatchUp,
    starting_deadline_seconds: Option<i64>,
    suspend: bool,
    task_type: String,
}

#[derive(Debug, Serialize)]
struct DaylightSaving {
    gap: Gap,
    overlap: Overlap,
}

impl LsArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let mut schedules: Vec<_> =
            entry_lookup::all(&broker).await?.into_iter().map(Schedule::from).collect();
        schedules.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        self.output.list(&schedules, "no schedules", || table(&schedules, broker.now()))
    }
}

impl From<Placed> for Schedule {
    fn from(placed: Placed) -> Self {
        let Placed { queue, stored } = placed;
        let (object, unreadable) = match stored.entry {
            Ok(entry) => (Some(Object::from(entry)), None),
            Err(error) => (None, Some(causes::on_one_line(&*error))),
        };
        Self {
            uid: stored.uid,
            queue: queue.to_string(),
            object,
            last_time: stored.last,
            next_time: stored.next,
            waiting_time: stored.waiting,
            outcomes: stored.counts,
            fault: stored.fault.or(unreadable),
        }
    }
}

impl From<Entry> for Object {
    fn from(entry: Entry) -> Self {
        let timing = entry.timing;
        Self {
            namespace: entry.namespace,
            name: entry.name,
            cluster: entry.cluster,
            schedules: timing.schedules,
            time_zone: timing.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            daylight_saving: DaylightSaving { gap: timing.gap, overlap: timing.overlap },
            jitter_seconds: timing.jitter_s,
            concurrency_policy: entry.concurrency,
            catch_up: entry.catch_up,
            starting_deadline_seconds: entry.starting_deadline_s,
            suspend: entry.suspend,
            task_type: entry.template.kind,
        }
    }
}

impl Schedule {
    fn sort_key(&self) -> (Option<(&str, &str)>, &str, &str) {
        let name = self.object.as_ref().map(|object| (object.namespace.as_str(), object.name.as_str()));
        (name, &self.queue, &self.uid)
    }
}

fn table(schedules: &[Schedule], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "SCHEDULE",
        "ZONE",
        "QUEUE",
        "+TYPE",
        "+POLICY",
        "+CATCH UP",
        "+JITTER",
        "SUSPENDED",
        "LAST",
        "NEXT",
        "OUTCOMES",
        "+CLUSTER",
        "+UID",
        "FAULT",
    ]);
    for schedule in schedules {
        let object = schedule.object.as_ref();
        let of = |field: fn(&Object) -> String| object.map_or_else(|| "?".to_owned(), field);
        let is_suspended = object.is_some_and(|object| object.suspend);
        let tone = match () {
            () if schedule.fault.is_some() => Tone::Wrong,
            () if is_suspended => Tone::Held,
            () => Tone::Plain,
        };
        let cells = vec![
            object.map_or_else(
                || format!("? ({})", schedule.uid),
                |object| format!("{}/{}", object.namespace, object.name),
            ),
            of(|object| object.schedules.join("; ")),
            of(|object| object.time_zone.clone()),
            schedule.queue.clone(),
            of(|object| object.task_type.clone()),
            of(|object| format!("{:?}", object.concurrency_policy)),
            of(|object| format!("{:?}", object.catch_up)),
            of(|object| distance(object.jitter_seconds.into())),
            of(|object| if object.suspend { "yes" } else { "no" }.to_owned()),
            relative(schedule.last_time, now),
            relative(schedule.next_time, now),
            outcomes(&schedule.outcomes),
            of(|object| object.cluster.clone()),
            schedule.uid.clone(),
            schedule.fault.clone().unwrap_or_default(),
        ];
        table.row(tone, cells);
    }
    table
}

/// `enqueued 12, too-late 1`, or `-` before the first tick.
fn outcomes(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "-".to_owned();
    }
    let shown: Vec<String> = counts.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    shown.join(", ")
}
