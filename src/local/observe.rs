//! Reading what scaling needs to know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::broker::{Backlog, Broker, BrokerError};
use crate::scaling::Snapshot;
use crate::task::QueueName;

/// How much a new measurement weighs against the old ones.
const WEIGHT: f64 = 0.2;
/// Lead time until one was measured: what starting a process takes at most.
const LEAD_TIME_GUESS: Duration = Duration::from_secs(1);

/// What was learned about the work of one fleet.
#[derive(Debug)]
pub(super) struct Observer {
    lead_time: Duration,
    /// Seconds a run takes.
    run_time_s: Option<f64>,
    /// When it last looked, and how many attempts had ended by then.
    last: Option<(Instant, u64)>,
    /// Task-seconds run since an attempt last ended.
    running_s: f64,
    /// The processes known, and since when the first sign of each is awaited.
    awaited: BTreeMap<u32, Option<Instant>>,
}

impl Observer {
    pub(super) fn new() -> Self {
        Self {
            lead_time: LEAD_TIME_GUESS,
            run_time_s: None,
            last: None,
            running_s: 0.0,
            awaited: BTreeMap::new(),
        }
    }

    /// What there is to do now. `pids` are the processes of the fleet.
    pub(super) async fn look(
        &mut self,
        broker: &Broker,
        queues: &[QueueName],
        pids: &[u32],
    ) -> Result<Snapshot, BrokerError> {
        let mut sum = Backlog::default();
        for queue in queues {
            let one = broker.backlog(queue, self.lead_time).await?;
            sum.pending += one.pending;
            sum.active += one.active;
            sum.due_soon += one.due_soon;
            sum.ticks_soon += one.ticks_soon;
            sum.processed += one.processed;
            sum.next_tick = [sum.next_tick, one.next_tick].into_iter().flatten().min();
        }
        self.learn_run_time(sum.active, sum.processed);
        let now = broker.now();
        Ok(Snapshot {
            active: sum.active,
            pending: sum.pending,
            due_soon: sum.due_soon,
            ticks_soon: sum.ticks_soon,
            run_time: self.run_time_s.map(Duration::from_secs_f64),
            lead_time: self.lead_time,
            next_tick: sum.next_tick.map(|tick| until(now, tick)),
            current: u32::try_from(pids.len()).unwrap_or(u32::MAX),
        })
    }

    /// How many tasks each process holds, as it says itself; learns how long new ones take to say anything.
    pub(super) async fn holding(
        &mut self,
        broker: &Broker,
        pids: &[u32],
    ) -> Result<BTreeMap<u32, u64>, BrokerError> {
        for &pid in pids {
            self.awaited.entry(pid).or_insert_with(|| Some(Instant::now()));
        }
        self.awaited.retain(|pid, _| pids.contains(pid));
        let mut held = BTreeMap::new();
        for server in broker.servers().await? {
            let Some((&pid, awaited)) = u32::try_from(server.info.pid)
                .ok()
                .and_then(|pid| self.awaited.iter_mut().find(|(known, _)| **known == pid))
            else {
                continue;
            };
            held.insert(pid, u64::from(server.info.active_workers.unsigned_abs()));
            if let Some(started) = awaited.take() {
                self.lead_time = mean(self.lead_time.as_secs_f64(), started.elapsed().as_secs_f64());
            }
        }
        Ok(held)
    }

    /// Little's law: the tasks that ran over a time, divided by those that ended in it, is how long one runs.
    fn learn_run_time(&mut self, active: u64, processed: u64) {
        let now = Instant::now();
        let Some((then, before)) = self.last.replace((now, processed)) else { return };
        self.running_s += active as f64 * now.duration_since(then).as_secs_f64();
        let ended = processed.saturating_sub(before);
        if ended == 0 {
            return;
        }
        let measured = self.running_s / ended as f64;
        self.running_s = 0.0;
        self.run_time_s = Some(self.run_time_s.map_or(measured, |old| old + WEIGHT * (measured - old)));
    }
}

fn mean(old: f64, new: f64) -> Duration {
    Duration::from_secs_f64((old + WEIGHT * (new - old)).max(0.0))
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}
