//! The worker processes of one TaskQueue.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::group::Group;
use super::guard::Guard;
use super::manifest::CommandLine;

/// A process that ended sooner than this after its start counts as failed.
const SOON: Duration = Duration::from_secs(5);
/// Pause before a failed process is started again; doubles with each failure in a row.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Variables that are ours and mean nothing for our workers, or something wrong: they would all listen at the
/// same address, as a file may say too.
const OURS_ALONE: [&str; 3] = ["CRONMILL_CONFIG", "CRONMILL_LISTEN", "CRONMILL_REDIS_CA"];

/// Worker processes, and those of them that are on their way out.
#[derive(Debug)]
pub(super) struct Fleet {
    name: String,
    command: CommandLine,
    guard: Guard,
    workers: Vec<Worker>,
    /// Groups whose first process has ended before the others.
    strays: Vec<Group>,
    restarts: Restarts,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    group: Group,
    started: Instant,
    leaving: bool,
}

/// How long to wait after processes that fail.
#[derive(Debug, Default)]
struct Restarts {
    failures: u32,
    not_before: Option<Instant>,
}

impl Fleet {
    pub(super) fn new(name: String, command: CommandLine, guard: Guard) -> Self {
        Self { name, command, guard, workers: Vec::new(), strays: Vec::new(), restarts: Restarts::default() }
    }

    /// `namespace/name` of its TaskQueue.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The process ids of those that stay, with the times of their starts.
    pub(super) fn staying(&self) -> impl Iterator<Item = (u32, Instant)> {
        let staying = self.workers.iter().filter(|worker| !worker.leaving);
        staying.map(|worker| (worker.group.leader(), worker.started))
    }

    /// How many stay.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.staying().count()).unwrap_or(u32::MAX)
    }

    /// How many there are, those on their way out included.
    pub(super) fn processes(&self) -> usize {
        self.workers.len()
    }

    /// Whether nothing is left of any.
    pub(super) fn is_gone(&self) -> bool {
        self.workers.is_empty() && self.strays.is_empty()
    }

    /// Notes how processes are to be started from now on. Where that is different, those there are finish what
    /// they hold and leave; the next [`resize`](Self::resize) starts others beside them.
    pub(super) fn change(&mut self, command: CommandLine) {
        if self.command != command {
            self.command = command;
            self.restarts = Restarts::default();
            self.resize(0, &BTreeMap::new());
        }
    }

    /// Starts or sends away as many as it takes. `busy` tells how many tasks a process holds: idle ones go
    /// first, and one that holds tasks finishes them before it ends.
    pub(super) fn resize(&mut self, wanted: u32, busy: &BTreeMap<u32, u64>) {
        let here = self.len();
        for _ in here..wanted {
            if !self.restarts.may(Instant::now()) || !self.start() {
                break;
            }
        }
        let mut surplus: Vec<_> = self.workers.iter_mut().filter(|worker| !worker.leaving).collect();
        surplus.sort_by_key(|worker| {
            let held = busy.get(&worker.group.leader()).copied().unwrap_or(0);
            (held, std::cmp::Reverse(worker.started))
        });
        for worker in surplus.into_iter().take(here.saturating_sub(wanted) as usize) {
            worker.leaving = true;
            worker.group.signal_leader(Signal::TERM);
        }
    }

    /// Asks those on their way out to go now: what they hold goes back to its queue.
    pub(super) fn hurry(&self) {
        for worker in &self.workers {
            worker.group.signal_leader(Signal::TERM);
        }
    }

    /// Ends whatever is left of it.
    pub(super) fn kill(&self) {
        let groups = self.workers.iter().map(|worker| worker.group).chain(self.strays.iter().copied());
        groups.for_each(|group| group.signal_all(Signal::KILL));
    }

    /// Notes which processes have ended.
    pub(super) fn reap(&mut self) {
        let mut failed = None;
        for worker in self.workers.extract_if(.., |worker| !matches!(worker.child.try_wait(), Ok(None))) {
            // Whatever it started itself has lost its purpose. Where it left as it was told, they may hold tasks.
            worker.group.signal_all(if worker.leaving { Signal::TERM } else { Signal::KILL });
            self.strays.push(worker.group);
            if !worker.leaving {
                failed = Some(worker);
            }
        }
        for gone in self.strays.extract_if(.., |group| !group.is_alive()) {
            self.guard.forget(gone);
        }
        if let Some(mut worker) = failed {
            let status = worker.child.try_wait().ok().flatten().map(|status| status.to_string());
            self.restarts.ended(Instant::now(), worker.started.elapsed());
            let (program, status) = (&self.command.program, status.unwrap_or_default());
            tracing::warn!(fleet = %self.name, %program, %status, "a worker ended by itself; it is started again");
        }
    }

    fn start(&mut self) -> bool {
        let line = &self.command;
        let mut command = Command::new(&line.program);
        command.args(&line.arguments);
        for name in OURS_ALONE {
            command.env_remove(name);
        }
        command.envs(&line.environment);
        // Our standard output carries events, and nothing else.
        command.stdin(Stdio::null()).stdout(io::stderr());
        // Out of the terminal's group: it is ours to tell them when to go.
        command.process_group(0);
        if let Some(folder) = &line.folder {
            command.current_dir(folder);
        }
        match command.spawn() {
            Ok(child) => {
                let group = child.id().and_then(Group::of).expect("a process just started has an id");
                self.guard.watch_worker(group);
                self.workers.push(Worker { child, group, started: Instant::now(), leaving: false });
                true
            }
            Err(error) => {
                self.restarts.ended(Instant::now(), Duration::ZERO);
                let program = &line.program;
                tracing::error!(fleet = %self.name, %program, %error, "a worker cannot be started; trying on");
                false
            }
        }
    }
}

impl Restarts {
    /// Whether a process may be started now.
    fn may(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|then| now >= then)
    }

    /// Notes that a process ended by itself after it `lived` that long.
    fn ended(&mut self, now: Instant, lived: Duration) {
        if lived >= SOON {
            *self = Self::default();
            return;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_fails_at_once_is_started_again_ever_more_slowly() {
        let (mut restarts, mut now) = (Restarts::default(), Instant::now());
        assert!(restarts.may(now));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            restarts.ended(now, Duration::from_millis(10));
            let pause = restarts.not_before.unwrap() - now;
            assert!(!restarts.may(now) && restarts.may(now + pause));
            pauses.push(pause.as_millis());
            now += pause;
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        restarts.ended(now, SOON);
        assert!(restarts.may(now), "one that worked for a while is replaced at once");
        restarts.ended(now, Duration::ZERO);
        assert_eq!(restarts.not_before.unwrap() - now, PAUSE_MIN);
    }
}
