//! What every part of one operator shares.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::Deployment;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt as _};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::Options;
use super::conditions::Refusal;
use super::cron_task::Placements;
use super::events::Events;
use super::leader::Leadership;
use super::roster::Roster;
use super::secret::Secrets;
use super::site::{Around, Site};
use super::sites::{self, Sites};
use super::task_queue::{AppliedFleets, Claims, Scaler, Targets, Unserved, deployment_name};
use super::watched::WatchState;
use crate::crd::{CronTask, TaskQueue};
use crate::resolve::QueuePlan;

/// An object as it is watched: one that this version cannot read spoils no other.
pub(super) type Seen<K> = DeserializeGuard<K>;

/// The name of an object of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ObjectName {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectName {
    pub(super) fn of<K: Resource>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object that could be read.
pub(super) struct Readable<K>(Arc<Seen<K>>);

impl<K> Readable<K> {
    fn new(seen: Arc<Seen<K>>) -> Option<Self> {
        seen.0.is_ok().then_some(Self(seen))
    }

    /// Whether both are the same version of the same object.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<K> Clone for Readable<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Deref for Readable<K> {
    type Target = K;

    fn deref(&self) -> &K {
        self.0.0.as_ref().expect("it is only made of what could be read")
    }
}

/// Every object of a kind that can be read, as long as none of them changes.
pub(super) type All<K> = Arc<[Readable<K>]>;

/// What was read from the stores of a kind, so that it need not be read again before they change.
struct Snapshot<K>(Mutex<Option<(u64, All<K>)>>);

impl<K> Default for Snapshot<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K> Snapshot<K> {
    /// What is there after so many changes.
    fn after(&self, changes: u64, stored: impl Iterator<Item = Arc<Seen<K>>>) -> All<K> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((before, all)) if *before == changes => Arc::clone(all),
            _ => {
                let all: All<K> = stored.filter_map(Readable::new).collect();
                *last = Some((changes, Arc::clone(&all)));
                all
            }
        }
    }
}

/// What tells a TaskQueue from all others, also from one of the same name.
pub(super) fn uid_of(queue: &TaskQueue) -> &str {
    queue.metadata.uid.as_deref().unwrap_or_default()
}

/// What is watched together: one namespace, or all.
pub(super) struct Scope {
    /// `None`: all.
    pub(super) namespace: Option<String>,
    pub(super) tasks: Store<Seen<CronTask>>,
    pub(super) queues: Store<Seen<TaskQueue>>,
    pub(super) deployments: Store<Deployment>,
    pub(super) wake_tasks: UnboundedSender<ObjectRef<Seen<CronTask>>>,
    pub(super) wake_queues: UnboundedSender<ObjectRef<Seen<TaskQueue>>>,
    pub(super) states: [Arc<WatchState>; 3],
}

/// All of it.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) options: Options,
    pub(super) cluster: Arc<str>,
    /// The namespace of the Lease.
    pub(super) home: String,
    pub(super) leadership: Leadership,
    pub(super) scopes: Vec<Scope>,
    pub(super) roster: Arc<Roster>,
    pub(super) shared_redis: Option<Arc<SecretString>>,
    pub(super) secrets: Secrets,
    pub(super) sites: Sites,
    pub(super) around: Around,
    /// Wakes whoever finds the Redis of each TaskQueue.
    pub(super) look_at_sites: Notify,
    pub(super) events: Events,
    pub(super) placements: Placements,
    pub(super) claims: Claims,
    pub(super) fleets: AppliedFleets,
    pub(super) scaler: Scaler,
    pub(super) targets: Targets,
    pub(super) unserved: Unserved,
    /// How often an object could not be put into force in a row, by uid.
    failures: Mutex<HashMap<String, u32>>,
    all_tasks: Snapshot<CronTask>,
    all_queues: Snapshot<TaskQueue>,
}

/// What a [`Context`] is made of.
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) options: Options,
    pub(super) home: String,
    pub(super) leadership: Leadership,
    pub(super) scopes: Vec<Scope>,
    pub(super) around: Around,
}

