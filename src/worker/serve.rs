//! A worker's parts, started, watched and ended in order.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::aggregate::AnyAggregator;
use super::attempt::{Home, Table};
use super::bell::bell;
use super::cancel::CancelReason;
use super::claim::Claimer;
use super::finish::{Finisher, Report};
use super::group::Groups;
use super::group_finish::{ENDINGS_MAX, finish_sets};
use super::handler::AnyHandler;
use super::lease::extend_leases;
use super::listen::hear_cancellations;
use super::monitor::publish;
use super::selection::Selection;
use super::server::{Builder, Server};
use super::shared::{SHUTDOWN_GRACE, Shared};
use super::unserved::PutBack;
use super::verdict::requeued;
use super::{HandlerError, WorkerError};
use crate::broker::{GroupLimits, Outage};
use crate::keeper::Keeper;
use crate::task::{Message, QueueName, QueueWeight, ServerInfo};

/// Outcomes that may wait for the finisher before attempts wait for it.
const REPORTS_MIN: usize = 256;
/// What handlers get that neither returned nor could be dropped yet.
const STUCK_GRACE: Duration = Duration::from_millis(500);
/// How long a stopping worker tries to tell Redis what became of its tasks.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long anything else may take at the end.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// The tokens that end a worker's parts, in this order.
struct Ends {
    /// No more claims.
    stop: CancellationToken,
    /// No more waiting for handlers.
    hard_stop: CancellationToken,
    /// No more outcomes will come.
    flush: CancellationToken,
    /// No more waiting for Redis to take outcomes.
    give_up: CancellationToken,
    /// Everything that only accompanies running tasks.
    rest: CancellationToken,
}

/// A running worker.
struct Worker {
    shared: Arc<Shared>,
    ends: Ends,
    attempts: TaskTracker,
    parts: JoinSet<&'static str>,
    claimer_ended: CancellationToken,
    finisher_ended: CancellationToken,
    info: ServerInfo,
}

pub(super) async fn serve(
    server: Server,
    handler: Arc<dyn AnyHandler>,
    token: CancellationToken,
) -> Result<(), WorkerError> {
    let shutdown_timeout = server.config.shutdown_timeout;
    let hurry = server.config.hurry.clone();
    let queues: Vec<QueueName> = server.config.queues.iter().map(|(name, _)| name.clone()).collect();
    if !register(&server, &queues, &token).await {
        return Ok(());
    }
    info!(owner = %server.owner, ?queues, concurrency = server.config.concurrency, "worker started");
    let mut worker = Worker::start(server, handler, queues, &token);
    // Dropped midway, nothing of it lives on.
    let _ends = [worker.ends.stop.clone().drop_guard(), worker.ends.hard_stop.clone().drop_guard()];
    let broken = tokio::select! {
        () = token.cancelled() => None,
        part = worker.parts.join_next() => part.and_then(Result::ok),
    };
    if let Some(part) = broken {
        error!(part, "a part of the worker ended by itself; the worker stops");
    }
    worker.drain(shutdown_timeout, hurry).await;
    info!("worker stopped");
    broken.map_or(Ok(()), |part| Err(WorkerError::PartEnded { part }))
}

/// Enters the queues among those that tools list; `false` when told to stop before that.
async fn register(server: &Server, queues: &[QueueName], token: &CancellationToken) -> bool {
    let mut outage = Outage::new("register queues");
    for queue in queues {
        while let Err(error) = server.config.broker.register_queue(queue).await {
            tokio::select! {
                () = token.cancelled() => return false,
                () = sleep(outage.failed(&error)) => {}
            }
        }
        outage.ended();
    }
    !token.is_cancelled()
}

impl Ends {
    fn new(token: &CancellationToken) -> Self {
        Self {
            stop: token.child_token(),
            hard_stop: CancellationToken::new(),
            flush: CancellationToken::new(),
            give_up: CancellationToken::new(),
            rest: CancellationToken::new(),
        }
    }
}

