//! The way down to fewer workers, step by step, so that nobody goes who holds a task: those to go are told in Redis to
//! take no more, and wait until they hold nothing; then their pods are marked as the ones to delete; and when that is
//! seen, the number goes down by exactly so many.
//!
//! Left off at any step, nothing is lost: a cordon lapses, and a mark is taken away before anyone goes again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::build;
use super::scale_in::{Step, Worker, choose, held_unseen};
use super::worker_pod::{DELETION_COST, MARKED, WorkerPod};
use crate::broker::{Broker, BrokerError, LiveServer, Owner};
use crate::causes;
use crate::operator::SCALER;
use crate::operator::context::{Context, ObjectName};
use crate::task::QueueName;

/// How long a cordon holds unless it is renewed.
const CORDON: Duration = Duration::from_secs(30);
/// What a cordon must have left to be counted on.
const CORDON_LEFT: Duration = Duration::from_secs(10);
/// Pauses between steps while nothing changes: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(700), Duration::from_secs(5));
/// How long reading the pods, or marking one, may take.
const LIMIT: Duration = Duration::from_secs(3);
/// Pods that are marked in one step.
const MARKS_AT_ONCE: usize = 50;

/// A way down that was begun.
#[derive(Default)]
pub(super) struct Handshake {
    /// Who takes no more, until when.
    cordoned: HashMap<Owner, Instant>,
    /// Pods that were marked.
    marked: HashSet<String>,
    next: Option<Instant>,
    pause: Duration,
}

/// What a step is about.
pub(super) struct Fewer<'a> {
    pub(super) context: &'a Context,
    pub(super) broker: &'a Broker,
    pub(super) queue: &'a ObjectName,
    pub(super) queues: &'a [QueueName],
    /// How many there are to be by now.
    pub(super) current: u32,
    /// How many there shall be.
    pub(super) wanted: u32,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// So many can be asked for now.
    Go(u32),
    /// So many workers are waited for.
    Wait(u32),
}

impl Handshake {
    /// Goes one step.
    ///
    /// # Errors
    /// Why it could not be gone, for people.
    pub(super) async fn step(&mut self, fewer: &Fewer<'_>) -> Result<Option<Answer>, String> {
        if self.next.is_some_and(|next| next > Instant::now()) {
            return Ok(None);
        }
        let failed = |error: BrokerError| causes::on_one_line(&error);
        // Before it is read what they hold: from then on it only becomes less.
        self.cordon(fewer, self.cordoned.keys().cloned().collect()).await.map_err(failed)?;
        let (pods, servers) = tokio::join!(pods(fewer), fewer.broker.servers());
        let (pods, servers) = (pods?, servers.map_err(failed)?);
        let held = fewer.broker.held(fewer.queues).await.map_err(failed)?;
        if u32::try_from(pods.len()).is_ok_and(|pods| pods > fewer.current) {
            // Some are about to go, and nobody knows which.
            return Ok(None);
        }
        if fewer.wanted > 0 && is_rolling_out(fewer, &pods) {
            self.give_up(fewer).await;
            return Ok(None);
        }
        let workers: Vec<_> = pods.into_iter().map(|pod| self.worker(pod, &servers, &held)).collect();
        let step = choose(&workers, fewer.wanted);
        let changes = self.follow(fewer, &workers, &step).await.map_err(failed)?;
        let may_go = step.replicas < fewer.current;
        self.pause = match changes || may_go {
            true => Duration::ZERO,
            false => (self.pause * 2).clamp(PAUSES.0, PAUSES.1),
        };
        self.next = Some(Instant::now() + self.pause);
        Ok(Some(if may_go { Answer::Go(step.replicas) } else { Answer::Wait(step.awaited) }))
    }

    /// Has all take work again.
    pub(super) async fn give_up(&mut self, fewer: &Fewer<'_>) {
        let owners: Vec<_> = self.cordoned.drain().map(|(owner, _)| owner).collect();
        if let Err(error) = fewer.broker.uncordon(fewer.queues, &owners).await {
            let why = causes::on_one_line(&error);
            tracing::debug!(queue = %fewer.queue, "workers take no more until their cordons lapse: {why}");
        }
        let marked: Vec<_> = self.marked.drain().collect();
        mark(fewer, &marked, &Value::Null).await;
        *self = Self::default();
    }

    /// Whether anybody was told anything.
    pub(super) fn has_begun(&self) -> bool {
        !self.cordoned.is_empty() || !self.marked.is_empty()
    }

