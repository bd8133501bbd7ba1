//! Looks for ripe groups and aggregates them.
//!
//! One worker at a time looks at a queue's groups, with one call for some fifty of them. What is ripe runs
//! apart, many sets at once, so a slow one holds up no other; a worker that has all it can take gives its turn up.
//! Whatever ends while one call to finish sets is on its way is the next such call.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::aggregate::{AggregationSet, AnyAggregator};
use super::error::panic_text;
use super::group_finish::Ending;
use super::places::{Batch, take_places};
use super::shared::Shared;
use crate::broker::{BrokerError, Duty, GroupLimits, Outage, SetFinish, SetFinished, SetKey, TakenSet, Turn};
use crate::causes::on_one_line;
use crate::producer::Task;

/// Sets that are aggregated at once.
const SETS_AT_ONCE: usize = 240;
/// Sets asked for at once.
const SETS_PER_LOOK: usize = 50;
/// How long a set stays ours without a sign of life.
const LIFE: Duration = Duration::from_secs(60);
/// Pauses between two passes over all groups: a group may fill up at any time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// This long is waited for room for many, so that looks stay large while sets end one by one.
const BATCH_WAIT: Duration = Duration::from_millis(2);
/// Without room for another set for this long, another worker may look.
const ROOM_WAIT: Duration = Duration::from_millis(200);
/// How often it is said when groups are ripe.
const SAY_LIMITS_EVERY: Duration = Duration::from_secs(3600);
/// Pauses after a group's aggregation failed.
const FAILED_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(120);
/// Groups whose failures are remembered.
const FAILING_GROUPS_MAX: usize = 10_000;

/// Aggregates the groups of a worker's queues.
pub(super) struct Groups {
    shared: Arc<Shared>,
    aggregator: Arc<dyn AnyAggregator>,
    limits: GroupLimits,
    room: Arc<Semaphore>,
    endings: mpsc::Sender<Ending>,
    running: TaskTracker,
    /// How often in a row it failed, by queue and group.
    failures: Mutex<HashMap<(usize, Bytes), u32>>,
}

/// Where a look at one queue's groups stands.
struct Look {
    queue: usize,
    turn: Turn,
    cursor: Option<String>,
    /// When the first group seen on this pass is ripe.
    next_ripe: Option<jiff::Timestamp>,
    /// When it was last said when groups are ripe.
    said: Option<Instant>,
}

/// What came of a set.
enum Outcome {
    Made(Box<Task>),
    Failed(String),
    Lost,
    Stopped,
}

impl Groups {
    pub(super) fn new(
        shared: Arc<Shared>,
        aggregator: Arc<dyn AnyAggregator>,
        limits: GroupLimits,
        endings: mpsc::Sender<Ending>,
        running: TaskTracker,
    ) -> Self {
        let room = Arc::new(Semaphore::new(SETS_AT_ONCE));
        Self { shared, aggregator, limits, room, endings, running, failures: Mutex::default() }
    }

    /// Looks at one queue's groups until `stop` is cancelled.
    pub(super) async fn look(self: Arc<Self>, queue: usize, stop: CancellationToken) {
        let mut look =
            Look { queue, turn: Turn::new(Duty::Aggregate), cursor: None, next_ripe: None, said: None };
        let mut outage = Outage::new("look at groups");
        while !stop.is_cancelled() {
            outage.rest_after(self.step(&mut look, &stop).await, &stop).await;
        }
    }