impl Context {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { client, mut options, home, leadership, scopes, around } = parts;
        Self {
            events: Events::new(client.clone(), &options.identity),
            secrets: Secrets::new(client.clone()),
            shared_redis: options.shared_redis.take().map(Arc::new),
            cluster: Arc::clone(&around.cluster),
            roster: Arc::clone(&around.roster),
            client,
            options,
            home,
            leadership,
            scopes,
            sites: Sites::default(),
            around,
            look_at_sites: Notify::new(),
            placements: Placements::default(),
            claims: Claims::default(),
            fleets: AppliedFleets::default(),
            scaler: Scaler::default(),
            targets: Targets::default(),
            unserved: Unserved::default(),
            failures: Mutex::default(),
            all_tasks: Snapshot::default(),
            all_queues: Snapshot::default(),
        }
    }

    /// The objects of a kind in a namespace.
    pub(super) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// What watches a namespace, if anything does.
    pub(super) fn scope(&self, namespace: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.namespace.as_deref().is_none_or(|watched| watched == namespace))
    }

    /// Every TaskQueue that can be read.
    pub(super) fn queues(&self) -> All<TaskQueue> {
        let stored = self.scopes.iter().flat_map(|scope| scope.queues.state());
        self.all_queues.after(self.changes(1), stored)
    }

    /// Every CronTask that can be read.
    pub(super) fn tasks(&self) -> All<CronTask> {
        let stored = self.scopes.iter().flat_map(|scope| scope.tasks.state());
        self.all_tasks.after(self.changes(0), stored)
    }

    /// How often a Deployment may have changed.
    pub(super) fn deployment_changes(&self) -> u64 {
        self.changes(2)
    }

    /// How often the objects that one watch of each scope tells of may have changed.
    fn changes(&self, watch: usize) -> u64 {
        self.scopes.iter().map(|scope| scope.states[watch].changes()).sum()
    }

    /// One TaskQueue, if it is there and can be read.
    pub(super) fn queue(&self, name: &ObjectName) -> Option<Readable<TaskQueue>> {
        let scope = self.scope(&name.namespace)?;
        Readable::new(scope.queues.get(&ObjectRef::new(&name.name).within(&name.namespace))?)
    }

    /// The Deployment of a TaskQueue, if there is one.
    pub(super) fn deployment(&self, name: &ObjectName) -> Option<Arc<Deployment>> {
        let deployment = deployment_name(&name.name);
        self.scope(&name.namespace)?.deployments.get(&ObjectRef::new(&deployment).within(&name.namespace))
    }

    /// What a TaskQueue asks for.
    pub(super) fn plan(&self, queue: &TaskQueue) -> Result<QueuePlan, Refusal> {
        sites::plan(queue)
    }

    /// Has a CronTask looked at.
    pub(super) fn wake_task(&self, name: &ObjectName) {
        if let Some(scope) = self.scope(&name.namespace) {
            // Nobody listens any more only when all ends.
            let _ = scope.wake_tasks.send(ObjectRef::new(&name.name).within(&name.namespace));
        }
    }

    /// Has a TaskQueue looked at.
    pub(super) fn wake_queue(&self, name: &ObjectName) {
        if let Some(scope) = self.scope(&name.namespace) {
            let _ = scope.wake_queues.send(ObjectRef::new(&name.name).within(&name.namespace));
        }
    }

    /// Has every object looked at.
    pub(super) fn wake_all(&self) {
        for scope in &self.scopes {
            for queue in scope.queues.state() {
                self.wake_queue(&ObjectName::of(&*queue));
            }
            for task in scope.tasks.state() {
                self.wake_task(&ObjectName::of(&*task));
            }
        }
    }

    /// Has every CronTask looked at that refers to a TaskQueue.
    pub(super) fn wake_tasks_of(&self, queue: &ObjectName) {
        for task in self.tasks().iter() {
            let name = ObjectName::of(&**task);
            if super::cron_task::queue_of(&name, &task.spec) == *queue {
                self.wake_task(&name);
            }
        }
    }

    /// The TaskQueues on a Redis.
    fn queues_of(&self, site: &Site) -> Vec<ObjectName> {
        let is_there = |queue: &Readable<TaskQueue>| {
            self.sites.last_of(&queue.uid().unwrap_or_default()).is_ok_and(|of| of.key == site.key)
        };
        self.queues().iter().filter(|queue| is_there(queue)).map(|queue| ObjectName::of(&**queue)).collect()
    }

    /// Has every TaskQueue looked at that is on a Redis.
    pub(super) fn wake_queues_of(&self, site: &Site) {
        self.queues_of(site).iter().for_each(|name| self.wake_queue(name));
    }

    /// Has everything looked at that is on a Redis.
    pub(super) fn wake_site(&self, site: &Site) {
        for name in self.queues_of(site) {
            self.wake_queue(&name);
            self.wake_tasks_of(&name);
        }
    }

    /// Notes that an object could not be put into force; answers how often in a row it could not before.
    pub(super) fn failed(&self, uid: &str) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count - 1
    }

    /// Notes that an object was put into force, or is gone.
    pub(super) fn succeeded(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
