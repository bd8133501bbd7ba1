//! What is learned from watching one fleet work: how long a run takes, and how long a worker takes to start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::broker::{Backlog, LiveServer};
use crate::scaling::{RunTime, Snapshot, approach};

/// Lead time until one was measured: what starting a process takes at most.
const LEAD_TIME_GUESS: Duration = Duration::from_secs(1);
/// A worker that gave no sign of life for so long will give none: not every program shows itself in Redis.
const SIGN_LIMIT: Duration = Duration::from_secs(30);

/// What was learned about the work of one fleet. It learns anew in each run.
#[derive(Debug)]
pub(super) struct Observer {
    lead_time: Duration,
    run_time: RunTime,
    started: Instant,
    /// The processes known, and since when the first sign of each is awaited.
    awaited: BTreeMap<u32, Option<Instant>>,
}

/// What live workers on this machine say they hold, by process id.
pub(super) type Held = BTreeMap<u32, u64>;

/// The workers on this host among all of them: elsewhere, another process may have the same id.
pub(super) fn held_on(host: &str, servers: &[LiveServer]) -> Held {
    let here = servers.iter().filter(|server| server.info.host == host);
    let held = |server: &LiveServer| {
        let said = u64::try_from(server.info.active_workers).unwrap_or(0);
        Some((u32::try_from(server.info.pid).ok()?, said.max(server.running.len() as u64)))
    };
    here.filter_map(held).collect()
}

impl Observer {
    pub(super) fn new() -> Self {
        Self {
            lead_time: LEAD_TIME_GUESS,
            run_time: RunTime::default(),
            started: Instant::now(),
            awaited: BTreeMap::new(),
        }
    }

    /// How far ahead it looks: as long as a new worker needs.
    pub(super) fn lead_time(&self) -> Duration {
        self.lead_time
    }

    /// What there is to do, as read at `at`, which was `now` by Redis's clock; `workers` stay.
    pub(super) fn snapshot(&mut self, work: &Backlog, at: Instant, now: Timestamp, workers: u32) -> Snapshot {
        self.run_time.learn(work.active, work.processed, at.saturating_duration_since(self.started));
        Snapshot {
            active: work.active,
            pending: work.pending,
            due_soon: work.due_soon,
            ticks_soon: work.ticks_soon,
            run_time: self.run_time.get(),
            lead_time: self.lead_time,
            next_tick: work.next_tick.map(|tick| until(now, tick)),
            current: workers,
        }
    }

    /// Notes which processes there are. Answers whether the first sign of any is awaited.
    pub(super) fn awaits(&mut self, staying: impl Iterator<Item = (u32, Instant)>, at: Instant) -> bool {
        let before = std::mem::take(&mut self.awaited);
        for (pid, started) in staying {
            let awaited = before.get(&pid).copied().unwrap_or(Some(started));
            let awaited = awaited.filter(|since| at.duration_since(*since) < SIGN_LIMIT);
            self.awaited.insert(pid, awaited);
        }
        self.awaited.values().any(Option::is_some)
    }

    /// Learns from the first signs of new processes how long one takes to start.
    pub(super) fn hear(&mut self, held: &Held, at: Instant) {
        for (pid, awaited) in &mut self.awaited {
            if held.contains_key(pid)
                && let Some(started) = awaited.take()
            {
                let took = at.duration_since(started).as_secs_f64();
                self.lead_time = Duration::from_secs_f64(approach(self.lead_time.as_secs_f64(), took));
            }
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ServerInfo;

    #[test]
    fn the_lead_time_is_learned_once_from_each_worker_that_shows_itself() {
        let (mut observer, start) = (Observer::new(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let staying = || [(7, start), (8, start)].into_iter();
        assert!(observer.awaits(staying(), at(0)));
        observer.hear(&Held::from([(7, 0), (9, 4)]), at(500));
        assert_eq!(observer.lead_time(), Duration::from_millis(900));
        observer.hear(&Held::from([(7, 0)]), at(9000));
        assert_eq!(observer.lead_time(), Duration::from_millis(900), "known already");
        assert!(observer.awaits(staying(), at(29_999)), "the other one may still come");
        assert!(!observer.awaits(staying(), at(30_000)), "it never shows itself");
    }

    #[test]
    fn only_workers_on_this_host_are_ours() {
        let server = |host: &str, pid, active_workers| LiveServer {
            info: ServerInfo { host: host.into(), pid, active_workers, ..ServerInfo::default() },
            running: Vec::new(),
            types: None,
        };
        let servers = [server("here", 7, 2), server("there", 7, 0), server("there", 8, 5)];
        assert_eq!(held_on("here", &servers), Held::from([(7, 2)]));
    }
}