    /// Looks at some groups and returns how long there is nothing to do.
    async fn step(
        self: &Arc<Self>,
        look: &mut Look,
        stop: &CancellationToken,
    ) -> Result<Duration, BrokerError> {
        let Some(room) = self.take_room().await else { return Ok(Duration::ZERO) };
        let home = &self.shared.home;
        let name = &home.queues[look.queue];
        if !look.turn.is_ours(&home.broker, name, &home.owner).await? {
            return Ok(look.turn.next().saturating_duration_since(Instant::now()).max(PAUSE_MIN));
        }
        // Those who decide whether a worker is needed for a group have to know when.
        if look.said.is_none_or(|said| said.elapsed() >= SAY_LIMITS_EVERY) {
            match home.broker.say_group_limits(name, &self.limits).await {
                Ok(()) => look.said = Some(Instant::now()),
                // It is for others, and nothing here depends on it.
                Err(error) => {
                    debug!(queue.name = %name, reason = error.reason(), "not said when groups are ripe")
                }
            }
        }
        let cursor = look.cursor.take();
        let max = room.num_permits();
        let looked = home.broker.take_sets(name, cursor.as_deref(), &self.limits, max, LIFE).await?;
        let found_some = !looked.sets.is_empty();
        self.start(look.queue, looked.sets, room, stop).await;
        look.cursor = looked.cursor;
        look.next_ripe = [look.next_ripe, looked.next_ripe].into_iter().flatten().min();
        if found_some || look.cursor.is_some() {
            return Ok(Duration::ZERO);
        }
        let ahead = look.next_ripe.take().map(|at| at.duration_since(home.broker.now()));
        let ahead = ahead.map_or(PAUSE_MAX, |ahead| Duration::try_from(ahead).unwrap_or(Duration::ZERO));
        Ok(ahead.clamp(PAUSE_MIN, PAUSE_MAX))
    }

    /// Room for at least one set; `None` when there was none for a while.
    async fn take_room(&self) -> Option<OwnedSemaphorePermit> {
        let batch = Batch { places: SETS_PER_LOOK as u32 / 2, wait: BATCH_WAIT };
        let one = async { timeout(ROOM_WAIT, Arc::clone(&self.room).acquire_owned()).await.ok()?.ok() };
        take_places(&self.room, Some(batch), SETS_PER_LOOK, one).await
    }

    /// Has sets read and aggregated, or gives them back when the worker stops.
    async fn start(
        self: &Arc<Self>,
        queue: usize,
        sets: Vec<SetKey>,
        room: OwnedSemaphorePermit,
        stop: &CancellationToken,
    ) {
        if stop.is_cancelled() {
            for set in sets {
                self.hold(queue, &set.key, Duration::ZERO).await;
            }
        } else if !sets.is_empty() {
            // Apart, so that the next look is on its way while these are read.
            self.running.spawn(Arc::clone(self).read(queue, sets, room));
        }
    }

    async fn read(self: Arc<Self>, queue: usize, sets: Vec<SetKey>, mut room: OwnedSemaphorePermit) {
        let home = &self.shared.home;
        let mut outage = Outage::new("read aggregation sets");
        let read = loop {
            match home.broker.read_sets(&home.queues[queue], sets.clone()).await {
                Ok(read) => break read,
                Err(error) if error.is_retryable() => tokio::select! {
                    () = sleep(outage.failed(&error)) => {}
                    () = self.shared.hard_stop.cancelled() => return,
                },
                Err(error) => {
                    let (name, sets) = (&home.queues[queue], sets.len());
                    error!(queue.name = %name, sets, "cannot read aggregation sets, they go back: {error}");
                    return;
                }
            }
        };
        for set in read {
            match room.split(1) {
                Some(place) => drop(self.running.spawn(Arc::clone(&self).run(queue, set, place))),
                None => self.hold(queue, &set.key, Duration::ZERO).await,
            }
        }
    }

    /// Aggregates one set to its end.
    async fn run(self: Arc<Self>, queue: usize, taken: TakenSet, place: OwnedSemaphorePermit) {
        let TakenSet { group, key, tasks, unreadable } = taken;
        if !self.quarantine(queue, &key, unreadable).await {
            return self.hold(queue, &key, FAILED_PAUSE_MIN).await;
        }
        if tasks.is_empty() {
            return self.hold(queue, &key, Duration::ZERO).await;
        }
        let home = &self.shared.home;
        let set = AggregationSet {
            queue: home.queues[queue].clone(),
            group: String::from_utf8_lossy(&group).as_ref().into(),
            tasks: tasks.into(),
        };
        let outcome = match self.call(queue, &key, set.clone()).await {
            Outcome::Made(task) => self.finish(queue, &key, &set, *task).await,
            other => other,
        };
        match outcome {
            Outcome::Made(_) => self.forget_failures(queue, group),
            Outcome::Failed(problem) => {
                let pause = self.note_failure(queue, group);
                let (name, tasks, seconds) = (&home.queues[queue], set.tasks.len(), pause.as_secs());
                error!(queue.name = %name, group = set.group(), tasks, problem, "cannot aggregate; tried again in {seconds} s");
                self.hold(queue, &key, pause).await;
            }
            Outcome::Lost => {
                warn!(queue.name = %home.queues[queue], group = set.group(), "an aggregation set went back to its group meanwhile");
            }
            Outcome::Stopped => self.hold(queue, &key, Duration::ZERO).await,
        }
        drop(place);
    }

