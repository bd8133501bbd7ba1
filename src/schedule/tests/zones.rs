//! Every zone there is, against the definition of the rules, minute by minute.

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::super::{Gap, Overlap};
use super::in_zone;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// How far around a change of the clock everything is compared, in minutes.
const REACH_MIN: i32 = 200;

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

/// What the clock shows in each minute within reach of a seam.
fn around(zone: &TimeZone, seam: Timestamp) -> Vec<(Timestamp, DateTime)> {
    let instants = (-REACH_MIN..=REACH_MIN).map(|minute| seam + MINUTE * minute);
    instants.map(|instant| (instant, zone.to_datetime(instant))).collect()
}

/// When a job at `time` fires within these minutes, the first of them excluded.
fn by_definition(
    minutes: &[(Timestamp, DateTime)],
    time: DateTime,
    gap: Gap,
    overlap: Overlap,
) -> Vec<Timestamp> {
    let is_it = |wall: DateTime| (wall.hour(), wall.minute()) == (time.hour(), time.minute());
    let mut fires = Vec::new();
    for (place, &(instant, wall)) in minutes.iter().enumerate().skip(1) {
        let was_shown = || minutes[..place].iter().any(|(_, earlier)| *earlier == wall);
        let fires_now = is_it(wall) && (overlap == Overlap::Both || !was_shown());
        let expected = minutes[place - 1].1 + MINUTE;
        let skipped = || expected.series(1.minute()).take_while(|skipped| *skipped < wall);
        if fires_now || (gap == Gap::After && skipped().any(is_it)) {
            fires.push(instant);
        }
    }
    fires
}

/// Minutes from the seam's wall clock time to the job, and rules to try there.
const RULES: [(i32, Gap, Overlap); 3] =
    [(-75, Gap::After, Overlap::First), (-20, Gap::Skip, Overlap::First), (35, Gap::After, Overlap::Both)];

#[test]
fn fixed_times_follow_the_rules_at_seams_of_every_zone() {
    let mut compared = 0;
    for (index, (name, zone, seams)) in zones().enumerate() {
        // Three seams of each zone, others from zone to zone, at three times around each.
        for seam in seams.iter().skip(index % 7).step_by(seams.len() / 3 + 1) {
            let minutes = around(&zone, *seam);
            let (from, to) = (minutes[0].0, *seam + MINUTE * REACH_MIN);
            for (shift, gap, overlap) in RULES {
                let wall = zone.to_datetime(*seam - MINUTE) + MINUTE * (1 + shift + (index % 40) as i32);
                let spec = format!("{} {} * * *", wall.minute(), wall.hour());
                let timing = in_zone(&spec, &name, gap, overlap);
                let found: Vec<_> = timing.iter_after(from).take_while(|at| *at <= to).collect();
                let expected = by_definition(&minutes, wall, gap, overlap);
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
