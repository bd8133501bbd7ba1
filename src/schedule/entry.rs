//! What stands in Redis for one scheduled object.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::revision::Revision;
use super::stable_hash;
use super::timing::{TimingSource, engine_version};
use crate::task::{DEFAULT_MAX_RETRY, DEFAULT_TIMEOUT_S, Message};

/// The highest format that this version reads and writes: 2 added unique tasks and groups.
///
/// Each entry is written in the lowest format that says all it means, so that an older version leaves alone only what
/// it would fire wrongly.
pub const ENTRY_FORMAT: u32 = 2;
/// Header of each task of a schedule: its nominal time in UTC, RFC 3339.
pub const HEADER_NOMINAL_TIME: &str = "cronmill-nominal-time";
/// Header of each task of a schedule: `namespace/name` of the object.
pub const HEADER_SCHEDULE: &str = "cronmill-schedule";

/// A schedule and the task it makes, as JSON in Redis.
///
/// Fields unknown to this version are ignored; an entry of a higher format is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The format it is written in, see [`lowest_format`](Self::lowest_format).
    pub format: u32,
    /// The object's uid; half of the id of each task.
    pub uid: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// Id of the cluster that the object lives in: who may rewrite or sweep the entry.
    pub cluster: String,
    /// Which version of the object this is.
    pub revision: Revision,
    /// When it fires.
    pub timing: TimingSource,
    /// What happens when a tick is due while an earlier run still lives. Default: [`Concurrency::Allow`].
    #[serde(default)]
    pub concurrency: Concurrency,
    /// While true, ticks pass without a run. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How many seconds late a run may start. Default: any.
    #[serde(default)]
    pub starting_deadline_s: Option<i64>,
    /// What happens to ticks that were missed. Default: [`CatchUp::Latest`].
    #[serde(default)]
    pub catch_up: CatchUp,
    /// The task of each tick.
    pub template: Template,
}

/// What happens when a tick is due while an earlier run still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Concurrency {
    /// Both run.
    #[default]
    Allow,
    /// The tick is skipped.
    Forbid,
    /// The earlier run is cancelled.
    Replace,
}

/// What happens to ticks that nobody fired in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum CatchUp {
    /// They are gone.
    None,
    /// The latest of them runs now, as with Kubernetes' CronJob.
    #[default]
    Latest,
}

/// The task that each tick makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// The task's type: which handler runs it.
    pub kind: String,
    /// The queue's name in Redis.
    pub queue: String,
    /// The handler's input: any bytes.
    #[serde(with = "payload")]
    pub payload: Bytes,
    /// Free key-value pairs. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How many retries may follow a failure.
    pub max_retry: i32,
    /// Seconds one attempt may take. Default: 1800 if there is no deadline either, else no limit.
    #[serde(default)]
    pub timeout_s: Option<i64>,
    /// Seconds after the nominal time from which on the task must not run. Default: never.
    #[serde(default)]
    pub deadline_s: Option<i64>,
    /// Seconds a completed task stays readable. Default: 0, deleted at once.
    #[serde(default)]
    pub retention_s: i64,
    /// A tick makes no task while another of its type and payload is in the queue that has not ended; the lock that sees
    /// to it is held for so many seconds at a time. Default: not unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_s: Option<i64>,
    /// The group that its tasks are aggregated in. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
}

impl Template {
    /// A task without payload, with the defaults of a CronTask, which are asynq's.
    pub(crate) fn plain(kind: &str, queue: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            queue: queue.to_owned(),
            payload: Bytes::new(),
            headers: BTreeMap::new(),
            max_retry: DEFAULT_MAX_RETRY,
            timeout_s: None,
            deadline_s: None,
            retention_s: 0,
            unique_s: None,
            group: String::new(),
        }
    }
}

impl Entry {
    /// The entry of a program that fires a schedule of its own, without an object or a file: tasks of the type `kind`
    /// in a queue, without payload, with the defaults of a CronTask. It is known as `program/kind`; fields may be changed
    /// afterwards, and [`content_hash`](Self::content_hash) then belongs into the revision.
    #[must_use]
    pub fn periodic(program: &str, schedule: &str, kind: &str, queue: &str) -> Self {
        let timing = TimingSource {
            schedules: vec![schedule.to_owned()],
            hash_key: format!("{program}/{kind}"),
            ..TimingSource::default()
        };
        let owner = (program.to_owned(), kind.to_owned(), program.to_owned());
        Self::plain(local_uid("Program", program, kind), owner, timing, Template::plain(kind, queue))
    }

    /// An entry with the defaults of a CronTask, in the lowest format that says all it means. `owner` is its namespace, its
    /// name, and the cluster that it belongs to.
    pub(crate) fn plain(
        uid: Uuid,
        owner: (String, String, String),
        timing: TimingSource,
        template: Template,
    ) -> Self {
        let (namespace, name, cluster) = owner;
        let mut entry = Self {
            format: 1,
            uid: uid.to_string(),
            namespace,
            name,
            cluster,
            revision: Revision { epoch: 0, generation: 0, hash: String::new() },
            timing,
            concurrency: Concurrency::default(),
            suspend: false,
            starting_deadline_s: None,
            catch_up: CatchUp::default(),
            template,
        };
        entry.format = entry.lowest_format();
        entry.revision.hash = entry.content_hash();
        entry
    }

