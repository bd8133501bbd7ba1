//! The entry of a CronTask.

use kube::ResourceExt as _;

use super::validate::Valid;
use crate::crd::CronTask;
use crate::operator::context::{Context, ObjectName};
use crate::operator::leader::Tenure;
use crate::resolve::{self, Identity};
use crate::schedule::Entry;

pub(super) fn entry(context: &Context, tenure: &Tenure, task: &CronTask, valid: &Valid) -> Entry {
    let name = ObjectName::of(task);
    let identity = Identity {
        uid: &task.uid().unwrap_or_default(),
        namespace: &name.namespace,
        name: &name.name,
        cluster: &context.cluster,
        epoch: tenure.epoch,
        generation: task.metadata.generation.and_then(|number| u64::try_from(number).ok()).unwrap_or(0),
    };
    resolve::entry(identity, &task.spec, valid.timing.clone(), &valid.queue, valid.payload.clone())
}
