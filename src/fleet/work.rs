//! The work in all queues of a fleet.

use std::time::Duration;

use jiff::Timestamp;

use crate::broker::Demand;
use crate::scaling::Snapshot;

/// What the queues of one fleet ask for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    seen: Snapshot,
    processed: u64,
}

impl Work {
    /// The work there is in these queues.
    #[must_use]
    pub fn of<'a>(demands: impl IntoIterator<Item = &'a Demand>) -> Self {
        let mut work = Self::default();
        for demand in demands {
            work.add(demand);
        }
        work
    }

    fn add(&mut self, demand: &Demand) {
        let seen = &mut self.seen;
        self.processed += demand.processed;
        // Other programs may write what is no number of ours: a lease without a task counts for no more than there are.
        let expired = demand.expired.min(demand.active);
        seen.active += demand.active - expired;
        seen.aggregating += demand.aggregating;
        let waiting = [
            (&mut seen.pending, demand.pending),
            (&mut seen.expired, expired),
            (&mut seen.scheduled_soon, demand.scheduled_soon),
            (&mut seen.retry_soon, demand.retry_soon),
            (&mut seen.ripe_groups, demand.ripe_groups),
            (&mut seen.waiting_ticks, demand.waiting_ticks),
            (&mut seen.ticks_soon, demand.ticks_soon),
        ];
        if demand.is_paused {
            seen.held_back += waiting.iter().map(|(_, number)| number).sum::<u64>();
            return;
        }
        for (sum, number) in waiting {
            *sum += number;
        }
        let until =
            |tick: Timestamp| Duration::try_from(tick.duration_since(demand.now)).unwrap_or(Duration::ZERO);
        let next = demand.next_tick.map(until);
        seen.next_tick = [seen.next_tick, next].into_iter().flatten().min();
    }

    /// Whether no task runs, and none can be claimed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.seen.active == 0 && self.seen.pending == 0 && self.seen.expired == 0
    }

    /// Tasks that run.
    pub(super) fn active(&self) -> u64 {
        self.seen.active
    }

    /// Attempts ended ever.
    pub(super) fn processed(&self) -> u64 {
        self.processed
    }

    /// What is decided from, where nothing is known of the fleet itself yet.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand() -> Demand {
        Demand {
            now: Timestamp::UNIX_EPOCH,
            is_paused: false,
            pending: 0,
            active: 0,
            expired: 0,
            scheduled_soon: 0,
            retry_soon: 0,
            aggregating: 0,
            groups: 0,
            ripe_groups: 0,
            waiting_ticks: 0,
            ticks_soon: 0,
            next_tick: None,
            processed: 0,
        }
    }

    #[test]
    fn what_waits_in_a_paused_queue_is_held_back_and_what_runs_there_counts() {
        let tick = Some(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(9));
        let paused = Demand {
            is_paused: true,
            pending: 10_000,
            active: 3,
            expired: 1,
            retry_soon: 5,
            ticks_soon: 1,
            next_tick: tick,
            ..demand()
        };
        let open = Demand { pending: 2, active: 1, next_tick: None, ..demand() };
        let seen = Work::of([&paused, &open]).snapshot();
        assert_eq!((seen.pending, seen.retry_soon, seen.ticks_soon, seen.next_tick), (2, 0, 0, None));
        assert_eq!((seen.active, seen.held_back), (3, 10_007));
    }

    #[test]
    fn the_work_of_several_queues_is_one_sum_and_the_nearest_tick_is_the_next() {
        let tick = |seconds| Some(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds));
        let one = Demand { scheduled_soon: 1, active: 2, expired: 5, next_tick: tick(9), ..demand() };
        let other = Demand { scheduled_soon: 2, ripe_groups: 4, next_tick: tick(-3), ..demand() };
        let work = Work::of([&one, &other]);
        let seen = work.snapshot();
        assert_eq!((seen.scheduled_soon, seen.ripe_groups, seen.active, seen.expired), (3, 4, 0, 2));
        assert_eq!(seen.next_tick, Some(Duration::ZERO), "it is due already");
        assert!(!work.is_idle() && Work::of([&demand()]).is_idle());
    }
}
