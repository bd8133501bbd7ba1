//! Queues claimed in Redis, so that no two TaskQueues think they have the same one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt as _;
use tokio::time::{sleep, timeout};

use crate::broker::{Broker, BrokerError, CLAIM_LIFE, Claimant, PauseNote, QueueClaim};
use crate::crd::TaskQueue;
use crate::operator::conditions::Refusal;
use crate::operator::context::{Context, ObjectName, Seen};
use crate::operator::leader::Tenure;
use crate::operator::site::{Site, SiteKey};
use crate::resolve::QueuePlan;
use crate::task::QueueName;

/// How often a holder shows itself, and how soon it is seen that Redis was emptied.
const SIGN: Duration = Duration::from_secs(3);
/// TaskQueues of one Redis that show themselves each time, where there are more.
const SHOWN_AT_ONCE: usize = 50;
/// In so many times each of them does, at the latest.
const ROUNDS: usize = 10;
/// What our pauses are marked with.
const SOURCE: &str = "manifest";

/// What this leader has claimed, by the TaskQueue's uid.
#[derive(Default)]
pub(in crate::operator) struct Claims {
    held: Mutex<HashMap<String, Arc<Held>>>,
    /// How often that changed.
    changes: AtomicU64,
}

#[derive(PartialEq)]
pub(super) struct Held {
    epoch: u64,
    /// Of the spec that was put into force.
    generation: Option<i64>,
    pub(super) site: SiteKey,
    pub(super) queues: Vec<QueueName>,
    pub(super) name: ObjectName,
    pub(super) who: Claimant,
}

impl Claims {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the leader of that epoch holds all queues of a TaskQueue for it.
    pub(in crate::operator) fn are_held(&self, uid: &str, epoch: u64) -> bool {
        self.lock().get(uid).is_some_and(|held| held.epoch == epoch)
    }

    /// How often anything of this may have changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All of it by Redis.
    pub(super) fn by_site(&self) -> HashMap<SiteKey, Vec<Arc<Held>>> {
        let mut sites: HashMap<_, Vec<_>> = HashMap::new();
        for held in self.lock().values() {
            sites.entry(Arc::clone(&held.site)).or_default().push(Arc::clone(held));
        }
        sites
    }

    pub(super) fn of(&self, uid: &str) -> Option<Arc<Held>> {
        self.lock().get(uid).cloned()
    }

