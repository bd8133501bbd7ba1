//! Secret, PodDisruptionBudget and Deployment in the cluster: made, kept as they should be, taken away.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::validate::Valid;
use super::{build, trouble};
use crate::crd::TaskQueue;
use crate::operator::conditions::Refusal;
use crate::operator::context::{Context, ObjectName};
use crate::operator::leader::Tenure;
use crate::operator::site::{Site, SiteKey};
use crate::operator::{MANAGER, SCALER};

/// How soon it is applied again where somebody else changed the Deployment, so that two who disagree do not keep the API
/// server busy.
const PAUSE: Duration = Duration::from_secs(10);
/// How often it is applied again while workers do not come: they may lack the Secret.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it is applied anew all the same: a Secret is not watched.
const ANEW: Duration = Duration::from_secs(600);

/// What was applied for each TaskQueue, by uid, so that a look without news writes nothing.
#[derive(Default)]
pub(in crate::operator) struct AppliedFleets {
    applied: Mutex<HashMap<String, Applied>>,
}

#[derive(Clone)]
struct Applied {
    epoch: u64,
    /// What it was made from: the version of the TaskQueue, and where its Redis is.
    source: (Option<String>, SiteKey),
    /// Of all that was applied.
    hash: u64,
    /// Of the Deployment, as the API server has it.
    deployment: u64,
    /// The last version of the Deployment that is as it was applied.
    version: u64,
    at: Instant,
}

impl AppliedFleets {
    fn of(&self, uid: &str) -> Option<Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    fn note(&self, uid: &str, applied: Applied) {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), applied);
    }

    /// Notes that what was applied is what would be applied now, and that a version of the Deployment is like it.
    fn still_holds(&self, uid: &str, source: (Option<String>, SiteKey), version: u64) {
        if let Some(applied) = self.applied.lock().unwrap_or_else(PoisonError::into_inner).get_mut(uid) {
            (applied.source, applied.version) = (source, applied.version.max(version));
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What a TaskQueue is to own.
struct Made {
    secret: Value,
    budget: Value,
    shape: Value,
}

impl Made {
    fn hash(&self) -> u64 {
        hash_of(&[&self.secret, &self.shape, &self.budget])
    }
}

/// Makes what a TaskQueue owns what it should be; answers how soon that is to be looked at again, if soon. Killed in
/// between, the next look goes on.
pub(super) async fn apply(
    context: &Context,
    tenure: &Tenure,
    queue: &TaskQueue,
    valid: &Valid,
    site: &Site,
) -> Result<Option<Duration>, Refusal> {
    let (uid, name) = (queue.uid().unwrap_or_default(), ObjectName::of(queue));
    let (Some(fleet), Some(pod)) = (&valid.plan.workers, &valid.pod) else {
        return remove(context, queue).await.map(|()| None);
    };
    let source = (queue.metadata.resource_version.clone(), Arc::clone(&site.key));
    let last = context.fleets.of(&uid).filter(|last| last.epoch == tenure.epoch);
    let make = || Made {
        secret: build::secret(queue, &site.url),
        budget: build::disruption_budget(queue),
        // Without the version of the Secret, which is only known once it was applied.
        shape: build::deployment(queue, &valid.plan, fleet, pod, ""),
    };
    let made = match &last {
        // The same object makes the same.
        Some(last) if last.source == source => None,
        _ => Some(make()),
    };
    if let (Some(there), Some(last)) = (context.deployment(&name), &last)
        && made.as_ref().is_none_or(|made| made.hash() == last.hash)
    {
        // What is older was seen before the answer, and will be seen again.
        let is_as_applied = version_of(&there) <= last.version || last.deployment == hash_of_own(&there);
        if is_as_applied {
            context.fleets.still_holds(&uid, source.clone(), version_of(&there));
        }
        let lasts = if trouble::are_awaited(context, queue) { AGAIN } else { ANEW };
        match last.at.elapsed() {
            age if is_as_applied && age < lasts => return Ok(None),
            age if !is_as_applied && age < PAUSE => return Ok(Some(PAUSE - age)),
            _ => {}
        }
    }
    let made = made.unwrap_or_else(make);
    let hash = made.hash();
    let Made { secret, budget, .. } = made;
    let secrets = context.api::<Secret>(&name.namespace);
    let version = own(&secrets, &uid, "Secret", &build::secret_name(&name.name), &secret).await?;
    let budgets = context.api::<PodDisruptionBudget>(&name.namespace);
    own(&budgets, &uid, "PodDisruptionBudget", &build::deployment_name(&name.name), &budget).await?;
    let deployment = build::deployment(queue, &valid.plan, fleet, pod, &version);
    let deployments = context.api::<Deployment>(&name.namespace);
    let there = deploy(&deployments, &uid, &build::deployment_name(&name.name), &deployment).await?;
    let applied = Applied {
        epoch: tenure.epoch,
        source,
        hash,
        deployment: hash_of_own(&there),
        version: version_of(&there),
        at: Instant::now(),
    };
    context.fleets.note(&uid, applied);
    Ok(None)
}

/// Which of two states of an object is the later one: Kubernetes has versions compared as whole numbers.
fn version_of(deployment: &Deployment) -> u64 {
    let version = deployment.metadata.resource_version.as_deref();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// A hash of what the operator decides of a Deployment, as the API server completed it: all but the number of workers.
fn hash_of_own(deployment: &Deployment) -> u64 {
    let (meta, mut spec) = (&deployment.metadata, deployment.spec.clone());
    spec.replicas = None;
    hash_of(&[&json!([meta.labels, meta.owner_references]), &json!(spec)])
}

fn hash_of(values: &[&Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.iter().for_each(|value| value.to_string().hash(&mut hasher));
    hasher.finish()
}

/// Applies an object of ours, unless there is one of the same name that is not; answers its version.
async fn own<K>(api: &Api<K>, uid: &str, kind: &str, name: &str, body: &Value) -> Result<String, Refusal>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    check_owner(api, uid, kind, name).await?;
    let applied = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(body)).await;
    let applied = applied.map_err(|error| not_applied(kind, name, &error))?;
    Ok(applied.meta().resource_version.clone().unwrap_or_default())
}

/// Answers whether there is one already; it is an error if that is another's.
async fn check_owner<K>(api: &Api<K>, uid: &str, kind: &str, name: &str) -> Result<bool, Refusal>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.get_opt(name).await.map_err(|error| not_applied(kind, name, &error))?;
    let Some(found) = found else { return Ok(false) };
    let owners = found.meta().owner_references.iter().flatten();
    match owners.into_iter().any(|owner| owner.uid == uid) {
        true => Ok(true),
        false => Err(Refusal::edit(
            "NameTaken",
            format!("{kind} {name} exists and does not belong to this TaskQueue"),
            "rename or delete it, or give the TaskQueue another name",
        )),
    }
}

/// Applies the Deployment. A new one begins with no worker, and who scales owns that number from the first moment on:
/// a Deployment that names none would begin with one.
async fn deploy(api: &Api<Deployment>, uid: &str, name: &str, body: &Value) -> Result<Deployment, Refusal> {
    let failed = |error: kube::Error| not_applied("Deployment", name, &error);
    let scaler = PatchParams::apply(SCALER).force();
    if !check_owner(api, uid, "Deployment", name).await? {
        let mut first = body.clone();
        first["spec"]["replicas"] = 0.into();
        api.patch(name, &scaler, &Patch::Apply(&first)).await.map_err(failed)?;
    }
    let manager = PatchParams::apply(MANAGER).force();
    let applied = api.patch(name, &manager, &Patch::Apply(body)).await.map_err(failed)?;
    // Who scales lets go of all the rest; also where that was not reached when it was made.
    let replicas = applied.spec.replicas.unwrap_or(0);
    if owns_template(&applied) {
        let only = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": name },
            "spec": { "replicas": replicas },
        });
        api.patch(name, &scaler, &Patch::Apply(&only)).await.map_err(failed)?;
    }
    Ok(applied)
}

