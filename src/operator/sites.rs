//! Every Redis that a TaskQueue names, and which TaskQueue is on which.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _, stream};
use kube::ResourceExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::conditions::{QUEUES_CLAIMED, Refusal};
use super::context::{All, Context, ObjectName, Readable, uid_of};
use super::secret::{Place, Secrets, is_same};
use super::site::{Around, Site, SiteKey};
use crate::broker::{ArchiveLimits, Endpoint};
use crate::causes;
use crate::crd::TaskQueue;
use crate::resolve::QueuePlan;
use crate::task::QueueName;

/// How often it is looked whether a Secret has changed, at least.
const LOOK: Duration = Duration::from_secs(1);
/// How long a Redis stays in use after the last TaskQueue on it: long enough to give back what was taken.
const LINGER: Duration = Duration::from_secs(60);
/// Secrets read at once.
const READS_AT_ONCE: usize = 8;

/// All of them.
#[derive(Default)]
pub(super) struct Sites {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    sites: HashMap<SiteKey, (Arc<Site>, Instant)>,
    /// By the TaskQueue's uid.
    of: HashMap<String, Result<Arc<Site>, Refusal>>,
    /// The last one that each had. It goes on being fired and kept when a Secret is deleted or spoilt.
    last: HashMap<String, Arc<Site>>,
    /// How often what each has or had may have changed.
    changes: u64,
}

impl Sites {
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Redis of a TaskQueue.
    ///
    /// # Errors
    /// Why it has none.
    pub(super) fn of(&self, uid: &str) -> Result<Arc<Site>, Refusal> {
        self.lock().of.get(uid).cloned().unwrap_or_else(|| {
            Err(Refusal::passing("Connecting", "its Redis is being looked for", "nothing is to be done"))
        })
    }

    /// The Redis of a TaskQueue, or the last one it had.
    ///
    /// # Errors
    /// Why it never had one.
    pub(super) fn last_of(&self, uid: &str) -> Result<Arc<Site>, Refusal> {
        let last = self.lock().last.get(uid).cloned();
        last.map_or_else(|| self.of(uid), Ok)
    }

    /// How often the Redis of any TaskQueue may have changed.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// A Redis by what tells it apart.
    pub(super) fn get(&self, key: &str) -> Option<Arc<Site>> {
        self.lock().sites.get(key).map(|(site, _)| Arc::clone(site))
    }

    /// Each of them.
    pub(super) fn all(&self) -> Vec<Arc<Site>> {
        self.lock().sites.values().map(|(site, _)| Arc::clone(site)).collect()
    }

    /// Ends all of them.
    pub(super) async fn end(&self) {
        let sites: Vec<_> = std::mem::take(&mut *self.lock()).sites.into_values().collect();
        join_all(sites.iter().filter_map(|(site, _)| site.end())).await;
    }

    fn open(&self, url: &Arc<SecretString>, endpoint: Endpoint, around: &Around) -> Arc<Site> {
        let key = key_of(url);
        let mut known = self.lock();
        let start = || Site::start(key.clone(), Arc::clone(url), endpoint, around.clone());
        let (site, used) = known.sites.entry(key.clone()).or_insert_with(|| (start(), Instant::now()));
        *used = Instant::now();
        Arc::clone(site)
    }
}

