//! What a TaskQueue means, and whether its workers can be made.

use serde_json::{Map, Value};

use crate::crd::TaskQueue;
use crate::operator::conditions::Refusal;
use crate::operator::context::Context;
use crate::resolve::QueuePlan;

/// The name of the container that is a worker, where there are several.
pub(super) const WORKER: &str = "worker";

/// A TaskQueue that can be put into force.
pub(super) struct Valid {
    pub(super) plan: QueuePlan,
    /// What its own workers are; `None` without any.
    pub(super) pod: Option<Pod>,
}

/// What one worker runs in.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pod {
    /// The bundled worker, from this image.
    Bundled(String),
    /// A pod template of the user's, and which of its containers is the worker.
    Template(Map<String, Value>, usize),
}

pub(super) fn validate(context: &Context, queue: &TaskQueue) -> Result<Valid, Refusal> {
    let plan = context.plan(queue)?;
    let Some(workers) = &queue.spec.workers else { return Ok(Valid { plan, pod: None }) };
    if workers.target_ref.is_some() {
        return Ok(Valid { plan, pod: None });
    }
    let pod = match (&workers.template, &context.options.worker_image) {
        (Some(template), _) => Pod::Template(template.clone(), worker_of(template)?),
        (None, Some(image)) => Pod::Bundled(image.clone()),
        (None, None) => {
            return Err(Refusal::edit(
                "NoWorkerImage",
                "spec.workers has no template, and the operator was given no image of the bundled worker",
                "set spec.workers.template, or start the operator with --worker-image",
            ));
        }
    };
    Ok(Valid { plan, pod: Some(pod) })
}

/// Which container of a pod template is the worker.
fn worker_of(template: &Map<String, Value>) -> Result<usize, Refusal> {
    let containers = template.get("spec").and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    let containers = containers.map(Vec::as_slice).unwrap_or_default();
    let named =
        containers.iter().position(|container| container.get("name").is_some_and(|name| name == WORKER));
    match (named, containers) {
        (Some(place), _) => Ok(place),
        (None, [_]) => Ok(0),
        (None, []) => Err(Refusal::edit(
            "NoWorkerContainer",
            "spec.workers.template has no containers",
            format!("add one that is named {WORKER}"),
        )),
        (None, _) => Err(Refusal::edit(
            "NoWorkerContainer",
            format!("spec.workers.template has several containers, none of which is named {WORKER}"),
            format!("name the one {WORKER} that runs the tasks"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_worker_is_the_container_of_that_name_or_the_only_one() {
        let of = |containers: Value| {
            let template = json!({ "spec": { "containers": containers } });
            worker_of(template.as_object().unwrap()).map_err(|refusal| refusal.reason)
        };
        assert_eq!(of(json!([{ "name": "proxy" }, { "name": "worker" }])), Ok(1));
        assert_eq!(of(json!([{ "name": "shop" }])), Ok(0));
        assert_eq!(of(json!([{ "name": "a" }, { "name": "b" }])), Err("NoWorkerContainer"));
        assert_eq!(of(json!([])), Err("NoWorkerContainer"));
        assert_eq!(worker_of(&Map::new()).map_err(|refusal| refusal.reason), Err("NoWorkerContainer"));
    }
}
