//! What is watched, and who looks at an object when it changes.

use std::fmt::Debug;
use std::future::{Future, ready};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use kube::core::NamespaceResourceScope;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config as ControllerConfig};
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::{Context, ObjectName, Scope, Seen};
use super::roster::Roster;
use super::watched::{WatchState, watched};
use super::{cron_task, task_queue};
use crate::causes;
use crate::crd::{CronTask, TaskQueue};

/// CronTasks looked at at once.
const TASKS_AT_ONCE: u16 = 32;
/// TaskQueues looked at at once.
const QUEUES_AT_ONCE: u16 = 16;

/// The watches of one scope, as controllers that do not run yet.
pub(super) struct Watches {
    tasks: Controller<Seen<CronTask>>,
    queues: Controller<Seen<TaskQueue>>,
}

impl Watches {
    /// Prepares to watch a namespace, or all. The roster hears of CronTasks by `number`, `gone` of TaskQueues that are
    /// deleted.
    pub(super) fn prepare(
        client: &Client,
        namespace: Option<String>,
        number: usize,
        roster: &Arc<Roster>,
        gone: &UnboundedSender<(String, ObjectName)>,
    ) -> (Scope, Self) {
        let states: [Arc<WatchState>; 3] = std::array::from_fn(|_| Arc::default());
        let ((tasks, tasks_in), (queues, queues_in)) = (store(), store());
        let (deployments, deployments_in) = store();
        let (wake_tasks, woken_tasks) = unbounded_channel();
        let (wake_queues, woken_queues) = unbounded_channel();
        let of_tasks = watched(
            "CronTasks",
            api(client, namespace.as_deref()),
            Config::default(),
            tasks_in,
            Arc::clone(&states[0]),
            to_roster(roster, number),
        );
        let of_queues = watched(
            "TaskQueues",
            api(client, namespace.as_deref()),
            Config::default(),
            queues_in,
            Arc::clone(&states[1]),
            to_farewell(gone.clone()),
        );
        let of_deployments = watched(
            "Deployments",
            api::<Deployment>(client, namespace.as_deref()),
            Config::default().labels(task_queue::OBJECT_LABEL),
            deployments_in,
            Arc::clone(&states[2]),
            |_| {},
        );
        let watches = Self {
            tasks: Controller::for_stream(of_tasks, tasks.clone())
                .with_config(ControllerConfig::default().concurrency(TASKS_AT_ONCE))
                .reconcile_on(woken(woken_tasks)),
            queues: Controller::for_stream(of_queues, queues.clone())
                .with_config(ControllerConfig::default().concurrency(QUEUES_AT_ONCE))
                .owns_stream(of_deployments)
                .reconcile_on(woken(woken_queues)),
        };
        (Scope { namespace, tasks, queues, deployments, wake_tasks, wake_queues, states }, watches)
    }

    /// Looks at objects until the token is cancelled; what is being looked at then is finished.
    pub(super) fn spawn(
        self,
        context: &Arc<Context>,
        stop: &CancellationToken,
        parts: &mut JoinSet<&'static str>,
    ) {
        let tasks = look(self.tasks, context, stop, cron_task::reconcile, cron_task::retry);
        let queues = look(self.queues, context, stop, task_queue::reconcile, task_queue::retry);
        parts.spawn(async move {
            tasks.await;
            "looking at CronTasks"
        });
        parts.spawn(async move {
            queues.await;
            "looking at TaskQueues"
        });
    }
}

/// Looks at the objects of a kind.
#[expect(clippy::borrowed_box, reason = "controllers hand on what reconciling answers, which is a box")]
fn look<K, R>(
    controller: Controller<Seen<K>>,
    context: &Arc<Context>,
    stop: &CancellationToken,
    reconcile: fn(Arc<Seen<K>>, Arc<Context>) -> R,
    retry: fn(&Seen<K>, &Context) -> Action,
) -> impl Future<Output = ()> + Send + use<K, R>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    R: Future<Output = Result<Action, Box<kube::Error>>> + Send + 'static,
{
    let policy = move |seen: Arc<Seen<K>>, error: &Box<kube::Error>, context: Arc<Context>| {
        let (kind, name) = (K::kind(&()), ObjectName::of(&*seen));
        tracing::warn!(object = %name, "{kind} {name} cannot be written: {}; trying on", causes::on_one_line(&**error));
        retry(&seen, &context)
    };
    let controller = controller.graceful_shutdown_on(stop.clone().cancelled_owned());
    controller.run(reconcile, policy, Arc::clone(context)).for_each(|_| ready(()))
}

fn to_roster(roster: &Arc<Roster>, number: usize) -> impl Fn(&Event<Seen<CronTask>>) + Send + 'static {
    let roster = Arc::clone(roster);
    move |event| roster.hear(number, event)
}

fn to_farewell(
    gone: UnboundedSender<(String, ObjectName)>,
) -> impl Fn(&Event<Seen<TaskQueue>>) + Send + 'static {
    move |event| {
        if let Event::Delete(queue) = event {
            // Nobody listens any more only when all ends.
            let _ = gone.send((queue.uid().unwrap_or_default(), ObjectName::of(queue)));
        }
    }
}

/// The objects of a kind in a namespace, or in all.
pub(super) fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn woken<K: Resource<DynamicType = ()> + 'static>(
    woken: UnboundedReceiver<ObjectRef<K>>,
) -> impl stream::Stream<Item = ObjectRef<K>> + Send
where
    ObjectRef<K>: Send,
{
    stream::unfold(woken, |mut woken| async move { woken.recv().await.map(|object| (object, woken)) })
}