fn key_of(url: &SecretString) -> SiteKey {
    // Of few possible URLs a plain hash would tell which it is; this one is never shown whole.
    let hash = Sha256::digest(url.expose_secret().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// What was found for one TaskQueue.
struct Found {
    object: Readable<TaskQueue>,
    place: Option<Place>,
    site: Result<Arc<Site>, Refusal>,
    /// Its queues that are to be kept.
    queues: Vec<(QueueName, ArchiveLimits)>,
}

impl Found {
    fn key(&self) -> Result<&SiteKey, &Refusal> {
        self.site.as_ref().map(|site| &site.key)
    }

    /// Whether it has to be looked for again.
    fn may_differ(&self, queue: &Readable<TaskQueue>, secrets: &Secrets) -> bool {
        let Ok(site) = &self.site else { return true };
        !self.object.is(queue) || !is_as_read(self.place.as_ref(), site, secrets)
    }
}

/// Whether what was read last still tells where a Redis is. What a namespace shares never changes; a Secret is read now
/// and then, and sooner while Redis does not take what it says.
fn is_as_read(place: Option<&Place>, site: &Site, secrets: &Secrets) -> bool {
    let is_refused = || site.trouble().is_some_and(|trouble| trouble.needs_edit);
    place.is_none_or(|place| secrets.still_says(place, &site.url) && !is_refused())
}

/// What was found for all of them.
#[derive(Default)]
struct AllFound {
    /// Of these objects.
    queues: Option<All<TaskQueue>>,
    /// By the TaskQueue's uid.
    of: HashMap<String, Found>,
    /// Where each URL stands that is in use, and what it leads to; `None` where that is not sure of each.
    places: Option<HashMap<Place, Arc<Site>>>,
}

impl AllFound {
    /// Whether nothing can be different from what was found: most TaskQueues share the place of their URL with others.
    fn is_as_read(&self, queues: &All<TaskQueue>, secrets: &Secrets) -> bool {
        let is_of_these = self.queues.as_ref().is_some_and(|before| Arc::ptr_eq(before, queues));
        let are_as_read = |places: &HashMap<Place, Arc<Site>>| {
            places.iter().all(|(place, site)| is_as_read(Some(place), site, secrets))
        };
        is_of_these && self.places.as_ref().is_some_and(are_as_read)
    }

    fn places(&self) -> Option<HashMap<Place, Arc<Site>>> {
        let mut places = HashMap::new();
        for found in self.of.values() {
            let site = found.site.as_ref().ok()?;
            let Some(place) = &found.place else { continue };
            let known = places.entry(place.clone()).or_insert_with(|| Arc::clone(site));
            // What stands there changed while it was read for one after the other.
            if known.key != site.key {
                return None;
            }
        }
        Some(places)
    }
}

/// Follows the TaskQueues until it is dropped: finds each one's Redis, starts and ends what is needed there.
pub(super) async fn follow(context: &Context) {
    let mut found = AllFound::default();
    loop {
        look(context, &mut found).await;
        tokio::select! {
            () = context.look_at_sites.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn look(context: &Context, found: &mut AllFound) {
    let queues = context.queues();
    if !found.is_as_read(&queues, &context.secrets) {
        if find_all(context, &queues, &mut found.of).await {
            put_into_use(context, &queues, &found.of);
        }
        (found.places, found.queues) = (found.places(), Some(queues));
    }
    end_unused(context);
}

/// Finds what may be different; answers whether anything is.
async fn find_all(
    context: &Context,
    queues: &[Readable<TaskQueue>],
    found: &mut HashMap<String, Found>,
) -> bool {
    let news: Vec<_> = queues
        .iter()
        .filter(|queue| {
            found.get(uid_of(queue)).is_none_or(|known| known.may_differ(queue, &context.secrets))
        })
        .collect();
    let finds: Vec<_> = news.iter().map(|queue| find(context, queue).boxed()).collect();
    let finds: Vec<_> = stream::iter(finds).buffered(READS_AT_ONCE).collect().await;
    let mut is_news = false;
    for (queue, (place, site)) in news.into_iter().zip(finds) {
        let before = found.remove(uid_of(queue));
        let kept = match &before {
            Some(before) if before.object.is(queue) => before.queues.clone(),
            _ => kept(context, queue),
        };
        let now = Found { object: queue.clone(), place, site, queues: kept };
        is_news |= before.is_none_or(|before| before.key() != now.key() || before.queues != now.queues);
        found.insert(uid_of(queue).to_owned(), now);
    }
    if found.len() != queues.len() {
        let living: HashSet<_> = queues.iter().map(|queue| uid_of(queue)).collect();
        found.retain(|uid, _| living.contains(uid.as_str()));
        is_news = true;
    }
    is_news
}

/// Has what was found in use from now on.
fn put_into_use(context: &Context, queues: &[Readable<TaskQueue>], found: &HashMap<String, Found>) {
    let mut keeps: HashMap<SiteKey, BTreeMap<_, _>> = HashMap::new();
    let (mut of, mut last) = (HashMap::new(), HashMap::new());
    for (uid, found) in found {
        if let Some(site) = found.site.as_ref().ok().cloned().or_else(|| context.sites.last_of(uid).ok()) {
            keeps.entry(site.key.clone()).or_default().extend(found.queues.iter().cloned());
            last.insert(uid.clone(), site);
        }
        of.insert(uid.clone(), found.site.clone());
    }
    let before = {
        let mut known = context.sites.lock();
        known.last = last;
        known.changes += 1;
        std::mem::replace(&mut known.of, of)
    };
    for queue in queues {
        let key = |site: &Result<Arc<Site>, Refusal>| {
            site.as_ref().map(|site| site.key.clone()).map_err(Clone::clone)
        };
        let now = found.get(uid_of(queue)).map(|found| key(&found.site));
        if before.get(uid_of(queue)).map(key) != now {
            context.wake_queue(&ObjectName::of(&**queue));
        }
    }
    let places: HashSet<_> = found.values().filter_map(|found| found.place.as_ref()).collect();
    context.secrets.keep_only(|place| places.contains(place));
    for site in context.sites.all() {
        site.keep(keeps.remove(&site.key).unwrap_or_default());
    }
}

/// Ends what no TaskQueue has used for a while.
fn end_unused(context: &Context) {
    let over: Vec<_> = {
        let mut known = context.sites.lock();
        let Known { sites, last, .. } = &mut *known;
        let used: HashSet<_> = last.values().map(|site| &site.key).collect();
        sites
            .values_mut()
            .filter(|(site, _)| used.contains(&site.key))
            .for_each(|(_, at)| *at = Instant::now());
        sites.extract_if(|key, (_, at)| !used.contains(key) && at.elapsed() > LINGER).collect()
    };
    for (_, (site, _)) in over {
        tracing::info!(redis.address = %site.address(), "no TaskQueue uses Redis at {} any more", site.address());
        drop(site.end());
    }
}

/// The queues of a TaskQueue to keep: those that are its own in Redis.
fn kept(context: &Context, queue: &TaskQueue) -> Vec<(QueueName, ArchiveLimits)> {
    let claimed = queue.status.as_ref().is_some_and(|status| {
        status.conditions.iter().any(|found| found.type_ == QUEUES_CLAIMED && found.status == "True")
    });
    let Some(plan) = claimed.then(|| context.plan(queue)).and_then(Result::ok) else { return Vec::new() };
    let limits = ArchiveLimits { tasks_max: plan.archive_tasks_max, age_max: plan.archive_age_max };
    plan.redis_names().map(|name| (name.clone(), limits)).collect()
}

/// The Redis of a TaskQueue, or the last one it had; looked for now where that has not been done yet.
///
/// # Errors
/// Why it has none.
pub(super) async fn find_now(context: &Context, queue: &TaskQueue) -> Result<Arc<Site>, Refusal> {
    match context.sites.last_of(&queue.uid().unwrap_or_default()) {
        Ok(site) => Ok(site),
        Err(_) => find(context, queue).await.1,
    }
}

/// The Redis of a TaskQueue, and where its URL stands.
async fn find(context: &Context, queue: &TaskQueue) -> (Option<Place>, Result<Arc<Site>, Refusal>) {
    let namespace = queue.namespace().unwrap_or_default();
    let Some(redis) = &queue.spec.redis else {
        let url = shared(context, &namespace);
        return (None, url.and_then(|url| open(context, &url, false)));
    };
    let place = Place { namespace, name: redis.secret_ref.name.clone(), key: redis.secret_ref.key.clone() };
    let known = context.sites.last_of(&queue.uid().unwrap_or_default()).ok();
    let is_refused = known.as_ref().and_then(|site| site.trouble()).is_some_and(|trouble| trouble.needs_edit);
    let url = context.secrets.url(&place, is_refused).await;
    let site = url.and_then(|url| match known {
        Some(site) if is_same(&site.url, &url) => Ok(site),
        _ => open(context, &url, true),
    });
    (Some(place), site)
}

fn shared(context: &Context, namespace: &str) -> Result<Arc<SecretString>, Refusal> {
    match &context.shared_redis {
        Some(url) if context.options.shared_redis_namespaces.contains(namespace) => Ok(Arc::clone(url)),
        _ => Err(Refusal::edit(
            "RedisMissing",
            format!("spec.redis is not set, and namespace {namespace} is not among those that share a Redis"),
            "name a Secret with the URL of a Redis in spec.redis.secretRef of a new TaskQueue, or have the cluster's \
             administrator list the namespace",
        )),
    }
}

fn open(context: &Context, url: &Arc<SecretString>, is_checked: bool) -> Result<Arc<Site>, Refusal> {
    let endpoint: Endpoint = url.expose_secret().parse().map_err(|error| {
        let what = causes::on_one_line(&error);
        Refusal::edit("InvalidRedisURL", what, "correct it in the Secret; that is noticed within seconds")
    })?;
    if is_checked {
        check_hosts(context, &endpoint)?;
    }
    Ok(context.sites.open(url, endpoint, &context.around))
}

/// People who may write a Secret may not thereby reach whatever the operator can reach.
fn check_hosts(context: &Context, endpoint: &Endpoint) -> Result<(), Refusal> {
    let Some(hosts) = endpoint.hosts() else {
        let what = "the URL of Redis names a socket in a file system, which would be the operator's own";
        return Err(Refusal::edit("RedisHostNotAllowed", what, "name a host in the Secret"));
    };
    let allowed = &context.options.allowed_redis_hosts;
    match hosts.iter().find(|host| !allowed.is_empty() && !allowed.contains(**host)) {
        None => Ok(()),
        Some(host) => Err(Refusal::edit(
            "RedisHostNotAllowed",
            format!("Redis at {host} is not among the hosts that the operator may connect to"),
            "use one of those, or have the cluster's administrator allow it",
        )),
    }
}

/// Understands a TaskQueue, on the Redis that its namespace shares if it names none.
pub(super) fn plan(queue: &TaskQueue) -> Result<QueuePlan, Refusal> {
    let namespace = queue.namespace().unwrap_or_default();
    let shared_by = queue.spec.redis.is_none().then_some(namespace.as_str());
    QueuePlan::of(&queue.spec, shared_by).map_err(|flaws| Refusal::flaws(&flaws))
}
