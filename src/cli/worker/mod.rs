//! `cronmill-worker`: runs the bundled handlers on tasks from Redis.
//!
//! What was typed is in [`args`], what it is told about is in [`watch`]; here it is started and stopped.

mod args;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};
use tokio::runtime::{Builder, Runtime};

use self::args::{Checked, Config, EXEC_GUARD, WorkerArgs};
use self::watch::{AttemptMetrics, Phase};
use super::args::{FileNotes, Given};
use super::connect;
use super::exit::{Failure, exit_code};
use super::probes::Probes;
use crate::broker::Broker;
use crate::handlers::{HandlersConfig, exec, register_all};
use crate::shutdown::{Signals, signals};
use crate::telemetry::{Health, Metrics};
use crate::worker::{Mux, Server};

/// Runtime threads. One would start no faster and a handler that blocks it would stop lease extensions; more
/// cost memory that an idle worker has no use for.
const THREADS: usize = 2;

/// How long what is still running at the end gets: only a handler that blocks and would not stop can be left.
const LEAVE_LIMIT: Duration = Duration::from_millis(200);

/// Runs the program: flags, environment and file in, exit code out.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == EXEC_GUARD) {
        exec::guard(std::io::stdin().lock());
        return ExitCode::SUCCESS;
    }
    let parsed = WorkerArgs::command().try_get_matches();
    let parsed = parsed.and_then(|matches| Ok((WorkerArgs::from_arg_matches(&matches)?, matches)));
    let (args, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Where stdout or stderr is closed there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    exit_code(start(args, Given::of(&matches)))
}

fn start(args: WorkerArgs, given: Given<'_>) -> Result<(), Failure> {
    let Checked { log, notes, config } = args.check(given)?;
    log.init()?;
    notes.iter().for_each(FileNotes::tell);
    let runtime = runtime()?;
    let result = runtime.block_on(run(config));
    runtime.shutdown_timeout(LEAVE_LIMIT);
    result
}

fn runtime() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(THREADS).thread_name("cronmill").enable_all();
    builder.build().map_err(|error| Failure::failed(error).context("start the runtime"))
}

async fn run(config: Config) -> Result<(), Failure> {
    let signals = signals().map_err(|error| Failure::failed(error).context("listen for signals"))?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let phase = Phase::new(signals.drain().clone());
    let health = Health::new({
        let phase = phase.clone();
        move || phase.readiness()
    });
    let probes = Probes::start(config.listen, &metrics, health).await?;
    let worked = tokio::select! {
        worked = work(config, &signals, &metrics, &phase) => worked,
        () = signals.leave().cancelled() => Err(Failure::failed(anyhow::Error::msg(
            "left at the third signal; the tasks held come back when their leases end",
        ))),
    };
    // Only now: while the worker drains, its probes are answered.
    probes.end().await;
    worked
}

async fn work(config: Config, signals: &Signals, metrics: &Metrics, phase: &Phase) -> Result<(), Failure> {
    let Some(broker) = connect::patiently(&config.endpoint, signals.drain()).await? else { return Ok(()) };
    phase.connected();
    let mut mux = Mux::new();
    let handlers = HandlersConfig {
        http: Some(config.http.clone()),
        exec: config.exec.clone(),
        shop: config.shop.clone(),
    };
    register_all(&mut mux, handlers).map_err(Failure::failed)?;
    let server = server(&config, broker.clone(), metrics, signals)?;
    watch::show(metrics, &broker, server.stats(), config.concurrency);
    server.run(mux, signals.drain().clone()).await.map_err(Failure::failed)
}

fn server(config: &Config, broker: Broker, metrics: &Metrics, signals: &Signals) -> Result<Server, Failure> {
    let server = Server::builder(broker)
        .queues(config.queues.iter().map(|(name, weight)| (name.clone(), weight)))
        .strict(config.strict)
        .concurrency(config.concurrency)
        .lease(config.lease)
        .archive_limits(config.archive)
        .shutdown_timeout(config.shutdown_timeout)
        .hurry(signals.hurry().clone())
        .events(Arc::new(AttemptMetrics::new(metrics, &config.queues)));
    server.build().map_err(Failure::usage)
}
