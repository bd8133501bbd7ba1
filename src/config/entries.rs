//! Periodic tasks: `Tasks`, and `configs` as asynq has it, as schedule entries.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::error::ConfigFault;
use super::findings::Findings;
use super::scheduler::refuse_timing;
use super::section::{Section, shown};
use crate::document::{FieldPath, Step, kind_of};
use crate::schedule::{Entry, Template, Timing, TimingSource, local_uid};
use crate::task::{DEFAULT_QUEUE, QueueName};

/// The kind of object that the uids are made of.
const KIND: &str = "PeriodicTask";
/// Bytes of a type that become part of a name.
const NAME_BYTES_MAX: usize = 200;

/// Whose the entries are.
pub(super) struct Owner {
    /// The name as given: uids are made of it.
    name: String,
    /// The name as the first half of the names of entries.
    namespace: String,
    /// What entries belong to.
    pub(super) cluster: String,
    zone: Option<String>,
}

impl Owner {
    /// Entries of a file of this name, in this zone unless a spec names another.
    pub(super) fn new(name: &str, zone: Option<String>) -> Self {
        let (namespace, cluster) = (object_name(name), format!("scheduler/{name}"));
        Self { name: name.to_owned(), namespace, cluster, zone }
    }
}

/// Takes all periodic tasks.
pub(super) fn take(keys: &mut Section<'_>, owner: &Owner, found: &mut Findings<'_>) -> Vec<Entry> {
    let (tasks, configs) = (keys.take("Tasks"), keys.take("configs"));
    if tasks.is_none() && configs.is_none() {
        let allowed = "a list of {Spec, Type, Payload, Options}, or configs as asynq has it";
        found.refuse(&keys.place("Tasks"), ConfigFault::InvalidValue, "is missing", allowed);
    }
    let mut list = List { owner, names: BTreeSet::new(), seen: BTreeMap::new(), entries: Vec::new() };
    for (path, value) in [tasks, configs].into_iter().flatten() {
        let Value::Array(items) = value else {
            let allowed = "a list of objects; [] for none";
            found.refuse(&path, ConfigFault::InvalidValue, format!("is {}", kind_of(value)), allowed);
            continue;
        };
        for (at, item) in items.iter().enumerate() {
            list.take(item, path.index(at), found);
        }
    }
    list.entries
}

/// What was taken so far.
struct List<'a> {
    owner: &'a Owner,
    names: BTreeSet<String>,
    /// The lines of what was taken, by what it is in all but its name.
    seen: BTreeMap<String, usize>,
    entries: Vec<Entry>,
}

impl List<'_> {
    fn take(&mut self, item: &Value, path: FieldPath, found: &mut Findings<'_>) {
        let Some(mut keys) = Section::open(item, path.clone(), found) else { return };
        let is_asynqs = matches!(path.0.first(), Some(Step::Key(key)) if key.eq_ignore_ascii_case("configs"));
        let (spec_key, type_key) = if is_asynqs { ("cronspec", "task_type") } else { ("Spec", "Type") };
        let spec =
            required(&mut keys, spec_key, "a schedule, as in \"*/20 * * * *\" or \"@every 30s\"", found);
        let kind = required(&mut keys, type_key, "the type of a task, as in update-user-earn", found);
        let mut template = Template { payload: payload(&mut keys), ..Template::plain("", DEFAULT_QUEUE) };
        if let Some(options) = keys.section("Options", found) {
            template = with_options(template, options, found);
        }
        keys.close(&[], "", found);
        let (Some((at, spec)), Some((_, kind))) = (spec, kind) else { return };
        kind.clone_into(&mut template.kind);
        let name = self.name(kind);
        let Some(timing) = timing(spec, &at, &format!("{}/{name}", self.owner.namespace), self.owner, found)
        else {
            return;
        };
        let entry = self.owner.entry(name, timing, template);
        let blank = Entry { name: String::new(), uid: String::new(), ..entry.clone() };
        let content =
            Entry { timing: TimingSource { hash_key: String::new(), ..blank.timing.clone() }, ..blank }
                .content_hash();
        let line = found.line(&path);
        match self.seen.get(&content) {
            Some(first) => {
                let message = format!("stands there twice, at line {first} too");
                found.refuse(
                    &path,
                    ConfigFault::Duplicate,
                    message,
                    "each task once; others differ in Spec, Payload or Options",
                );
            }
            None => drop(self.seen.insert(content, line)),
        }
        self.entries.push(entry);
    }

    /// A name made of the type. Where several tasks have one type, the second gets a 2 at its end.
    ///
    /// So whatever of a task is edited, it keeps its name, and with it its history and its next tick.
    fn name(&mut self, kind: &str) -> String {
        let base = object_name(kind);
        let later = (2..).map(|number| format!("{base}-{number}"));
        let free = std::iter::once(base.clone()).chain(later).find(|name| !self.names.contains(name));
        let name = free.unwrap_or(base);
        self.names.insert(name.clone());
        name
    }
}

