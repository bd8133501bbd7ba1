//! The records that asynq's tools read to show servers, running tasks and schedulers.

use bytes::Bytes;
use jiff::Timestamp;

/// A protobuf timestamp.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ProtoTimestamp {
    /// Unix seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds after the second, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl ProtoTimestamp {
    /// What Go's zero time looks like. "Never" must be written so: an absent field reads as 1970 in Go.
    pub const NEVER: Self = Self { seconds: -62_135_596_800, nanos: 0 };
}

impl From<Timestamp> for ProtoTimestamp {
    fn from(at: Timestamp) -> Self {
        let seconds = at.as_nanosecond().div_euclid(1_000_000_000);
        let nanos = at.as_nanosecond().rem_euclid(1_000_000_000);
        Self { seconds: seconds as i64, nanos: nanos as i32 }
    }
}

/// A running worker process, refreshed every few seconds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerInfo {
    /// Host name.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Process id.
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// Random id of this run of the process.
    #[prost(string, tag = "3")]
    pub server_id: String,
    /// How many tasks it runs at once.
    #[prost(int32, tag = "4")]
    pub concurrency: i32,
    /// The queues it serves with their weights, sorted by name.
    #[prost(message, repeated, tag = "5")]
    pub queues: Vec<QueueWeight>,
    /// Whether weights are strict priorities.
    #[prost(bool, tag = "6")]
    pub strict_priority: bool,
    /// `active`, `stopped` or `closed`.
    #[prost(string, tag = "7")]
    pub status: String,
    /// When it started.
    #[prost(message, optional, tag = "8")]
    pub started: Option<ProtoTimestamp>,
    /// How many tasks it runs now.
    #[prost(int32, tag = "9")]
    pub active_workers: i32,
}

/// One served queue and its weight.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueueWeight {
    /// The queue's name.
    #[prost(string, optional, tag = "1")]
    pub queue: Option<String>,
    /// Its weight.
    #[prost(int32, optional, tag = "2")]
    pub weight: Option<i32>,
}

/// A task that a server runs right now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerInfo {
    /// Host name of the server.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Process id of the server.
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// The server's id.
    #[prost(string, tag = "3")]
    pub server_id: String,
    /// The task's id.
    #[prost(string, tag = "4")]
    pub task_id: String,
    /// The task's type.
    #[prost(string, tag = "5")]
    pub task_kind: String,
    /// The task's payload, cut to a few kilobytes.
    #[prost(bytes = "bytes", tag = "6")]
    pub task_payload: Bytes,
    /// The task's queue.
    #[prost(string, tag = "7")]
    pub queue: String,
    /// When the attempt began.
    #[prost(message, optional, tag = "8")]
    pub started: Option<ProtoTimestamp>,
    /// When the attempt must end.
    #[prost(message, optional, tag = "9")]
    pub deadline: Option<ProtoTimestamp>,
}

/// A periodic entry as asynq's tools list it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SchedulerEntry {
    /// Id of the entry.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The schedule as text.
    #[prost(string, tag = "2")]
    pub spec: String,
    /// Type of the tasks it makes.
    #[prost(string, tag = "3")]
    pub task_kind: String,
    /// Their payload.
    #[prost(bytes = "bytes", tag = "4")]
    pub task_payload: Bytes,
    /// Options in asynq's own text form, such as `Queue("default")`.
    #[prost(string, repeated, tag = "5")]
    pub enqueue_options: Vec<String>,
    /// When it fires next.
    #[prost(message, optional, tag = "6")]
    pub next: Option<ProtoTimestamp>,
    /// When it fired last; [`ProtoTimestamp::NEVER`] before the first time.
    #[prost(message, optional, tag = "7")]
    pub previous: Option<ProtoTimestamp>,
}

/// One enqueue by a periodic entry.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SchedulerEnqueueEvent {
    /// The task that was made.
    #[prost(string, tag = "1")]
    pub task_id: String,
    /// When.
    #[prost(message, optional, tag = "2")]
    pub enqueued: Option<ProtoTimestamp>,
}
