//! One Redis: connected to, fired and kept by this replica. Each has loops of its own, so one that is away delays no
//! other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::conditions::Refusal;
use super::roster::Roster;
use crate::broker::{ArchiveLimits, Broker, Endpoint, Owner};
use crate::keeper::Keepers;
use crate::scheduler::{Scheduler, Tick, record_tick};
use crate::task::QueueName;
use crate::telemetry::Metrics;

/// How often Redis is looked at: whether it is there, and still the one it was.
const LOOK: Duration = Duration::from_secs(1);
/// How long it may be silent before that is told; what takes no longer is no news.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the first connection waits between tries at most.
const CONNECT_PAUSE_MAX: Duration = Duration::from_secs(3);
/// How long one try may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What tells a Redis apart: a hash of its URL, fit for logs.
pub(super) type SiteKey = Arc<str>;

/// What happened at a site that others act on.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// It can be used now, or again, and may have lost what it held.
    Returned(SiteKey),
    /// It is away, or back, which conditions tell.
    Reachability(SiteKey),
}

/// What a site needs of its surroundings.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) cluster: Arc<str>,
    pub(super) owner: Owner,
    pub(super) roster: Arc<Roster>,
    pub(super) metrics: Metrics,
    pub(super) news: UnboundedSender<News>,
}

/// A Redis in use.
pub(super) struct Site {
    pub(super) key: SiteKey,
    pub(super) url: Arc<SecretString>,
    endpoint: Endpoint,
    parts: OnceLock<Parts>,
    trouble: Mutex<Option<Refusal>>,
    /// The queues that are to be kept.
    kept: Mutex<BTreeMap<QueueName, ArchiveLimits>>,
    /// What names the run of Redis, as last seen; empty where it does not tell.
    run: Mutex<String>,
    /// The epoch whose leader has compared everything here.
    pub(super) surveyed: tokio::sync::Mutex<Option<Survey>>,
    stop: CancellationToken,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// When everything in a Redis was last compared with the objects there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survey {
    pub(super) epoch: u64,
    pub(super) at: Instant,
}

/// What there is once it is connected to.
pub(super) struct Parts {
    pub(super) broker: Broker,
    pub(super) scheduler: Scheduler,
    keepers: Mutex<Keepers>,
}

impl Site {
    /// Begins to use a Redis.
    pub(super) fn start(
        key: SiteKey,
        url: Arc<SecretString>,
        endpoint: Endpoint,
        around: Around,
    ) -> Arc<Self> {
        let site = Arc::new(Self {
            key,
            url,
            endpoint,
            parts: OnceLock::new(),
            trouble: Mutex::default(),
            kept: Mutex::default(),
            run: Mutex::default(),
            surveyed: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            running: Mutex::default(),
        });
        let running = tokio::spawn(Arc::clone(&site).run(around));
        *site.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        site
    }

    /// What it is used with.
    ///
    /// # Errors
    /// Why it cannot be used yet.
    pub(super) fn parts(&self) -> Result<&Parts, Refusal> {
        self.parts.get().ok_or_else(|| {
            self.trouble().unwrap_or_else(|| {
                let what = format!("Redis at {} is being connected to", self.endpoint);
                Refusal::passing("Connecting", what, "nothing is to be done")
            })
        })
    }

    /// Where it is, without secrets.
    pub(super) fn address(&self) -> String {
        self.endpoint.to_string()
    }

