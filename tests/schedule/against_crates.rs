//! Two crates as further judges: croner for `After` and `First`, `cron` for the calendar.
//!
//! Their own grammars differ from robfig's, so each gets the expression rewritten as plain lists of values,
//! which come from the generator and not from our parser.

use std::collections::BTreeSet;
use std::str::FromStr;

use croner::JobType;
use croner::parser::{CronParser, Seconds};
use cronmill::schedule::{Gap, Overlap};
use fastrand::Rng;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::generate::{Expression, FieldText, zone_and_start};
use crate::timing;

const CASES: usize = 4_000;
const STEPS: usize = 6;

/// The values within bounds as a list, moved by `offset`.
fn list(values: &BTreeSet<u8>, min: u8, max: u8, offset: u8) -> String {
    let texts: Vec<_> = values.range(min..=max).map(|value| (value + offset).to_string()).collect();
    texts.join(",")
}

fn second(expression: &Expression) -> String {
    expression.second.as_ref().map_or("0".to_owned(), |second| list(&second.values, 0, 59, 0))
}

/// Croner's form of an expression: lists, but stars stay stars, for they decide what counts as a fixed time.
fn for_croner(expression: &Expression) -> croner::Cron {
    let Expression { minute, hour, day, month, weekday, .. } = expression;
    let time = |field: &FieldText, max: u8| {
        if field.values.len() > usize::from(max) { "*".to_owned() } else { list(&field.values, 0, max, 0) }
    };
    let text = format!(
        "{} {} {} {} {} {}",
        second(expression),
        time(minute, 59),
        time(hour, 23),
        list(&day.values, 1, 31, 0),
        list(&month.values, 1, 12, 0),
        list(&weekday.values, 0, 6, 0),
    );
    let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(day.is_star || weekday.is_star);
    parser.build().parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Whether the clock skips the end of a day. Croner then drops a fixed time, we fire at midnight.
fn skips_into_the_next_day(zone: &TimeZone, from: Timestamp, to: Timestamp) -> bool {
    let seams = zone.following(from).map(|seam| seam.timestamp()).take_while(|at| *at <= to);
    seams.into_iter().any(|at| {
        let last = at - SignedDuration::from_secs(1);
        let before = zone.to_offset(last).to_datetime(at);
        before < zone.to_datetime(at) && before.date() < zone.to_datetime(at).date()
    })
}

#[test]
fn after_and_first_is_what_croner_does() {
    let mut rng = crate::seeded();
    let (mut fixed, mut spaced, mut elsewhere) = (0, 0, 0);
    for _ in 0..CASES {
        let expression = Expression::random(&mut rng, true);
        let (zone_name, zone, start) = zone_and_start(&mut rng);
        let croner = for_croner(&expression);
        let is_fixed = expression.time_fields().all(|field| !field.is_spaced);
        // Croner takes lists for "every so often", we follow Vixie, who does not.
        if is_fixed != (croner.determine_job_type() == JobType::FixedTime) {
            elsewhere += 1;
            continue;
        }
        let timing = timing(&expression.text(), zone_name, Gap::After, Overlap::First);
        let mut after = start;
        for next in timing.iter_after(start).take(STEPS) {
            if !skips_into_the_next_day(&zone, after, next) {
                let theirs = croner.find_next_occurrence(&after.to_zoned(zone.clone()), false);
                let theirs = theirs.map(|zoned| zoned.timestamp()).ok();
                assert_eq!(Some(next), theirs, "{:?} in {zone_name} after {after}", expression.text());
                *(if is_fixed { &mut fixed } else { &mut spaced }) += 1;
            }
            after = next;
        }
    }
    println!("{fixed} steps of fixed times, {spaced} of spaced ones; {elsewhere} expressions not compared");
    assert!(fixed > 1_000 && spaced > 1_000, "one-sided: {fixed} fixed, {spaced} spaced");
}

/// The `cron` crate's forms of an expression, which fires whenever one of them does. It joins the two day
/// fields with "and", and Sunday is its day 1.
fn for_cron(expression: &Expression) -> Vec<cron::Schedule> {
    let Expression { minute, hour, day, month, weekday, .. } = expression;
    let (days, weekdays) = (list(&day.values, 1, 31, 0), list(&weekday.values, 0, 6, 1));
    let days = if day.is_star || weekday.is_star {
        vec![(days.as_str(), weekdays.as_str())]
    } else {
        vec![(days.as_str(), "*"), ("*", weekdays.as_str())]
    };
    let form = |(day, weekday): &(&str, &str)| {
        let (second, minute) = (second(expression), list(&minute.values, 0, 59, 0));
        let (hour, month) = (list(&hour.values, 0, 23, 0), list(&month.values, 1, 12, 0));
        let text = format!("{second} {minute} {hour} {day} {month} {weekday}");
        cron::Schedule::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    days.iter().map(form).collect()
}

fn cron_next(forms: &[cron::Schedule], after: Timestamp) -> Option<Timestamp> {
    let after = chrono::DateTime::from_timestamp(after.as_second(), 0).expect("in range");
    let next = forms.iter().filter_map(|form| form.after(&after).next()).min()?;
    Timestamp::from_second(next.timestamp()).ok()
}

#[test]
fn the_calendar_is_the_one_of_the_crate_cron() {
    let mut rng: Rng = crate::seeded();
    let mut steps = 0;
    for _ in 0..CASES {
        let expression = Expression::random(&mut rng, true);
        let timing = timing(&expression.text(), "UTC", Gap::After, Overlap::First);
        let forms = for_cron(&expression);
        let mut after = Timestamp::from_second(rng.i64(946_684_800..2_500_000_000)).expect("in range");
        for _ in 0..STEPS {
            let (ours, theirs) = (timing.next_after(after), cron_next(&forms, after));
            // We look five years ahead, it looks further.
            let year = |at: Timestamp| TimeZone::UTC.to_datetime(at).year();
            let theirs = theirs.filter(|theirs| year(*theirs) <= year(after) + 5);
            assert_eq!(ours, theirs, "{:?} after {after}", expression.text());
            steps += 1;
            let Some(next) = ours else { break };
            after = next;
        }
    }
    assert!(steps > 4 * CASES, "hardly any step was compared: {steps}");
}
