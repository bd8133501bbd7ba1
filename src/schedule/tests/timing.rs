//! The next time: periods, unions, jitter, daylight saving.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::{Gap, Overlap, TimingSource};
use super::{at, first, in_zone, source, timing};

#[test]
fn every_counts_whole_periods_from_its_anchor() {
    let every = |period: &str, anchor: &str| {
        timing(&TimingSource { anchor: at(anchor), ..source(&[&format!("@every {period}")]) })
    };
    let hourly = every("1h30m", "2026-11-23T00:10:00.9Z");
    let expected = ["2026-11-23T01:40:00Z", "2026-11-23T03:10:00Z"];
    assert_eq!(first(&hourly, "2026-11-23T00:10:00Z", 2), expected);
    assert_eq!(first(&hourly, "2020-01-01T00:00:00Z", 2), expected, "nothing before the first period");
    assert_eq!(first(&hourly, "2026-11-23T01:40:00Z", 1), ["2026-11-23T03:10:00Z"], "exclusive");
    assert_eq!(first(&hourly, "2026-11-23T01:39:59.5Z", 1), ["2026-11-23T01:40:00Z"]);
    let two_days = every("2d", "2026-11-23T00:00:00Z");
    assert_eq!(first(&two_days, "2026-11-27T12:00:00Z", 1), ["2026-11-29T00:00:00Z"]);
    let cut = every("1.5s", "2026-11-23T00:00:00Z");
    assert_eq!(first(&cut, "2026-11-23T00:00:00Z", 2), ["2026-11-23T00:00:01Z", "2026-11-23T00:00:02Z"]);
    let long = every("100000d", "2026-11-23T00:00:00Z");
    assert_eq!(first(&long, "2026-11-23T00:00:00Z", 1).len(), 1, "no search limit");
}

#[test]
fn several_schedules_fire_whenever_one_does_and_once_where_they_meet() {
    let both = timing(&source(&["0 6 * * *", "0 */3 * * *", "30 6 * * *"]));
    let expected =
        ["2026-11-23T03:00:00Z", "2026-11-23T06:00:00Z", "2026-11-23T06:30:00Z", "2026-11-23T09:00:00Z"];
    assert_eq!(first(&both, "2026-11-23T00:00:00Z", 4), expected);
}

#[test]
fn a_next_time_is_later_than_the_very_second_asked_about() {
    let each = timing(&source(&["* * * * * *"]));
    assert_eq!(first(&each, "2026-11-23T00:00:00Z", 1), ["2026-11-23T00:00:01Z"]);
    assert_eq!(first(&each, "2026-11-23T00:00:00.999Z", 1), ["2026-11-23T00:00:01Z"]);
    assert_eq!(first(&each, "1969-12-31T23:59:58.5Z", 1), ["1969-12-31T23:59:59Z"]);
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    for spec in ["* * * * * *", "@yearly", "@every 1s", "@every 100000d", "0 0 30 2 *"] {
        let timing = timing(&source(&[spec]));
        for after in [Timestamp::MIN, Timestamp::MAX, Timestamp::MAX - SignedDuration::from_hours(30)] {
            assert!(timing.next_after(after).is_none_or(|next| next > after), "{spec}");
        }
    }
}

#[test]
fn the_search_ends_after_five_years() {
    let rare = timing(&source(&["0 0 29 2 *"]));
    assert_eq!(
        first(&rare, "2096-03-01T00:00:00Z", 1),
        Vec::<String>::new(),
        "2100 has none, 2104 is too far"
    );
    assert_eq!(first(&rare, "2099-01-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"], "the fifth year counts");
}

