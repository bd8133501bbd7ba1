//! The operator put together: what each replica does, and what only the leader does.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::client;
use super::context::{Context, ObjectName, Parts};
use super::leader::{Election, Tenure};
use super::roster::Roster;
use super::site::{Around, News};
use super::watches::Watches;
use super::{OperatorError, Options, cron_task, refresh, sites, task_queue};
use crate::broker::{Endpoint, Owner};
use crate::causes;
use crate::scheduler::announce_outcomes;
use crate::telemetry::Readiness;

/// How often everything in each Redis is compared with the objects there are.
const SURVEY: Duration = Duration::from_secs(60);
/// How often the API server is asked who this cluster is, until it answers.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// How long what is under way may take at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// One replica of the operator, ready to run.
pub struct Operator {
    client: Client,
    namespace: String,
    options: Options,
    state: State,
}

/// What was told on the way.
struct Channels {
    told: UnboundedReceiver<News>,
    lost_tasks: UnboundedReceiver<String>,
    lost_queues: UnboundedReceiver<(String, ObjectName)>,
}

/// How far it is, for probes.
#[derive(Clone, Default)]
struct State {
    phase: Arc<Mutex<Phase>>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Starting,
    /// The API server cannot be asked, and why.
    Waiting(String),
    Running(Arc<Context>),
    Ending,
}

impl State {
    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn readiness(&self) -> Readiness {
        let context = match &*self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            Phase::Starting => return Readiness::NotReady("it is starting".into()),
            Phase::Waiting(why) => return Readiness::NotReady(why.clone().into()),
            Phase::Ending => return Readiness::NotReady("draining".into()),
            Phase::Running(context) => Arc::clone(context),
        };
        let states = || context.scopes.iter().flat_map(|scope| &scope.states);
        // A watch that was cut off goes on from what it knows.
        if states().all(|state| state.is_listed()) {
            return Readiness::Ready;
        }
        let troubles: Vec<_> = states().filter_map(|state| state.trouble()).collect();
        match troubles.is_empty() {
            true => Readiness::NotReady("the objects are being read".into()),
            false => Readiness::NotReady(troubles.join("; ").into()),
        }
    }
}

impl Operator {
    /// Prepares to run. Nothing is contacted yet, so a cluster that is away is no error.
    ///
    /// # Errors
    /// [`OperatorError::Config`] when nothing says where the API server is, [`OperatorError::Client`],
    /// [`OperatorError::SharedRedis`] for a URL that is none.
    pub async fn new(options: Options) -> Result<Self, OperatorError> {
        if let Some(url) = &options.shared_redis {
            url.expose_secret().trim().parse::<Endpoint>().map_err(OperatorError::SharedRedis)?;
        }
        let (client, namespace) = client().await?;
        Ok(Self { client, namespace, options, state: State::default() })
    }

    /// Whether it is to be counted on, at any time: it reads memory only.
    pub fn readiness(&self) -> impl Fn() -> Readiness + Send + Sync + use<> {
        let state = self.state.clone();
        move || state.readiness()
    }

    /// Fires, keeps and, where it leads, reconciles until the token is cancelled. An API server, a definition or a
    /// Redis that is missing ends nothing.
    ///
    /// # Errors
    /// [`OperatorError::PartEnded`] when one of its loops ended, which none may.
    pub async fn run(self, stop: CancellationToken) -> Result<(), OperatorError> {
        let Some(cluster) = stop.run_until_cancelled(self.cluster()).await else { return Ok(()) };
        let Self { client, namespace, options, state } = self;
        announce_outcomes(&options.metrics);
        let home = options.lease_namespace.clone().unwrap_or(namespace);
        let (news, told) = mpsc::unbounded_channel();
        let (gone_tasks, lost_tasks) = mpsc::unbounded_channel();
        let (gone_queues, lost_queues) = mpsc::unbounded_channel();
        let namespaces: Vec<_> = match options.watch_namespaces.is_empty() {
            true => vec![None],
            false => options.watch_namespaces.iter().cloned().map(Some).collect(),
        };
        let roster = Arc::new(Roster::new(namespaces.len(), gone_tasks));
        let (mut scopes, mut watches) = (Vec::new(), Vec::new());
        for (number, namespace) in namespaces.into_iter().enumerate() {
            let (scope, watch) = Watches::prepare(&client, namespace, number, &roster, &gone_queues);
            scopes.push(scope);
            watches.push(watch);
        }
        let run = uuid::Uuid::new_v4().to_string();
        let around = Around {
            cluster: Arc::from(cluster),
            owner: Owner::new(&options.identity, std::process::id(), &run),
            roster,
            metrics: options.metrics.clone(),
            news,
        };
        let (election, leadership) = Election::new(client.clone(), &home, options.identity.clone());
        let context = Arc::new(Context::new(Parts { client, options, home, leadership, scopes, around }));
        state.set(Phase::Running(Arc::clone(&context)));
        let channels = Channels { told, lost_tasks, lost_queues };
        let ended = work(&context, election, watches, channels, &stop).await;
        state.set(Phase::Ending);
        context.sites.end().await;
        ended
    }

