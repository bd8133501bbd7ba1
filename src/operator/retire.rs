//! The end of an operator for good: it leads no more, and holds up no TaskQueue that is deleted after it.
//!
//! Whoever leads would put the finalizer on again. So the Lease is taken first, as another replica would take it but
//! without waiting for its end; then follows a pause for as long as a leader that lost its Lease may still write. The
//! Lease is held for [`HOLD`], in which the operator is to be taken away; replicas that are there after that lead as
//! if nothing had happened. The same holds for a run that is killed anywhere, and the next run does all of it again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::context::Seen;
use super::leader::{LEASE, LEASE_DURATION};
use super::{MANAGER, OperatorError, client, finalizer, sites};
use crate::crd::TaskQueue;

/// Who holds the Lease of an operator that is to be taken away.
const RETIRED: &str = "retired";
/// How long the Lease is held, from the last moment on.
const HOLD: Duration = Duration::from_secs(600);
/// How long everything may take: well within [`HOLD`].
const LIMIT: Duration = Duration::from_secs(120);
/// How long replicas that run may take to make the Lease anew when there is none.
const NEW_LEASE: Duration = Duration::from_secs(5);
/// How soon it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How often the Lease is written while others write it too.
const TRIES: usize = 20;
/// TaskQueues read at once.
const PAGE: u32 = 100;
/// Finalizers taken off at once.
const AT_ONCE: usize = 8;

/// A TaskQueue that is held up no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// Its namespace and name, with a slash between them.
    pub name: String,
    /// Whether it was being deleted, so that it is gone now.
    pub is_gone: bool,
    /// What its queues are called in Redis, where they stay; empty when this version cannot read the object.
    pub queues: Vec<String>,
}

/// What takes an operator out of office.
pub struct Retirement {
    client: Client,
    home: String,
    namespaces: Vec<Option<String>>,
}

impl Retirement {
    /// Prepares it for the operator whose Lease is in `lease_namespace` (`None`: that of the pod or kubeconfig) and
    /// that watches those namespaces (none: all). Nothing is contacted yet.
    ///
    /// # Errors
    /// [`OperatorError::Config`] when nothing says where the API server is, [`OperatorError::Client`].
    pub async fn new(
        watch_namespaces: BTreeSet<String>,
        lease_namespace: Option<String>,
    ) -> Result<Self, OperatorError> {
        let (client, namespace) = client::client().await?;
        let namespaces = match watch_namespaces.is_empty() {
            true => vec![None],
            false => watch_namespaces.into_iter().map(Some).collect(),
        };
        Ok(Self { client, home: lease_namespace.unwrap_or(namespace), namespaces })
    }

    /// Takes the finalizer off every TaskQueue, and tells of each. What is left when it fails or is stopped is in
    /// order, and the same again goes on.
    ///
    /// # Errors
    /// [`OperatorError::Retire`] when the API server refuses something, [`OperatorError::RetireLate`] when it takes
    /// too long or was stopped, [`OperatorError::LeaseLost`] when another took the Lease meanwhile.
    pub async fn run(
        &self,
        stop: &CancellationToken,
        mut tell: impl FnMut(&Freed),
    ) -> Result<(), OperatorError> {
        let work = timeout(LIMIT, self.work(&mut tell));
        let ended = match stop.run_until_cancelled(work).await {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Err(OperatorError::RetireLate),
        };
        if ended.is_err() {
            // The operator stays, so somebody is to lead.
            let _given = timeout(NEW_LEASE, self.write_lease(give_back)).await;
        }
        ended
    }

    async fn work(&self, tell: &mut impl FnMut(&Freed)) -> Result<(), OperatorError> {
        let has_lease = self.take_lease().await?;
        for namespace in &self.namespaces {
            self.free_all(namespace.as_deref(), tell).await?;
        }
        if !has_lease {
            return Ok(());
        }
        // Held by us to the end, it was held all the time: nobody else can have put one on.
        match self.write_lease(hold_on).await? {
            Written::Yes(_) | Written::Missing => Ok(()),
            Written::No(holder) => Err(OperatorError::LeaseLost { holder }),
        }
    }

