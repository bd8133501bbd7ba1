//! What is scaled: the Deployment that a TaskQueue owns, or a workload that it only names. Of that one nothing but
//! `/scale` is read or written, ever.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::build::deployment_name;
use super::targets;
use crate::causes;
use crate::crd::{TargetKind, TaskQueue};
use crate::operator::SCALER;
use crate::operator::conditions::Refusal;
use crate::operator::context::{Context, ObjectName};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Whose pods the workers of a TaskQueue are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Workload {
    /// Those of the Deployment that it owns.
    Owned,
    /// Those of a workload that was there before it, and will be there after it.
    Target(Target),
}

impl Workload {
    /// Sets the number of its pods, through `/scale` and nothing else.
    ///
    /// # Errors
    /// Why that is not done, for people.
    pub(super) async fn scale(&self, context: &Context, queue: &ObjectName, to: u32) -> Result<(), String> {
        match self {
            Self::Target(target) => targets::scale(context, target, to).await,
            Self::Owned => {
                let api = context.api::<Deployment>(&queue.namespace);
                let written = put(&api, &queue.namespace, &deployment_name(&queue.name), to).await;
                written.map(drop).map_err(|failed| failed.to_string())
            }
        }
    }
}

/// A workload that somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) kind: TargetKind,
    pub(super) name: String,
}

/// What `/scale` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scaled {
    /// Pods there are to be.
    pub(super) replicas: u32,
    /// Pods there are.
    pub(super) current: u32,
    /// Their labels, as a selector.
    pub(super) selector: String,
}

/// Why `/scale` was not read or written.
#[derive(Debug)]
pub(super) enum Failed {
    Late,
    Refused(Box<kube::Error>),
}

impl Target {
    /// The one that a TaskQueue names, if it does.
    pub(super) fn of(queue: &TaskQueue) -> Option<Self> {
        let target = queue.spec.workers.as_ref()?.target_ref.as_ref()?;
        let namespace = queue.namespace().unwrap_or_default();
        Some(Self { namespace, kind: target.kind, name: target.name.clone() })
    }

    pub(super) async fn read(&self, context: &Context) -> Result<Scaled, Failed> {
        match self.kind {
            TargetKind::Deployment => get(&context.api::<Deployment>(&self.namespace), &self.name).await,
            TargetKind::StatefulSet => get(&context.api::<StatefulSet>(&self.namespace), &self.name).await,
        }
    }

    /// Answers what it is then.
    pub(super) async fn write(&self, context: &Context, replicas: u32) -> Result<Scaled, Failed> {
        let (namespace, name) = (&self.namespace, &self.name);
        match self.kind {
            TargetKind::Deployment => {
                put(&context.api::<Deployment>(namespace), namespace, name, replicas).await
            }
            TargetKind::StatefulSet => {
                put(&context.api::<StatefulSet>(namespace), namespace, name, replicas).await
            }
        }
    }

    /// What is to be told of a failure to read or write its `/scale`; `None` for what passes by itself.
    pub(super) fn refusal(&self, failed: &Failed, verb: &str) -> Option<Refusal> {
        let Failed::Refused(error) = failed else { return None };
        let kube::Error::Api(status) = &**error else { return None };
        match status.code {
            404 => Some(Refusal::edit(
                "TargetMissing",
                format!("there is no {self} in namespace {}", self.namespace),
                "create it, or correct spec.workers.targetRef; it is noticed within seconds",
            )),
            403 => Some(Refusal::edit(
                "TargetForbidden",
                format!("the operator may not {verb} the scale of {self}: {}", status.message),
                format!(
                    "let it get and patch {}s/scale in that namespace, as the chart does for the namespaces it watches",
                    self.kind.as_str().to_lowercase()
                ),
            )),
            400 | 422 => Some(Refusal::edit(
                "TargetRefused",
                format!("the API server does not {verb} the scale of {self}: {}", status.message),
                "mend what it names",
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

impl From<Scale> for Scaled {
    fn from(scale: Scale) -> Self {
        let number = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
        let status = scale.status.unwrap_or_default();
        Self {
            // A number of none is left out.
            replicas: number(scale.spec.and_then(|spec| spec.replicas)),
            current: number(Some(status.replicas)),
            selector: status.selector.unwrap_or_default(),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(f, "no answer within {} s", LIMIT.as_secs()),
            Self::Refused(error) => f.write_str(&causes::on_one_line(&**error)),
        }
    }
}

async fn get<K>(api: &Api<K>, name: &str) -> Result<Scaled, Failed>
where
    K: Clone + DeserializeOwned,
{
    let scale = timeout(LIMIT, api.get_scale(name)).await.map_err(|_| Failed::Late)?;
    scale.map(Scaled::from).map_err(|error| Failed::Refused(Box::new(error)))
}

async fn put<K>(api: &Api<K>, namespace: &str, name: &str, replicas: u32) -> Result<Scaled, Failed>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned,
{
    let body = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "replicas": replicas },
    });
    let (params, patch) = (PatchParams::apply(SCALER).force(), Patch::Apply(&body));
    let scale = timeout(LIMIT, api.patch_scale(name, &params, &patch)).await.map_err(|_| Failed::Late)?;
    scale.map(Scaled::from).map_err(|error| Failed::Refused(Box::new(error)))
}
