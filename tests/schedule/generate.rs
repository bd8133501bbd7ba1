//! Random expressions whose meaning is known without any parser: text and values are made together.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// Zones with something awkward in the years covered: shifts at midnight, by half an hour or two hours,
/// four in a year; and some plain ones. Not Pacific/Apia, where robfig hangs at the day left out in 2011.
pub(crate) const ZONES: &[&str] = &[
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "America/Asuncion",
    "America/Caracas",
    "America/Goose_Bay",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Scoresbysund",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Damascus",
    "Asia/Dhaka",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Shanghai",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
];

/// One field: how it is written and what that means.
#[derive(Debug, Clone)]
pub(crate) struct FieldText {
    pub(crate) text: String,
    pub(crate) values: BTreeSet<u8>,
    /// `*` or `?` without a step above 1 is in it.
    pub(crate) is_star: bool,
    /// It has a `*`, `?` or a step above 1.
    pub(crate) is_spaced: bool,
}

/// Smallest value, largest value, names.
struct Bounds(u8, u8, &'static [&'static str]);

const SIXTY: Bounds = Bounds(0, 59, &[]);
const HOURS: Bounds = Bounds(0, 23, &[]);
const DAYS: Bounds = Bounds(1, 31, &[]);
const MONTHS: Bounds =
    Bounds(1, 12, &["Jan", "FEB", "mar", "apr", "May", "jun", "JUL", "aug", "sep", "oct", "nov", "deC"]);
const WEEKDAYS: Bounds = Bounds(0, 6, &["SUN", "mon", "Tue", "wed", "thu", "fri", "SaT"]);

/// A whole expression.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub(crate) second: Option<FieldText>,
    pub(crate) minute: FieldText,
    pub(crate) hour: FieldText,
    pub(crate) day: FieldText,
    pub(crate) month: FieldText,
    pub(crate) weekday: FieldText,
}

impl Expression {
    /// Any expression: half of them with a seconds field if `seconds`.
    pub(crate) fn random(rng: &mut Rng, seconds: bool) -> Self {
        let month = if rng.u8(..10) < 7 { star() } else { field(rng, &MONTHS) };
        let day = if rng.bool() { star() } else { field(rng, &DAYS) };
        let weekday = if rng.u8(..10) < 6 { star() } else { field(rng, &WEEKDAYS) };
        Self {
            second: (seconds && rng.bool()).then(|| field(rng, &SIXTY)),
            minute: field(rng, &SIXTY),
            hour: if rng.bool() { early_hours(rng) } else { field(rng, &HOURS) },
            day,
            month,
            weekday,
        }
    }

    /// The expression as text.
    pub(crate) fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.day, &self.month, &self.weekday];
        let texts: Vec<_> = self.second.iter().chain(fields).map(|field| field.text.as_str()).collect();
        texts.join(" ")
    }

    /// Whether a wall clock shows a matching time.
    pub(crate) fn matches(&self, wall: DateTime) -> bool {
        let has = |field: &FieldText, value: i8| field.values.contains(&(value as u8));
        let day = has(&self.day, wall.day());
        let weekday = has(&self.weekday, wall.date().weekday().to_sunday_zero_offset());
        let both = self.day.is_star || self.weekday.is_star;
        self.second.as_ref().map_or(wall.second() == 0, |second| has(second, wall.second()))
            && has(&self.minute, wall.minute())
            && has(&self.hour, wall.hour())
            && has(&self.month, wall.month())
            && if both { day && weekday } else { day || weekday }
    }

    /// The fields that decide whether it names times of day.
    pub(crate) fn time_fields(&self) -> impl Iterator<Item = &FieldText> {
        self.second.iter().chain([&self.minute, &self.hour])
    }
}

fn star() -> FieldText {
    FieldText { text: "*".into(), values: (0..=59).collect(), is_star: true, is_spaced: true }
}

fn early_hours(rng: &mut Rng) -> FieldText {
    let hour = rng.u8(..4);
    FieldText { text: hour.to_string(), values: [hour].into(), is_star: false, is_spaced: false }
}