impl Worker {
    fn start(
        server: Server,
        handler: Arc<dyn AnyHandler>,
        queues: Vec<QueueName>,
        token: &CancellationToken,
    ) -> Self {
        let info = server_info(&server);
        let Server { config, stats, owner, .. } = server;
        let (sender, reports) = mpsc::channel::<Report>(config.concurrency.max(REPORTS_MIN));
        let ends = Ends::new(token);
        let table = Table::new(queues.len());
        let selection =
            Selection::new(config.queues.iter().map(|(_, weight)| *weight).collect(), config.is_strict);
        let keeper = config.keeps.then(|| {
            Keeper::new(config.broker.clone(), queues.clone(), owner.clone()).archive_limits(config.archive)
        });
        let Builder { broker, policy, events, concurrency, lease, cancel_grace, heartbeat, .. } = config;
        let aggregation = config.aggregator.zip(config.groups.limits().ok());
        let shared = Arc::new(Shared {
            home: Arc::new(Home { broker, owner, queues }),
            handler,
            policy,
            events,
            stats,
            table,
            put_back: PutBack::default(),
            reports: sender,
            lease,
            cancel_grace,
            hard_stop: ends.hard_stop.clone(),
        });
        let mut worker = Self {
            shared,
            ends,
            attempts: TaskTracker::new(),
            parts: JoinSet::new(),
            claimer_ended: CancellationToken::new(),
            finisher_ended: CancellationToken::new(),
            info,
        };
        worker.start_companions(reports, heartbeat);
        worker.start_keeper(keeper);
        worker.start_aggregation(aggregation);
        worker.start_claimer(selection, concurrency);
        worker
    }

    fn start_companions(&mut self, reports: mpsc::Receiver<Report>, heartbeat: Duration) {
        let (shared, rest) = (Arc::clone(&self.shared), self.ends.rest.clone());
        let finisher = Finisher::new(Arc::clone(&shared), reports);
        let finishing = finisher.run(self.ends.flush.clone(), self.ends.give_up.clone());
        let ended = self.finisher_ended.clone().drop_guard();
        self.spawn("finisher", async move {
            let _ended = ended;
            finishing.await;
        });
        self.spawn("lease extender", extend_leases(Arc::clone(&shared), rest.clone()));
        self.spawn("cancellation listener", hear_cancellations(Arc::clone(&shared), rest.clone()));
        let publishing = publish(shared, self.info.clone(), heartbeat, self.ends.stop.clone(), rest);
        self.spawn("monitor", publishing);
    }

    fn start_keeper(&mut self, keeper: Option<Keeper>) {
        let Some(keeper) = keeper else { return };
        let shared = Arc::clone(&self.shared);
        let told = Arc::clone(&self.shared);
        let keeper = keeper.on_expired(move |queue, tasks| told.expired(queue, tasks));
        let keeper = keeper.retry_delay(move |task: &Message| {
            let vanished = HandlerError::msg("worker vanished while running the task");
            shared.policy.delay(&vanished, task, &mut String::new())
        });
        self.spawn("keeper", keeper.run(self.ends.rest.clone()));
    }

    fn start_aggregation(&mut self, aggregation: Option<(Arc<dyn AnyAggregator>, GroupLimits)>) {
        let Some((aggregator, limits)) = aggregation else { return };
        let (shared, rest) = (Arc::clone(&self.shared), self.ends.rest.clone());
        let (sender, endings) = mpsc::channel(ENDINGS_MAX);
        let groups = Groups::new(Arc::clone(&shared), aggregator, limits, sender, self.attempts.clone());
        let groups = Arc::new(groups);
        for queue in 0..shared.home.queues.len() {
            let looking = Arc::clone(&groups).look(queue, self.ends.stop.clone());
            let rest = rest.clone();
            self.spawn("group looker", async move {
                looking.await;
                rest.cancelled().await;
            });
        }
        self.spawn("set finisher", finish_sets(shared, endings, rest));
    }

