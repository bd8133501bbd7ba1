//! The decision, and what it says for itself.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::{History, Policy, Snapshot};

/// A fleet is not made smaller for less than this part of it: it would soon be too small again.
const TOLERANCE: u32 = 10;

/// A number of workers and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many workers there shall be.
    pub replicas: u32,
    /// Tasks that should run at once.
    pub slots: u64,
    /// What decided.
    pub reason: Reason,
    /// What it was decided from.
    pub seen: Snapshot,
}

/// What decided the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody fixed it.
    Fixed,
    /// The work there is.
    Work,
    /// The work there will be within the lead time: nothing can be claimed yet.
    WorkSoon,
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
    /// A few less would do, too few to be worth it.
    Tolerated,
}

impl Reason {
    /// A fixed name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "FixedReplicas",
            Self::Work => "Work",
            Self::WorkSoon => "WorkSoon",
            Self::Idle => "Idle",
            Self::Maximum => "AtMaximum",
            Self::Minimum => "AtMinimum",
            Self::Stabilizing => "Stabilizing",
            Self::TickNear => "TickNear",
            Self::Tolerated => "WithinTolerance",
        }
    }
}

/// Why, for people.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.slots;
        match self.reason {
            Reason::Fixed => f.write_str("fixed by the manifest"),
            Reason::Work | Reason::WorkSoon => write!(f, "{}; {slots} should run at once", Work(&self.seen)),
            Reason::Idle if self.seen.held_back > 0 => {
                write!(f, "nothing to do while queues are paused: {} wait there", self.seen.held_back)
            }
            Reason::Idle => f.write_str("nothing to do"),
            Reason::Maximum => {
                write!(f, "{}; {slots} should run at once, but no more workers are allowed", Work(&self.seen))
            }
            Reason::Minimum => f.write_str("kept at the least number"),
            Reason::Stabilizing => f.write_str("fewer would do, but not for long enough yet"),
            Reason::TickNear => f.write_str("nothing to do, but a tick is near"),
            Reason::Tolerated => f.write_str("fewer would do, but by less than a tenth"),
        }
    }
}

/// What there is to do, in words.
struct Work<'a>(&'a Snapshot);

impl fmt::Display for Work<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.0;
        let parts = [
            (seen.pending, "task waits", "tasks wait"),
            (seen.expired, "task was left by a vanished worker", "tasks were left by vanished workers"),
            (seen.scheduled_soon, "task is due soon", "tasks are due soon"),
            (seen.retry_soon, "task is tried again soon", "tasks are tried again soon"),
            (seen.ripe_groups, "group is ripe soon", "groups are ripe soon"),
            (seen.waiting_ticks, "tick waits for a run to end", "ticks wait for runs to end"),
            (seen.ticks_soon, "tick is due soon", "ticks are due soon"),
            (seen.aggregating, "group is being aggregated", "groups are being aggregated"),
            (seen.active, "task runs", "tasks run"),
        ];
        let mut parts = parts.into_iter().filter(|(number, ..)| *number > 0);
        let words = |(number, one, many): (u64, &str, &str)| {
            format!("{number} {}", if number == 1 { one } else { many })
        };
        let Some(first) = parts.next() else { return f.write_str("nothing to do") };
        f.write_str(&words(first))?;
        parts.try_for_each(|part| write!(f, ", {}", words(part)))
    }
}

/// Decides how many workers there shall be; and what is to be remembered of that for the next decision.
///
/// With a backlog of B tasks that take d each (unknown: the target wait), `active + min(B, ceil(B·d / target
/// wait))` tasks should run at once, at least one if there is a backlog; while attempts end, `max(active, min(active + B,
/// ceil((active + B)·d / target wait)))`, since what runs makes room. Up goes at once and in one step; down only to
/// the most that was wanted within the stabilization window, and not for less than a tenth; and not to zero when a known
/// tick is nearer than the time looked ahead and that window.
#[must_use]
pub fn plan(snapshot: &Snapshot, policy: &Policy, history: &History, now: Timestamp) -> (Plan, History) {
    let slots = slots(snapshot, policy.target_wait);
    let planned = |replicas, reason| Plan { replicas, slots, reason, seen: *snapshot };
    if let Some(replicas) = policy.fixed {
        // Should it be freed, it shrinks no sooner than any other.
        let (history, _) = history.with(now, policy.stabilization, replicas);
        return (planned(replicas, Reason::Fixed), history);
    }
    let (replicas, reason) = wanted(slots, snapshot, policy);
    let (history, most) = history.with(now, policy.stabilization, replicas);
    let current = snapshot.current;
    // What was wanted keeps workers that are there; it starts none.
    let held = most.min(policy.max).min(current.max(replicas));
    let is_tick_near = snapshot.next_tick.is_some_and(|tick| tick < snapshot.ahead + policy.stabilization);
    let decided = if held == 0 && current > 0 && is_tick_near {
        planned(1.min(policy.max), Reason::TickNear)
    } else if held < current
        && is_little(current - held, current)
        && held > policy.min
        && current <= policy.max
    {
        planned(current, Reason::Tolerated)
    } else if held > replicas {
        planned(held, Reason::Stabilizing)
    } else {
        planned(replicas, reason)
    };
    (decided, history)
}

/// How many workers the slots need within the limits, and why.
fn wanted(slots: u64, snapshot: &Snapshot, policy: &Policy) -> (u32, Reason) {
    let wanted = u32::try_from(slots.div_ceil(u64::from(policy.concurrency.max(1)))).unwrap_or(u32::MAX);
    let is_now = snapshot.backlog_now() > 0 || snapshot.active > 0 || snapshot.aggregating > 0;
    match wanted {
        _ if wanted > policy.max => (policy.max, Reason::Maximum),
        _ if wanted < policy.min => (policy.min, Reason::Minimum),
        0 => (0, Reason::Idle),
        _ if is_now => (wanted, Reason::Work),
        _ => (wanted, Reason::WorkSoon),
    }
}

/// How many tasks should run at once.
fn slots(snapshot: &Snapshot, target_wait: Duration) -> u64 {
    let run_time = snapshot.run_time.unwrap_or(target_wait);
    let (active, backlog) = (snapshot.active, snapshot.backlog());
    let slots = match snapshot.ended {
        // What runs may run for ever: no slot is counted on that it has.
        0 => active.saturating_add(share(backlog, run_time, target_wait)),
        _ if backlog == 0 => active,
        // Slots come free, and the backlog gets those too.
        _ => active.max(share(active.saturating_add(backlog), run_time, target_wait)),
    };
    slots.max(u64::from(snapshot.aggregating > 0))
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

fn is_little(less: u32, of: u32) -> bool {
    u64::from(less) * u64::from(TOLERANCE) <= u64::from(of)
}
