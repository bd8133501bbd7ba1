//! Fleets, as large as the work needs. Each Redis has a loop of its own, so one that is away delays no other.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::ResourceExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::site_fleets::SiteFleets;
use crate::crd::TaskQueue;
use crate::operator::context::{All, Context, Readable};
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
    plans: Mutex<HashMap<String, Noted>>,
    /// Those that rested and do no more, until somebody asks.
    roused: Mutex<HashSet<String>>,
    shares: Mutex<HashMap<SiteKey, Share>>,
    /// Room for one that is waited on.
    room: Arc<Semaphore>,
}

/// What was decided, and what that waits for.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    pub(super) plan: Plan,
    /// Workers that are to go once they hold nothing.
    pub(super) awaited: u32,
    /// Since when nobody is there, and nothing to do.
    rests_since: Option<Instant>,
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)?;
        match self.awaited {
            0 => Ok(()),
            1 => f.write_str("; one worker is to go and finishes what it holds"),
            many => write!(f, "; {many} workers are to go and finish what they hold"),
        }
    }
}

impl Default for Scaler {
    fn default() -> Self {
        Self {
            plans: Mutex::default(),
            roused: Mutex::default(),
            shares: Mutex::default(),
            room: Arc::new(Semaphore::new(WAITS_MAX)),
        }
    }
}

impl Scaler {
    /// What was decided last.
    pub(super) fn noted(&self, uid: &str) -> Option<Noted> {
        self.plans().get(uid).copied()
    }

    /// Notes what was decided now, and whether nobody is there and nothing to do. Who is to go is still waited for.
    pub(super) fn note(&self, uid: &str, plan: Plan, rests: bool) {
        let mut plans = self.plans();
        let before = plans.get(uid).copied();
        let awaited = before.filter(|_| plan.replicas < plan.seen.current).map_or(0, |noted| noted.awaited);
        let rested_since = before.and_then(|noted| noted.rests_since);
        if rested_since.is_some() && !rests {
            self.lock_roused().insert(uid.to_owned());
        }
        let rests_since = rests.then(|| rested_since.unwrap_or_else(Instant::now));
        plans.insert(uid.to_owned(), Noted { plan, awaited, rests_since });
    }

    /// The TaskQueues, by uid, that rested and have something to do since this was asked last.
    pub(in crate::operator) fn roused(&self) -> HashSet<String> {
        std::mem::take(&mut *self.lock_roused())
    }

    /// Since when nobody is there, and nothing to do.
    pub(in crate::operator) fn rests_since(&self, uid: &str) -> Option<Instant> {
        self.plans().get(uid)?.rests_since
    }

    /// Notes how many workers are to go once they hold nothing.
    pub(super) fn note_awaited(&self, uid: &str, workers: u32) {
        if let Some(noted) = self.plans().get_mut(uid) {
            noted.awaited = workers;
        }
    }

    /// The TaskQueues on a Redis.
    pub(super) fn share_of(&self, site: &str) -> Share {
        self.shares().get(site).cloned().unwrap_or_default()
    }

    pub(super) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.room)
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<String, Noted>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_roused(&self) -> MutexGuard<'_, HashSet<String>> {
        self.roused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<SiteKey, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scales every fleet for as long as this replica leads.
pub(in crate::operator) async fn scale(context: &Context, tenure: &Tenure) {
    let (mut running, mut loops) = (HashSet::new(), FuturesUnordered::new());
    let (mut seen, mut keys) = (None, Vec::new());
    loop {
        let now = (context.queues(), context.sites.changes());
        if !seen.as_ref().is_some_and(|seen| is_same(seen, &now)) {
            keys = share_out(context, &now.0);
            seen = Some(now);
        }
        for key in &keys {
            if let Some(site) = context.sites.get(key).filter(|_| !running.contains(key)) {
                let key = key.clone();
                running.insert(key.clone());
                loops.push(async move {
                    SiteFleets::scale(context, tenure, &site).await;
                    key
                });
            }
        }
        tokio::select! {
            Some(ended) = loops.next(), if !loops.is_empty() => {
                running.remove(&*ended);
                // It may have ended because its Redis is not connected to yet.
                sleep(SHARE_OUT).await;
            }
            () = sleep(SHARE_OUT) => {}
        }
    }
}

/// Whether these are the same objects, on the same Redis.
fn is_same(before: &(All<TaskQueue>, u64), now: &(All<TaskQueue>, u64)) -> bool {
    Arc::ptr_eq(&before.0, &now.0) && before.1 == now.1
}

/// Finds out which TaskQueue is on which Redis; answers which of those have any.
fn share_out(context: &Context, queues: &All<TaskQueue>) -> Vec<SiteKey> {
    let (mut shares, mut living): (HashMap<SiteKey, Vec<_>>, _) = (HashMap::new(), HashSet::new());
    for queue in queues.iter().filter(|queue| queue.spec.workers.is_some()) {
        let uid = queue.uid().unwrap_or_default();
        if let Ok(site) = context.sites.last_of(&uid) {
            shares.entry(site.key.clone()).or_default().push(queue.clone());
        }
        living.insert(uid);
    }
    context.scaler.plans().retain(|uid, _| living.contains(uid));
    let keys = shares.keys().cloned().collect();
    *context.scaler.shares() = shares.into_iter().map(|(key, queues)| (key, Arc::new(queues))).collect();
    keys
}