/// Whether who scales still owns the pods' template too.
fn owns_template(deployment: &Deployment) -> bool {
    deployment.metadata.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(SCALER)
            && entry.subresource.is_none()
            && entry.fields_v1.as_ref().is_some_and(|fields| {
                fields.0.get("f:spec").is_some_and(|spec| spec.get("f:template").is_some())
            })
    })
}

fn not_applied(kind: &str, name: &str, error: &kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) if status.is_invalid() => Refusal::edit(
            "TemplateRefused",
            format!("the API server refuses {kind} {name}: {}", status.message),
            "correct spec.workers.template",
        ),
        kube::Error::Api(status) if status.is_forbidden() => Refusal::edit(
            "Forbidden",
            format!("the operator may not write {kind} {name}: {}", status.message),
            "let it, as the chart does for the namespaces it watches, or raise the quota or policy named",
        ),
        error => Refusal::from(error),
    }
}

/// Takes away what a TaskQueue without workers of its own had when it had some. The Deployment goes last: while it is
/// there, it is known that something is left to be done.
pub(super) async fn remove(context: &Context, queue: &TaskQueue) -> Result<(), Refusal> {
    let name = ObjectName::of(queue);
    if context.deployment(&name).is_none() {
        return Ok(());
    }
    let uid = queue.uid().unwrap_or_default();
    delete_owned(&context.api::<Secret>(&name.namespace), &uid, &build::secret_name(&name.name)).await?;
    let workers = build::deployment_name(&name.name);
    delete_owned(&context.api::<PodDisruptionBudget>(&name.namespace), &uid, &workers).await?;
    delete_owned(&context.api::<Deployment>(&name.namespace), &uid, &workers).await?;
    context.fleets.forget(&uid);
    Ok(())
}

async fn delete_owned<K>(api: &Api<K>, uid: &str, name: &str) -> Result<(), Refusal>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let Some(found) = api.get_opt(name).await.map_err(|error| Refusal::from(&error))? else { return Ok(()) };
    if !found.meta().owner_references.iter().flatten().any(|owner| owner.uid == uid) {
        return Ok(());
    }
    let only = Preconditions { uid: found.meta().uid.clone(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::background() };
    match api.delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Refusal::from(&error)),
    }
}