    /// What tells this cluster from others.
    async fn cluster(&self) -> String {
        if let Some(id) = &self.options.cluster_id {
            return id.clone();
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let mut known = None;
        loop {
            let trouble = match timeout(ASK_LIMIT, api.get("kube-system")).await {
                Ok(Ok(namespace)) => match namespace.metadata.uid {
                    Some(uid) => return uid,
                    None => "namespace kube-system has no uid; set --cluster-id".to_owned(),
                },
                Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                    "namespace kube-system may not be read; set --cluster-id".to_owned()
                }
                Ok(Err(error)) => format!("the API server cannot be asked: {}", causes::on_one_line(&error)),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if known.as_ref() != Some(&trouble) {
                tracing::warn!("{trouble}; trying on");
                self.state.set(Phase::Waiting(trouble.clone()));
            }
            known = Some(trouble);
            sleep(ASK_AGAIN).await;
        }
    }
}

/// Does everything until told to stop, or something ends that must not.
async fn work(
    context: &Arc<Context>,
    election: Election,
    watches: Vec<Watches>,
    channels: Channels,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let (controllers, others) = (stop.child_token(), CancellationToken::new());
    let mut reconciling = JoinSet::new();
    for watch in watches {
        watch.spawn(context, &controllers, &mut reconciling);
    }
    let mut parts = JoinSet::new();
    let elected = CancellationToken::new();
    let electing = tokio::spawn(election.run(elected.clone()));
    spawn(&mut parts, context, &others, "finding each Redis", |context| async move {
        sites::follow(&context).await
    });
    spawn(&mut parts, context, &others, "leading", |context| async move { lead(&context).await });
    let Channels { told, lost_tasks, lost_queues } = channels;
    spawn(
        &mut parts,
        context,
        &others,
        "hearing of Redis",
        |context| async move { hear(&context, told).await },
    );
    spawn(&mut parts, context, &others, "taking out what is gone", |context| async move {
        tokio::join!(take_out(&context, lost_tasks), say_farewell(&context, lost_queues));
    });
    let ended = tokio::select! {
        // Told to stop, controllers end at once: that is no failure, so it is looked at first.
        biased;
        () = stop.cancelled() => Ok(()),
        part = parts.join_next() => Err(part.and_then(Result::ok).unwrap_or("a part of the operator")),
        part = reconciling.join_next() => Err(part.and_then(Result::ok).unwrap_or("a controller")),
    };
    controllers.cancel();
    // Only who writes no more may let another lead.
    let written = async { while reconciling.join_next().await.is_some() {} };
    let _late = timeout(FAREWELL, written).await;
    reconciling.shutdown().await;
    others.cancel();
    parts.shutdown().await;
    elected.cancel();
    let _late = timeout(FAREWELL, electing).await;
    ended.map_err(|part| OperatorError::PartEnded { part })
}

fn spawn<F>(
    parts: &mut JoinSet<&'static str>,
    context: &Arc<Context>,
    stop: &CancellationToken,
    name: &'static str,
    part: impl FnOnce(Arc<Context>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (part, stop) = (part(Arc::clone(context)), stop.clone());
    parts.spawn(async move {
        stop.run_until_cancelled(part).await;
        name
    });
}

/// What only the leader does, each time that this replica leads.
async fn lead(context: &Context) {
    let mut leadership = context.leadership.clone();
    while let Some(tenure) = leadership.gained().await {
        context.options.metrics.set_leading(true);
        context.wake_all();
        // Each is only polled when it has something to do.
        let mut leading: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::from_iter([
            task_queue::scale(context, &tenure).boxed(),
            task_queue::follow_targets(context, &tenure).boxed(),
            refresh::refresh(context).boxed(),
            task_queue::keep_claims(context).boxed(),
            task_queue::look_for_unserved(context).boxed(),
            task_queue::release_dead(context).boxed(),
            task_queue::finish_what_was_left(context).boxed(),
            survey(context, &tenure).boxed(),
        ]);
        let all = async { while leading.next().await.is_some() {} };
        tenure.ended.run_until_cancelled(all).await;
        context.options.metrics.set_leading(false);
    }
}

/// Compares everything in each Redis with the objects there are, now and then.
async fn survey(context: &Context, tenure: &Tenure) {
    loop {
        sleep(SURVEY.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
        let since = Instant::now();
        for site in context.sites.all() {
            if let Err(refusal) = cron_task::survey(context, tenure, &site, Some(since)).await {
                tracing::debug!(redis.address = %site.address(), "not compared: {}", refusal.message);
            }
        }
    }
}

/// Acts on what happens at a Redis.
async fn hear(context: &Context, mut told: UnboundedReceiver<News>) {
    while let Some(news) = told.recv().await {
        context.look_at_sites.notify_one();
        match news {
            News::Returned(key) => {
                let Some(site) = context.sites.get(&key) else { continue };
                // Nobody knows what it held on to.
                *site.surveyed.lock().await = None;
                context.wake_site(&site);
            }
            News::Reachability(key) => {
                if let Some(site) = context.sites.get(&key) {
                    context.wake_queues_of(&site);
                }
            }
        }
    }
}

/// Takes the schedules of CronTasks out that are gone. What cannot be told to Redis now fires no more all the same, and
/// the next survey finds it.
async fn take_out(context: &Context, mut lost: UnboundedReceiver<String>) {
    while let Some(uid) = lost.recv().await {
        context.succeeded(&uid);
        if context.leadership.tenure().is_none() {
            continue;
        }
        if let Err(refusal) = cron_task::take_out(context, &uid).await {
            tracing::debug!(uid, "a schedule waits to be taken out: {}", refusal.message);
        }
    }
}

/// Ends what belonged to TaskQueues that are gone.
async fn say_farewell(context: &Context, mut lost: UnboundedReceiver<(String, ObjectName)>) {
    while let Some((uid, name)) = lost.recv().await {
        context.look_at_sites.notify_one();
        if context.leadership.tenure().is_some() {
            task_queue::farewell(context, &uid, &name).await;
        }
    }
}
