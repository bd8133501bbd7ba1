//! Writing status, the same way for every kind.

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::context::{Context, ObjectName, Seen};

/// From which try in a row on it is told that something passes by itself: most of it has passed by then.
pub(super) const TOLD_FROM: u32 = 2;

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