/// Schedule, zone, gap, overlap, after, and the times in the zone's own clock.
type Row = (&'static str, &'static str, Gap, Overlap, &'static str, &'static [&'static str]);

use Gap::{After, Skip};
use Overlap::{Both, First};

const ROWS: &[Row] = &[
    // New York 2026: 8 March 02:00 becomes 03:00, 1 November 02:00 becomes 01:00.
    (
        "30 2 * * *",
        "America/New_York",
        After,
        First,
        "2026-03-08T00:00:00-05:00",
        &["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
    ),
    (
        "30 2 * * *",
        "America/New_York",
        Skip,
        First,
        "2026-03-08T00:00:00-05:00",
        &["2026-03-09T02:30:00-04:00"],
    ),
    // However many times were skipped, and beside one that is not.
    (
        "0,15,30 2,3 * * *",
        "America/New_York",
        After,
        First,
        "2026-03-08T00:00:00-05:00",
        &["2026-03-08T03:00:00-04:00", "2026-03-08T03:15:00-04:00"],
    ),
    // Asked a second before the gap, where the search begins on the seam itself.
    (
        "30 2 * * *",
        "America/New_York",
        After,
        First,
        "2026-03-08T01:59:59-05:00",
        &["2026-03-08T03:00:00-04:00"],
    ),
    // From the first second after the gap on it has passed.
    (
        "30 2 * * *",
        "America/New_York",
        After,
        First,
        "2026-03-08T03:00:00-04:00",
        &["2026-03-09T02:30:00-04:00"],
    ),
    (
        "30 1 * * *",
        "America/New_York",
        After,
        First,
        "2026-11-01T00:00:00-04:00",
        &["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
    ),
    (
        "30 1 * * *",
        "America/New_York",
        After,
        Both,
        "2026-11-01T00:00:00-04:00",
        &["2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00", "2026-11-02T01:30:00-05:00"],
    ),
    // Asked from within the second hour it remembers the first.
    (
        "30 1 * * *",
        "America/New_York",
        After,
        First,
        "2026-11-01T01:10:00-05:00",
        &["2026-11-02T01:30:00-05:00"],
    ),
    // "Every so often" stays evenly spaced whatever the rules, also as H, as a range, as a step of a range.
    (
        "*/30 * * * *",
        "America/New_York",
        After,
        First,
        "2026-11-01T00:45:00-04:00",
        &[
            "2026-11-01T01:00:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:00:00-05:00",
        ],
    ),
    (
        "0 0-23 * * *",
        "America/New_York",
        After,
        First,
        "2026-11-01T00:45:00-04:00",
        &["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"],
    ),
    (
        "0 0-23/2 * * *",
        "America/New_York",
        After,
        First,
        "2026-03-08T00:45:00-05:00",
        &["2026-03-08T04:00:00-04:00", "2026-03-08T06:00:00-04:00"],
    ),
    (
        "*/20 2 * * *",
        "America/New_York",
        After,
        First,
        "2026-03-08T00:00:00-05:00",
        &["2026-03-09T02:00:00-04:00"],
    ),
    // Midnight does not exist; robfig drops these days.
    (
        "@daily",
        "Asia/Beirut",
        After,
        First,
        "2026-03-28T12:00:00+02:00",
        &["2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"],
    ),
    (
        "0 5 * * *",
        "Asia/Beirut",
        Skip,
        Both,
        "2026-03-28T12:00:00+02:00",
        &["2026-03-29T05:00:00+03:00", "2026-03-30T05:00:00+03:00"],
    ),
    (
        "0 0 * * *",
        "Australia/Lord_Howe",
        Skip,
        Both,
        "2026-04-05T00:00:00+11:00",
        &["2026-04-06T00:00:00+10:30"],
    ),
    // The clock goes back over midnight, from 00:01 to 23:01: a day begins twice, its job runs once.
    (
        "0 0 * * *",
        "America/St_Johns",
        After,
        First,
        "2010-11-06T12:00:00-02:30",
        &["2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"],
    ),
    (
        "0 0 * * *",
        "America/St_Johns",
        Skip,
        Both,
        "2010-11-06T12:00:00-02:30",
        &["2010-11-07T00:00:00-02:30", "2010-11-07T00:00:00-03:30", "2010-11-08T00:00:00-03:30"],
    ),
    (
        "30 23 * * *",
        "America/St_Johns",
        After,
        First,
        "2010-11-06T12:00:00-02:30",
        &["2010-11-06T23:30:00-02:30", "2010-11-07T23:30:00-03:30"],
    ),
    // A whole day does not exist.
    (
        "0 12 * * *",
        "Pacific/Apia",
        After,
        First,
        "2011-12-29T13:00:00-10:00",
        &["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"],
    ),
    ("0 12 * * *", "Pacific/Apia", Skip, Both, "2011-12-29T13:00:00-10:00", &["2011-12-31T12:00:00+14:00"]),
];

#[test]
fn daylight_saving_goes_by_the_rules() {
    for (spec, zone, gap, overlap, after, times) in ROWS {
        let times: Vec<_> = times.iter().map(|time| at(time).to_string()).collect();
        let found = first(&in_zone(spec, zone, *gap, *overlap), after, times.len());
        assert_eq!(found, times, "{spec} in {zone}, {gap:?} and {overlap:?}, after {after}");
    }
}

#[test]
fn jitter_belongs_to_object_and_tick_and_stays_before_the_next_tick() {
    let jittered = |key: &str, jitter_s, spec: &str| {
        timing(&TimingSource { hash_key: key.to_owned(), jitter_s, ..source(&[spec]) })
    };
    let delays = |timing: &super::Timing| -> Vec<i64> {
        let ticks = timing.iter_after(at("2026-11-23T00:00:00Z")).take(400);
        ticks.map(|tick| timing.due(tick).as_second() - tick.as_second()).collect()
    };
    let hourly = jittered("shop/a", 300, "@hourly");
    let found = delays(&hourly);
    assert_eq!(found, delays(&hourly));
    assert!(found.iter().all(|delay| (0..300).contains(delay)), "{found:?}");
    assert!(found.iter().any(|delay| *delay < 60) && found.iter().any(|delay| *delay > 240), "{found:?}");
    assert_ne!(found, delays(&jittered("shop/b", 300, "@hourly")));
    let crowded = jittered("shop/a", 300, "*/10 * * * * *");
    assert!(delays(&crowded).iter().all(|delay| (0..10).contains(delay)));
    assert!(delays(&jittered("shop/a", 0, "@hourly")).iter().all(|delay| *delay == 0));
    // Frozen: two versions that disagree would fire one tick at two times.
    assert_eq!(found[..4], [270, 230, 151, 227]);
}

fn specs() -> impl Strategy<Value = String> {
    let second = prop::sample::select(vec!["", "", "0 ", "*/7 ", "59 "]);
    let minute = prop::sample::select(vec!["*", "0", "30", "*/20", "5/17", "0,59", "1"]);
    let hour = prop::sample::select(vec!["*", "0", "1", "2", "23", "0-3", "*/5"]);
    let day = prop::sample::select(vec!["*", "1", "31", "*/2", "29", "10-20"]);
    let month = prop::sample::select(vec!["*", "2", "3,11", "10", "*/3"]);
    let weekday = prop::sample::select(vec!["*", "0", "MON-FRI", "*/3"]);
    (second, minute, hour, day, month, weekday)
        .prop_map(|(s, m, h, d, mon, w)| format!("{s}{m} {h} {d} {mon} {w}"))
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "Africa/Casablanca",
        "America/St_Johns",
        "Antarctica/Troll",
        "Pacific/Apia",
        "America/Nuuk",
        "Asia/Tehran",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn between_two_ticks_the_next_is_always_the_second(
        spec in specs(), zone in zones(), after in 1_000_000_000_i64..2_200_000_000, skip: bool, both: bool,
        part in 0.0..1.0_f64,
    ) {
        let gap = if skip { Gap::Skip } else { Gap::After };
        let overlap = if both { Overlap::Both } else { Overlap::First };
        let timing = in_zone(&spec, zone, gap, overlap);
        let mut last = Timestamp::from_second(after).expect("in range");
        for next in timing.iter_after(last).take(8) {
            prop_assert!(next > last);
            prop_assert_eq!(next.subsec_nanosecond(), 0);
            let distance = next.as_second() - last.as_second();
            let between = last + SignedDuration::from_secs((distance as f64 * part) as i64);
            prop_assert_eq!(timing.next_after(between), Some(next));
            prop_assert_eq!(timing.next_after(next - SignedDuration::from_secs(1)), Some(next));
            last = next;
        }
    }
}
