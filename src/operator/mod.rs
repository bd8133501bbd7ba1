//! The operator: objects of a cluster, put into force.
//!
//! Every replica watches the objects, fires schedules and keeps queues; atomic scripts make that safe. One of them,
//! the leader, also reconciles: it writes entries, claims, workers and conditions, scales fleets, and refreshes what
//! changes all the time in status. For each kind the way is the same: fetch, validate, build, apply, status.
//!
//! [`Operator`] is the one entry, and [`Retirement`] the end of it for good. Not here: what objects mean (`resolve`), flags, and the pages that are served.

mod client;
mod conditions;
mod context;
mod cron_task;
mod error;
mod events;
mod finalizer;
mod leader;
mod refresh;
mod retire;
mod roster;
mod secret;
mod serve;
mod site;
mod sites;
mod status;
mod task_queue;
mod watched;
mod watches;

use std::collections::BTreeSet;

use secrecy::SecretString;

pub use error::OperatorError;
pub use retire::{Freed, Retirement};
pub use serve::Operator;

use crate::telemetry::Metrics;

/// Field manager of all that stays: specs of what we own, conditions.
const MANAGER: &str = "cronmill";
/// Field manager of what is refreshed in status.
const OBSERVER: &str = "cronmill-observer";
/// Field manager of numbers of workers.
const SCALER: &str = "cronmill-scaler";
/// Who events are from.
const CONTROLLER: &str = "cronmill.dev/operator";

/// How an operator works.
#[derive(Debug)]
pub struct Options {
    /// The namespaces whose objects it looks after; empty: all.
    pub watch_namespaces: BTreeSet<String>,
    /// Image of the bundled worker; `None`: every TaskQueue with workers needs a template.
    pub worker_image: Option<String>,
    /// A Redis that namespaces share.
    pub shared_redis: Option<SecretString>,
    /// The namespaces that may use it without naming a Redis of their own.
    pub shared_redis_namespaces: BTreeSet<String>,
    /// The hosts of Redis it may connect to; empty: any.
    pub allowed_redis_hosts: BTreeSet<String>,
    /// What tells this cluster from others on the same Redis; `None`: the uid of its namespace `kube-system`.
    pub cluster_id: Option<String>,
    /// Where the Lease is; `None`: the namespace of the kubeconfig or of the pod.
    pub lease_namespace: Option<String>,
    /// Who this replica is; no two have the same.
    pub identity: String,
    /// How many status writes a second all that is only refreshed may take, over the whole cluster.
    pub status_writes_per_second: u32,
    /// What is counted.
    pub metrics: Metrics,
}
