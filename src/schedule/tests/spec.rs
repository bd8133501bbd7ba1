//! What is accepted, what is refused, and how the refusal reads.

use proptest::prelude::*;

use super::super::{Field, Timing, TimingError, TimingSource};
use super::{at, first, source, timing};

fn refusal(schedule: &str) -> TimingError {
    Timing::parse(&source(&[schedule])).expect_err(schedule)
}

#[test]
fn specs_mean_what_robfig_makes_of_them() {
    // 2026-11-23 is a Monday.
    let table: &[(&str, &[&str])] = &[
        ("*/20 * * * *", &["2026-11-23T00:20:00Z", "2026-11-23T00:40:00Z", "2026-11-23T01:00:00Z"]),
        ("5/15 3 * * *", &["2026-11-23T03:05:00Z", "2026-11-23T03:20:00Z", "2026-11-23T03:35:00Z"]),
        ("0 0 1,,15 * *", &["2026-12-01T00:00:00Z", "2026-12-15T00:00:00Z", "2027-01-01T00:00:00Z"]),
        // Either day field, for */2 is no star: odd days or Mondays.
        ("0 0 */2 * 1", &["2026-11-25T00:00:00Z", "2026-11-27T00:00:00Z", "2026-11-29T00:00:00Z"]),
        // Both, for */1 is one.
        ("0 0 */1 * 1", &["2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z", "2026-12-14T00:00:00Z"]),
        ("0 0 13 * FRI", &["2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z"]),
        ("0 0 ? jan-Feb sUn", &["2027-01-03T00:00:00Z", "2027-01-10T00:00:00Z", "2027-01-17T00:00:00Z"]),
        ("*-5 * * * *", &["2026-11-23T00:01:00Z", "2026-11-23T00:02:00Z", "2026-11-23T00:03:00Z"]),
        ("30 0 0 29 2 *", &["2028-02-29T00:00:30Z"]),
        ("0 0 30 2 *", &[]),
        (", * * * *", &[]),
        ("@hourly", &["2026-11-23T01:00:00Z", "2026-11-23T02:00:00Z"]),
        ("@daily", &["2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"]),
        ("@midnight", &["2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"]),
        ("@weekly", &["2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"]),
        ("@monthly", &["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
        ("@yearly", &["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
        ("@annually", &["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
    ];
    for (spec, times) in table {
        let found = first(&timing(&source(&[spec])), "2026-11-23T00:00:00Z", times.len().max(1));
        assert_eq!(&found, times, "{spec}");
    }
}

#[test]
fn a_refusal_names_field_and_place() {
    use Field::{DayOfMonth, DayOfWeek, Hour, Minute, Month, Second};
    let table = [
        ("* 25 * * *", Some(Hour), "25", "25 is above 23"),
        ("60 * * * *", Some(Minute), "60", "60 is above 59"),
        ("0 61 * * * *", Some(Minute), "61", "61 is above 59"),
        ("x 0 * * * *", Some(Second), "x", "\"x\" is not a number"),
        ("* * 0 * *", Some(DayOfMonth), "0", "0 is below 1"),
        ("* * L * *", Some(DayOfMonth), "L", "\"L\" is not supported: there is no L, W or #"),
        ("* * * JANUARY *", Some(Month), "JANUARY", "\"JANUARY\" is neither a number nor a name"),
        ("* * * * 7", Some(DayOfWeek), "7", "7 is above 6; Sunday is 0"),
        ("* * * * 1#2", Some(DayOfWeek), "1#2", "\"1#2\" is not supported: there is no L, W or #"),
        ("* * * * FRI-MON", Some(DayOfWeek), "FRI-MON", "the range \"FRI-MON\" runs backwards"),
        ("1,2,*/0 * * * *", Some(Minute), "0", "a step of 0 goes nowhere"),
        ("*/x * * * *", Some(Minute), "x", "the step \"x\" is not a whole number"),
        ("1-2-3 * * * *", Some(Minute), "1-2-3", "a range has one hyphen"),
        ("*/2/3 * * * *", Some(Minute), "*/2/3", "a step has one slash"),
        ("1- * * * *", Some(Minute), "", "a value is missing"),
        ("99999999999999999999 * * * *", Some(Minute), "99999999999999999999", "is too large"),
        ("H(0-70) * * * *", Some(Minute), "70", "70 is above 59"),
        ("H(5) * * * *", Some(Minute), "5", "H(…) takes a range"),
        ("H5 * * * *", Some(Minute), "H5", "\"H5\" is no form of H"),
        ("* * * *", None, "* * * *", "it has 4 fields, not 5 or 6"),
        ("", None, "", "it is empty"),
        ("@dayly", None, "@dayly", "it is no known shorthand"),
        ("@daily ", None, "@daily ", "it is no known shorthand"),
        ("@every", None, "@every", "it is no known shorthand"),
        ("@every ", None, "", "the period is missing"),
        ("@every 0s", None, "0s", "a period of 0s is shorter than a second"),
        ("@every -5m", None, "-5m", "a period of -5m is shorter than a second"),
        ("@every 500ms", None, "500ms", "a period of 500ms is shorter than a second"),
        ("@every 1h30", None, "30", "30 has no unit"),
        ("@every 1h2y", None, "2y", "unknown unit \"y\""),
        ("@every 1..5s", None, "1..5s", "does not begin with a number"),
        ("@every 9999999h", None, "9999999h", "is longer than 292 years"),
        ("@every 200000d", None, "200000d", "is longer than 292 years"),
        ("TZ=Asia/Tokyo 0 * * * *", None, "TZ=Asia/Tokyo", "name the zone in the field timeZone"),
        ("CRON_TZ=UTC @daily", None, "CRON_TZ=UTC", "name the zone in the field timeZone"),
        ("TZ=UTC", None, "TZ=UTC", "name the zone in the field timeZone"),
    ];
    for (text, field, place, problem) in table {
        let TimingError::Spec(error) = refusal(text) else { panic!("{text}") };
        assert_eq!(error.field, field, "{text}");
        assert_eq!(&error.text[error.span.clone()], place, "{text}");
        assert!(error.problem.contains(problem), "{text}: {}", error.problem);
        assert!(!error.allowed.is_empty(), "{text}");
    }
}

#[test]
fn a_refusal_points_with_carets() {
    let TimingError::Spec(error) =
        Timing::parse(&source(&["@daily", "*/20 25,3\t* * *"])).expect_err("hour 25 is refused")
    else {
        panic!("another error")
    };
    assert_eq!(error.schedule, 1);
    assert_eq!(error.caret(), "*/20 25,3 * * *\n     ^^");
    assert_eq!(
        error.to_string(),
        r#"read schedule "*/20 25,3\t* * *": hour: 25 is above 23; allowed: 0-23, *, lists a,b, ranges a-b, steps */n a-b/n, H"#
    );
    assert_eq!(refusal("0 é * * *").caret().expect("a place"), "0 é * * *\n  ^");
    assert_eq!(refusal("1- * * * *").caret().expect("a place"), "1- * * * *\n  ^");
}

#[test]
fn a_huge_schedule_is_refused_without_repeating_it() {
    let error = refusal(&"é,".repeat(5_000));
    assert!(error.to_string().len() < 1_000, "{}", error.to_string().len());
    assert!(error.caret().expect("a place").len() < 1_000);
}

#[test]
fn schedules_are_counted() {
    assert_eq!(Timing::parse(&source(&[])).expect_err("none"), TimingError::NoSchedule);
    let many = vec!["@daily"; 101];
    assert_eq!(Timing::parse(&source(&many)).expect_err("101"), TimingError::TooManySchedules { found: 101 });
    assert!(Timing::parse(&source(&many[..100])).is_ok());
}

#[test]
fn an_unknown_zone_is_named_with_the_nearest_known_one() {
    let refused = |zone: &str| {
        let source = TimingSource { time_zone: Some(zone.to_owned()), ..source(&["@daily"]) };
        Timing::parse(&source).expect_err(zone)
    };
    let message = r#"read time zone "Asia/Shangai": unknown name, did you mean Asia/Shanghai?; allowed: IANA names such as Europe/Berlin or UTC"#;
    assert_eq!(refused("Asia/Shangai").to_string(), message);
    assert_eq!(refused("Asia/Shangai").caret().expect("a place"), "Asia/Shangai\n^^^^^^^^^^^^");
    assert_eq!(refused("Asia/Shangai").reason(), "UnknownTimeZone");
    let nearest = |zone| match refused(zone) {
        TimingError::UnknownZone { nearest, .. } => nearest,
        other => panic!("{other}"),
    };
    assert_eq!(nearest("Berlin").as_deref(), Some("Europe/Berlin"));
    for zone in ["", "Local", "Etc/Unknown", "Nowhere/At_All", "../../etc/passwd", &"x".repeat(10_000)] {
        assert!(refused(zone).to_string().len() < 250, "{zone:.50}");
    }
}

#[test]
fn a_zone_may_be_written_in_any_case() {
    let source = TimingSource { time_zone: Some("asia/SHANGHAI".to_owned()), ..source(&["@daily"]) };
    assert_eq!(first(&timing(&source), "2026-11-23T00:00:00Z", 1), ["2026-11-23T16:00:00Z"]);
}

#[test]
fn h_stays_with_its_object_and_keeps_to_its_range() {
    let spread = |spec: &str, key: String| {
        let source = TimingSource { hash_key: key, ..source(&[spec]) };
        timing(&source).next_after(at("2026-11-22T23:59:59Z")).expect("a time")
    };
    let minutes = |spec: &'static str| (0..500).map(move |n| spread(spec, format!("shop/job-{n}")));
    let minute = |tick: jiff::Timestamp| tick.as_second() / 60 % 60;
    let all: std::collections::BTreeSet<_> = minutes("H * * * *").map(minute).collect();
    assert!(all.len() > 50, "500 objects spread over {} minutes only", all.len());
    assert!(minutes("H(10-29) * * * *").map(minute).all(|minute| (10..30).contains(&minute)));
    assert!(minutes("H/15 * * * *").map(minute).all(|minute| minute < 15));
    assert!(minutes("H(30-59)/10 * * * *").map(minute).all(|minute| (30..40).contains(&minute)));
    // Frozen: a change of the hash would move every such schedule of every user.
    let frozen = TimingSource { hash_key: "shop/nightly".to_owned(), ..source(&["H H H H H"]) };
    let times = first(&timing(&frozen), "2026-11-23T00:00:00Z", 2);
    assert_eq!(times, ["2027-02-06T18:39:00Z", "2027-02-13T18:39:00Z"]);
}

#[test]
fn h_with_a_step_repeats_from_its_offset() {
    let source = TimingSource { hash_key: "a/b".to_owned(), ..source(&["H/20 * * * *"]) };
    let ticks: Vec<_> = timing(&source).iter_after(at("2026-11-23T00:00:00Z")).take(30).collect();
    assert!(ticks.windows(2).all(|two| (two[1] - two[0]).get_seconds() == 1_200), "{ticks:?}");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        text in "[-*/?,@HLW#a-z0-9() \\t(é]{0,40}",
        every in "[-+.0-9a-zµ\\n]{0,12}",
    ) {
        for text in [text, format!("@every {every}")] {
            match Timing::parse(&source(&[&text])) {
                Ok(timing) => { let _ = timing.next_after(at("2026-11-23T00:00:00Z")); }
                Err(error) => {
                    prop_assert_eq!(error.to_string().lines().count(), 1);
                    prop_assert_eq!(error.caret().map(|picture| picture.lines().count()), Some(2));
                }
            }
        }
    }
}
