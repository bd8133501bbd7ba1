//! How many workers the work needs, and why.
//!
//! One pure function of what is known at a moment and of what it said before. No I/O, no clocks: `now` is an
//! argument. The operator and the local mode use the same one.

mod history;
mod run_time;

use std::fmt;
use std::time::Duration;

pub use history::History;
pub use run_time::{RunTime, approach};

/// What is known of the work at one moment, over all queues that one fleet serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Tasks that run.
    pub active: u64,
    /// Tasks that can be claimed; those of paused queues do not count.
    pub pending: u64,
    /// Scheduled and retrying tasks that are due within the lead time.
    pub due_soon: u64,
    /// Ticks of schedules that are due within the lead time, and ticks that wait for a run to end.
    pub ticks_soon: u64,
    /// How long a run takes, as learned; `None`: not known yet.
    pub run_time: Option<Duration>,
    /// How long a new worker takes until its first claim.
    pub lead_time: Duration,
    /// How long until the next tick that is known; `None`: no tick is known.
    pub next_tick: Option<Duration>,
    /// Workers there are now.
    pub current: u32,
}

/// What the fleet's owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A fixed number of workers: nothing is scaled.
    pub fixed: Option<u32>,
    /// Fewest workers.
    pub min: u32,
    /// Most workers.
    pub max: u32,
    /// Tasks one worker runs at once.
    pub concurrency: u32,
    /// How long a task may wait for a worker.
    pub target_wait: Duration,
    /// How long fewer workers must have been enough before there are fewer.
    pub stabilization: Duration,
}

/// A number of workers and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many workers there shall be.
    pub replicas: u32,
    /// Tasks that wait, or will within the lead time.
    pub backlog: u64,
    /// Tasks that should run at once.
    pub slots: u64,
    /// What decided.
    pub reason: Reason,
}

/// What decided the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody fixed it.
    Fixed,
    /// The work there is.
    Work,
    /// There is no work.
    Idle,
    /// More work than the most workers can take.
    Maximum,
    /// Fewer would do, but the fewest workers were set.
    Minimum,
    /// Fewer would do, but not for long enough yet.
    Stabilizing,
    /// There is no work, but a tick is near.
    TickNear,
}

impl Reason {
    /// A fixed name for metrics and conditions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "FixedReplicas",
            Self::Work => "Work",
            Self::Idle => "Idle",
            Self::Maximum => "AtMaximum",
            Self::Minimum => "AtMinimum",
            Self::Stabilizing => "Stabilizing",
            Self::TickNear => "TickNear",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Fixed => f.write_str("fixed by the manifest"),
            Reason::Work => write!(f, "{} waiting, {} should run at once", self.backlog, self.slots),
            Reason::Idle => f.write_str("nothing to do"),
            Reason::Maximum => {
                write!(f, "{} should run at once, but no more workers are allowed", self.slots)
            }
            Reason::Minimum => f.write_str("kept at the least number"),
            Reason::Stabilizing => f.write_str("fewer would do, but not for long enough yet"),
            Reason::TickNear => f.write_str("nothing to do, but a tick is near"),
        }
    }
}

/// Decides how many workers there shall be.
///
/// With a backlog of B tasks that take d each (unknown: the target wait), `active + min(B, ceil(B·d / target
/// wait))` tasks should run at once, at least one if there is a backlog. Up goes at once; down only to the most
/// that was wanted within the stabilization window; and not to zero when a known tick is nearer than the lead
/// time and that window.
#[must_use]
pub fn plan(snapshot: &Snapshot, policy: &Policy, history: &mut History, now: Duration) -> Plan {
    let backlog = snapshot.pending.saturating_add(snapshot.due_soon).saturating_add(snapshot.ticks_soon);
    let run_time = snapshot.run_time.unwrap_or(policy.target_wait);
    let slots = snapshot.active.saturating_add(share(backlog, run_time, policy.target_wait));
    if let Some(replicas) = policy.fixed {
        // Should it be freed, it shrinks no sooner than any other.
        history.note(now, policy.stabilization, replicas);
        return Plan { replicas, backlog, slots, reason: Reason::Fixed };
    }
    let wanted = u32::try_from(slots.div_ceil(u64::from(policy.concurrency.max(1)))).unwrap_or(u32::MAX);
    let (mut replicas, mut reason) = match wanted {
        _ if wanted > policy.max => (policy.max, Reason::Maximum),
        _ if wanted < policy.min => (policy.min, Reason::Minimum),
        0 => (0, Reason::Idle),
        _ => (wanted, Reason::Work),
    };
    let held = history.note(now, policy.stabilization, replicas).min(policy.max);
    if held > replicas {
        (replicas, reason) = (held, Reason::Stabilizing);
    }
    let near = snapshot.lead_time + policy.stabilization;
    if replicas == 0 && snapshot.current > 0 && snapshot.next_tick.is_some_and(|tick| tick < near) {
        (replicas, reason) = (1.min(policy.max), Reason::TickNear);
    }
    Plan { replicas, backlog, slots, reason }
}

/// How many of a backlog should run at once so that none waits longer than the target.
fn share(backlog: u64, run_time: Duration, target_wait: Duration) -> u64 {
    if backlog == 0 {
        return 0;
    }
    let target = target_wait.as_millis().max(1);
    let wanted = (u128::from(backlog) * run_time.as_millis()).div_ceil(target);
    u64::try_from(wanted).unwrap_or(u64::MAX).clamp(1, backlog)
}

#[cfg(test)]
mod tests;