impl Owner {
    fn entry(&self, name: String, timing: TimingSource, template: Template) -> Entry {
        let uid = local_uid(KIND, &self.name, &name);
        Entry::plain(uid, (self.namespace.clone(), name, self.cluster.clone()), timing, template)
    }
}

fn required<'v>(
    keys: &mut Section<'v>,
    name: &'static str,
    allowed: &str,
    found: &mut Findings<'_>,
) -> Option<(FieldPath, &'v str)> {
    match keys.take(name) {
        None => {
            found.refuse(&keys.place(name), ConfigFault::InvalidValue, "is missing", allowed);
            None
        }
        Some((path, value)) => {
            let text = super::section::text(value, &path, found)?;
            if text.trim().is_empty() {
                found.refuse(&path, ConfigFault::InvalidValue, "is empty", allowed);
                return None;
            }
            Some((path, text))
        }
    }
}

/// A text is the payload as it stands; anything else is one as JSON.
fn payload(keys: &mut Section<'_>) -> Bytes {
    let Some((_, value)) = keys.take("Payload") else { return Bytes::new() };
    match value {
        Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        other => Bytes::from(other.to_string()),
    }
}

/// The spec with its zone: one in front of it, as robfig/cron has it, or else that of the file.
fn timing(
    spec: &str,
    at: &FieldPath,
    key: &str,
    owner: &Owner,
    found: &mut Findings<'_>,
) -> Option<TimingSource> {
    let prefixed = ["TZ=", "CRON_TZ="].into_iter().find_map(|prefix| spec.strip_prefix(prefix));
    let (zone, spec) = match prefixed {
        Some(rest) => {
            let (zone, spec) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (Some(zone.to_owned()), spec.trim())
        }
        None => (owner.zone.clone(), spec),
    };
    let timing = TimingSource {
        schedules: vec![spec.to_owned()],
        time_zone: zone,
        // Every replica counts periods from the same instant.
        anchor: Timestamp::UNIX_EPOCH,
        hash_key: key.to_owned(),
        ..TimingSource::default()
    };
    match Timing::parse(&timing) {
        Ok(_) => Some(timing),
        Err(error) => {
            refuse_timing(at, error, found);
            None
        }
    }
}

/// asynq's options of a task.
fn with_options(mut template: Template, mut options: Section<'_>, found: &mut Findings<'_>) -> Template {
    if let Some((path, name)) = options.text("Queue", found) {
        match QueueName::new(name) {
            Ok(queue) => queue.as_str().clone_into(&mut template.queue),
            Err(error) => {
                let message = format!("{} is no queue: {error}", shown(name));
                found.refuse(&path, ConfigFault::InvalidValue, message, "");
            }
        }
    }
    if let Some(retries) = options.number("MaxRetry", 0, i64::from(i32::MAX), found) {
        template.max_retry = i32::try_from(retries).unwrap_or(i32::MAX);
    }
    template.timeout_s = options.seconds("Timeout", found);
    template.deadline_s = options.seconds("Deadline", found);
    template.retention_s = options.seconds("Retention", found).unwrap_or(0);
    template.unique_s = options.seconds("Unique", found);
    template.group = options.text("Group", found).map(|(_, name)| name.to_owned()).unwrap_or_default();
    if let Some((path, _)) = options.take("TaskID") {
        let message = "each tick's task has an id of its own, made of the entry's and the time";
        found.refuse(
            &path,
            ConfigFault::InvalidValue,
            message,
            "Unique, which keeps a second task from waiting",
        );
    }
    options.close(&[], "", found);
    template
}

/// A text as objects are named: lower-case letters, digits, `-` and `.`.
fn object_name(text: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' => c,
        _ => '-',
    };
    let name: String = text.chars().map(plain).take(NAME_BYTES_MAX).collect();
    match name.trim_matches(['-', '.']) {
        "" => "task".to_owned(),
        name => name.to_owned(),
    }
}
