//! When an object fires: its schedules, zone and rules, ready to be asked for the next time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::error::TimingError;
use super::search::{self, SeamRules};
use super::spec::Spec;
use super::{stable_hash, zone};

/// Most schedules one object may have.
pub const SCHEDULES_MAX: usize = 100;

/// Changes whenever the same source could give other times than before.
const ENGINE: u32 = 1;

/// The version of the engine and of its zone data, such as `1+2026a`.
#[must_use]
pub fn engine_version() -> String {
    format!("{ENGINE}+{}", zone::data_version())
}

/// What a user wrote about when something runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimingSource {
    /// Cron expressions; it fires whenever one of them does, and once where several coincide.
    pub schedules: Vec<String>,
    /// IANA name of the zone whose wall clock counts. Default: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// What happens to times that the clock skips. Default: [`Gap::After`].
    #[serde(default)]
    pub gap: Gap,
    /// What happens to times that the clock shows twice. Default: [`Overlap::First`].
    #[serde(default)]
    pub overlap: Overlap,
    /// `@every` fires at this instant plus each whole number of periods from 1 on; fractions of a second are
    /// cut off.
    #[serde(default)]
    pub anchor: Timestamp,
    /// `namespace/name` of the object: decides `H` and jitter.
    #[serde(default)]
    pub hash_key: String,
    /// Each tick is delayed by less than this many seconds, the same tick always by the same. Default: 0.
    #[serde(default)]
    pub jitter_s: u32,
}

/// What happens to a fixed time of day that does not exist because the clock jumps over it.
///
/// Expressions that mean "every so often" (a `*`, `?` or step among seconds, minutes or hours, or all values
/// of one of them) are not affected: they stay evenly spaced in real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Gap {
    /// It fires right after the jump, once however many times were skipped.
    #[default]
    After,
    /// It does not fire.
    Skip,
}

/// What happens to a fixed time of day that comes twice because the clock is set back.
///
/// Expressions that mean "every so often" are not affected, as with [`Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Overlap {
    /// It fires the first time only.
    #[default]
    First,
    /// It fires both times.
    Both,
}

/// A [`TimingSource`] that was checked and is ready for use.
///
/// ```
/// use cronmill::schedule::{Timing, TimingSource};
///
/// let source = TimingSource {
///     schedules: vec!["30 2 * * *".into()],
///     time_zone: Some("America/New_York".into()),
///     ..TimingSource::default()
/// };
/// let timing = Timing::parse(&source)?;
/// // The clock jumps from 02:00 to 03:00 that night.
/// let next = timing.next_after("2026-03-08T05:00:00Z".parse()?);
/// assert_eq!(next, Some("2026-03-08T07:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Timing {
    specs: Vec<Spec>,
    zone: TimeZone,
    rules: SeamRules,
    anchor_s: i64,
    hash_key: String,
    jitter_s: u32,
}

impl Timing {
    /// Checks a source.
    ///
    /// # Errors
    /// [`TimingError`] for no or too many schedules, one that cannot be read, or an unknown zone.
    pub fn parse(source: &TimingSource) -> Result<Self, TimingError> {
        match source.schedules.len() {
            0 => return Err(TimingError::NoSchedule),
            found if found > SCHEDULES_MAX => return Err(TimingError::TooManySchedules { found }),
            _ => {}
        }
        let read = |(place, text): (usize, &String)| {
            Spec::parse(text, &source.hash_key).map_err(|fault| fault.in_schedule(place, text))
        };
        let specs = source.schedules.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            specs,
            zone: zone::find(source.time_zone.as_deref())?,
            rules: SeamRules {
                fires_after_gap: source.gap == Gap::After,
                fires_once_in_overlap: source.overlap == Overlap::First,
            },
            anchor_s: source.anchor.as_nanosecond().div_euclid(1_000_000_000) as i64,
            hash_key: source.hash_key.clone(),
            jitter_s: source.jitter_s,
        })
    }

    /// The first nominal time after `after`, a whole second. `None`: never, that is not within the five
    /// calendar years after the current one.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let start_s = (after.as_nanosecond().div_euclid(1_000_000_000) as i64).checked_add(1)?;
        let start = Timestamp::from_second(start_s).ok()?;
        self.specs.iter().filter_map(|spec| self.first_from(spec, start)).min()
    }

    fn first_from(&self, spec: &Spec, start: Timestamp) -> Option<Timestamp> {
        match spec {
            Spec::Every(period_s) => {
                // Whole periods from the anchor to the start, rounded up, at least one.
                let since = start.as_second() - self.anchor_s;
                let periods = since.div_euclid(*period_s) + i64::from(since.rem_euclid(*period_s) != 0);
                let offset = periods.max(1).checked_mul(*period_s)?;
                Timestamp::from_second(self.anchor_s.checked_add(offset)?).ok()
            }
            Spec::Calendar(calendar) => {
                let none = SeamRules { fires_after_gap: false, fires_once_in_overlap: false };
                let rules = if calendar.is_fixed_time() { self.rules } else { none };
                search::first_from(calendar, &self.zone, rules, start)
            }
        }
    }

    /// All nominal times after `after`, in order.
    #[must_use]
    pub fn iter_after(&self, after: Timestamp) -> Ticks<'_> {
        Ticks { timing: self, after: Some(after) }
    }

    /// When a tick is due: its nominal time plus jitter. The jitter depends on nothing but the object and
    /// the nominal time, and stays below the distance to the next tick, so that ticks keep their order and
    /// none is overtaken for the jitter's sake.
    #[must_use]
    pub fn due(&self, nominal: Timestamp) -> Timestamp {
        if self.jitter_s == 0 {
            return nominal;
        }
        let distance_s = |next: Timestamp| next.as_second() - nominal.as_second();
        let room_s = self.next_after(nominal).map_or(i64::MAX, distance_s).max(1).unsigned_abs();
        let second = nominal.as_second().to_be_bytes();
        let hash = stable_hash::number(&[b"jitter", self.hash_key.as_bytes(), &second]);
        // The remainder is below 2^32.
        let delay_s = (hash % room_s.min(u64::from(self.jitter_s))) as i64;
        nominal.checked_add(jiff::SignedDuration::from_secs(delay_s)).unwrap_or(nominal)
    }
}

/// The nominal times of a [`Timing`] in order; made by [`Timing::iter_after`].
#[derive(Debug, Clone)]
pub struct Ticks<'a> {
    timing: &'a Timing,
    after: Option<Timestamp>,
}

impl Iterator for Ticks<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        self.after = self.timing.next_after(self.after?);
        self.after
    }
}
