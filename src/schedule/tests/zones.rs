//! Every zone there is, against the definition of the rules, minute by minute.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::super::{Gap, Overlap};
use super::in_zone;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// How far around a change of the clock everything is compared, in minutes.
const REACH_MIN: i64 = 200;

/// All zones with the changes of their clocks from 1973 to 2040 (before, offsets had seconds).
fn zones() -> impl Iterator<Item = (String, TimeZone, Vec<Timestamp>)> {
    let database = TimeZoneDatabase::bundled();
    let names: Vec<_> = database.available().map(|name| name.as_str().to_owned()).collect();
    names.into_iter().map(move |name| {
        let zone = database.get(&name).expect("a bundled zone");
        let from = Timestamp::from_second(100_000_000).expect("in range");
        let to = Timestamp::from_second(2_200_000_000).expect("in range");
        let seams = zone.following(from).map(|seam| seam.timestamp());
        let seams = seams.take_while(|at| *at > from && *at < to).collect();
        (name, zone, seams)
    })
}

/// When a job at `minute` past `hour` fires within reach of a seam, by walking through every minute.
fn by_definition(
    zone: &TimeZone,
    seam: Timestamp,
    time: DateTime,
    gap: Gap,
    overlap: Overlap,
) -> Vec<Timestamp> {
    let is_it = |wall: DateTime| (wall.hour(), wall.minute()) == (time.hour(), time.minute());
    let mut fires = BTreeSet::new();
    let mut shown = BTreeSet::new();
    for minute in -REACH_MIN..=REACH_MIN {
        let instant = seam + MINUTE * minute as i32;
        let wall = zone.to_datetime(instant);
        let is_first = shown.insert(wall);
        if is_it(wall) && (is_first || overlap == Overlap::Both) {
            fires.insert(instant);
        }
        let mut skipped = zone.to_datetime(instant - MINUTE) + MINUTE;
        while gap == Gap::After && skipped < wall {
            if is_it(skipped) {
                fires.insert(instant);
            }
            skipped += MINUTE;
        }
    }
    let reach = MINUTE * REACH_MIN as i32;
    fires.into_iter().filter(|at| *at > seam - reach && *at < seam + reach).collect()
}

#[test]
fn fixed_times_follow_the_rules_at_seams_of_every_zone() {
    let mut compared = 0;
    for (index, (name, zone, seams)) in zones().enumerate() {
        // Three seams of each zone, others from zone to zone, at three times around each.
        for seam in seams.iter().skip(index % 7).step_by(seams.len() / 3 + 1) {
            for (shift, gap, overlap) in [
                (-75, Gap::After, Overlap::First),
                (-20, Gap::Skip, Overlap::First),
                (35, Gap::After, Overlap::Both),
            ] {
                let wall = zone.to_datetime(*seam - MINUTE) + MINUTE * (1 + shift + (index % 40) as i32);
                let spec = format!("{} {} * * *", wall.minute(), wall.hour());
                let timing = in_zone(&spec, &name, gap, overlap);
                let reach = MINUTE * REACH_MIN as i32;
                let found: Vec<_> =
                    timing.iter_after(*seam - reach).take_while(|at| *at < *seam + reach).collect();
                let expected = by_definition(&zone, *seam, wall, gap, overlap);
                assert_eq!(found, expected, "{spec} in {name}, {gap:?} and {overlap:?}, around {seam}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2_000, "{compared}");
}

#[test]
fn no_zone_hangs_or_goes_backwards() {
    let start = Timestamp::from_second(-2_500_000_000).expect("in range");
    for (name, _, seams) in zones() {
        let around = seams.last().map_or(start, |seam| *seam - SignedDuration::from_hours(30));
        for spec in ["0 0 * * *", "30 2 * * *", "*/20 * * * *", "0 0 30 2 *"] {
            for (gap, overlap) in [(Gap::After, Overlap::First), (Gap::Skip, Overlap::Both)] {
                let timing = in_zone(spec, &name, gap, overlap);
                for after in [start, around] {
                    let mut last = after;
                    for next in timing.iter_after(after).take(4) {
                        assert!(next > last, "{spec} in {name}: {next} follows {last}");
                        last = next;
                    }
                }
            }
        }
    }
}
