//! The task message: what a producer stores and a worker runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

/// Type given to the envelope that takes the place of a message nobody can decode.
///
/// The original bytes become the envelope's payload, so nothing is lost and every tool can show the task.
pub const UNDECODABLE_TYPE: &str = "cronmill:undecodable";

/// A task as it stands in Redis: asynq's `TaskMessage`, field for field.
///
/// Defaults are omitted on the wire and fields go out in the order of their numbers, as Go writes them.
/// Fields unknown to us are accepted and dropped.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    /// Which handler runs it. Never blank.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// The handler's input: any bytes. An absent payload and an empty one look the same here and differ
    /// only in the lock of a unique task.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// Unique within its queue; a random UUID unless the producer chose one.
    #[prost(string, tag = "3")]
    pub id: String,
    /// The queue's name in Redis.
    #[prost(string, tag = "4")]
    pub queue: String,
    /// How many retries may follow a failure.
    #[prost(int32, tag = "5")]
    pub max_retry: i32,
    /// How many retries were used so far.
    #[prost(int32, tag = "6")]
    pub retried: i32,
    /// What the last failure said; empty when there was none.
    #[prost(string, tag = "7")]
    pub error: String,
    /// Seconds one attempt may take; 0 = no limit of its own.
    #[prost(int64, tag = "8")]
    pub timeout_s: i64,
    /// Unix seconds after which the task must not run; 0 = none.
    #[prost(int64, tag = "9")]
    pub deadline_s: i64,
    /// Full Redis key of the lock a unique task holds; empty when it is not unique.
    #[prost(string, tag = "10")]
    pub unique_key: String,
    /// Unix seconds of the last failure; 0 = never failed.
    #[prost(int64, tag = "11")]
    pub last_failed_s: i64,
    /// Seconds a completed task stays readable; 0 = deleted at once.
    #[prost(int64, tag = "12")]
    pub retention_s: i64,
    /// Unix seconds of the completion; 0 = not completed.
    #[prost(int64, tag = "13")]
    pub completed_s: i64,
    /// The group it is aggregated in; empty = none.
    #[prost(string, tag = "14")]
    pub group: String,
    /// Free key-value pairs, sorted by key. Workers older than asynq 0.26 drop them when they rewrite a task.
    #[prost(message, repeated, tag = "15")]
    pub headers: Vec<Header>,
}

/// Fields of a message that are written also where they are empty.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Changes {
    #[prost(int32, optional, tag = "6")]
    retried: Option<i32>,
    #[prost(string, optional, tag = "7")]
    error: Option<String>,
    #[prost(int64, optional, tag = "11")]
    last_failed_s: Option<i64>,
    #[prost(int64, optional, tag = "13")]
    completed_s: Option<i64>,
}

/// One header. Both fields are always written, also when empty: that is how Go encodes a map's entries.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    /// The header's name.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// The header's value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

impl Message {
    /// The message's bytes, equal to what asynq writes for the same values.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    /// What the end of an attempt changes of a message. Behind the message's bytes it takes the place of what stands
    /// there, also where it is empty: in protobuf the last value of a field counts.
    #[must_use]
    pub fn changes(&self) -> Bytes {
        let changes = Changes {
            retried: Some(self.retried),
            error: Some(self.error.clone()),
            last_failed_s: Some(self.last_failed_s),
            completed_s: Some(self.completed_s),
        };
        Bytes::from(changes.encode_to_vec())
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a `TaskMessage`: broken framing, or text that is not UTF-8.
    pub fn decode(raw: impl Into<Bytes>) -> Result<Self, DecodeError> {
        <Self as prost::Message>::decode(raw.into()).map_err(DecodeError)
    }

    /// The value of a header, the last one if it stands twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let last = self.headers.iter().rev().find(|header| header.key.as_deref().unwrap_or("") == name)?;
        Some(last.value.as_deref().unwrap_or(""))
    }

    /// All headers as a map.
    #[must_use]
    pub fn header_map(&self) -> BTreeMap<String, String> {
        let pair = |h: &Header| (h.key.clone().unwrap_or_default(), h.value.clone().unwrap_or_default());
        self.headers.iter().map(pair).collect()
    }

    /// Replaces all headers.
    pub fn set_headers(&mut self, headers: BTreeMap<String, String>) {
        let header = |(key, value)| Header { key: Some(key), value: Some(value) };
        self.headers = headers.into_iter().map(header).collect();
    }

    /// The envelope that stands in for bytes nobody can decode: readable by every tool, never retried,
    /// with the original bytes as its payload and the reason as its error.
    #[must_use]
    pub fn undecodable(id: &str, queue: &str, raw: Bytes, reason: &str, now_s: i64) -> Self {
        Self {
            kind: UNDECODABLE_TYPE.to_owned(),
            payload: raw,
            id: id.to_owned(),
            queue: queue.to_owned(),
            error: reason.to_owned(),
            last_failed_s: now_s,
            ..Self::default()
        }
    }
}

/// The bytes are not a task message.
#[derive(Debug, thiserror::Error)]
#[error("decode task message")]
pub struct DecodeError(#[source] prost::DecodeError);

/// A queue's name as it stands in Redis keys: not blank, and not beginning with `}`.
///
/// The name is used as it is, case and spaces included. A leading `}` would make the Redis Cluster hash tag
/// empty and scatter one queue over all slots.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);

/// Why a text cannot name a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueNameError {
    /// Nothing but white space.
    #[error("a queue's name cannot be blank")]
    Blank,
    /// It begins with `}`.
    #[error(
        "queue {0:?} begins with '}}', which would scatter its keys over a Redis Cluster; choose another name"
    )]
    EmptyHashTag(String),
    /// More than [`QueueName::BYTES_MAX`] bytes.
    #[error("a queue's name has at most {max} bytes, this one has {0}", max = QueueName::BYTES_MAX)]
    TooLong(usize),
}

impl QueueName {
    /// Longest name accepted.
    pub const BYTES_MAX: usize = 512;

    /// Checks a name.
    ///
    /// # Errors
    /// [`QueueNameError`] when it is blank, too long, or begins with `}`.
    pub fn new(name: impl Into<String>) -> Result<Self, QueueNameError> {
        let name = name.into();
        match name {
            _ if name.trim().is_empty() => Err(QueueNameError::Blank),
            _ if name.starts_with('}') => Err(QueueNameError::EmptyHashTag(name)),
            _ if name.len() > Self::BYTES_MAX => Err(QueueNameError::TooLong(name.len())),
            _ => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for QueueName {
    type Err = QueueNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}
