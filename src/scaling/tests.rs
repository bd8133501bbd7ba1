//! Tables: what is known, and how many workers follow.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;

pub(super) const POLICY: Policy = Policy {
    fixed: None,
    min: 0,
    max: 30,
    concurrency: 20,
    target_wait: Duration::from_secs(10),
    stabilization: Duration::from_secs(60),
};

/// So many seconds after some moment.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000) + SignedDuration::from_secs(seconds)
}

fn fresh(snapshot: Snapshot, policy: Policy) -> (u32, Reason) {
    let (plan, _) = plan(&snapshot, &policy, &History::starting_with(0, at(0)), at(1000));
    (plan.replicas, plan.reason)
}

fn pending(pending: u64) -> Snapshot {
    Snapshot { pending, ..Snapshot::default() }
}

/// Decisions about one fleet, one after the other.
struct Row {
    history: History,
    policy: Policy,
    current: u32,
}

impl Row {
    fn starting_with(current: u32, policy: Policy) -> Self {
        Self { history: History::starting_with(current, at(0)), policy, current }
    }

    /// What is decided then, and becomes the number there is.
    fn at(&mut self, seconds: i64, work: u64) -> u32 {
        self.of(seconds, pending(work)).0
    }

    fn of(&mut self, seconds: i64, snapshot: Snapshot) -> (u32, Reason) {
        let snapshot = Snapshot { current: self.current, ..snapshot };
        let (plan, history) = plan(&snapshot, &self.policy, &self.history, at(seconds));
        (self.history, self.current) = (history, plan.replicas);
        (plan.replicas, plan.reason)
    }
}

#[test]
fn the_work_decides_the_number() {
    let second = Some(Duration::from_secs(1));
    let none = Snapshot::default();
    for (snapshot, expected) in [
        (pending(0), (0, Reason::Idle)),
        (pending(1), (1, Reason::Work)),
        (pending(20), (1, Reason::Work)),
        (pending(21), (2, Reason::Work)),
        // 1000 tasks of a second each: a hundred at once keep the wait at ten seconds.
        (Snapshot { run_time: second, ..pending(1000) }, (5, Reason::Work)),
        (Snapshot { run_time: Some(Duration::ZERO), ..pending(1000) }, (1, Reason::Work)),
        (
            Snapshot { run_time: Some(Duration::from_millis(1)), active: 20, ..pending(1000) },
            (2, Reason::Work),
        ),
        // As long as attempts end, the slots there are do it; while none does, each may be held for ever.
        (
            Snapshot { run_time: Some(Duration::from_millis(1)), active: 20, ended: 700, ..pending(1000) },
            (1, Reason::Work),
        ),
        (Snapshot { run_time: second, active: 20, ended: 15, ..pending(100) }, (1, Reason::Work)),
        (Snapshot { run_time: second, active: 20, ended: 0, ..pending(100) }, (2, Reason::Work)),
        (Snapshot { run_time: second, active: 20, ended: 15, ..pending(1000) }, (6, Reason::Work)),
        (Snapshot { active: 20, ended: 1, ..pending(1) }, (2, Reason::Work)),
        (Snapshot { active: 41, ended: 9, ..none }, (3, Reason::Work)),
        // A run longer than the target wait: one slot a task, never more.
        (Snapshot { run_time: Some(Duration::from_secs(3600)), ..pending(40) }, (2, Reason::Work)),
        (Snapshot { active: 41, ..none }, (3, Reason::Work)),
        (Snapshot { expired: 21, ..none }, (2, Reason::Work)),
        (Snapshot { scheduled_soon: 1, ..none }, (1, Reason::WorkSoon)),
        (Snapshot { retry_soon: 1, ..none }, (1, Reason::WorkSoon)),
        (Snapshot { ripe_groups: 1, ..none }, (1, Reason::WorkSoon)),
        (Snapshot { waiting_ticks: 1, ..none }, (1, Reason::WorkSoon)),
        (Snapshot { ticks_soon: 21, ..none }, (2, Reason::WorkSoon)),
        (Snapshot { ticks_soon: 20, retry_soon: 20, ..pending(1) }, (3, Reason::Work)),
        // Aggregating takes a worker, and none of its slots.
        (Snapshot { aggregating: 100, ..none }, (1, Reason::Work)),
        (Snapshot { aggregating: 100, active: 20, ..none }, (1, Reason::Work)),
        (Snapshot { held_back: 10_000, ..none }, (0, Reason::Idle)),
        (pending(1_000_000), (30, Reason::Maximum)),
    ] {
        assert_eq!(fresh(snapshot, POLICY), expected, "{snapshot:?}");
    }
}

#[test]
fn limits_hold() {
    assert_eq!(fresh(pending(0), Policy { min: 2, ..POLICY }), (2, Reason::Minimum));
    assert_eq!(fresh(pending(500), Policy { fixed: Some(0), ..POLICY }), (0, Reason::Fixed));
    assert_eq!(fresh(pending(u64::MAX), Policy { max: 7, ..POLICY }), (7, Reason::Maximum));
    let many = Snapshot { current: 100, ..pending(u64::MAX) };
    assert_eq!(
        fresh(many, Policy { max: 95, ..POLICY }),
        (95, Reason::Maximum),
        "no tolerance above the most"
    );
}

