//! Which ticks pass and which one fires.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::{CatchUp, Decision, Entry, PassedTicks, TickOutcome, Timing, TimingSource, decide};
use super::entry::entry;
use super::{at, source, timing};

/// An entry that fires every minute, without any limits, and its timing.
fn each_minute() -> (Entry, Timing) {
    let timing_source = source(&["* * * * *"]);
    let timing = timing(&timing_source);
    let (suspend, starting_deadline_s, catch_up) = (false, None, CatchUp::Latest);
    (Entry { timing: timing_source, suspend, starting_deadline_s, catch_up, ..entry() }, timing)
}

fn decided(entry: &Entry, timing: &Timing, next: &str, now: &str) -> Decision {
    decide(entry, timing, at(next), at(now))
}

fn passed(from: &str, to: &str, count: u64, outcome: TickOutcome) -> Vec<PassedTicks> {
    vec![PassedTicks { from: at(from), to: at(to), count, outcome }]
}

#[test]
fn nothing_happens_before_a_tick_is_due() {
    let (entry, timing) = each_minute();
    let decision = decided(&entry, &timing, "2026-11-23T00:01:00Z", "2026-11-23T00:00:59.999Z");
    assert_eq!(decision, Decision { passed: vec![], fire: None, next: Some(at("2026-11-23T00:01:00Z")) });
}

#[test]
fn a_due_tick_fires() {
    let (entry, timing) = each_minute();
    let decision = decided(&entry, &timing, "2026-11-23T00:01:00Z", "2026-11-23T00:01:00Z");
    let (fire, next) = (Some(at("2026-11-23T00:01:00Z")), Some(at("2026-11-23T00:02:00Z")));
    assert_eq!(decision, Decision { passed: vec![], fire, next });
}

#[test]
fn of_several_due_ticks_the_last_fires_however_late() {
    let (entry, timing) = each_minute();
    let decision = decided(&entry, &timing, "2026-11-23T00:01:00Z", "2026-11-23T00:04:59Z");
    let missed = passed("2026-11-23T00:01:00Z", "2026-11-23T00:03:00Z", 3, TickOutcome::TooLate);
    let (fire, next) = (Some(at("2026-11-23T00:04:00Z")), Some(at("2026-11-23T00:05:00Z")));
    assert_eq!(decision, Decision { passed: missed, fire, next });
}

#[test]
fn past_its_starting_deadline_even_the_last_is_too_late() {
    let (mut entry, timing) = each_minute();
    entry.starting_deadline_s = Some(30);
    let fire = |now| decided(&entry, &timing, "2026-11-23T00:01:00Z", now).fire;
    assert_eq!(fire("2026-11-23T00:02:30.9Z"), Some(at("2026-11-23T00:02:00Z")), "30 whole seconds");
    let decision = decided(&entry, &timing, "2026-11-23T00:01:00Z", "2026-11-23T00:02:31Z");
    let missed = passed("2026-11-23T00:01:00Z", "2026-11-23T00:02:00Z", 2, TickOutcome::TooLate);
    assert_eq!(decision, Decision { passed: missed, fire: None, next: Some(at("2026-11-23T00:03:00Z")) });
}

#[test]
fn without_catching_up_a_tick_may_be_ten_seconds_late() {
    let (mut entry, timing) = each_minute();
    entry.catch_up = CatchUp::None;
    let fire = |entry: &Entry, now| decided(entry, &timing, "2026-11-23T00:01:00Z", now).fire;
    assert_eq!(fire(&entry, "2026-11-23T00:01:10.5Z"), Some(at("2026-11-23T00:01:00Z")));
    assert_eq!(fire(&entry, "2026-11-23T00:01:11Z"), None);
    entry.starting_deadline_s = Some(3);
    assert_eq!(fire(&entry, "2026-11-23T00:01:04Z"), None, "the starting deadline counts as well");
    entry.starting_deadline_s = Some(0);
    assert_eq!(
        fire(&entry, "2026-11-23T00:01:00.7Z"),
        Some(at("2026-11-23T00:01:00Z")),
        "less than a second"
    );
}

#[test]
fn while_suspended_all_due_ticks_pass() {
    let (mut entry, timing) = each_minute();
    entry.suspend = true;
    let decision = decided(&entry, &timing, "2026-11-23T00:01:00Z", "2026-11-23T00:02:00Z");
    let missed = passed("2026-11-23T00:01:00Z", "2026-11-23T00:02:00Z", 2, TickOutcome::Suspended);
    assert_eq!(decision, Decision { passed: missed, fire: None, next: Some(at("2026-11-23T00:03:00Z")) });
}