    /// Takes the Lease and waits until nobody leads; answers whether there was one.
    async fn take_lease(&self) -> Result<bool, OperatorError> {
        let looks = NEW_LEASE.as_millis() / LOOK_AGAIN.as_millis();
        for _ in 0..looks {
            match self.write_lease(take).await? {
                Written::Yes(before) if before.is_empty() => return Ok(true),
                Written::Yes(before) => {
                    let pause = LEASE_DURATION.as_secs();
                    tracing::info!(
                        lease = LEASE,
                        "took the Lease from {before}, which may write for {pause} s more"
                    );
                    sleep(LEASE_DURATION).await;
                    return Ok(true);
                }
                Written::No(_) | Written::Missing => sleep(LOOK_AGAIN).await,
            }
        }
        tracing::info!(lease = LEASE, "no operator runs with its Lease in namespace {}", self.home);
        Ok(false)
    }

    /// Changes the Lease as `change` says, which answers `None` to leave it.
    async fn write_lease(
        &self,
        change: impl Fn(&str, &mut Lease) -> Option<()>,
    ) -> Result<Written, OperatorError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.home);
        let failed = |error| OperatorError::retire(format!("take Lease {LEASE} in {}", self.home), error);
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let mut tried = 0;
        loop {
            let Some(mut lease) = api.get_opt(LEASE).await.map_err(failed)? else {
                return Ok(Written::Missing);
            };
            let holder =
                lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
            if change(&holder, &mut lease).is_none() {
                return Ok(Written::No(holder));
            }
            tried += 1;
            match api.replace(LEASE, &parameters, &lease).await {
                Ok(_) => return Ok(Written::Yes(holder)),
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Written::Missing),
                // Its holder was faster.
                Err(kube::Error::Api(status)) if status.is_conflict() && tried < TRIES => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn free_all(
        &self,
        namespace: Option<&str>,
        tell: &mut impl FnMut(&Freed),
    ) -> Result<(), OperatorError> {
        let queues: Api<Seen<TaskQueue>> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = match queues.list(&parameters).await {
                Ok(page) => page,
                // Without a definition there is no object.
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                // The page that was to come is not kept any more: what was done is found done.
                Err(kube::Error::Api(status)) if status.code == 410 => {
                    parameters.continue_token = None;
                    continue;
                }
                Err(error) => return Err(OperatorError::retire("list TaskQueues".to_owned(), error)),
            };
            let held = page.items.into_iter().filter(finalizer::is_on);
            let mut freed = stream::iter(held.map(|queue| self.free(queue))).buffer_unordered(AT_ONCE);
            while let Some(freed) = freed.next().await {
                tell(&freed?);
            }
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                return Ok(());
            }
        }
    }

    async fn free(&self, queue: Seen<TaskQueue>) -> Result<Freed, OperatorError> {
        let namespace = queue.namespace().unwrap_or_default();
        let name = format!("{namespace}/{}", queue.name_any());
        let taken = finalizer::take_off(&self.client, &queue).await;
        taken.map_err(|error| OperatorError::Retire {
            doing: format!("take the finalizer off TaskQueue {name}"),
            source: error,
        })?;
        let plan = queue.0.as_ref().ok().and_then(|queue| sites::plan(queue).ok());
        let queues = plan.iter().flat_map(|plan| plan.redis_names()).map(ToString::to_string).collect();
        Ok(Freed { name, is_gone: queue.meta().deletion_timestamp.is_some(), queues })
    }
}

/// What became of a change of the Lease.
enum Written {
    /// It was made; who held it before.
    Yes(String),
    /// It was not to be made; who holds it.
    No(String),
    /// There is no Lease.
    Missing,
}

fn take(holder: &str, lease: &mut Lease) -> Option<()> {
    if holder != RETIRED {
        let spec = lease.spec.get_or_insert_default();
        spec.acquire_time = Some(MicroTime(Timestamp::now()));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    hold(lease);
    Some(())
}

fn hold_on(holder: &str, lease: &mut Lease) -> Option<()> {
    (holder == RETIRED).then(|| hold(lease))
}

fn hold(lease: &mut Lease) {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(RETIRED.to_owned());
    spec.lease_duration_seconds = i32::try_from(HOLD.as_secs()).ok();
    spec.renew_time = Some(MicroTime(Timestamp::now()));
}

/// As who leads does at its end: nobody holds it, for a second.
fn give_back(holder: &str, lease: &mut Lease) -> Option<()> {
    if holder != RETIRED {
        return None;
    }
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    Some(())
}
