//! Fleets, as large as the work needs: what was read goes through the pure function, and its answer to `/scale`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::build::deployment_name;
use crate::broker::{Backlog, Broker, BrokerError};
use crate::causes;
use crate::crd::TaskQueue;
use crate::operator::SCALER;
use crate::operator::context::{Context, ObjectName, Readable};
use crate::operator::leader::Tenure;
use crate::resolve::QueuePlan;
use crate::scaling::{History, Plan, RunTime, Snapshot, plan};

/// How often fleets are looked at: well within a second after work has come, there are workers.
const LOOK: Duration = Duration::from_millis(250);
/// TaskQueues looked at at once.
const LOOKS_AT_ONCE: usize = 16;
/// How long one look at one of them may take: a Redis that is away holds up no other for longer.
const LIMIT: Duration = Duration::from_secs(2);
/// How far ahead work is seen: what a pod needs to start, until that is measured.
const LEAD_TIME: Duration = Duration::from_secs(5);
/// How long what was asked for may take to be seen before it is asked for again.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// What is decided about each fleet, for its status, by uid.
#[derive(Default)]
pub(in crate::operator) struct Scaler {
    plans: Mutex<HashMap<String, Plan>>,
}

impl Scaler {
    /// What was decided last.
    pub(super) fn plan(&self, uid: &str) -> Option<Plan> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fleet as this leader knows it.
struct Fleet {
    history: History,
    run_time: RunTime,
    /// What was asked for last, and when.
    asked: Option<(u32, Instant)>,
}

/// Scales every fleet for as long as this replica leads.
pub(in crate::operator) async fn scale(context: &Context, tenure: &Tenure) {
    let started = Instant::now();
    let fleets: Mutex<HashMap<String, Fleet>> = Mutex::default();
    loop {
        let queues = context.queues();
        let looks = queues.iter().filter(|queue| queue.spec.workers.is_some()).map(|queue| {
            let look = look(context, tenure, queue, &fleets, started);
            async move { (queue, timeout(LIMIT, look).await) }.boxed()
        });
        let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(LOOKS_AT_ONCE);
        while let Some((queue, looked)) = looks.next().await {
            if let Ok(Err(error)) = looked {
                tracing::debug!(queue = %ObjectName::of(&**queue), "a fleet was not looked at: {error}");
            }
        }
        drop(looks);
        forget_others(context, &queues, &fleets);
        sleep(LOOK).await;
    }
}

fn forget_others(context: &Context, queues: &[Readable<TaskQueue>], fleets: &Mutex<HashMap<String, Fleet>>) {
    let living: std::collections::HashSet<_> =
        queues.iter().filter(|queue| queue.spec.workers.is_some()).filter_map(|queue| queue.uid()).collect();
    fleets.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| living.contains(uid));
    context.scaler.lock().retain(|uid, _| living.contains(uid));
}

async fn look(
    context: &Context,
    tenure: &Tenure,
    queue: &TaskQueue,
    fleets: &Mutex<HashMap<String, Fleet>>,
    started: Instant,
) -> Result<(), String> {
    let (uid, name) = (queue.uid().unwrap_or_default(), ObjectName::of(queue));
    if queue.metadata.deletion_timestamp.is_some() && !super::end::is_draining(queue) {
        return Ok(());
    }
    if !context.claims.are_held(&uid, tenure.epoch) {
        return Ok(());
    }
    let Some(deployment) = context.deployment(&name) else { return Ok(()) };
    let current = replicas_of(&deployment);
    let site = context.sites.last_of(&uid).map_err(|refusal| refusal.message)?;
    let broker = &site.parts().map_err(|refusal| refusal.message)?.broker;
    let wanted = context.plan(queue).map_err(|refusal| refusal.message)?;
    let work = backlog(broker, &wanted).await.map_err(|error| causes::on_one_line(&error))?;
    let (plan, is_asked) = {
        let mut fleets = fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = fleets.entry(uid.clone()).or_insert_with(|| Fleet {
            history: History::starting_with(current, started.elapsed()),
            run_time: RunTime::default(),
            asked: None,
        });
        let plan = fleet.plan(&wanted, &work, broker, current, started.elapsed());
        (plan, fleet.ask(plan.replicas, current))
    };
    context.scaler.lock().insert(uid, plan);
    if is_asked {
        ask(context, &name, current, plan).await.map_err(|error| causes::on_one_line(&error))?;
    }
    Ok(())
}

async fn backlog(broker: &Broker, wanted: &QueuePlan) -> Result<Backlog, BrokerError> {
    let mut sum = Backlog::default();
    for queue in wanted.redis_names() {
        sum = sum.and(broker.backlog(queue, LEAD_TIME).await?);
    }
    Ok(sum)
}

impl Fleet {
    fn plan(
        &mut self,
        wanted: &QueuePlan,
        work: &Backlog,
        broker: &Broker,
        current: u32,
        elapsed: Duration,
    ) -> Plan {
        self.run_time.learn(work.active, work.processed, elapsed);
        let now = broker.now();
        let until =
            |tick: jiff::Timestamp| Duration::try_from(tick.duration_since(now)).unwrap_or(Duration::ZERO);
        let snapshot = Snapshot {
            active: work.active,
            pending: work.pending,
            due_soon: work.due_soon,
            ticks_soon: work.ticks_soon,
            run_time: self.run_time.get(),
            lead_time: LEAD_TIME,
            next_tick: work.next_tick.map(until),
            current,
        };
        let policy = wanted.workers.as_ref().map(crate::resolve::FleetPlan::policy);
        let policy = policy.expect("only TaskQueues with workers are looked at");
        plan(&snapshot, &policy, &mut self.history, elapsed)
    }

    /// Whether to ask for that many now.
    fn ask(&mut self, replicas: u32, current: u32) -> bool {
        let was_asked = |(asked, at): (u32, Instant)| asked == replicas && at.elapsed() < SEEN_WITHIN;
        if replicas == current || self.asked.is_some_and(was_asked) {
            return false;
        }
        self.asked = Some((replicas, Instant::now()));
        true
    }
}

fn replicas_of(deployment: &Arc<Deployment>) -> u32 {
    u32::try_from(deployment.spec.replicas.unwrap_or(0)).unwrap_or(0)
}

/// Writes the number, through `/scale` and nothing else.
async fn ask(context: &Context, queue: &ObjectName, from: u32, plan: Plan) -> Result<(), kube::Error> {
    let name = deployment_name(&queue.name);
    let body = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": { "name": name, "namespace": queue.namespace },
        "spec": { "replicas": plan.replicas },
    });
    let api = context.api::<Deployment>(&queue.namespace);
    api.patch_scale(&name, &PatchParams::apply(SCALER).force(), &Patch::Apply(&body)).await?;
    tracing::info!(queue = %queue, from, to = plan.replicas, "scales {queue} from {from} to {}: {plan}", plan.replicas);
    Ok(())
}
