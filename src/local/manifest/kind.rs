//! The kinds of objects and their names.

use std::fmt;

use super::error::{Fault, FaultKind};
use crate::crd;
use crate::document::FieldPath;
use crate::nearest::{distance, nearest};

/// The kinds that mean something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A task on a schedule.
    CronTask,
    /// Queues and their workers.
    TaskQueue,
}

impl Kind {
    const ALL: [Self; 2] = [Self::CronTask, Self::TaskQueue];

    /// The kind as manifests spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CronTask => "CronTask",
            Self::TaskQueue => "TaskQueue",
        }
    }
}

/// What tells an object apart from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `default` where the manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Whose object a document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours(Kind),
    /// Something only a cluster uses.
    Foreign,
}

/// How far a group may be from ours and still be meant for it.
const GROUP_SLIPS_MAX: usize = 3;

/// Decides whose object `apiVersion` and `kind` announce.
pub(super) fn classify(api_version: &str, kind: &str) -> Result<Ownership, Box<Fault>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let is_built_in = !group.contains('.') || group.ends_with(".k8s.io");
    let refused = |field: &str, message: String| {
        Box::new(Fault::new(FieldPath::of(&[field]), FaultKind::UnknownKind, message))
    };
    if group == crd::GROUP && version == crd::VERSION {
        let names = Kind::ALL.map(Kind::as_str);
        let meant = || nearest(kind, names).map(|name| format!(", did you mean {name}?")).unwrap_or_default();
        return known.map(Ownership::Ours).ok_or_else(|| {
            Box::new(refused("kind", format!("unknown kind {kind:?}{}", meant())).allowing(names.join(", ")))
        });
    }
    let is_meant_for_us = distance(group, crd::GROUP) <= GROUP_SLIPS_MAX || (known.is_some() && is_built_in);
    if is_meant_for_us {
        let fault = refused("apiVersion", format!("unknown apiVersion {api_version:?}"));
        return Err(Box::new(fault.allowing(format!("{}/{}", crd::GROUP, crd::VERSION))));
    }
    if group.is_empty() && kind.ends_with("List") {
        let fault = refused("kind", format!("{kind} is not read here"));
        return Err(Box::new(fault.allowing("each object in a document of its own")));
    }
    Ok(Ownership::Foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_cluster_are_foreign() {
        for (api_version, kind) in
            [("v1", "ConfigMap"), ("apps/v1", "Deployment"), ("keda.sh/v1alpha1", "ScaledObject")]
        {
            assert_eq!(classify(api_version, kind), Ok(Ownership::Foreign), "{kind}");
        }
    }

    #[test]
    fn our_kinds_are_ours() {
        assert_eq!(classify("cronmill.dev/v1alpha1", "TaskQueue"), Ok(Ownership::Ours(Kind::TaskQueue)));
    }

    #[test]
    fn what_was_meant_for_us_is_refused() {
        for (api_version, kind, field) in [
            ("cronmill.dev/v1", "CronTask", "apiVersion"),
            ("cronmil.dev/v1alpha1", "CronTask", "apiVersion"),
            ("batch/v1", "CronTask", "apiVersion"),
            ("cronmill.dev/v1alpha1", "Crontask", "kind"),
            ("v1", "List", "kind"),
        ] {
            let fault = classify(api_version, kind).unwrap_err();
            assert_eq!(
                (fault.kind, fault.path.to_string().as_str()),
                (FaultKind::UnknownKind, field),
                "{api_version} {kind}"
            );
        }
    }
}
