//! The finalizer of a TaskQueue: it keeps the object until its deletion policy is carried out.

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::json;

use super::context::Seen;
use crate::crd::{GROUP, TaskQueue, VERSION};

const FINALIZER: &str = "cronmill.dev/queues";
/// Field manager of the finalizer, and of nothing else.
const FINISHER: &str = "cronmill-finalizer";
/// How often it is tried to take it off while others change the list that it stands in.
const TRIES: usize = 5;

/// Whether an object has it.
pub(super) fn is_on<K: Resource>(object: &K) -> bool {
    place(object).is_some()
}

fn place<K: Resource>(object: &K) -> Option<usize> {
    object.finalizers().iter().position(|finalizer| finalizer == FINALIZER)
}

fn api<K: Resource>(client: &Client, queue: &K) -> Api<Seen<TaskQueue>> {
    Api::namespaced(client.clone(), &queue.namespace().unwrap_or_default())
}

/// Puts it on a TaskQueue. One that is gone, or another of its name, is left alone.
pub(super) async fn put_on<K: Resource>(client: &Client, queue: &K) -> Result<(), Box<kube::Error>> {
    let body = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "TaskQueue",
        "metadata": {
            "name": queue.name_any(),
            "namespace": queue.namespace(),
            "uid": queue.uid(),
            "finalizers": [FINALIZER],
        },
    });
    let parameters = PatchParams::apply(FINISHER).force();
    match api(client, queue).patch_metadata(&queue.name_any(), &parameters, &Patch::Apply(&body)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Box::new(error)),
    }
}

/// Takes it off, whoever put it on: what others applied together with it would stay otherwise. An object that is gone,
/// or another of its name, is left alone.
pub(super) async fn take_off<K: Resource>(client: &Client, queue: &K) -> Result<(), Box<kube::Error>> {
    let api = api(client, queue);
    let (name, uid) = (queue.name_any(), queue.uid());
    let mut at = place(queue);
    let mut tried = 0;
    while let Some(place) = at {
        let path = format!("/metadata/finalizers/{place}");
        let steps = serde_json::from_value(json!([
            { "op": "test", "path": "/metadata/uid", "value": uid },
            { "op": "test", "path": path, "value": FINALIZER },
            { "op": "remove", "path": path },
        ]));
        let patch = Patch::Json::<()>(steps.expect("these are steps of a JSON patch"));
        let parameters = PatchParams { field_manager: Some(FINISHER.to_owned()), ..PatchParams::default() };
        tried += 1;
        match api.patch_metadata(&name, &parameters, &patch).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            // It stands elsewhere in the list by now, or nowhere.
            Err(kube::Error::Api(status)) if status.is_invalid() && tried < TRIES => {}
            Err(error) => return Err(Box::new(error)),
        }
        let now = api.get_metadata_opt(&name).await.map_err(Box::new)?;
        at = now.filter(|now| now.uid() == uid).as_ref().and_then(self::place);
    }
    Ok(())
}
