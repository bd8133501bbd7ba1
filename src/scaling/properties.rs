//! What holds for any work, any policy and any row of moments.

use std::time::Duration;

use proptest::prelude::*;

use super::tests::{POLICY, at};
use super::*;

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let few = || prop_oneof![Just(0), 0..50_u64, 0..100_000_u64];
    let soon = (few(), few(), few(), few(), few());
    let rest =
        (prop::option::of(0..7200_u64), prop::option::of(0..600_000_u64), 0..60_u64, 0..100_u32, few());
    (few(), few(), few(), few(), soon, rest).prop_map(
        |(active, aggregating, pending, expired, soon, rest)| Snapshot {
            active,
            ended: rest.4,
            aggregating,
            pending,
            expired,
            scheduled_soon: soon.0,
            retry_soon: soon.1,
            ripe_groups: soon.2,
            waiting_ticks: soon.3,
            ticks_soon: soon.4,
            held_back: 0,
            next_tick: rest.0.map(Duration::from_secs),
            run_time: rest.1.map(Duration::from_millis),
            lead_time: Duration::from_secs(rest.2),
            ahead: Duration::from_secs(rest.2 + 1),
            current: rest.3,
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    (0..20_u32, 0..100_u32, 1..200_u32, 1..600_u64, 0..300_u64).prop_map(
        |(min, more, concurrency, target_s, window_s)| Policy {
            fixed: None,
            min,
            max: (min + more).max(1),
            concurrency,
            target_wait: Duration::from_secs(target_s),
            stabilization: Duration::from_secs(window_s),
        },
    )
}

/// Snapshots with the milliseconds between them.
fn rows() -> impl Strategy<Value = Vec<(i64, Snapshot)>> {
    prop::collection::vec((0..40_000_i64, snapshots()), 1..40)
}

/// Decides about each, and remembers what was decided.
fn decide(row: &[(i64, Snapshot)], policy: &Policy, mut step: impl FnMut(usize, Plan, &mut History)) {
    let mut history = History::starting_with(0, at(0));
    let (mut current, mut ms) = (0, 0);
    for (place, (pause_ms, snapshot)) in row.iter().enumerate() {
        ms += pause_ms;
        let snapshot = Snapshot { current, ..*snapshot };
        let now = at(0) + jiff::SignedDuration::from_millis(ms);
        let (plan, after) = plan(&snapshot, policy, &history, now);
        (history, current) = (after, plan.replicas);
        step(place, plan, &mut history);
    }
}

fn alone(snapshot: &Snapshot, policy: &Policy) -> u32 {
    plan(&Snapshot { current: 0, ..*snapshot }, policy, &History::starting_with(0, at(0)), at(1_000_000))
        .0
        .replicas
}

proptest! {
    #[test]
    fn the_number_is_within_its_limits(row in rows(), policy in policies()) {
        decide(&row, &policy, |_, plan, _| {
            assert!((policy.min..=policy.max).contains(&plan.replicas), "{plan:?}");
        });
    }

    #[test]
    fn a_fleet_is_never_smaller_than_the_work_of_this_moment_needs(row in rows(), policy in policies()) {
        decide(&row, &policy, |place, plan, _| assert!(plan.replicas >= alone(&row[place].1, &policy)));
    }

    #[test]
    fn whatever_there_is_to_do_there_is_a_worker_for_it(snapshot in snapshots()) {
        let is_work = snapshot.backlog() > 0 || snapshot.active > 0 || snapshot.aggregating > 0;
        prop_assert_eq!(alone(&snapshot, &POLICY) > 0, is_work);
    }

    #[test]
    fn more_work_never_means_fewer_workers(snapshot in snapshots(), policy in policies(), more in 1..1000_u64) {
        let before = alone(&snapshot, &policy);
        let with = |change: &dyn Fn(&mut Snapshot)| {
            let mut changed = snapshot;
            change(&mut changed);
            alone(&changed, &policy)
        };
        prop_assert!(with(&|it| it.pending += more) >= before);
        prop_assert!(with(&|it| it.active += more) >= before);
        prop_assert!(with(&|it| it.ripe_groups += more) >= before);
        prop_assert!(with(&|it| it.ticks_soon += more) >= before);
        prop_assert_eq!(with(&|it| it.held_back += more), before);
        prop_assert!(with(&|it| it.ended = 0) >= before, "what ends makes room");
    }

    #[test]
    fn it_grows_in_one_step(row in rows(), policy in policies()) {
        // As large as it ever gets for this work, it gets at once: deciding again changes nothing.
        decide(&row, &policy, |place, plan, history| {
            let seen = Snapshot { current: plan.replicas, ..row[place].1 };
            let now = history.last().unwrap();
            let (again, _) = super::plan(&seen, &policy, history, now);
            assert!(again.replicas <= plan.replicas.max(1));
        });
    }

    #[test]
    fn nothing_shrinks_within_the_window(row in rows(), policy in policies()) {
        let (mut wanted, mut ms) = (Vec::new(), 0);
        decide(&row, &policy, |place, plan, _| {
            ms += row[place].0;
            wanted.push((ms, alone(&row[place].1, &policy)));
            let window = policy.stabilization.as_millis() as i64;
            let most = wanted.iter().filter(|(at, _)| window > 0 && ms - at <= window).map(|(_, number)| *number).max();
            assert!(plan.replicas >= most.unwrap_or(0), "{plan:?} of {wanted:?}");
        });
    }

    #[test]
    fn a_change_of_leader_at_any_moment_changes_no_decision(row in rows(), policy in policies(), change in 0..40_usize) {
        let decisions = |change: Option<usize>| {
            let mut decided = Vec::new();
            decide(&row, &policy, |place, plan, history| {
                decided.push(plan);
                if change == Some(place) {
                    let text = serde_json::to_string(history).unwrap();
                    let read: History = serde_json::from_str(&text).unwrap();
                    let now = read.last().unwrap();
                    *history = read.continued(now);
                }
            });
            decided
        };
        prop_assert_eq!(decisions(Some(change)), decisions(None));
    }

    #[test]
    fn what_is_remembered_is_bounded(row in prop::collection::vec(0..2000_u64, 200..300)) {
        let policy = Policy { concurrency: 1, max: 1000, stabilization: Duration::from_secs(3600), ..POLICY };
        let falling = (0..row.len()).map(|place| (10, Snapshot { active: (3000 - 10 * place) as u64, ..Snapshot::default() }));
        let falling: Vec<_> = falling.collect();
        decide(&falling, &policy, |_, _, history| assert!(history.moments().count() <= 64));
    }
}