#[test]
fn jitter_delays_a_tick_without_making_it_late() {
    let (mut entry, _) = each_minute();
    entry.timing.jitter_s = 50;
    entry.catch_up = CatchUp::None;
    entry.starting_deadline_s = Some(0);
    let timing = timing(&entry.timing);
    for tick in timing.iter_after(at("2026-11-23T00:00:00Z")).take(50) {
        let due = timing.due(tick);
        assert_eq!(decide(&entry, &timing, tick, due - SignedDuration::from_millis(1)).fire, None);
        assert_eq!(decide(&entry, &timing, tick, due).fire, Some(tick));
    }
}

#[test]
fn a_last_tick_has_no_next() {
    let (mut entry, _) = each_minute();
    entry.timing = TimingSource { anchor: at("1970-01-01T00:00:00Z"), ..source(&["@every 100000d"]) };
    let timing = timing(&entry.timing);
    let mut last = at("2026-01-01T00:00:00Z");
    while let Some(next) = timing.next_after(last) {
        last = next;
    }
    let decision = decide(&entry, &timing, last, Timestamp::MAX);
    assert_eq!(decision, Decision { passed: vec![], fire: Some(last), next: None });
}

#[test]
fn a_long_absence_is_accounted_for_in_steps() {
    let (mut entry, _) = each_minute();
    entry.timing = source(&["* * * * * *"]);
    let timing = timing(&entry.timing);
    let now = at("2026-11-23T06:00:00Z");
    let mut next = at("2026-11-23T00:00:00Z");
    let mut counts = Vec::new();
    let fired = loop {
        let decision = decide(&entry, &timing, next, now);
        counts.push(decision.passed.iter().map(|passed| passed.count).sum::<u64>());
        assert_eq!(decision.passed[0].from, next);
        next = decision.next.expect("there is always a next second");
        if let Some(fired) = decision.fire {
            break fired;
        }
        assert!(next <= now, "nothing fired, so the next is due");
    };
    assert_eq!((counts, fired), (vec![10_000, 10_000, 1_600], now));
    assert_eq!(next, at("2026-11-23T06:00:01Z"));
}

#[test]
fn exactly_as_many_ticks_as_one_decision_takes_are_decided_at_once() {
    let (mut entry, _) = each_minute();
    entry.timing = source(&["* * * * * *"]);
    let timing = timing(&entry.timing);
    let next = at("2026-11-23T00:00:00Z");
    let now = next + SignedDuration::from_secs(9_999);
    let decision = decide(&entry, &timing, next, now);
    assert_eq!((decision.passed[0].count, decision.fire), (9_999, Some(now)));
}

proptest! {
    #[test]
    fn every_due_tick_is_accounted_for_once(
        late_s in 0_i64..20_000,
        suspend: bool,
        none: bool,
        starting_deadline_s in prop::option::of(0_i64..4_000),
        jitter_s in 0_u32..900,
    ) {
        let timing_source = TimingSource { jitter_s, ..source(&["*/7 * * * *", "3 * * * *"]) };
        let catch_up = if none { CatchUp::None } else { CatchUp::Latest };
        let entry = Entry { suspend, catch_up, starting_deadline_s, timing: timing_source, ..entry() };
        let timing = timing(&entry.timing);
        let start = at("2026-11-23T00:00:00Z");
        let now = start + SignedDuration::from_secs(late_s);
        let ticks = std::iter::once(start).chain(timing.iter_after(start));
        let due: Vec<_> = ticks.take_while(|tick| timing.due(*tick) <= now).collect();
        let decision = decide(&entry, &timing, start, now);

        let mut accounted = 0;
        for passed in &decision.passed {
            prop_assert_eq!(passed.from, due[accounted]);
            accounted += passed.count as usize;
            prop_assert_eq!(passed.to, due[accounted - 1]);
        }
        accounted += usize::from(decision.fire.is_some());
        prop_assert_eq!(accounted, due.len());
        prop_assert!(decision.fire.is_none_or(|fire| Some(&fire) == due.last()));
        prop_assert!(decision.next.is_some_and(|next| timing.due(next) > now));
    }
}