#[test]
fn a_fleet_grows_at_once_and_shrinks_after_the_window() {
    let mut row = Row::starting_with(0, POLICY);
    assert_eq!(row.at(1, 100), 5);
    assert_eq!(row.at(2, 40), 5, "still within the window");
    assert_eq!(row.at(50, 0), 5);
    assert_eq!(row.at(61, 0), 5, "the window ends after the fifth was last wanted");
    assert_eq!(row.at(62, 0), 2, "the two wanted at second 2 still count");
    assert_eq!(row.at(63, 0), 0);
    assert_eq!(row.at(64, 21), 2);
}

#[test]
fn whoever_knows_nothing_shrinks_nothing_for_a_window() {
    let mut row = Row::starting_with(9, POLICY);
    assert_eq!([row.at(1, 0), row.at(60, 0), row.at(61, 0)], [9, 9, 0]);
}

#[test]
fn whoever_takes_over_begins_no_window_anew() {
    let mut first = Row::starting_with(0, POLICY);
    assert_eq!([first.at(10, 180), first.at(20, 60)], [9, 9]);
    // What was written down at second 20 is read at second 25: three were wanted last, nobody knows until when.
    let history = serde_json::to_string(&first.history).unwrap();
    let history: History = serde_json::from_str(&history).unwrap();
    let mut second = Row { history: history.continued(at(25)), policy: POLICY, current: 9 };
    assert_eq!([second.at(26, 0), second.at(70, 0)], [9, 9]);
    assert_eq!(second.at(71, 0), 3, "sixty seconds after nine were last wanted, and not after the change");
    assert_eq!([second.at(85, 0), second.at(86, 0)], [3, 0]);
}

#[test]
fn a_fleet_that_was_fixed_shrinks_after_the_window_once_it_is_freed() {
    let mut row = Row::starting_with(0, Policy { fixed: Some(5), ..POLICY });
    assert_eq!([row.at(1, 0), row.at(100, 0)], [5, 5]);
    row.policy = POLICY;
    assert_eq!([row.at(101, 0), row.at(160, 0), row.at(161, 0)], [5, 5, 0]);
}

#[test]
fn a_fleet_does_not_go_to_zero_just_before_a_tick() {
    let near = |seconds, current| Snapshot {
        next_tick: Some(Duration::from_secs(seconds)),
        ahead: Duration::from_secs(2),
        current,
        ..Snapshot::default()
    };
    assert_eq!(fresh(near(61, 3), POLICY), (1, Reason::TickNear));
    assert_eq!(fresh(near(62, 3), POLICY), (0, Reason::Idle));
    assert_eq!(fresh(near(5, 0), POLICY), (0, Reason::Idle), "nor does it start early for that");
}

#[test]
fn a_large_fleet_is_not_made_smaller_for_less_than_a_tenth() {
    let policy = Policy { concurrency: 1, max: 100, stabilization: Duration::ZERO, ..POLICY };
    let running = |active| Snapshot { active, ..Snapshot::default() };
    let mut row = Row::starting_with(20, policy);
    assert_eq!(row.of(1, running(18)), (20, Reason::Tolerated));
    assert_eq!(row.of(2, running(21)), (21, Reason::Work), "it grows by as little as it takes");
    assert_eq!(row.of(3, running(18)), (18, Reason::Work));
    let mut row = Row::starting_with(10, Policy { min: 9, ..policy });
    assert_eq!(row.of(1, running(0)), (9, Reason::Minimum), "the least number is always reached");
}

#[test]
fn what_was_wanted_starts_no_worker() {
    let mut row = Row::starting_with(5, POLICY);
    row.current = 0;
    assert_eq!(row.of(1, pending(0)), (0, Reason::Idle));
    row.current = 3;
    assert_eq!(row.of(2, pending(1)), (3, Reason::Stabilizing));
}

#[test]
fn a_clock_set_back_keeps_no_number_for_longer_than_a_window() {
    let mut row = Row::starting_with(0, POLICY);
    assert_eq!(row.at(10_000, 100), 5);
    assert_eq!([row.at(0, 0), row.at(60, 0), row.at(61, 0)], [5, 5, 0]);
}

#[test]
fn it_says_why_in_words() {
    let said = |snapshot, policy| {
        plan(&snapshot, &policy, &History::starting_with(0, at(0)), at(1000)).0.to_string()
    };
    for (snapshot, expected) in [
        (pending(1), "1 task waits; 1 should run at once"),
        (
            Snapshot { ticks_soon: 2, active: 7, ..pending(40) },
            "40 tasks wait, 2 ticks are due soon, 7 tasks run; 49 should run at once",
        ),
        (Snapshot { expired: 1, ..pending(0) }, "1 task was left by a vanished worker; 1 should run at once"),
        (Snapshot { held_back: 3, ..pending(0) }, "nothing to do while queues are paused: 3 wait there"),
        (pending(0), "nothing to do"),
    ] {
        assert_eq!(said(snapshot, POLICY), expected);
    }
}
