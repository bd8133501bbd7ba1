//! Fleets, as large as the work needs. Each Redis has a loop of its own, so one that is away delays no other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::ResourceExt as _;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::site_fleets::SiteFleets;
use crate::crd::TaskQueue;
use crate::operator::context::{Context, Readable};
use crate::operator::leader::Tenure;
use crate::operator::site::SiteKey;
use crate::scaling::Plan;

/// How often it is looked which TaskQueue is on which Redis.
const SHARE_OUT: Duration = Duration::from_millis(500);
/// Queues waited on at once, each with a connection of its own; the others are asked now and then like all.
const WAITS_MAX: usize = 100;

/// The TaskQueues with workers that are on one Redis.
pub(super) type Share = Arc<Vec<Readable<TaskQueue>>>;

/// What all loops share, and what is decided about each fleet, for its status.
pub(in crate::operator) struct Scaler {
    /// By the TaskQueue's uid.
    plans: Mutex<HashMap<String, Plan>>,
    shares: Mutex<HashMap<SiteKey, Share>>,
    /// Room for one that is waited on.
    room: Arc<Semaphore>,
}

impl Default for Scaler {
    fn default() -> Self {
        Self { plans: Mutex::default(), shares: Mutex::default(), room: Arc::new(Semaphore::new(WAITS_MAX)) }
    }
}

impl Scaler {
    /// What was decided last.
    pub(super) fn plan(&self, uid: &str) -> Option<Plan> {
        self.plans().get(uid).copied()
    }

    pub(super) fn note(&self, uid: &str, plan: Plan) {
        self.plans().insert(uid.to_owned(), plan);
    }

    /// The TaskQueues on a Redis.
    pub(super) fn share_of(&self, site: &str) -> Share {
        self.shares().get(site).cloned().unwrap_or_default()
    }

    pub(super) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.room)
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<String, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<SiteKey, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scales every fleet for as long as this replica leads.
pub(in crate::operator) async fn scale(context: &Context, tenure: &Tenure) {
    let (mut running, mut loops) = (HashSet::new(), FuturesUnordered::new());
    loop {
        for key in share_out(context) {
            if let Some(site) = context.sites.get(&key).filter(|_| !running.contains(&key)) {
                running.insert(key.clone());
                loops.push(async move {
                    SiteFleets::scale(context, tenure, &site).await;
                    key
                });
            }
        }
        tokio::select! {
            Some(ended) = loops.next(), if !loops.is_empty() => {
                running.remove(&ended);
                // It may have ended because its Redis is not connected to yet.
                sleep(SHARE_OUT).await;
            }
            () = sleep(SHARE_OUT) => {}
        }
    }
}

/// Finds out which TaskQueue is on which Redis; answers which of those have any.
fn share_out(context: &Context) -> Vec<SiteKey> {
    let (mut shares, mut living): (HashMap<SiteKey, Vec<_>>, _) = (HashMap::new(), HashSet::new());
    for queue in context.queues().into_iter().filter(|queue| queue.spec.workers.is_some()) {
        let uid = queue.uid().unwrap_or_default();
        if let Ok(site) = context.sites.last_of(&uid) {
            shares.entry(site.key.clone()).or_default().push(queue);
        }
        living.insert(uid);
    }
    context.scaler.plans().retain(|uid, _| living.contains(uid));
    let keys = shares.keys().cloned().collect();
    *context.scaler.shares() = shares.into_iter().map(|(key, queues)| (key, Arc::new(queues))).collect();
    keys
}
