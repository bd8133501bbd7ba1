//! What is learned from watching one fleet work: how long a run takes, and how long a worker takes to start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::broker::{Backlog, LiveServer};
use crate::scaling::Snapshot;

/// How much a new measurement weighs against the old ones.
const WEIGHT: f64 = 0.2;
/// Lead time until one was measured: what starting a process takes at most.
const LEAD_TIME_GUESS: Duration = Duration::from_secs(1);
/// A worker that gave no sign of life for so long will give none: not every program shows itself in Redis.
const SIGN_LIMIT: Duration = Duration::from_secs(30);

/// What was learned about the work of one fleet. It learns anew in each run.
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
            run_time_s: None,
            last: None,
            running_s: 0.0,
            awaited: BTreeMap::new(),
        }
    }

    /// How far ahead it looks: as long as a new worker needs.
    pub(super) fn lead_time(&self) -> Duration {
        self.lead_time
    }

    /// What there is to do, as read at `at`, which was `now` by Redis's clock; `workers` stay.
    pub(super) fn snapshot(&mut self, work: &Backlog, at: Instant, now: Timestamp, workers: u32) -> Snapshot {
        self.learn_run_time(work.active, work.processed, at);
        Snapshot {
            active: work.active,
            pending: work.pending,
            due_soon: work.due_soon,
            ticks_soon: work.ticks_soon,
            run_time: self.run_time_s.map(Duration::from_secs_f64),
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

    /// Little's law: the tasks that ran over a time, divided by those that ended in it, is how long one runs.
    ///
    /// Runs far shorter than the time between two looks come out as nearly nothing, which is right for them: one
    /// slot does many in that time.
    fn learn_run_time(&mut self, active: u64, processed: u64, at: Instant) {
        let Some((then, before)) = self.last.replace((at, processed)) else { return };
        self.running_s += active as f64 * at.duration_since(then).as_secs_f64();
        let ended = processed.saturating_sub(before);
        if ended == 0 {
            return;
        }
        let measured = self.running_s / ended as f64;
        self.running_s = 0.0;
        self.run_time_s = Some(self.run_time_s.map_or(measured, |old| approach(old, measured)));
    }
}

/// An average in which older measurements count less and less.
fn approach(old: f64, new: f64) -> f64 {
    (old + WEIGHT * (new - old)).max(0.0)
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ServerInfo;

    const LOOK: Duration = Duration::from_millis(250);

    /// The run time learned from looks at (active, processed), 250 ms apart.
    fn learned(looks: impl IntoIterator<Item = (u64, u64)>) -> Option<f64> {
        let (mut observer, start) = (Observer::new(), Instant::now());
        for (place, (active, processed)) in (0..).zip(looks) {
            let work = Backlog { active, processed, ..Backlog::default() };
            observer.snapshot(&work, start + LOOK * place, Timestamp::UNIX_EPOCH, 0);
        }
        observer.run_time_s
    }

    #[test]
    fn the_run_time_of_a_steady_stream_is_found_whatever_its_length() {
        // Twenty at a time for three seconds each: one ends every 150 ms.
        let steady = learned((0..400).map(|look| (20, look * 250 / 150))).unwrap();
        assert!((2.7..3.3).contains(&steady), "{steady}");
        // One run of a minute after another.
        let long = learned((0..1200).map(|look| (1, look / 240))).unwrap();
        assert!((57.0..63.0).contains(&long), "{long}");
        // Thousands a second: hardly ever is one seen running.
        let short = learned((0..100).map(|look| (look % 2, look * 500))).unwrap();
        assert!(short < 0.001, "{short}");
    }

    #[test]
    fn nothing_is_learned_before_a_run_has_ended_or_when_the_counter_starts_again() {
        assert_eq!(learned((0..100).map(|_| (5, 7))), None);
        assert_eq!(learned([(0, 1000), (0, 0), (0, 0)]), None);
    }

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
        };
        let servers = [server("here", 7, 2), server("there", 7, 0), server("there", 8, 5)];
        assert_eq!(held_on("here", &servers), Held::from([(7, 2)]));
    }
}
