//! `cronmill scheduler`: the periodic tasks of a file, fired without Kubernetes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Error;
use clap::Args;
use tokio::sync::mpsc;

use super::args::config::refused;
use super::args::{FileNotes, Given, Listen, LogArgs, RedisArgs};
use super::exit::Failure;
use super::probes::{Probes, once_running};
use super::{connect, scrape};
use crate::broker::Endpoint;
use crate::config::SchedulerFile;
use crate::periodic::{Found, Options, Periodic, read_file};
use crate::shutdown::{self, Signals};
use crate::telemetry::Metrics;

const EXAMPLES: &str = "\
The file, as go-zero and asynq have it:
  Name: scheduler
  Redis: {Host: 127.0.0.1:6379, Type: node}
  Location: Asia/Shanghai
  Tasks:
  - {Spec: \"*/20 * * * *\", Type: update-user-earn}
  - {Spec: \"@every 30s\", Type: hello, Payload: {name: Ann}, Options: {Queue: low}}

Examples:
  cronmill scheduler -f etc/scheduler.yaml
  CRONMILL_REDIS_URL=redis://:password@redis cronmill scheduler -f etc/scheduler.yaml --listen :9090";

/// Fire the periodic tasks of a file, without Kubernetes.
///
/// What becomes of each tick is written down, and each is enqueued once, whatever number of processes runs the file. What
/// was due while none ran is made up for once. Specs are those of robfig/cron and asynq: five fields, @every, @daily and
/// the like, a zone in front as in CRON_TZ=Asia/Shanghai.
///
/// The file is read again when it changes, and at SIGHUP. A schedule that is no longer in it is taken out of Redis. Its
/// Name tells its schedules from those of other files: two files of one Name stand in for each other, and the one that was
/// read last is in force.
///
/// SIGTERM or SIGINT ends it; a second signal ends it at once, with exit code 3.
///
/// Exit codes: 0 ended as asked, 2 the file, a flag, URL, password or Redis is wrong, 3 failure.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SchedulerArgs {
    /// The file, such as etc/scheduler.yaml: Name, Redis, Location, Tasks, Log, Prometheus; or configs, as asynq has it.
    ///
    /// A flag wins over its variable, a variable over this file, and this file over defaults. A key that nobody knows is an
    /// error; one that does nothing here is named in a warning.
    #[arg(short = 'f', long, env = "CRONMILL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    redis: RedisArgs,
    /// Where to serve /metrics, /livez and /readyz: ip:port or :port; nowhere when absent or empty.
    #[arg(
        long,
        env = "CRONMILL_LISTEN",
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    listen: Listen,
    #[command(flatten)]
    log: LogArgs,
}

/// What it goes by, checked.
struct Checked {
    endpoint: Endpoint,
    listen: Option<SocketAddr>,
    path: PathBuf,
    found: Found,
}

impl SchedulerArgs {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the file, a flag or Redis is wrong, [`Failure::Failed`] at a second signal.
    pub fn run(self, given: Given<'_>) -> Result<(), Failure> {
        let found = read_file(&self.config).map_err(refused)?;
        let file = &found.file;
        let endpoint = self.redis.endpoint_or(given, file.redis.clone())?;
        let listen = given.listen(self.listen, Some(&file.service)).0;
        self.log.or(given, &file.service).init()?;
        notes(self.config.clone(), file).tell();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(error).context("start the runtime"))?;
        runtime.block_on(serve(Checked { endpoint, listen, path: self.config, found }))
    }
}

fn notes(path: PathBuf, file: &SchedulerFile) -> FileNotes {
    let name = file.service.told_name().unwrap_or(&file.name).to_owned();
    FileNotes { path, name: Some(name), idle: file.idle.iter().map(ToString::to_string).collect() }
}

async fn serve(checked: Checked) -> Result<(), Failure> {
    let signals = shutdown::signals();
    let signals = signals.map_err(|error| Failure::failed(error).context("listen for signals"))?;
    let asked = hangups()?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let is_running = Arc::new(AtomicBool::new(false));
    let health = once_running(&signals, &is_running, "the schedules are not in force yet");
    let probes = Probes::start(checked.listen, &metrics, health).await?;
    let ran = tokio::select! {
        ran = fire(checked, metrics, &signals, &is_running, asked) => ran,
        () = signals.hurry().cancelled() => Err(Failure::Failed(Error::msg("left at the second signal"))),
    };
    probes.end().await;
    ran
}

async fn fire(
    checked: Checked,
    metrics: Metrics,
    signals: &Signals,
    is_running: &AtomicBool,
    asked: mpsc::Receiver<()>,
) -> Result<(), Failure> {
    let stop = signals.drain();
    let Some(broker) = connect::patiently(&checked.endpoint, stop).await? else { return Ok(()) };
    scrape::show(&metrics, &broker);
    let options = Options { path: checked.path, found: checked.found, host: super::host::name(), metrics };
    let Some(periodic) = Periodic::start(broker, options, stop).await? else { return Ok(()) };
    is_running.store(true, Ordering::Relaxed);
    periodic.run(asked, stop.clone()).await;
    Ok(())
}

/// Hears SIGHUP from here on.
fn hangups() -> Result<mpsc::Receiver<()>, Failure> {
    let hangups = shutdown::hangups();
    let mut hangups = hangups.map_err(|error| Failure::failed(error).context("listen for signals"))?;
    let (ask, asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "SIGHUP received: the file is read again");
            if ask.send(()).await.is_err() {
                // Nobody reads it any more; the signal goes on doing nothing.
                std::future::pending::<()>().await;
            }
        }
    });
    Ok(asked)
}
