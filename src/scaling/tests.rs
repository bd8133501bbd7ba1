//! Tables: what is known, and how many workers follow.

use super::*;

const POLICY: Policy = Policy {
    fixed: None,
    min: 0,
    max: 30,
    concurrency: 20,
    target_wait: Duration::from_secs(10),
    stabilization: Duration::from_secs(60),
};

fn fresh(snapshot: Snapshot, policy: Policy) -> (u32, Reason) {
    let mut history = History::starting_with(0, Duration::ZERO);
    let plan = plan(&snapshot, &policy, &mut history, Duration::from_secs(1000));
    (plan.replicas, plan.reason)
}

fn pending(pending: u64) -> Snapshot {
    Snapshot { pending, ..Snapshot::default() }
}

#[test]
fn the_work_decides_the_number() {
    let second = Some(Duration::from_secs(1));
    for (snapshot, expected) in [
        (pending(0), (0, Reason::Idle)),
        (pending(1), (1, Reason::Work)),
        (pending(20), (1, Reason::Work)),
        (pending(21), (2, Reason::Work)),
        // 1000 tasks of a second each: a hundred at once keep the wait at ten seconds.
        (Snapshot { run_time: second, ..pending(1000) }, (5, Reason::Work)),
        (Snapshot { run_time: Some(Duration::ZERO), ..pending(1000) }, (1, Reason::Work)),
        // A run longer than the target wait: one slot a task, never more.
        (Snapshot { run_time: Some(Duration::from_secs(3600)), ..pending(40) }, (2, Reason::Work)),
        (Snapshot { active: 41, ..pending(0) }, (3, Reason::Work)),
        (Snapshot { due_soon: 1, ..pending(0) }, (1, Reason::Work)),
        (Snapshot { ticks_soon: 1, ..pending(0) }, (1, Reason::Work)),
        (pending(1_000_000), (30, Reason::Maximum)),
    ] {
        assert_eq!(fresh(snapshot, POLICY), expected, "{snapshot:?}");
    }
}

#[test]
fn limits_hold() {
    assert_eq!(fresh(pending(0), Policy { min: 2, ..POLICY }), (2, Reason::Minimum));
    assert_eq!(fresh(pending(500), Policy { fixed: Some(0), ..POLICY }), (0, Reason::Fixed));
    assert_eq!(fresh(pending(u64::MAX / 2), Policy { max: 7, ..POLICY }), (7, Reason::Maximum));
}

#[test]
fn a_fleet_grows_at_once_and_shrinks_after_the_window() {
    let mut history = History::starting_with(0, Duration::ZERO);
    let mut at =
        |seconds, work| plan(&pending(work), &POLICY, &mut history, Duration::from_secs(seconds)).replicas;
    assert_eq!(at(1, 100), 5);
    assert_eq!(at(2, 40), 5, "still within the window");
    assert_eq!(at(50, 0), 5);
    assert_eq!(at(61, 0), 5, "the window ends after the fifth was last wanted");
    assert_eq!(at(62, 0), 2, "the two wanted at second 2 still count");
    assert_eq!(at(63, 0), 0);
    assert_eq!(at(64, 21), 2);
}

#[test]
fn whoever_takes_over_shrinks_nothing_for_a_window() {
    let mut history = History::starting_with(9, Duration::from_secs(100));
    let mut at = |seconds| plan(&pending(0), &POLICY, &mut history, Duration::from_secs(seconds)).replicas;
    assert_eq!((at(101), at(160), at(161)), (9, 9, 0));
}

#[test]
fn a_fleet_that_was_fixed_shrinks_after_the_window_once_it_is_freed() {
    let mut history = History::starting_with(0, Duration::ZERO);
    let mut at = |seconds, fixed| {
        plan(&pending(0), &Policy { fixed, ..POLICY }, &mut history, Duration::from_secs(seconds)).replicas
    };
    assert_eq!(
        (at(1, Some(5)), at(100, Some(5)), at(101, None), at(160, None), at(161, None)),
        (5, 5, 5, 5, 0)
    );
}

#[test]
fn a_fleet_does_not_go_to_zero_just_before_a_tick() {
    let near = |seconds, current| Snapshot {
        next_tick: Some(Duration::from_secs(seconds)),
        lead_time: Duration::from_secs(2),
        current,
        ..Snapshot::default()
    };
    assert_eq!(fresh(near(61, 3), POLICY), (1, Reason::TickNear));
    assert_eq!(fresh(near(62, 3), POLICY), (0, Reason::Idle));
    assert_eq!(fresh(near(5, 0), POLICY), (0, Reason::Idle), "nor does it start early for that");
}
