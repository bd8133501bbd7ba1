//! Entries in Redis: written, moved, taken out, and compared with the objects there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::broker::StoredEntry;
use crate::operator::conditions::Refusal;
use crate::operator::context::{Context, ObjectName};
use crate::operator::leader::Tenure;
use crate::operator::site::{Parts, Site, SiteKey, Survey};
use crate::schedule::Entry;
use crate::scheduler::Applied;
use crate::task::QueueName;

/// Where one entry stands.
type Spot = (SiteKey, QueueName);

/// Where each entry of ours stands, by uid: a cache of what the surveys of this leader found and what it wrote.
#[derive(Default)]
pub(in crate::operator) struct Placements {
    spots: Mutex<HashMap<String, Vec<Spot>>>,
}

impl Placements {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Spot>>> {
        self.spots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an entry stands; more than one place while it moves.
    pub(in crate::operator) fn of(&self, uid: &str) -> Vec<Spot> {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    fn note(&self, uid: &str, spot: Spot) {
        let mut spots = self.lock();
        // Nearly all have one.
        let known = spots.entry(uid.to_owned()).or_insert_with(|| Vec::with_capacity(1));
        if !known.contains(&spot) {
            known.push(spot);
        }
    }

    fn forget(&self, uid: &str, spot: &Spot) {
        let mut spots = self.lock();
        if let Some(known) = spots.get_mut(uid) {
            known.retain(|one| one != spot);
            if known.is_empty() {
                spots.remove(uid);
            }
        }
    }

    fn forget_site(&self, site: &str) {
        self.lock().retain(|_, known| {
            known.retain(|(key, _)| **key != *site);
            !known.is_empty()
        });
    }
}

/// Puts an entry into force where it belongs, and takes it away from where it does not. Killed in between, whoever
/// leads next finds both places and goes on.
pub(super) async fn apply(
    context: &Context,
    tenure: &Tenure,
    site: &Arc<Site>,
    queue: &QueueName,
    entry: Entry,
) -> Result<(), Refusal> {
    let parts = site.parts()?;
    survey(context, tenure, site, None).await?;
    let here = (site.key.clone(), queue.clone());
    let uid = entry.uid.clone();
    for there in context.placements.of(&uid).into_iter().filter(|spot| *spot != here) {
        // A Redis that no TaskQueue names any more is not fired on either. By another URL it may be the same spot.
        let other = context.sites.get(&there.0);
        if let Some(other) = other.filter(|other| there.1 != *queue || !other.is_same_as(site)) {
            let scheduler = &other.parts()?.scheduler;
            let moved = parts.scheduler.apply_moved_from(&entry, scheduler, &there.1).await;
            moved.map_err(|error| Refusal::from(&error))?;
        }
        context.placements.forget(&uid, &there);
    }
    write(parts, entry).await?;
    context.placements.note(&uid, here);
    Ok(())
}

async fn write(parts: &Parts, mut entry: Entry) -> Result<(), Refusal> {
    let applied = parts.scheduler.apply(&entry).await.map_err(|error| Refusal::from(&error))?;
    let Applied::Superseded(stored) = applied else { return Ok(()) };
    if stored.epoch > entry.revision.epoch {
        // We lead, so that leader is no more, and its Lease, which counted them, was deleted.
        entry.revision.epoch = stored.epoch.saturating_add(1);
        parts.scheduler.apply(&entry).await.map_err(|error| Refusal::from(&error))?;
        return Ok(());
    }
    let what = "a newer version of this object is in force already";
    Err(Refusal::passing("Superseded", what, "the watch brings it here by itself"))
}

/// Takes an entry out of force wherever it stands.
pub(in crate::operator) async fn take_out(context: &Context, uid: &str) -> Result<(), Refusal> {
    for spot in context.placements.of(uid) {
        if let Some(site) = context.sites.get(&spot.0) {
            let removed = site.parts()?.scheduler.remove(&spot.1, uid, &context.cluster).await;
            removed.map_err(|error| Refusal::from(&error))?;
        }
        context.placements.forget(uid, &spot);
    }
    Ok(())
}

/// Compares everything in a Redis with the objects there are: what has no object is taken out, and where the rest
/// stands is noted. Once in a leader's time, or again where that was before `since`.
pub(in crate::operator) async fn survey(
    context: &Context,
    tenure: &Tenure,
    site: &Arc<Site>,
    since: Option<Instant>,
) -> Result<(), Refusal> {
    let parts = site.parts()?;
    // One at a time; the others then find it done.
    let mut surveyed = site.surveyed.lock().await;
    let is_recent = |survey: &Survey| since.is_none_or(|since| survey.at >= since);
    if surveyed.filter(|survey| survey.epoch == tenure.epoch).as_ref().is_some_and(is_recent) {
        return Ok(());
    }
    let begun = Instant::now();
    context.placements.forget_site(&site.key);
    let mut found = Vec::new();
    let is_kept = |queue: &QueueName, stored: &StoredEntry| {
        let is_kept = is_kept(context, stored);
        if is_kept {
            context.placements.note(&stored.uid, (site.key.clone(), queue.clone()));
            found.extend(stored.entry.as_ref().ok().map(|entry| {
                let name = ObjectName { namespace: entry.namespace.clone(), name: entry.name.clone() };
                (stored.uid.clone(), name)
            }));
        }
        is_kept
    };
    let swept = parts.scheduler.sweep_unless(&context.cluster, is_kept).await;
    let swept = swept.map_err(|error| Refusal::from(&error))?;
    if swept > 0 {
        tracing::info!(redis.address = %site.address(), entries = swept, "took schedules out whose objects are gone");
    }
    *surveyed = Some(Survey { epoch: tenure.epoch, at: begun });
    drop(surveyed);
    for (uid, name) in found {
        if context.placements.of(&uid).len() > 1 {
            context.wake_task(&name);
        }
    }
    Ok(())
}

/// Whether an entry of this cluster has an object, or one that others look after.
fn is_kept(context: &Context, stored: &StoredEntry) -> bool {
    if !context.roster.is_complete() || context.roster.is_living(&stored.uid) {
        return true;
    }
    match &stored.entry {
        Ok(entry) => context.scope(&entry.namespace).is_none(),
        // Whose it is cannot be told unless all are ours.
        Err(_) => context.scopes.iter().all(|scope| scope.namespace.is_some()),
    }
}
