//! Times, sizes and foreign text as people read them.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;

/// Text on one line, with control characters made visible: it may come from anybody, and must neither break a
/// table nor steer a terminal.
pub(in crate::cli) fn clean(text: &str) -> Cow<'_, str> {
    escape(text, char::is_control)
}

/// [`clean`], with line ends and tabs left as they are.
pub(in crate::cli) fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

fn escape(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_bad(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// A duration in seconds, to the millisecond, as programs read it.
pub(in crate::cli) fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// At most `chars_max` characters, the last of them `…` when some were cut off.
pub(in crate::cli) fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// A distance in time by its two largest units, such as `3m12s`; below a second `0s`.
pub(in crate::cli) fn distance(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(at) = UNITS.iter().position(|(unit_s, _)| seconds >= *unit_s) else { return "0s".to_owned() };
    let (unit_s, unit) = UNITS[at];
    let whole = format!("{}{unit}", seconds / unit_s);
    match UNITS.get(at + 1) {
        Some((next_s, next)) if seconds % unit_s >= *next_s => {
            format!("{whole}{}{next}", seconds % unit_s / next_s)
        }
        _ => whole,
    }
}

/// A moment as seen at `now`: `in 3m12s`, `now`, `5s ago`, or `-` for none.
pub(in crate::cli) fn relative(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let seconds = at.as_second() - now.as_second();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", distance(seconds.unsigned_abs())),
        _ => format!("{} ago", distance(seconds.unsigned_abs())),
    }
}

/// Bytes in the largest binary unit that leaves at least one, such as `1.5 MiB`.
pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().expect("there are units");
    while amount >= 1024.0 {
        let Some(larger) = units.next() else { break };
        amount /= 1024.0;
        unit = larger;
    }
    format!("{amount:.1} {unit}")
}

/// A number and what it counts, such as `1 task` and `2 tasks`.
pub(in crate::cli) fn count_of(count: impl Display + PartialEq<u64>, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Names of what there is, for an answer that something is not: sorted, and no endless line.
pub(in crate::cli) fn known(mut names: Vec<String>) -> String {
    const SHOWN: usize = 20;
    names.sort();
    match names.len() {
        0 => "none".to_owned(),
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(clean("plain ü"), "plain ü");
        assert_eq!(clean("a\u{1b}[31m\r\n\u{9b}"), "a\\u{1b}[31m\\r\\n\\u{9b}");
        assert_eq!(clean_lines("a\n\tb\u{1b}"), "a\n\tb\\u{1b}");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }

    #[test]
    fn distances_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (192, "3m12s"),
            (3600, "1h"),
            (3661, "1h1m"),
            (90_000, "1d1h"),
        ] {
            assert_eq!(distance(seconds), text, "{seconds}");
        }
        let now: Timestamp = "2026-11-23T09:00:00Z".parse().unwrap();
        let at = |text: &str| relative(Some(text.parse().unwrap()), now);
        assert_eq!(at("2026-11-23T09:00:05Z"), "in 5s");
        assert_eq!(at("2026-11-23T08:58:00Z"), "2m ago");
        assert_eq!(at("2026-11-23T09:00:00.9Z"), "now");
        assert_eq!(relative(None, now), "-");
    }

    #[test]
    fn a_list_of_what_is_known_is_bounded() {
        let names = |count: usize| (0..count).rev().map(|n| format!("q{n:02}")).collect();
        assert_eq!(known(names(0)), "none");
        assert_eq!(known(names(3)), "q00, q01, q02");
        assert!(known(names(25)).ends_with("q18, q19 and 5 more"));
    }

    #[test]
    fn sizes_have_binary_units() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777216.0 TiB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!((count_of(1_u64, "task"), count_of(0_u64, "task")), ("1 task".into(), "0 tasks".into()));
    }
}
