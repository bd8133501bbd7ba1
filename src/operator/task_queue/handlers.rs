//! Types that no worker serves, as a condition. Workers tell what they met in vain; no message is read here.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use tokio::time::{sleep, timeout};

use super::claim::Held;
use crate::causes;
use crate::crd::TaskQueue;
use crate::operator::conditions::{HANDLERS_AVAILABLE, Wanted};
use crate::operator::context::Context;
use crate::operator::site::SiteKey;
use crate::task::QueueName;

/// How often it is looked what workers met.
const LOOK: Duration = Duration::from_secs(3);
/// How long one look at a Redis may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Queues asked about in one round trip.
const QUEUES_AT_ONCE: usize = 500;
/// Types that a condition names.
const NAMED: usize = 3;
const REASON: &str = "TypeNotServed";

/// What was met in vain, by the TaskQueue's uid: queue and type. A TaskQueue that was not looked at yet has no entry.
#[derive(Default)]
pub(in crate::operator) struct Unserved {
    met: Mutex<HashMap<String, Vec<(QueueName, String)>>>,
}

impl Unserved {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<(QueueName, String)>>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for as long as it runs.
pub(in crate::operator) async fn look_for_unserved(context: &Context) {
    loop {
        let held = context.claims.by_site();
        let living: HashSet<_> = held.values().flatten().map(|held| &held.who.uid).collect();
        context.unserved.lock().retain(|uid, _| living.contains(uid));
        // A Redis that is away holds up no other for longer.
        join_all(held.iter().map(|(site, held)| timeout(LIMIT, look(context, site, held)))).await;
        sleep(LOOK).await;
    }
}

async fn look(context: &Context, site: &SiteKey, held: &[Arc<Held>]) {
    let site = context.sites.get(site);
    let Some(Ok(parts)) = site.as_ref().map(|site| site.parts()) else { return };
    let queues: Vec<QueueName> = held.iter().flat_map(|held| held.queues.clone()).collect();
    let mut found = Vec::with_capacity(queues.len());
    for some in queues.chunks(QUEUES_AT_ONCE) {
        match parts.broker.unserved_types(some).await {
            Ok(types) => found.extend(types),
            Err(error) => {
                let why = causes::on_one_line(&error);
                return tracing::debug!("it is not known which types no worker serves: {why}");
            }
        }
    }
    let mut found = queues.into_iter().zip(found);
    for held in held {
        let types = found.by_ref().take(held.queues.len());
        let met: Vec<_> = types
            .flat_map(|(queue, types)| types.into_iter().map(move |kind| (queue.clone(), kind)))
            .collect();
        let before = context.unserved.lock().insert(held.who.uid.clone(), met.clone());
        let is_news = match before {
            Some(before) => before != met,
            None => !met.is_empty() || context.queue(&held.name).is_some_and(|queue| said(&queue).is_some()),
        };
        if is_news {
            context.wake_queue(&held.name);
        }
    }
}

/// What is to be told of handlers; `None` unless one is missing.
pub(super) fn available(context: &Context, queue: &TaskQueue) -> Option<Wanted> {
    match context.unserved.lock().get(&queue.uid().unwrap_or_default()) {
        Some(met) => missing(met),
        // Whoever led before knew; this leader has not looked yet.
        None => {
            let said = said(queue)?;
            Some(Wanted::new(HANDLERS_AVAILABLE, false, &said.reason, &said.message))
        }
    }
}

fn said(queue: &TaskQueue) -> Option<&Condition> {
    queue.status.as_ref()?.conditions.iter().find(|said| said.type_ == HANDLERS_AVAILABLE)
}

fn missing(met: &[(QueueName, String)]) -> Option<Wanted> {
    let named: Vec<_> =
        met.iter().take(NAMED).map(|(queue, kind)| format!("{kind:?} in queue {queue}")).collect();
    let more = match met.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "no live worker has a handler for tasks of type {}{more}; they wait, at no attempt, for a worker that has one: \
         deploy it, or correct the type where the tasks are made",
        named.join(", ")
    );
    (!met.is_empty()).then(|| Wanted::new(HANDLERS_AVAILABLE, false, REASON, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_types_are_named_and_the_others_counted() {
        let met = |kinds: &[&str]| -> Vec<_> {
            kinds.iter().map(|kind| (QueueName::new("q").unwrap(), (*kind).to_owned())).collect()
        };
        assert_eq!(missing(&[]), None);
        let wanted = missing(&met(&["a", "b", "c", "d", "e"])).unwrap();
        assert_eq!(
            (wanted.kind, wanted.is_true, wanted.reason.as_str()),
            (HANDLERS_AVAILABLE, false, REASON)
        );
        assert!(
            wanted.message.contains(r#""a" in queue q, "b" in queue q, "c" in queue q and 2 more;"#),
            "{}",
            wanted.message
        );
    }
}
