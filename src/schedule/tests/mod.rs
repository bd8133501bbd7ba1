//! What the module promises, as tables and properties. The comparison with other engines is `tests/schedule`.

mod decide;
pub(crate) mod entry;
mod ledger;
mod spec;
mod timing;
mod zones;

use jiff::Timestamp;

use super::{Gap, Overlap, Timing, TimingSource};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn source(schedules: &[&str]) -> TimingSource {
    let schedules = schedules.iter().map(|&text| text.to_owned()).collect();
    TimingSource { schedules, ..TimingSource::default() }
}

fn timing(source: &TimingSource) -> Timing {
    Timing::parse(source).unwrap_or_else(|error| panic!("{error}"))
}

fn in_zone(schedule: &str, zone: &str, gap: Gap, overlap: Overlap) -> Timing {
    timing(&TimingSource { time_zone: Some(zone.to_owned()), gap, overlap, ..source(&[schedule]) })
}

/// The first `count` times after `after`, in UTC.
fn first(timing: &Timing, after: &str, count: usize) -> Vec<String> {
    timing.iter_after(at(after)).take(count).map(|tick| tick.to_string()).collect()
}
