//! `cronmill queue explain`: how many workers serve a queue, and why.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::require_queue;
use crate::broker::{Broker, Demand, DemandReader, GROUPS_PER_READ};
use crate::cli::args::{ConnectionArgs, OutputArgs};
use crate::cli::exit::Failure;
use crate::cli::output::{Sheet, Table, Tone, distance, has_color, print_data, relative, seconds};
use crate::fleet::{FleetRecord, FleetWatch, Work, read_records};
use crate::scaling::{Plan, Policy};
use crate::task::QueueName;

/// Looks at a queue with very many groups, at most.
const LOOKS_MAX: u64 = 50;
/// After so long without a sign of whoever decides, nobody does.
const SILENT: Duration = Duration::from_secs(60);

/// Flags of `cronmill queue explain`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ExplainArgs {
    /// The queue.
    queue: QueueName,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// The number of workers and how it comes about, as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    /// `namespace/name` of the TaskQueue.
    fleet: String,
    /// Workers there shall be, by what there is to do now.
    replicas: u32,
    /// What decided, in one fixed word.
    reason: &'static str,
    /// The same for people.
    message: String,
    /// Workers there were when they were last counted.
    current: u32,
    /// Tasks that should run at once.
    slots: u64,
    /// Tasks that wait, or will within the time looked ahead.
    backlog: u64,
    inputs: Inputs,
    policy: Limits,
    /// What was decided last by whoever scales.
    decided: Decision,
    /// What was wanted lately, the largest first.
    history: Vec<Wanted>,
    queues: Vec<Queue>,
}

/// What is decided from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inputs {
    active: u64,
    pending: u64,
    lease_expired: u64,
    scheduled_soon: u64,
    retry_soon: u64,
    ripe_groups: u64,
    aggregating: u64,
    waiting_ticks: u64,
    ticks_soon: u64,
    /// In paused queues: it counts for nothing.
    held_back: u64,
    next_tick_seconds: Option<f64>,
    run_time_seconds: Option<f64>,
    lead_time_seconds: f64,
    ahead_seconds: f64,
}

/// What the fleet's owner wants.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    replicas: Option<u32>,
    min_replicas: u32,
    max_replicas: u32,
    concurrency: u32,
    target_wait_seconds: f64,
    stabilization_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Decision {
    time: Timestamp,
    replicas: u32,
    reason: String,
    /// Nobody has decided for so long that nobody seems to.
    is_old: bool,
}

#[derive(Debug, Serialize)]
struct Wanted {
    time: Timestamp,
    replicas: u32,
}

/// What one queue asks for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    name: String,
    paused: bool,
    pending: u64,
    active: u64,
    lease_expired: u64,
    scheduled_soon: u64,
    retry_soon: u64,
    ripe_groups: u64,
    waiting_ticks: u64,
    ticks_soon: u64,
    next_tick_time: Option<Timestamp>,
}

impl ExplainArgs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let records = read_records(&broker, std::slice::from_ref(&self.queue)).await?;
        let Some(record) = records.into_iter().next() else {
            require_queue(&broker, &self.queue).await?;
            return Err(Failure::negative(format!(
                "nobody decides how many workers serve queue {}: no TaskQueue with workers has it, or neither the \
                 operator nor local mode has run here in the last days",
                self.queue
            )));
        };
        let explanation = explain(&broker, &record).await?;
        if self.output.is_data() {
            return self.output.data(&explanation);
        }
        let queues = table(&explanation.queues, broker.now()).render(has_color(), self.output.is_wide());
        print_data(&format!("{}\n{queues}", sheet(&explanation, broker.now()).render(has_color())))
    }
}

/// Reads what there is to do, and decides as whoever scales would.
async fn explain(broker: &Broker, record: &FleetRecord) -> Result<Explanation, Failure> {
    let queues: Vec<_> = record.queues.iter().filter_map(|name| QueueName::new(name).ok()).collect();
    let mut watch = FleetWatch::new(record.name.clone(), queues, record.lead_time());
    watch.recall(std::slice::from_ref(record), &record.policy, record.current, broker.now());
    let demands = read(broker, &watch).await?;
    let now = broker.now();
    let plan = watch.decide(&Work::of(&demands), &record.policy, record.current, now);
    let history = record.history.moments().map(|(time, replicas)| Wanted { time, replicas });
    Ok(Explanation {
        fleet: record.name.name.clone(),
        replicas: plan.replicas,
        reason: plan.reason.as_str(),
        message: plan.to_string(),
        current: record.current,
        slots: plan.slots,
        backlog: plan.seen.backlog(),
        inputs: Inputs::from(&plan),
        policy: Limits::from(&record.policy),
        decided: Decision {
            time: record.at,
            replicas: record.replicas,
            reason: record.reason.clone(),
            is_old: record.age(now) > SILENT,
        },
        history: history.collect(),
        queues: watch.queues().iter().zip(&demands).map(|(name, demand)| Queue::of(name, demand)).collect(),
    })
}

/// Reads what each queue asks for, all of its groups included.
async fn read(broker: &Broker, watch: &FleetWatch) -> Result<Vec<Demand>, Failure> {
    let asked: Vec<_> = watch.queues().iter().map(|queue| (queue.clone(), watch.ahead())).collect();
    let mut reader = DemandReader::new(broker.clone());
    let mut looks = 0;
    loop {
        let read: Result<Vec<Demand>, _> = reader.read(&asked).await?.into_iter().collect();
        let read = read?;
        looks += 1;
        let groups = read.iter().map(|demand| demand.groups).max().unwrap_or(0);
        if looks >= groups.div_ceil(GROUPS_PER_READ).min(LOOKS_MAX) {
            return Ok(read);
        }
    }
}