    /// The lowest format that says all this entry means.
    #[must_use]
    pub fn lowest_format(&self) -> u32 {
        let Template { unique_s, group, .. } = &self.template;
        if unique_s.is_some() || !group.is_empty() { ENTRY_FORMAT } else { 1 }
    }

    /// The entry as it is written to Redis.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("maps have text keys and no field can fail to serialise")
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`EntryError::Format`] for a format above [`ENTRY_FORMAT`], which must be left alone;
    /// [`EntryError::Json`] for anything that is no entry.
    pub fn from_json(json: &[u8]) -> Result<Self, EntryError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(json).map_err(EntryError::Json)?;
        if format > ENTRY_FORMAT {
            return Err(EntryError::Format { found: format });
        }
        serde_json::from_slice(json).map_err(EntryError::Json)
    }

    /// Hash of all that decides when it fires. An edit that leaves it alone keeps the stored next time.
    #[must_use]
    pub fn timing_hash(&self) -> String {
        let timing =
            serde_json::to_vec(&self.timing).expect("a timing has no field that can fail to serialise");
        stable_hash::short_hex(&[b"timing", &timing, engine_version().as_bytes()])
    }

    /// Hash of everything but the revision: 16 hexadecimal digits for [`Revision::hash`].
    #[must_use]
    pub fn content_hash(&self) -> String {
        let blank = Revision { epoch: 0, generation: 0, hash: String::new() };
        let content = Self { revision: blank, ..self.clone() }.to_json();
        stable_hash::short_hex(&[b"content", content.as_bytes(), engine_version().as_bytes()])
    }

    /// `namespace/name` of the object.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The id of the task of a tick: `<uid>-<Unix seconds>`. The same tick always has the same id, which is
    /// what keeps it from being enqueued twice.
    #[must_use]
    pub fn task_id(&self, nominal: Timestamp) -> String {
        format!("{}-{}", self.uid, nominal.as_second())
    }

    /// The task of a tick. The key of its lock, if it is unique, is the broker's to add.
    #[must_use]
    pub fn message(&self, nominal: Timestamp) -> Message {
        let template = &self.template;
        let default_timeout_s = if template.deadline_s.is_none() { DEFAULT_TIMEOUT_S } else { 0 };
        let mut headers = template.headers.clone();
        headers.insert(HEADER_NOMINAL_TIME.to_owned(), nominal.to_string());
        headers.insert(HEADER_SCHEDULE.to_owned(), self.key());
        let mut message = Message {
            kind: template.kind.clone(),
            payload: template.payload.clone(),
            id: self.task_id(nominal),
            queue: template.queue.clone(),
            max_retry: template.max_retry,
            timeout_s: template.timeout_s.unwrap_or(default_timeout_s),
            deadline_s: template.deadline_s.map_or(0, |after_s| nominal.as_second().saturating_add(after_s)),
            retention_s: template.retention_s,
            group: template.group.clone(),
            ..Message::default()
        };
        message.set_headers(headers);
        message
    }
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// A newer version wrote it.
    #[error("read schedule entry: its format {found} is newer than {ENTRY_FORMAT}, the newest known here")]
    Format {
        /// The entry's format.
        found: u32,
    },
    /// It is no entry.
    #[error("read schedule entry")]
    Json(#[source] serde_json::Error),
}

impl EntryError {
    /// A short stable word for metrics, conditions and events.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Format { .. } => "NewerFormat",
            Self::Json(_) => "UnreadableEntry",
        }
    }

    /// Whether trying again could help: never.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// The uid of an object that no cluster gave one: always the same for the same kind, namespace and name
/// (UUID version 5).
#[must_use]
pub fn local_uid(kind: &str, namespace: &str, name: &str) -> Uuid {
    let project = Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"cronmill.dev");
    // None of the three can hold a slash.
    Uuid::new_v5(&project, format!("{kind}/{namespace}/{name}").as_bytes())
}

/// Payloads in JSON: `{"text": …}` when they are UTF-8, so that people can read them, else `{"base64": …}`.
mod payload {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Payload<'a> {
        Text(Cow<'a, str>),
        Base64(Cow<'a, str>),
    }

    pub(super) fn serialize<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match std::str::from_utf8(payload) {
            Ok(text) => Payload::Text(text.into()),
            Err(_) => Payload::Base64(STANDARD.encode(payload).into()),
        };
        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        match Payload::deserialize(deserializer)? {
            Payload::Text(text) => Ok(text.into_owned().into()),
            Payload::Base64(text) => {
                STANDARD.decode(text.as_ref()).map(Bytes::from).map_err(D::Error::custom)
            }
        }
    }
}
