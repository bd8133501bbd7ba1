//! Keeping one queue.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Keeper, doors};
use crate::broker::{BrokerError, Dropped, Duty, ExpirySearch, Outage, Turn};
use crate::task::QueueName;

/// A task scheduled since the last look may be due sooner than the one we wait for.
const FORWARD_EVERY: Duration = Duration::from_millis(200);
const RECOVER_EVERY: Duration = Duration::from_secs(1);
const CLEAN_EVERY: Duration = Duration::from_secs(2);
const EXPIRE_EVERY: Duration = Duration::from_secs(2);
/// A due time a hair ahead, or already past by our clock only, must not make a tight loop.
const PAUSE_MIN: Duration = Duration::from_millis(1);

pub(super) struct QueueKeeper<'a> {
    keeper: &'a Keeper,
    queue: &'a QueueName,
    turn: Turn,
    next_forward: Instant,
    next_recover: Instant,
    next_clean: Instant,
    next_expire: Instant,
    /// From where in `active` to look for strays next time.
    clean_from: usize,
    /// How far the search for late tasks has come.
    search: ExpirySearch,
    /// Dropped from the archive and not told yet.
    dropped: Dropped,
}

impl<'a> QueueKeeper<'a> {
    pub(super) fn new(keeper: &'a Keeper, queue: &'a QueueName) -> Self {
        let now = Instant::now();
        Self {
            keeper,
            queue,
            turn: Turn::new(Duty::Keep),
            next_forward: now,
            next_recover: now,
            next_clean: now,
            next_expire: now,
            clean_from: 0,
            search: ExpirySearch::default(),
            dropped: Dropped::default(),
        }
    }

    pub(super) async fn run(mut self, token: &CancellationToken) {
        let mut outage = Outage::new("keep a queue");
        let mut door = self.keeper.door.clone();
        while !token.is_cancelled() {
            let step = self.step().await;
            let is_all_done = step.as_ref().is_ok_and(|rest| !rest.is_zero());
            outage.rest_after(step, token).await;
            if let Some(door) = door.as_mut().filter(|_| is_all_done) {
                doors::pass(door, token).await;
            }
        }
    }

    /// Does what is due and returns how long there is nothing to do.
    async fn step(&mut self) -> Result<Duration, BrokerError> {
        let now = Instant::now();
        let is_ours = self.turn.is_ours(&self.keeper.broker, self.queue, &self.keeper.owner).await?;
        let next_turn = self.turn.next();
        if !is_ours {
            return Ok(next_turn.saturating_duration_since(Instant::now()));
        }
        let mut refused = Ok(());
        if now >= self.next_forward {
            refused = go_on(refused, self.forward(now).await)?;
        }
        if now >= self.next_recover {
            refused = go_on(refused, self.recover(now).await)?;
        }
        if now >= self.next_clean {
            refused = go_on(refused, self.clean(now).await)?;
        }
        if now >= self.next_expire {
            refused = go_on(refused, self.expire(now).await)?;
        }
        refused?;
        let next = next_turn.min(self.next_forward).min(self.next_recover);
        let next = next.min(self.next_clean).min(self.next_expire);
        Ok(next.saturating_duration_since(Instant::now()))
    }

    async fn forward(&mut self, now: Instant) -> Result<(), BrokerError> {
        let forwarded = self.keeper.broker.forward(self.queue).await?;
        let until_due = forwarded.next_due.map(|due| {
            let ahead = due.duration_since(self.keeper.broker.now_in(self.queue.as_str()));
            Duration::try_from(ahead).unwrap_or(Duration::ZERO)
        });
        self.next_forward = match (forwarded.more, until_due) {
            (true, _) => now,
            (false, Some(due)) => now + due.clamp(PAUSE_MIN, FORWARD_EVERY),
            (false, None) => now + FORWARD_EVERY,
        };
        Ok(())
    }

    async fn recover(&mut self, now: Instant) -> Result<(), BrokerError> {
        let recovered = self.keeper.broker.recover(self.queue, &*self.keeper.retry_delay).await?;
        self.next_recover = if recovered.more { now } else { now + RECOVER_EVERY };
        if recovered.requeued + recovered.retried + recovered.archived + recovered.cancelled > 0 {
            warn!(
                queue.name = %self.queue,
                requeued = recovered.requeued,
                retried = recovered.retried,
                archived = recovered.archived,
                cancelled = recovered.cancelled,
                "tasks came back from workers that no longer extend their leases"
            );
        }
        Ok(())
    }

    /// Archives what nobody began in time; a claim does the same.
    async fn expire(&mut self, now: Instant) -> Result<(), BrokerError> {
        let broker = &self.keeper.broker;
        let oldest = broker.expire_unstarted(self.queue).await?;
        let step = broker.search_unstarted(self.queue, &mut self.search).await?;
        self.next_expire = if step.more { now } else { now + EXPIRE_EVERY };
        let tasks = oldest + step.expired;
        if tasks > 0 {
            warn!(queue.name = %self.queue, tasks, "archived tasks that nobody had begun in time");
            if let Some(on_expired) = &self.keeper.on_expired {
                on_expired(self.queue, tasks);
            }
        }
        Ok(())
    }

    async fn clean(&mut self, now: Instant) -> Result<(), BrokerError> {
        let broker = &self.keeper.broker;
        let cleaned = broker.clean(self.queue, self.keeper.archive, self.clean_from).await?;
        let renewed = broker.renew_locks(self.queue).await?;
        let (reclaimed, more_sets) = broker.reclaim_sets(self.queue).await?;
        self.clean_from = cleaned.next_place;
        let more = cleaned.more || renewed.more || more_sets;
        self.next_clean = if more { now } else { now + CLEAN_EVERY };
        if reclaimed > 0 {
            warn!(queue.name = %self.queue, sets = reclaimed, "tasks of unfinished aggregation sets went back to their groups");
        }
        if cleaned.expired > 0 {
            debug!(queue.name = %self.queue, tasks = cleaned.expired, "deleted tasks past their retention");
        }
        self.note_dropped(cleaned.dropped, cleaned.more);
        if cleaned.stranded > 0 {
            warn!(queue.name = %self.queue, tasks = cleaned.stranded, "repaired what stood in active without a lease");
        }
        Ok(())
    }

    /// Tells of tasks that the limits of the archive cost: once for a whole run of steps.
    fn note_dropped(&mut self, dropped: Dropped, more: bool) {
        self.dropped.age += dropped.age;
        self.dropped.number += dropped.number;
        if more || self.dropped.total() == 0 {
            return;
        }
        let dropped = std::mem::take(&mut self.dropped);
        warn!(
            queue.name = %self.queue,
            for_age = dropped.age,
            for_number = dropped.number,
            "dropped {} tasks from the archive of queue {}: it is over its limits",
            dropped.total(),
            self.queue
        );
        if let Some(on_drop) = &self.keeper.on_drop {
            on_drop(self.queue, dropped);
        }
    }
}

/// What Redis refuses in one step, for example since a key is of another type, is no reason to leave the others undone;
/// when it cannot be reached it is.
fn go_on(
    earlier: Result<(), BrokerError>,
    step: Result<(), BrokerError>,
) -> Result<Result<(), BrokerError>, BrokerError> {
    match step {
        Err(error) if error.is_retryable() => Err(error),
        step => Ok(earlier.and(step)),
    }
}
