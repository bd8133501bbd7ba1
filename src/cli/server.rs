//! `cronmill server`: the workers that run.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::args::{ConnectionArgs, OutputArgs};
use super::exit::Failure;
use super::output::{Table, Tone, relative};
use crate::broker::LiveServer;
use crate::task::{ProtoTimestamp, QueueWeight, WorkerInfo};

/// Workers: list them.
#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    /// List the workers that run, at most a thousand, and with JSON what each runs.
    Ls(LsArgs),
}

impl ServerCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Ls(args) => args.run().await,
        }
    }
}

/// Flags of `cronmill server ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Connection")]
    connection: ConnectionArgs,
}

/// A worker as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    id: String,
    host: String,
    pid: i32,
    /// `active`, `stopped` or `closed`.
    status: String,
    started: Option<Timestamp>,
    /// How many tasks it runs at once.
    concurrency: i32,
    /// How many it runs now.
    active: i32,
    strict_priority: bool,
    queues: Vec<Weight>,
    /// The types it serves, each with every type that begins with it; absent when it does not tell.
    types: Option<Vec<String>>,
    running: Vec<Running>,
}

#[derive(Debug, Serialize)]
struct Weight {
    name: String,
    weight: i32,
}

/// A task that a worker runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    task_id: String,
    #[serde(rename = "type")]
    kind: String,
    queue: String,
    started: Option<Timestamp>,
    deadline: Option<Timestamp>,
}

impl LsArgs {
    async fn run(self) -> Result<(), Failure> {
        let broker = self.connection.connect().await?;
        let mut servers: Vec<Server> = broker.servers().await?.into_iter().map(Server::from).collect();
        servers.sort_by(|a, b| (&a.host, a.pid, &a.id).cmp(&(&b.host, b.pid, &b.id)));
        self.output.list(&servers, "no workers", || table(&servers, broker.now()))
    }
}

impl From<LiveServer> for Server {
    fn from(server: LiveServer) -> Self {
        let LiveServer { info, running, types } = server;
        Self {
            id: info.server_id,
            host: info.host,
            pid: info.pid,
            status: info.status,
            started: moment(info.started),
            concurrency: info.concurrency,
            active: info.active_workers,
            strict_priority: info.strict_priority,
            queues: info.queues.into_iter().map(Weight::from).collect(),
            types: types.map(|mut types| {
                types.sort();
                types
            }),
            running: running.into_iter().map(Running::from).collect(),
        }
    }
}

impl From<QueueWeight> for Weight {
    fn from(queue: QueueWeight) -> Self {
        Self { name: queue.queue.unwrap_or_default(), weight: queue.weight.unwrap_or_default() }
    }
}

impl From<WorkerInfo> for Running {
    fn from(info: WorkerInfo) -> Self {
        Self {
            task_id: info.task_id,
            kind: info.task_kind,
            queue: info.queue,
            started: moment(info.started),
            deadline: moment(info.deadline),
        }
    }
}

/// A moment, unless it is absent or Go's zero time.
fn moment(at: Option<ProtoTimestamp>) -> Option<Timestamp> {
    let at = at.filter(|at| *at != ProtoTimestamp::NEVER)?;
    Timestamp::new(at.seconds, at.nanos).ok()
}

fn table(servers: &[Server], now: Timestamp) -> Table {
    let mut table =
        Table::new(&["HOST", ">PID", "STATUS", ">RUNNING", "QUEUES", "STARTED", "+TYPES", "+TASKS", "ID"]);
    for server in servers {
        let queues: Vec<_> =
            server.queues.iter().map(|queue| format!("{}={}", queue.name, queue.weight)).collect();
        let order = if server.strict_priority { " strict" } else { "" };
        let cells = vec![
            server.host.clone(),
            server.pid.to_string(),
            server.status.clone(),
            format!("{}/{}", server.active, server.concurrency),
            format!("{}{order}", queues.join(",")),
            relative(server.started, now),
            server.types.as_ref().map_or_else(|| "?".to_owned(), |types| types.join(" ")),
            server
                .running
                .iter()
                .map(|task| format!("{} {}", task.kind, task.task_id))
                .collect::<Vec<_>>()
                .join(", "),
            server.id.clone(),
        ];
        table.row(if server.status == "active" { Tone::Plain } else { Tone::Held }, cells);
    }
    table
}