    fn start_claimer(&mut self, selection: Selection, concurrency: usize) {
        let wake = Arc::new(Notify::new());
        let mut bells = Vec::new();
        for queue in 0..self.shared.home.queues.len() {
            let (bell, listener) = bell(&self.shared.home, queue, &wake);
            bells.push(bell);
            let rest = self.ends.rest.clone();
            self.spawn("bell", async move {
                listener.run(rest.clone()).await;
                // The claim loop ends before it, and a bell without one has nothing to do.
                rest.cancelled().await;
            });
        }
        let claimer = Claimer::new(
            Arc::clone(&self.shared),
            selection,
            bells,
            wake,
            concurrency,
            self.attempts.clone(),
            self.ends.stop.clone(),
        );
        let (ended, stop) = (self.claimer_ended.clone().drop_guard(), self.ends.stop.clone());
        let rest = self.ends.rest.clone();
        self.spawn("claim loop", async move {
            claimer.run().await;
            drop(ended);
            if stop.is_cancelled() {
                rest.cancelled().await;
            }
        });
    }

    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let guarded = AssertUnwindSafe(part).catch_unwind();
        let named = async move {
            if guarded.await.is_err() {
                error!(part = name, "a part of the worker panicked");
            }
            name
        };
        self.parts.spawn(named.instrument(info_span!("worker", part = name)));
    }

    async fn drain(mut self, shutdown_timeout: Duration, hurry: CancellationToken) {
        self.ends.stop.cancel();
        self.attempts.close();
        if hurry.run_until_cancelled(self.all_ended(shutdown_timeout)).await != Some(true) {
            let left = self.shared.table.all();
            if !left.is_empty() {
                warn!(tasks = left.len(), "running tasks did not end in time; they go back to their queues");
            }
            left.iter().for_each(|attempt| attempt.cancel.throw(CancelReason::Shutdown));
            if !self.all_ended(SHUTDOWN_GRACE).await {
                self.ends.hard_stop.cancel();
                self.all_ended(STUCK_GRACE).await;
            }
        }
        self.ends.hard_stop.cancel();
        let _handed_back_or_late = timeout(FAREWELL_TIMEOUT, self.hand_back()).await;
        self.ends.flush.cancel();
        if timeout(FLUSH_TIMEOUT, self.finisher_ended.cancelled()).await.is_err() {
            self.ends.give_up.cancel();
            let _ended_or_late = timeout(STUCK_GRACE, self.finisher_ended.cancelled()).await;
        }
        self.ends.rest.cancel();
        let joined =
            timeout(FAREWELL_TIMEOUT, async { while self.parts.join_next().await.is_some() {} }).await;
        if joined.is_err() {
            debug!("parts of the worker did not end in time");
            self.parts.shutdown().await;
        }
        match timeout(FAREWELL_TIMEOUT, self.shared.home.broker.withdraw_server(&self.info)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(reason = error.reason(), "this worker lapses instead of being withdrawn: {error}")
            }
            Err(_late) => debug!("this worker lapses instead of being withdrawn"),
        }
    }

    /// Waits until no task is being claimed and none runs; `false` when the time is up.
    async fn all_ended(&self, limit: Duration) -> bool {
        let ended = async {
            self.claimer_ended.cancelled().await;
            self.attempts.wait().await;
        };
        timeout(limit, ended).await.is_ok()
    }

    /// Hands back the tasks of handlers that block their thread: nothing else can end those.
    async fn hand_back(&self) {
        for attempt in self.shared.table.all() {
            if attempt.begin_report() {
                warn!(task.id = %attempt.message.id, "a handler does not return; its task goes back to its queue");
                let (finish, result) = requeued(&attempt);
                self.shared.report(Report { attempt, finish, result }).await;
            }
        }
    }
}

fn server_info(server: &Server) -> ServerInfo {
    let config = &server.config;
    let weight = |(name, weight): &(QueueName, u32)| QueueWeight {
        queue: Some(name.to_string()),
        weight: Some(i32::try_from(*weight).unwrap_or(i32::MAX)),
    };
    let mut queues: Vec<QueueWeight> = config.queues.iter().map(weight).collect();
    queues.sort_by(|a, b| a.queue.cmp(&b.queue));
    ServerInfo {
        host: server.host.clone(),
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        server_id: server.run_id.clone(),
        concurrency: i32::try_from(config.concurrency).unwrap_or(i32::MAX),
        queues,
        strict_priority: config.is_strict,
        status: "active".to_owned(),
        started: Some(config.broker.now().into()),
        active_workers: 0,
    }
}