    /// Whether both URLs lead to the same data, as far as is known: another password, or another name of the host.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let run = |site: &Self| site.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (ours, theirs) = (run(self), run(other));
        let is_same = match ours.is_empty() || theirs.is_empty() {
            true => self.address() == other.address(),
            false => ours == theirs,
        };
        is_same && self.endpoint.database() == other.endpoint.database()
    }

    /// What is wrong with it at the moment.
    pub(super) fn trouble(&self) -> Option<Refusal> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps exactly these queues from now on, or once it is connected to.
    pub(super) fn keep(&self, queues: BTreeMap<QueueName, ArchiveLimits>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = queues;
        self.keep_them();
    }

    fn keep_them(&self) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = self.parts.get() {
            parts.keepers.lock().unwrap_or_else(PoisonError::into_inner).keep(&kept);
        }
    }

    /// Ends its loops.
    pub(super) fn end(&self) -> Option<JoinHandle<()>> {
        self.keep(BTreeMap::new());
        self.stop.cancel();
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn run(self: Arc<Self>, around: Around) {
        let stop = self.stop.clone();
        let Some(broker) = stop.run_until_cancelled(self.connect(&around)).await else { return };
        if let Some(Ok(facts)) = stop.run_until_cancelled(broker.facts()).await {
            *self.run.lock().unwrap_or_else(PoisonError::into_inner) = facts.run_id;
        }
        let scheduler = self.scheduler(broker.clone(), &around);
        let keepers = Keepers::new(broker.clone(), around.owner.clone(), |_, _| {});
        let parts =
            Parts { broker: broker.clone(), scheduler: scheduler.clone(), keepers: Mutex::new(keepers) };
        if self.parts.set(parts).is_err() {
            return;
        }
        self.keep_them();
        self.set_trouble(None);
        tracing::info!(redis.address = %self.endpoint, "uses Redis at {}", self.endpoint);
        self.tell(&around, News::Returned(self.key.clone()));
        let firing = async {
            // What was deleted while no replica ran must be known before anything fires.
            if stop.run_until_cancelled(around.roster.completed()).await.is_some() {
                scheduler.run(stop.clone()).await;
            }
        };
        tokio::join!(firing, stop.run_until_cancelled(self.look(&broker, &around)));
    }

    fn scheduler(&self, broker: Broker, around: &Around) -> Scheduler {
        let (metrics, roster, cluster) =
            (around.metrics.clone(), Arc::clone(&around.roster), Arc::clone(&around.cluster));
        Scheduler::new(broker, around.owner.clone())
            .on_tick(move |tick: &Tick| record_tick(&metrics, tick))
            // Whether another cluster's objects still exist is not known here.
            .for_cluster(cluster)
            .firing_only(move |entry| roster.is_living(&entry.uid))
    }

    async fn connect(&self, around: &Around) -> Broker {
        let mut pause = Duration::from_millis(100);
        loop {
            let trouble = match timeout(CONNECT_LIMIT, Broker::connect(&self.endpoint)).await {
                Ok(Ok(broker)) => return broker,
                Ok(Err(error)) => Refusal::from(&error),
                Err(_) => Refusal::passing(
                    "RedisUnreachable",
                    format!("Redis at {} does not answer", self.endpoint),
                    "it is tried again by itself, every few seconds",
                ),
            };
            if self.set_trouble(Some(trouble.clone())) {
                tracing::warn!(redis.address = %self.endpoint, reason = trouble.reason, "{}", trouble.message);
                self.tell(around, News::Reachability(self.key.clone()));
            }
            sleep(pause.mul_f64(1.0 - fastrand::f64() / 4.0)).await;
            pause = (pause * 2).min(CONNECT_PAUSE_MAX);
        }
    }

    /// Notices when it goes, comes back, or was started anew without what it held.
    async fn look(&self, broker: &Broker, around: &Around) {
        let mut silent_since = None;
        loop {
            // Who may not ask for facts gets empty ones; whoever is refused altogether is refused this too.
            let asked = async {
                broker.ping().await?;
                broker.facts().await
            };
            match timeout(PATIENCE, asked).await {
                Ok(Ok(facts)) => {
                    // Nobody knows what it held on to.
                    if silent_since.take().is_some() | self.is_another(facts.run_id) {
                        self.tell(around, News::Returned(self.key.clone()));
                    }
                    if self.set_trouble(None) {
                        tracing::info!(redis.address = %self.endpoint, "Redis at {} answers again", self.endpoint);
                        self.tell(around, News::Reachability(self.key.clone()));
                    }
                }
                failed => {
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    let what = match failed {
                        Ok(Err(error)) => Refusal::from(&error),
                        _ => Refusal::passing(
                            "RedisUnreachable",
                            "Redis does not answer",
                            "it is asked again by itself",
                        ),
                    };
                    if since.elapsed() >= PATIENCE && self.set_trouble(Some(what.clone())) {
                        tracing::warn!(redis.address = %self.endpoint, reason = what.reason, "{}", what.message);
                        self.tell(around, News::Reachability(self.key.clone()));
                    }
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Notes which run of Redis it is; answers whether that is another than before.
    fn is_another(&self, run: String) -> bool {
        if run.is_empty() {
            return false;
        }
        let mut known = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = !known.is_empty() && *known != run;
        *known = run;
        is_another
    }

    /// Notes what is wrong; answers whether that is new.
    fn set_trouble(&self, trouble: Option<Refusal>) -> bool {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = |trouble: &Option<Refusal>| trouble.as_ref().map(|trouble| trouble.reason);
        let is_new = reason(&known) != reason(&trouble);
        *known = trouble;
        is_new
    }

    fn tell(&self, around: &Around, news: News) {
        // Nobody listens any more only when all ends.
        let _ = around.news.send(news);
    }
}