    fn worker(&self, pod: WorkerPod, servers: &[LiveServer], held: &HashMap<Owner, usize>) -> Worker {
        let host = pod.host.as_deref();
        let inside = servers.iter().filter(|server| Some(server.info.host.as_str()) == host);
        let (ours, others): (Vec<_>, Vec<_>) = inside.partition(|server| server.is_ours());
        // Who gave no sign for a while may run all the same: what it holds, or that it was cordoned, tells of it too.
        let known = held.keys().chain(self.cordoned.keys()).filter(|owner| owner.host() == host);
        let owners: HashSet<_> = ours.into_iter().map(LiveServer::owner).chain(known.cloned()).collect();
        let is_cordoned = |owner: &Owner| {
            self.cordoned.get(owner).is_some_and(|until| *until > Instant::now() + CORDON_LEFT)
        };
        let noted: usize = owners.iter().filter_map(|owner| held.get(owner)).sum();
        // As of their last signs.
        let told: usize = others.iter().map(|server| server.running.len()).sum();
        Worker {
            held: match owners.is_empty() && others.is_empty() {
                true => held_unseen(pod.start),
                false => Some(noted + told),
            },
            is_cordoned: owners.iter().all(is_cordoned),
            owners: owners.into_iter().collect(),
            pod,
        }
    }

    /// Does what was chosen, but for the number; answers whether anything changed.
    async fn follow(
        &mut self,
        fewer: &Fewer<'_>,
        workers: &[Worker],
        step: &Step,
    ) -> Result<bool, BrokerError> {
        let chosen = workers.iter().filter(|worker| step.victims.contains(&worker.pod.name));
        let chosen: HashSet<_> = chosen.flat_map(|worker| worker.owners.iter().cloned()).collect();
        let spared: Vec<_> = self.cordoned.keys().filter(|owner| !chosen.contains(owner)).cloned().collect();
        fewer.broker.uncordon(fewer.queues, &spared).await?;
        self.cordoned.retain(|owner, _| chosen.contains(owner));
        let new: Vec<_> = chosen.into_iter().filter(|owner| !self.cordoned.contains_key(owner)).collect();
        let changes = !new.is_empty() || !step.mark.is_empty() || !step.unmark.is_empty();
        self.cordon(fewer, new).await?;
        self.marked.extend(step.mark.iter().cloned());
        self.marked.retain(|pod| !step.unmark.contains(pod));
        mark(fewer, &step.unmark, &Value::Null).await;
        mark(fewer, &step.mark, &MARKED.to_string().into()).await;
        Ok(changes)
    }

    async fn cordon(&mut self, fewer: &Fewer<'_>, owners: Vec<Owner>) -> Result<(), BrokerError> {
        let until = Instant::now() + CORDON;
        fewer.broker.cordon(fewer.queues, &owners, CORDON).await?;
        self.cordoned.extend(owners.into_iter().map(|owner| (owner, until)));
        Ok(())
    }
}

/// The pods of the fleet that count, as everybody who watches them has seen them by now.
async fn pods(fewer: &Fewer<'_>) -> Result<Vec<WorkerPod>, String> {
    let pods = fewer.context.api::<Pod>(&fewer.queue.namespace);
    let seen = ListParams::default().labels(&build::selector(&fewer.queue.name)).match_any();
    let pods = timeout(LIMIT, pods.list(&seen)).await;
    let pods = pods.map_err(|_| format!("its pods were not read within {} s", LIMIT.as_secs()))?;
    let pods = pods.map_err(|error| causes::on_one_line(&error))?;
    let now = Timestamp::now();
    Ok(pods.iter().filter_map(|pod| WorkerPod::of(pod, &fewer.queue.name, now)).collect())
}

/// Whether pods are being replaced by others: who goes then is not for us to choose.
fn is_rolling_out(fewer: &Fewer<'_>, pods: &[WorkerPod]) -> bool {
    let is_seen = fewer.context.deployment(fewer.queue).is_some_and(|deployment| {
        let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
        seen >= deployment.metadata.generation
    });
    !is_seen || pods.iter().any(|pod| pod.template != pods[0].template)
}

/// Marks pods, or takes the marks away. What is not done now is done in a later step.
async fn mark(fewer: &Fewer<'_>, pods: &[String], cost: &Value) {
    let api = fewer.context.api::<Pod>(&fewer.queue.namespace);
    let body = json!({ "metadata": { "annotations": { DELETION_COST: cost } } });
    let params = PatchParams { field_manager: Some(SCALER.to_owned()), ..PatchParams::default() };
    for pod in pods.iter().take(MARKS_AT_ONCE) {
        match timeout(LIMIT, api.patch_metadata(pod, &params, &Patch::Merge(&body))).await {
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {}
            Ok(Err(error)) => {
                let why = causes::on_one_line(&error);
                tracing::warn!(queue = %fewer.queue, "pod {pod} cannot be marked to go before others: {why}");
            }
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}