    fn note(&self, uid: String, now: Held) {
        let mut held = self.lock();
        if held.get(&uid).is_none_or(|before| **before != now) {
            held.insert(uid, Arc::new(now));
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        if self.lock().remove(uid).is_some() {
            self.changes.fetch_add(1, Ordering::Release);
        }
    }
}

/// Claims all queues of a TaskQueue, or none; answers whether that is news to the CronTasks that refer to it: which of
/// them may, and to what, is said in the same spec.
pub(super) async fn claim(
    context: &Context,
    tenure: &Tenure,
    queue: &TaskQueue,
    plan: &QueuePlan,
    site: &Site,
) -> Result<bool, Refusal> {
    let (uid, name) = (queue.uid().unwrap_or_default(), ObjectName::of(queue));
    let broker = &site.parts()?.broker;
    let who = claimant(context, &uid, &name);
    let mut taken = Vec::new();
    let generation = queue.metadata.generation;
    let is_known = |held: Arc<Held>| held.epoch == tenure.epoch && held.generation == generation;
    let mut is_new = !context.claims.of(&uid).is_some_and(is_known);
    for queue in plan.redis_names() {
        match take(context, broker, queue, &who).await? {
            QueueClaim::Held => {}
            QueueClaim::Taken => {
                is_new = true;
                taken.push(queue);
            }
            refused => {
                for queue in taken {
                    broker
                        .yield_queue(queue, &who.cluster, &uid)
                        .await
                        .map_err(|error| Refusal::from(&error))?;
                }
                context.claims.forget(&uid);
                return Err(refusal(queue, &who, refused));
            }
        }
    }
    let queues: Vec<_> = plan.redis_names().cloned().collect();
    if let Some(before) = context.claims.of(&uid).filter(|before| before.site == site.key) {
        for queue in before.queues.iter().filter(|queue| !queues.contains(queue)) {
            broker.yield_queue(queue, &who.cluster, &uid).await.map_err(|error| Refusal::from(&error))?;
        }
    }
    let held = Held { epoch: tenure.epoch, generation, site: site.key.clone(), queues, name, who };
    context.claims.note(uid, held);
    Ok(is_new)
}

/// Claims one queue, also where the TaskQueue that has it is gone and could not give it back.
async fn take(
    context: &Context,
    broker: &Broker,
    queue: &QueueName,
    who: &Claimant,
) -> Result<QueueClaim, Refusal> {
    let failed = |error: BrokerError| Refusal::from(&error);
    let claimed = broker.claim_queue(queue, who).await.map_err(failed)?;
    match &claimed {
        QueueClaim::Refused { holder, .. } if is_gone(context, holder) => {
            broker.yield_queue(queue, &holder.cluster, &holder.uid).await.map_err(failed)?;
            broker.claim_queue(queue, who).await.map_err(failed)
        }
        _ => Ok(claimed),
    }
}

/// Whether a TaskQueue of this cluster, in a namespace that is watched, is known not to be there any more.
fn is_gone(context: &Context, holder: &Claimant) -> bool {
    let Some((namespace, _)) = holder.object.split_once('/') else { return false };
    let is_it = |queue: &Arc<Seen<TaskQueue>>| queue.uid().as_ref() == Some(&holder.uid);
    *holder.cluster == *context.cluster
        && context
            .scope(namespace)
            .is_some_and(|scope| scope.states[1].is_listed() && !scope.queues.state().iter().any(is_it))
}

fn claimant(context: &Context, uid: &str, name: &ObjectName) -> Claimant {
    Claimant { cluster: context.cluster.to_string(), uid: uid.to_owned(), object: name.to_string() }
}

fn refusal(queue: &QueueName, who: &Claimant, claim: QueueClaim) -> Refusal {
    let QueueClaim::Refused { holder, .. } = claim else {
        let what = format!("queue {queue} in Redis is claimed in a way that this version does not know");
        return Refusal::edit("QueueClaimUnreadable", what, "upgrade the operator");
    };
    let whose = match holder.cluster == who.cluster {
        true => format!("TaskQueue {} of this cluster", holder.object),
        false => format!("TaskQueue {} of cluster {}", holder.object, holder.cluster),
    };
    let minutes = CLAIM_LIFE.as_secs() / 60;
    Refusal::edit(
        "QueueClaimed",
        format!("queue {queue} in Redis belongs to {whose}"),
        format!(
            "give the queue here another redisName, or delete that TaskQueue; once its operator is gone for good, the \
             claim lapses within {minutes} min"
        ),
    )
}

/// Enters the queues among all queues, and sets or lifts their pauses.
pub(super) async fn put_queues(broker: &Broker, asks: &ObjectName, plan: &QueuePlan) -> Result<(), Refusal> {
    for queue in &plan.queues {
        let name = &queue.redis_name;
        broker.register_queue(name).await.map_err(|error| Refusal::from(&error))?;
        match queue.pause_at(broker.now()) {
            Some(paused) => {
                let (source, actor) = (SOURCE.to_owned(), format!("TaskQueue {asks}"));
                let note = PauseNote { source, reason: paused.reason.clone(), actor, until: paused.until };
                broker.pause(name, &note).await.map(drop).map_err(|error| Refusal::from(&error))?;
            }
            None => {
                broker.resume(name, Some(SOURCE)).await.map(drop).map_err(|error| Refusal::from(&error))?
            }
        }
    }
    Ok(())
}

/// Shows, for as long as it runs, that what is claimed is still in use. A claim that was not there any more means that
/// Redis lost what it held: then everything of that TaskQueue is put into force again.
pub(in crate::operator) async fn keep_claims(context: &Context) {
    for round in 0.. {
        let held = context.claims.by_site();
        // A Redis that is away holds up no other for longer.
        join_all(held.iter().map(|(site, held)| timeout(SIGN, show_in_turn(context, site, held, round))))
            .await;
        sleep(SIGN).await;
    }
}

/// Shows a part of what is claimed on a Redis; all of it, if any of these was not there any more.
async fn show_in_turn(context: &Context, site: &SiteKey, held: &[Arc<Held>], round: usize) {
    let site = context.sites.get(site);
    let Some(Ok(parts)) = site.as_ref().map(|site| site.parts()) else { return };
    let rounds = (held.len() / SHOWN_AT_ONCE).clamp(1, ROUNDS);
    let some: Vec<_> = held.iter().skip(round % rounds).step_by(rounds).cloned().collect();
    // Its site tells when it is away, and when it is back.
    if let Ok(true) = show(context, &parts.broker, &some).await {
        let _told_again = show(context, &parts.broker, held).await;
    }
}

/// Shows claims, and has what belongs to those put into force again that were not there any more; answers whether any
/// was not.
async fn show(context: &Context, broker: &Broker, held: &[Arc<Held>]) -> Result<bool, BrokerError> {
    let claims: Vec<_> =
        held.iter().flat_map(|held| held.queues.iter().map(|queue| (queue, &held.who))).collect();
    let mut verdicts = broker.claim_queues(&claims).await?.into_iter();
    let mut are_lost = false;
    for held in held {
        let ours = verdicts.by_ref().take(held.queues.len());
        let lost = ours.filter(|verdict| matches!(verdict, Ok(claim) if *claim != QueueClaim::Held));
        if lost.count() > 0 {
            are_lost = true;
            context.wake_queue(&held.name);
            context.wake_tasks_of(&held.name);
        }
    }
    Ok(are_lost)
}

/// Gives the queues of a TaskQueue back that is gone.
pub(super) async fn give_back(context: &Context, uid: &str) -> Result<(), Refusal> {
    let Some(held) = context.claims.of(uid) else { return Ok(()) };
    if let Some(site) = context.sites.get(&held.site) {
        let broker = &site.parts()?.broker;
        for queue in &held.queues {
            let yielded = broker.yield_queue(queue, &context.cluster, uid).await;
            yielded.map_err(|error| Refusal::from(&error))?;
        }
    }
    context.claims.forget(uid);
    Ok(())
}
