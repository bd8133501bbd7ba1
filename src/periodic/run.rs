//! A file's periodic tasks in force: started, fired, and ended.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::force::{Force, Living};
use super::watch::{Found, Watch};
use crate::broker::{Broker, BrokerError, Outage, Owner};
use crate::config::{SchedulerFile, Service};
use crate::schedule::TickOutcome;
use crate::scheduler::{Scheduler, Tick, announce_outcomes, record_tick};
use crate::telemetry::Metrics;

/// What runs a file's periodic tasks.
#[derive(Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// What it said.
    pub found: Found,
    /// This machine's name.
    pub host: String,
    /// What is counted.
    pub metrics: Metrics,
}

/// The periodic tasks of a file.
pub struct Periodic {
    scheduler: Scheduler,
    force: Force,
    watch: Watch,
    metrics: Metrics,
    cluster: String,
    service: Service,
    redis: String,
}

impl Periodic {
    /// Puts what the file says into force. Nothing fires yet. A Redis that goes away is waited for; `None` when told to
    /// stop meanwhile.
    ///
    /// # Errors
    /// [`BrokerError`] that waiting does not mend. Safe to repeat.
    pub async fn start(
        broker: Broker,
        options: Options,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, BrokerError> {
        let Options { path, found, host, metrics } = options;
        let owner = Owner::new(&host, std::process::id(), &uuid::Uuid::new_v4().to_string());
        announce_outcomes(&metrics);
        let (living, cluster) = (Living::default(), found.file.cluster.clone());
        let scheduler = Scheduler::new(broker, owner)
            .on_tick({
                let metrics = metrics.clone();
                move |tick: &Tick| {
                    record_tick(&metrics, tick);
                    tell(tick);
                }
            })
            .for_cluster(cluster.as_str())
            .firing_only({
                let living = living.clone();
                move |entry| living.contains(&entry.uid)
            });
        let watch = Watch::new(path.clone(), &found);
        let file = found.file;
        let force = Force::new(scheduler.clone(), cluster.clone(), path.display().to_string(), host, living);
        let (service, redis) = (file.service.clone(), address(&file));
        let mut periodic = Self { scheduler, force, watch, metrics, cluster, service, redis };
        periodic.take(file);
        let mut outage = Outage::new("put schedules into force");
        loop {
            let Some(step) = stop.run_until_cancelled(periodic.force.step()).await else { return Ok(None) };
            match step {
                Err(error) if !error.is_retryable() => return Err(error),
                Ok(_) => return Ok(Some(periodic)),
                Err(error) => outage.rest_after(Err(error), stop).await,
            }
        }
    }

    /// Fires until the token is cancelled. The file is read again when it changes, and when `asked` says so. Redis may go
    /// and come back meanwhile.
    pub async fn run(self, asked: mpsc::Receiver<()>, stop: CancellationToken) {
        let (finds, mut found) = mpsc::channel(1);
        let Self { scheduler, mut force, watch, metrics, cluster, service, redis } = self;
        let firing = scheduler.run(stop.clone());
        let watching = stop.run_until_cancelled(watch.run(finds, asked));
        let forcing = async {
            let mut outage = Outage::new("put schedules into force");
            let mut is_away = false;
            while let Some(step) = stop.run_until_cancelled(force.step()).await {
                let pause = match step {
                    Ok(pause) => {
                        outage.ended();
                        if std::mem::take(&mut is_away) {
                            // Nobody knows what it held on to.
                            force.compare_all();
                        }
                        pause
                    }
                    Err(error) => {
                        is_away = true;
                        outage.failed(&error)
                    }
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    file = found.recv() => match file {
                        Some(file) => read_again(file, &cluster, &service, &redis, &mut force, &metrics),
                        None => return,
                    },
                    () = tokio::time::sleep(pause) => {}
                }
            }
        };
        tokio::join!(firing, watching, forcing);
    }

    fn take(&mut self, file: SchedulerFile) {
        watch_queues(&self.metrics, &file);
        self.force.take(file.entries);
    }
}

/// Takes in a file that was read again, as far as that can be while the program runs.
fn read_again(
    file: SchedulerFile,
    cluster: &str,
    service: &Service,
    redis: &str,
    force: &mut Force,
    metrics: &Metrics,
) {
    if file.cluster != cluster {
        tracing::error!("the file's Name has changed: that takes a restart; what was in force stays so");
        return;
    }
    if file.service != *service || address(&file) != redis {
        tracing::warn!(
            "Redis, Log and Prometheus take effect at a restart; what the file says of tasks is in force"
        );
    }
    watch_queues(metrics, &file);
    force.take(file.entries);
}

fn address(file: &SchedulerFile) -> String {
    file.redis.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn watch_queues(metrics: &Metrics, file: &SchedulerFile) {
    metrics.watch_queues(file.entries.iter().map(|entry| entry.template.queue.clone()));
}

/// Logs what became of a tick.
fn tell(tick: &Tick) {
    let Tick { queue, schedule, nominal, count, outcome, lateness, task_id } = tick;
    let task_id = task_id.as_deref().unwrap_or_default();
    let late_ms = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        TickOutcome::Failed => {
            tracing::error!(queue.name = %queue, "{schedule}: its tick of {nominal} failed; cron ticks has the reason");
        }
        TickOutcome::Enqueued | TickOutcome::Refired | TickOutcome::Replaced => {
            tracing::info!(queue.name = %queue, task.id = task_id, late_ms, "{schedule}: {outcome}, tick of {nominal}");
        }
        _ => tracing::warn!(queue.name = %queue, ticks = count, "{schedule}: {outcome}, tick of {nominal}"),
    }
}