impl From<&Plan> for Inputs {
    fn from(plan: &Plan) -> Self {
        let seen = &plan.seen;
        Self {
            active: seen.active,
            pending: seen.pending,
            lease_expired: seen.expired,
            scheduled_soon: seen.scheduled_soon,
            retry_soon: seen.retry_soon,
            ripe_groups: seen.ripe_groups,
            aggregating: seen.aggregating,
            waiting_ticks: seen.waiting_ticks,
            ticks_soon: seen.ticks_soon,
            held_back: seen.held_back,
            next_tick_seconds: seen.next_tick.map(seconds),
            run_time_seconds: seen.run_time.map(seconds),
            lead_time_seconds: seconds(seen.lead_time),
            ahead_seconds: seconds(seen.ahead),
        }
    }
}

impl From<&Policy> for Limits {
    fn from(policy: &Policy) -> Self {
        Self {
            replicas: policy.fixed,
            min_replicas: policy.min,
            max_replicas: policy.max,
            concurrency: policy.concurrency,
            target_wait_seconds: seconds(policy.target_wait),
            stabilization_seconds: seconds(policy.stabilization),
        }
    }
}

impl Queue {
    fn of(name: &QueueName, demand: &Demand) -> Self {
        Self {
            name: name.to_string(),
            paused: demand.is_paused,
            pending: demand.pending,
            active: demand.active,
            lease_expired: demand.expired,
            scheduled_soon: demand.scheduled_soon,
            retry_soon: demand.retry_soon,
            ripe_groups: demand.ripe_groups,
            waiting_ticks: demand.waiting_ticks,
            ticks_soon: demand.ticks_soon,
            next_tick_time: demand.next_tick,
        }
    }
}

/// So many seconds for people: tenths of short ones.
fn span(seconds: f64) -> String {
    match seconds < 10.0 {
        true => format!("{seconds:.1}s"),
        false => distance(seconds as u64),
    }
}

fn sheet(explanation: &Explanation, now: Timestamp) -> Sheet {
    let Explanation { inputs, policy, decided, .. } = explanation;
    let mut sheet = Sheet::default();
    sheet.field("Fleet", &explanation.fleet);
    sheet.field("Workers wanted", explanation.replicas);
    sheet.field("Why", format!("{}: {}", explanation.reason, explanation.message));
    sheet.field("Workers counted", explanation.current);
    let silence = if decided.is_old { "; nobody has decided since" } else { "" };
    sheet.field(
        "Decided last",
        format!("{} ({}), {}{silence}", decided.replicas, decided.reason, relative(Some(decided.time), now)),
    );
    sheet.field("To run at once", explanation.slots);
    sheet.field("Backlog", explanation.backlog);
    for (label, number) in [
        ("Running", inputs.active),
        ("Pending", inputs.pending),
        ("Left by workers", inputs.lease_expired),
        ("Scheduled soon", inputs.scheduled_soon),
        ("Retried soon", inputs.retry_soon),
        ("Ripe groups", inputs.ripe_groups),
        ("Being aggregated", inputs.aggregating),
        ("Waiting ticks", inputs.waiting_ticks),
        ("Ticks soon", inputs.ticks_soon),
        ("Held back", inputs.held_back),
    ] {
        sheet.field(label, number);
    }
    sheet.field(
        "Next tick",
        inputs.next_tick_seconds.map_or("-".to_owned(), |next| format!("in {}", span(next))),
    );
    sheet.field("A run takes", inputs.run_time_seconds.map_or("not known yet".to_owned(), span));
    sheet.field("A start takes", span(inputs.lead_time_seconds));
    sheet.field("Looked ahead", span(inputs.ahead_seconds));
    let limits = match policy.replicas {
        Some(fixed) => format!("{fixed}, fixed"),
        None => format!("{} to {}", policy.min_replicas, policy.max_replicas),
    };
    sheet.field("Limits", limits);
    sheet.field("Concurrency", policy.concurrency);
    sheet.field("Target wait", span(policy.target_wait_seconds));
    sheet.field("Stabilization", span(policy.stabilization_seconds));
    let wanted = |wanted: &Wanted| format!("{} {}", wanted.replicas, relative(Some(wanted.time), now));
    sheet.field("Wanted lately", explanation.history.iter().map(wanted).collect::<Vec<_>>().join(", "));
    sheet
}

fn table(queues: &[Queue], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "QUEUE",
        ">PENDING",
        ">ACTIVE",
        ">LEFT",
        ">SCHEDULED SOON",
        ">RETRIED SOON",
        ">RIPE GROUPS",
        ">WAITING TICKS",
        ">TICKS SOON",
        "NEXT TICK",
        "PAUSED",
    ]);
    for queue in queues {
        let numbers = [
            queue.pending,
            queue.active,
            queue.lease_expired,
            queue.scheduled_soon,
            queue.retry_soon,
            queue.ripe_groups,
            queue.waiting_ticks,
            queue.ticks_soon,
        ];
        let mut cells = vec![queue.name.clone()];
        cells.extend(numbers.map(|number| number.to_string()));
        cells.push(relative(queue.next_tick_time, now));
        cells.push(if queue.paused { "yes" } else { "no" }.to_owned());
        table.row(if queue.paused { Tone::Held } else { Tone::Plain }, cells);
    }
    table
}