    async fn call(&self, queue: usize, key: &[u8], set: AggregationSet) -> Outcome {
        let called = AssertUnwindSafe(Arc::clone(&self.aggregator).call(set)).catch_unwind();
        tokio::select! {
            biased;
            made = called => match made {
                Ok(Ok(task)) => Outcome::Made(Box::new(task)),
                Ok(Err(error)) => Outcome::Failed(on_one_line(error.as_ref())),
                Err(panic) => Outcome::Failed(panic_text(panic.as_ref())),
            },
            () = self.keep_alive(queue, key) => Outcome::Lost,
            () = self.shared.hard_stop.cancelled() => Outcome::Stopped,
        }
    }

    /// Holds a set until it is found gone.
    async fn keep_alive(&self, queue: usize, key: &[u8]) {
        let home = &self.shared.home;
        let mut outage = Outage::new("hold an aggregation set");
        let mut pause = LIFE / 3;
        loop {
            sleep(pause).await;
            pause = match home.broker.hold_set(&home.queues[queue], key, LIFE).await {
                Ok(true) => {
                    outage.ended();
                    LIFE / 3
                }
                Ok(false) => return,
                Err(error) => outage.failed(&error),
            };
        }
    }

    /// Puts what was made in the place of its set.
    async fn finish(&self, queue: usize, key: &Bytes, set: &AggregationSet, task: Task) -> Outcome {
        let home = &self.shared.home;
        let Some(forced) = task.clone().forced_into(&home.queues[queue]) else {
            let problem = "the new task names another queue; it goes to the queue of its group, name none";
            return Outcome::Failed(problem.to_owned());
        };
        let new = match forced.to_message(home.broker.now()) {
            Ok(new) => new,
            Err(error) => return Outcome::Failed(on_one_line(&error)),
        };
        let finish = SetFinish::new(key.clone(), &set.tasks, new);
        let ended = Ending::send(&self.endings, queue, finish);
        let verdict = tokio::select! {
            verdict = ended => verdict,
            () = self.shared.hard_stop.cancelled() => None,
        };
        match verdict {
            Some(Ok(SetFinished::Stored)) => Outcome::Made(Box::new(task)),
            Some(Ok(SetFinished::Lost)) => Outcome::Lost,
            Some(Ok(SetFinished::Refused(why))) => {
                Outcome::Failed(format!("the new task is not stored: {why:?}"))
            }
            Some(Err(problem)) => Outcome::Failed(problem),
            None => Outcome::Stopped,
        }
    }

    /// Archives what nobody can read; `false` when Redis did not take it: the set must not end with it inside.
    async fn quarantine(&self, queue: usize, key: &[u8], unreadable: Vec<(Bytes, Bytes, String)>) -> bool {
        let home = &self.shared.home;
        for (raw_id, raw, reason) in unreadable {
            let id = String::from_utf8_lossy(&raw_id);
            match home.broker.quarantine_member(&home.queues[queue], key, &raw_id, raw, &reason).await {
                Ok(_) => warn!(task.id = %id, queue.name = %home.queues[queue], "task {id} cannot be read"),
                Err(error) => {
                    warn!(
                        reason = error.reason(),
                        "an unreadable task is not archived: {}",
                        on_one_line(&error)
                    );
                    return false;
                }
            }
        }
        true
    }

    /// Says when the set goes back; without an answer it goes back when its life is over.
    async fn hold(&self, queue: usize, key: &[u8], life: Duration) {
        let home = &self.shared.home;
        if let Err(error) = home.broker.hold_set(&home.queues[queue], key, life).await {
            debug!(reason = error.reason(), "an aggregation set goes back later than it could: {error}");
        }
    }

    fn note_failure(&self, queue: usize, group: Bytes) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= FAILING_GROUPS_MAX {
            failures.clear();
        }
        let times = failures.entry((queue, group)).or_default();
        *times += 1;
        (FAILED_PAUSE_MIN * 2u32.pow((*times - 1).min(7))).min(FAILED_PAUSE_MAX)
    }

    fn forget_failures(&self, queue: usize, group: Bytes) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&(queue, group));
    }
}