fn field(rng: &mut Rng, bounds: &Bounds) -> FieldText {
    let items = if rng.u8(..4) == 0 { rng.u8(2..=4) } else { 1 };
    let mut field = item(rng, bounds);
    for _ in 1..items {
        let next = item(rng, bounds);
        let comma = if rng.u8(..6) == 0 { ",," } else { "," };
        field.text = format!("{}{comma}{}", field.text, next.text);
        field.values.extend(next.values);
        field.is_star |= next.is_star;
        field.is_spaced |= next.is_spaced;
    }
    field
}

fn item(rng: &mut Rng, bounds: &Bounds) -> FieldText {
    let Bounds(min, max, _) = *bounds;
    let first = rng.u8(min..=max);
    let last = rng.u8(first..=max);
    let step = rng.u8(1..=max + 2);
    let every = |from: u8, to: u8, step: u8| (from..=to).step_by(usize::from(step)).collect();
    let (a, b) = (value(rng, bounds, first), value(rng, bounds, last));
    let (text, values, is_star) = match rng.u8(..20) {
        0..=2 => (star_text(rng), every(min, max, 1), true),
        3..=10 => (a, [first].into(), false),
        11..=13 => (format!("{a}-{b}"), every(first, last, 1), false),
        14..=16 => (format!("{}/{step}", star_text(rng)), every(min, max, step), step == 1),
        17 => (format!("{a}/{step}"), every(first, max, step), false),
        _ => (format!("{a}-{b}/{step}"), every(first, last, step), false),
    };
    let is_spaced = is_star || (text.contains('/') && step > 1) || text.contains(['*', '?']);
    FieldText { text, values, is_star, is_spaced }
}

fn star_text(rng: &mut Rng) -> String {
    // What follows a hyphen behind a star does not count.
    ["*", "*", "*", "*", "*", "?", "?", "*-7"][rng.usize(..8)].to_owned()
}

fn value(rng: &mut Rng, Bounds(min, _, names): &Bounds, value: u8) -> String {
    match (names.get(usize::from(value - min)), rng.u8(..10)) {
        (Some(name), 0..=4) => (*name).to_owned(),
        (_, 8) => format!("{value:02}"),
        (_, 9) => format!("+{value}"),
        _ => value.to_string(),
    }
}

/// A valid expression with up to two places changed, which mostly spoils it.
pub(crate) fn spoilt(rng: &mut Rng) -> String {
    const PIECES: &[&str] = &[
        "*",
        "?",
        "/",
        "-",
        ",",
        " ",
        "0",
        "7",
        "31",
        "60",
        "L",
        "W",
        "#",
        "@",
        "MON",
        "x",
        "*/0",
        "5-1",
        "\t",
        "99999999999999999999",
        "+",
        "5/2/2",
        "1-2-3",
        "@daily",
        "@every 5m",
        "%",
        "é",
    ];
    let mut text = Expression::random(rng, true).text();
    for _ in 0..rng.u8(0..=2) {
        let places: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let from = rng.usize(..places.len());
        let to = (from + rng.usize(..3)).min(places.len() - 1);
        text.replace_range(places[from]..places[to], PIECES[rng.usize(..PIECES.len())]);
    }
    text
}

/// A random zone and a moment in it, seven times in ten shortly before its clock is changed.
pub(crate) fn zone_and_start(rng: &mut Rng) -> (&'static str, TimeZone, Timestamp) {
    let name = ZONES[rng.usize(..ZONES.len())];
    let zone = TimeZoneDatabase::bundled().get(name).expect("a known zone");
    let random = Timestamp::from_second(rng.i64(1_136_073_600..2_050_000_000)).expect("in range");
    if rng.u8(..10) >= 7 {
        return (name, zone, random);
    }
    let seam = zone.following(random).next().map(|seam| seam.timestamp()).filter(|seam| *seam > random);
    let before = SignedDuration::from_secs(rng.i64(0..100_000));
    let start = seam.map_or(random, |seam| seam - before);
    (name, zone, start)
}
