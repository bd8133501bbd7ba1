//! Writing status, the same way for every kind.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::MANAGER;
use super::conditions::{Refusal, Wanted, are_written, conditions, verdict};
use super::context::{Context, ObjectName, Seen};

/// From which try in a row on it is told that something passes by itself: most of it has passed by then.
pub(super) const TOLD_FROM: u32 = 2;

/// What the status of an object of either kind says of its spec.
pub(super) struct Said<'a> {
    pub(super) observed_generation: Option<i64>,
    pub(super) conditions: &'a [Condition],
}

/// Writes what is to be said of an object, if it is not what `before` says, and tells of a change of Ready. `more` is
/// written with it, `is_news` when that alone has changed.
pub(super) async fn say<K>(
    context: &Context,
    object: &K,
    before: Said<'_>,
    wanted: Vec<Wanted>,
    more: Map<String, Value>,
    is_news: bool,
) -> Result<(), Box<kube::Error>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
{
    let generation = object.meta().generation;
    let after = conditions(before.conditions, wanted, generation, Timestamp::now());
    if are_written(before.conditions, &after) && before.observed_generation == generation && !is_news {
        return Ok(());
    }
    let mut body = json!({ "observedGeneration": generation, "conditions": after });
    if let Some(body) = body.as_object_mut() {
        body.extend(more);
    }
    apply::<K>(context, &ObjectName::of(object), MANAGER, body).await?;
    context.events.transition(&object.object_ref(&()), before.conditions, &after);
    Ok(())
}

/// Tells of an object that this version cannot read.
pub(super) async fn say_unreadable<K>(
    context: &Context,
    invalid: &InvalidObject,
) -> Result<(), Box<kube::Error>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
{
    let what = format!("this version of cronmill cannot read the object: {}", invalid.error);
    let refusal = Refusal::edit("Unreadable", what, "correct it, or upgrade the operator");
    let generation = invalid.metadata.generation;
    let after = conditions(&[], verdict(Err(&refusal), false), generation, Timestamp::now());
    let name = ObjectName {
        namespace: invalid.metadata.namespace.clone().unwrap_or_default(),
        name: invalid.metadata.name.clone().unwrap_or_default(),
    };
    let body = json!({ "observedGeneration": generation, "conditions": after });
    apply::<K>(context, &name, MANAGER, body).await
}

/// Applies part of an object's status as one of our field managers. An object deleted meanwhile is no error.
pub(super) async fn apply<K>(
    context: &Context,
    name: &ObjectName,
    manager: &str,
    status: Value,
) -> Result<(), Box<kube::Error>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
{
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name.name, "namespace": name.namespace },
        "status": status,
    });
    let api: Api<Seen<K>> = context.api(&name.namespace);
    let parameters = PatchParams::apply(manager).force();
    match api.patch_status(&name.name, &parameters, &Patch::Apply(&body)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(Box::new(error)),
    }
}
