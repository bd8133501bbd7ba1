//! The worker processes of one TaskQueue.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::leash::Leash;
use super::manifest::CommandLine;

/// A process that ended sooner than this after its start counts as failed.
const SOON: Duration = Duration::from_secs(5);
/// Longest pause before a failed process is started again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Worker processes, and those of them that are on their way out.
#[derive(Debug)]
pub(super) struct Fleet {
    name: String,
    command: CommandLine,
    leash: Leash,
    workers: Vec<Worker>,
    failures: u32,
    not_before: Instant,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    started: Instant,
    leaving: bool,
}

impl Fleet {
    pub(super) fn new(name: String, command: CommandLine, leash: Leash) -> Self {
        Self { name, command, leash, workers: Vec::new(), failures: 0, not_before: Instant::now() }
    }

    /// The process ids of those that stay.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.staying().filter_map(|worker| worker.child.id()).collect()
    }

    /// How many stay.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.staying().count()).unwrap_or(u32::MAX)
    }

    /// Whether any is left, leaving ones included.
    pub(super) fn is_gone(&self) -> bool {
        self.workers.is_empty()
    }

    /// Whether the processes are to be started differently from now on: all leave, new ones follow.
    pub(super) fn change(&mut self, command: CommandLine) {
        if self.command != command {
            self.command = command;
            self.failures = 0;
            self.not_before = Instant::now();
            self.resize(0, &BTreeMap::new());
        }
    }

    /// Starts or sends away as many as it takes. `busy` tells how many tasks a process holds: idle ones go
    /// first, and one that holds tasks finishes them before it ends.
    pub(super) fn resize(&mut self, wanted: u32, busy: &BTreeMap<u32, u64>) {
        self.reap();
        let here = self.len();
        for _ in here..wanted {
            if Instant::now() < self.not_before || !self.start() {
                break;
            }
        }
        let mut surplus: Vec<_> = self.workers.iter_mut().filter(|worker| !worker.leaving).collect();
        surplus.sort_by_key(|worker| {
            let held = worker.child.id().and_then(|pid| busy.get(&pid)).copied().unwrap_or(0);
            (held, std::cmp::Reverse(worker.started))
        });
        for worker in surplus.into_iter().take(here.saturating_sub(wanted) as usize) {
            worker.leaving = true;
            signal(&worker.child, Signal::TERM);
        }
    }

    /// Asks those on their way out to go now: what they hold goes back to its queue.
    pub(super) fn hurry(&self) {
        for worker in &self.workers {
            signal(&worker.child, Signal::TERM);
        }
    }

    /// Notes which processes have ended.
    pub(super) fn reap(&mut self) {
        let mut failed = None;
        self.workers.retain_mut(|worker| match worker.child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                if !worker.leaving {
                    failed = Some((status.to_string(), worker.started.elapsed()));
                }
                false
            }
            Err(error) => {
                failed = Some((error.to_string(), worker.started.elapsed()));
                false
            }
        });
        let Some((status, lived)) = failed else { return };
        self.failures = if lived < SOON { self.failures.saturating_add(1) } else { 0 };
        let pause = Duration::from_millis(100 << self.failures.min(10)).min(PAUSE_MAX);
        self.not_before = Instant::now() + if self.failures == 0 { Duration::ZERO } else { pause };
        let program = &self.command.program;
        tracing::warn!(fleet = %self.name, %program, %status, "a worker ended by itself; it is started again");
    }

    fn staying(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.leaving)
    }

    fn start(&mut self) -> bool {
        let line = &self.command;
        let mut command = self.leash.command(&line.program);
        command.args(&line.arguments).envs(&line.environment).stdin(Stdio::null()).kill_on_drop(true);
        // Out of the terminal's group: it is ours to tell them when to go.
        command.process_group(0);
        if let Some(folder) = &line.folder {
            command.current_dir(folder);
        }
        match command.spawn() {
            Ok(child) => {
                self.workers.push(Worker { child, started: Instant::now(), leaving: false });
                true
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.not_before = Instant::now() + PAUSE_MAX;
                let program = &line.program;
                tracing::error!(fleet = %self.name, %program, %error, "a worker cannot be started");
                false
            }
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // It may have ended this moment.
        let _ = kill_process(pid, signal);
    }
}
