//! A schedule entry in the words of asynq's schedulers.

use std::fmt::Write as _;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::schedule::{Entry, Template, TimingSource};
use crate::task::{ProtoTimestamp, SchedulerEntry};

/// Bytes of a payload, and of a spec, that tools get to see: they read all entries at once.
const SHOWN_BYTES_MAX: usize = 512;

/// What of an entry stays as it is from one tick to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    /// `namespace/name`: lists are sorted by it.
    pub(super) key: String,
    is_suspended: bool,
    deadline_s: Option<i64>,
    entry: SchedulerEntry,
}

impl Shown {
    pub(super) fn new(entry: &Entry) -> Self {
        let mut payload = entry.template.payload.clone();
        // A copy: a slice of it would keep the whole in memory.
        payload = Bytes::copy_from_slice(&payload[..payload.len().min(SHOWN_BYTES_MAX)]);
        Self {
            key: entry.key(),
            is_suspended: entry.suspend,
            deadline_s: entry.template.deadline_s,
            entry: SchedulerEntry {
                id: entry.uid.clone(),
                spec: spec(&entry.timing, entry.suspend),
                task_kind: entry.template.kind.clone(),
                task_payload: payload,
                enqueue_options: options(&entry.template),
                next: None,
                previous: None,
            },
        }
    }

    /// The entry with its times: the nominal times of the next tick and of the last one that was enqueued.
    pub(super) fn at(&self, next: Option<Timestamp>, last: Option<Timestamp>) -> SchedulerEntry {
        let next = next.filter(|_| !self.is_suspended);
        let time = |at: Option<Timestamp>| Some(at.map_or(ProtoTimestamp::NEVER, Into::into));
        let mut entry = SchedulerEntry { next: time(next), previous: time(last), ..self.entry.clone() };
        let deadline =
            |(next, after_s): (Timestamp, i64)| next.checked_add(SignedDuration::from_secs(after_s)).ok();
        if let Some(deadline) = next.zip(self.deadline_s).and_then(deadline) {
            let text = deadline.strftime("%a %b %e %H:%M:%S UTC %Y");
            entry.enqueue_options.push(format!("Deadline({text})"));
        }
        entry
    }
}

/// The schedules as one line, with a zone other than asynq's own in front, as robfig/cron takes it.
fn spec(timing: &TimingSource, is_suspended: bool) -> String {
    let zone = timing.time_zone.as_ref().filter(|zone| *zone != "UTC");
    let mut spec = zone.map(|zone| format!("CRON_TZ={zone} ")).unwrap_or_default();
    spec += &timing.schedules.join("; ");
    if spec.len() > SHOWN_BYTES_MAX {
        spec.truncate(spec.floor_char_boundary(SHOWN_BYTES_MAX));
        spec.push('…');
    }
    if is_suspended {
        // There is no field for it, and tools show a next time of never as "now".
        spec += " (suspended)";
    }
    spec
}

/// The options as asynq prints them. Those that say what holds anyway are left out, as with asynq.
fn options(template: &Template) -> Vec<String> {
    let mut options =
        vec![format!("Queue({})", quoted(&template.queue)), format!("MaxRetry({})", template.max_retry)];
    options.extend(template.timeout_s.map(|timeout_s| format!("Timeout({})", duration(timeout_s))));
    options.extend(template.unique_s.map(|unique_s| format!("Unique({})", duration(unique_s))));
    if template.retention_s > 0 {
        options.push(format!("Retention({})", duration(template.retention_s)));
    }
    if !template.group.is_empty() {
        options.push(format!("Group({})", quoted(&template.group)));
    }
    options
}

/// A text as Go's `%q` writes it. asynq's Inspector takes an option to end at the first `)`, so that is escaped too.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Writing to a string cannot fail.
            ')' | '\0'..' ' | '\x7f' => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A length of time as Go's `time.Duration` prints it.
fn duration(seconds: i64) -> String {
    let (hours, minutes, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match seconds {
        3600.. => format!("{hours}h{minutes}m{s}s"),
        60.. => format!("{minutes}m{s}s"),
        _ => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::entry::plain_entry as entry;

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m0s"), (1800, "30m0s"), (3600, "1h0m0s"), (90_061, "25h1m1s")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn texts_are_quoted_so_that_go_reads_them_back() {
        for (text, expected) in [
            ("default", r#""default""#),
            ("a b:ü{", r#""a b:ü{""#),
            ("say \"\\\"\n", r#""say \"\\\"\x0a""#),
            ("f(x)", r#""f(x\x29""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn only_options_that_were_given_are_shown() {
        let mut template = entry().template;
        assert_eq!(options(&template), [r#"Queue("default")"#, "MaxRetry(3)"]);
        (template.timeout_s, template.retention_s) = (Some(90), 3600);
        (template.unique_s, template.group) = (Some(60), "g".into());
        assert_eq!(
            options(&template)[2..],
            ["Timeout(1m30s)", "Unique(1m0s)", "Retention(1h0m0s)", r#"Group("g")"#]
        );
    }

    #[test]
    fn a_deadline_is_that_of_the_next_task() {
        let mut entry = entry();
        entry.template.deadline_s = Some(3600);
        let next = "2026-03-08T09:00:00Z".parse().expect("valid");
        let shown = Shown::new(&entry);
        assert_eq!(shown.at(Some(next), None).enqueue_options[2], "Deadline(Sun Mar  8 10:00:00 UTC 2026)");
        assert_eq!(shown.at(None, None).enqueue_options.len(), 2);
    }

    #[test]
    fn several_schedules_and_a_zone_are_one_line() {
        let mut entry = entry();
        entry.timing.schedules.push("@daily".into());
        entry.timing.time_zone = Some("Asia/Shanghai".into());
        assert_eq!(Shown::new(&entry).at(None, None).spec, "CRON_TZ=Asia/Shanghai */20 * * * *; @daily");
    }

    #[test]
    fn utc_is_not_named() {
        let mut entry = entry();
        entry.timing.time_zone = Some("UTC".into());
        assert_eq!(Shown::new(&entry).at(None, None).spec, "*/20 * * * *");
    }

    #[test]
    fn what_is_suspended_says_so_and_is_never_next() {
        let entry = Entry { suspend: true, ..entry() };
        let shown = Shown::new(&entry).at(Some(Timestamp::UNIX_EPOCH), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(shown.spec, "*/20 * * * * (suspended)");
        assert_eq!(shown.next, Some(ProtoTimestamp::NEVER));
        assert_eq!(shown.previous, Some(Timestamp::UNIX_EPOCH.into()));
    }

    #[test]
    fn what_is_long_is_cut() {
        let mut entry = entry();
        entry.template.payload = Bytes::from(vec![b'x'; 5000]);
        entry.timing.schedules = vec!["ü".repeat(2000)];
        let shown = Shown::new(&entry).at(None, None);
        assert_eq!(shown.task_payload.len(), SHOWN_BYTES_MAX);
        assert_eq!(shown.spec.len(), SHOWN_BYTES_MAX + '…'.len_utf8());
    }
}
