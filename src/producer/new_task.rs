//! What a caller says about a task, and how it becomes a message.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::EnqueueError;
use crate::broker::{MESSAGE_BYTES_MAX, NewTask, unique_key};
use crate::task::{DEFAULT_MAX_RETRY, DEFAULT_QUEUE, DEFAULT_TIMEOUT_S, EXPIRES_HEADER, Message, QueueName};

/// The shortest time for which a task may ask to be unique, as asynq has it.
const UNIQUE_MIN: Duration = Duration::from_secs(1);

/// A task to enqueue. Whatever is not said has asynq's default.
///
/// Nothing is checked here: [`Client::enqueue`](super::Client::enqueue) does that, so that all mistakes
/// appear in one place.
#[derive(Clone)]
pub struct Task {
    kind: String,
    payload: Option<Bytes>,
    queue: Option<String>,
    id: Option<String>,
    max_retry: i32,
    timeout: Duration,
    deadline: Option<Timestamp>,
    retention: Duration,
    headers: BTreeMap<String, String>,
    unique: Option<Duration>,
    group: Option<String>,
    start: Start,
    expires: Option<Start>,
}

#[derive(Clone, Copy)]
enum Start {
    Now,
    At(Timestamp),
    After(Duration),
}

impl Task {
    /// A task of a type (which handler runs it) with its input.
    #[must_use]
    pub fn new(kind: impl Into<String>, payload: impl Into<Option<Bytes>>) -> Self {
        Self {
            kind: kind.into(),
            payload: payload.into(),
            queue: None,
            id: None,
            max_retry: DEFAULT_MAX_RETRY,
            timeout: Duration::ZERO,
            deadline: None,
            retention: Duration::ZERO,
            headers: BTreeMap::new(),
            unique: None,
            group: None,
            start: Start::Now,
            expires: None,
        }
    }

    /// The queue it goes to. Default `default`.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queue = Some(name.into());
        self
    }

    /// Its id, unique within its queue. Default: a random UUID.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// How many retries may follow a failure. Default 25.
    #[must_use]
    pub fn max_retry(mut self, retries: u32) -> Self {
        self.max_retry = i32::try_from(retries).unwrap_or(i32::MAX);
        self
    }

    /// How long one attempt may take; stored in whole seconds, rounded up. Zero counts as not given.
    ///
    /// Default: 30 minutes when there is no deadline either, otherwise no limit but the deadline.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// When all attempts must be over; stored in whole seconds, rounded down. Default: never.
    ///
    /// A task past its deadline is archived, not retried.
    #[must_use]
    pub fn deadline(mut self, deadline: Timestamp) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How long a completed task with its result stays readable, in whole seconds.
    ///
    /// Default, and below one second: it is deleted at once.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Adds one header, or replaces the one of that name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Adds headers; those of the same name are replaced.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Refuses it while another task of its type and payload is in its queue that has not ended: a lock, shared
    /// with asynq's `Unique`. No payload and an empty one are different payloads.
    ///
    /// The lock is given back when the task is done, given up or deleted. As long as a program of ours keeps the
    /// queue it does not end before that; otherwise `at_most` after the task may start, in whole seconds, 1 s at
    /// least. It is stored for at least 10 s.
    #[must_use]
    pub fn unique(mut self, at_most: Duration) -> Self {
        self.unique = Some(at_most);
        self
    }

    /// Puts it into a group of its queue, once it may start: there it waits until a worker with an
    /// [aggregator](crate::worker::Aggregator) makes one task of all that are in it.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Starts it at a time, or at once when that has passed. Replaces an earlier [`after`](Self::after).
    #[must_use]
    pub fn at(mut self, start: Timestamp) -> Self {
        self.start = Start::At(start);
        self
    }

    /// Starts it some time after it is enqueued. Replaces an earlier [`at`](Self::at).
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// Archives it, with the reason as its error, unless a worker has begun it by then. Default: it waits for ever.
    /// Replaces an earlier [`expires_in`](Self::expires_in).
    ///
    /// Stored in whole seconds, rounded up, as the header [`EXPIRES_HEADER`](crate::task::EXPIRES_HEADER). What counts
    /// is that no attempt was spent: one that was put off, or handed back by a worker that stopped, still expires;
    /// one that has failed does not. Workers of ours and whatever keeps the queue see to it; Go workers do not.
    #[must_use]
    pub fn expires_at(mut self, time: Timestamp) -> Self {
        self.expires = Some(Start::At(time));
        self
    }

    /// The same, counted from when it is enqueued. Replaces an earlier [`expires_at`](Self::expires_at).
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires = Some(Start::After(time));
        self
    }

    /// The type it was made with.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The queue it goes to.
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.queue.as_deref().unwrap_or(DEFAULT_QUEUE)
    }

    /// The same task in a queue that it may not choose; `None` when it has chosen another.
    pub(crate) fn forced_into(mut self, queue: &QueueName) -> Option<Self> {
        match &self.queue {
            Some(chosen) if chosen != queue.as_str() => None,
            _ => {
                self.queue = Some(queue.to_string());
                Some(self)
            }
        }
    }

    /// Checks everything and makes the message, with the time it is due unless that is now.
    pub(crate) fn to_message(&self, now: Timestamp) -> Result<NewTask, EnqueueError> {
        if self.kind.trim().is_empty() {
            return Err(EnqueueError::BlankKind);
        }
        let queue = QueueName::new(self.queue_name())?;
        let group = match &self.group {
            Some(group) if group.trim().is_empty() => return Err(EnqueueError::BlankGroup),
            group => group.clone().unwrap_or_default(),
        };
        if let Some(given) = self.unique.filter(|at_most| *at_most < UNIQUE_MIN) {
            return Err(EnqueueError::UniqueTooShort { given_ms: given.as_millis() });
        }
        let id = match &self.id {
            Some(id) if id.trim().is_empty() => return Err(EnqueueError::BlankId),
            Some(id) => id.clone(),
            None => uuid::Uuid::new_v4().to_string(),
        };
        let due = moment(self.start, now)?.filter(|start| *start > now);
        let expires = self.expires_s(now, due)?;
        let mut message = Message {
            kind: self.kind.clone(),
            payload: self.payload.clone().unwrap_or_default(),
            id,
            group,
            unique_key: match self.unique {
                Some(_) => unique_key(&queue, &self.kind, self.payload.as_deref()),
                None => String::new(),
            },
            queue: queue.as_str().to_owned(),
            max_retry: self.max_retry,
            timeout_s: self.timeout_s(),
            // Zero on the wire means none, so a deadline at or before the epoch becomes the first second after.
            deadline_s: self.deadline.map_or(0, |deadline| deadline.as_second().max(1)),
            retention_s: whole_seconds(self.retention),
            ..Message::default()
        };
        if !self.headers.is_empty() {
            message.set_headers(self.headers.clone());
        }
        if let Some(expires) = expires {
            let mut headers = self.headers.clone();
            headers.insert(EXPIRES_HEADER.to_owned(), expires.to_string());
            message.set_headers(headers);
        }
        let bytes = prost::Message::encoded_len(&message);
        if bytes > MESSAGE_BYTES_MAX {
            return Err(EnqueueError::TooLarge { bytes, limit: MESSAGE_BYTES_MAX });
        }
        Ok(NewTask { message, due, lock_for: self.unique })
    }

    fn timeout_s(&self) -> i64 {
        let part_of_second = i64::from(self.timeout.subsec_nanos() > 0);
        match whole_seconds(self.timeout).saturating_add(part_of_second) {
            0 if self.deadline.is_none() => DEFAULT_TIMEOUT_S,
            seconds => seconds,
        }
    }

    /// The second by which it must have begun, which is after its start.
    fn expires_s(&self, now: Timestamp, due: Option<Timestamp>) -> Result<Option<i64>, EnqueueError> {
        let Some(expires) = self.expires.map(|expires| moment(expires, now)).transpose()?.flatten() else {
            return Ok(None);
        };
        let start = due.unwrap_or(now);
        if expires <= start {
            return Err(EnqueueError::ExpiresBeforeStart { expires, start });
        }
        Ok(Some(expires.as_second() + i64::from(expires.subsec_nanosecond() > 0)))
    }
}

fn moment(start: Start, now: Timestamp) -> Result<Option<Timestamp>, EnqueueError> {
    match start {
        Start::Now => Ok(None),
        Start::At(time) => Ok(Some(time)),
        Start::After(delay) => SignedDuration::try_from(delay)
            .ok()
            .and_then(|delay| now.checked_add(delay).ok())
            .map(Some)
            .ok_or(EnqueueError::TooFarAway { seconds: delay.as_secs() }),
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Shows everything but the payload, which may be confidential.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("kind", &self.kind)
            .field("queue", &self.queue_name())
            .field("id", &self.id)
            .field("payload_bytes", &self.payload.as_ref().map_or(0, Bytes::len))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().expect("a timestamp")
    }

    fn message_of(task: Task) -> Message {
        task.to_message(now()).expect("valid task").message
    }

    #[test]
    fn what_is_not_said_has_asynqs_defaults() {
        let task = Task::new("t", None).id("1").to_message(now()).expect("valid task");
        let expected = Message {
            kind: "t".into(),
            id: "1".into(),
            queue: "default".into(),
            max_retry: 25,
            timeout_s: 1800,
            ..Message::default()
        };
        assert_eq!((task.message, task.due), (expected, None));
    }

    #[test]
    fn every_task_without_an_id_gets_its_own() {
        let task = Task::new("t", None);
        let (first, second) = (message_of(task.clone()), message_of(task));
        assert_ne!(first.id, second.id);
        assert_eq!(uuid::Uuid::parse_str(&first.id).expect("a uuid").to_string(), first.id);
    }

    #[test]
    fn a_deadline_alone_leaves_the_timeout_unset() {
        let message = message_of(Task::new("t", None).deadline(now()));
        assert_eq!((message.timeout_s, message.deadline_s), (0, now().as_second()));
        let epoch = message_of(Task::new("t", None).deadline(Timestamp::UNIX_EPOCH));
        assert_eq!((epoch.timeout_s, epoch.deadline_s), (0, 1));
    }

    #[test]
    fn half_a_second_of_timeout_is_not_the_default_of_half_an_hour() {
        assert_eq!(message_of(Task::new("t", None).timeout(Duration::from_millis(500))).timeout_s, 1);
        assert_eq!(message_of(Task::new("t", None).timeout(Duration::from_millis(2500))).timeout_s, 3);
        assert_eq!(message_of(Task::new("t", None).timeout(Duration::ZERO)).timeout_s, 1800);
    }

    #[test]
    fn retention_below_a_second_is_none() {
        assert_eq!(message_of(Task::new("t", None).retention(Duration::from_millis(999))).retention_s, 0);
        assert_eq!(message_of(Task::new("t", None).retention(Duration::from_millis(1999))).retention_s, 1);
    }

    #[test]
    fn only_a_start_in_the_future_is_scheduled() {
        let due = |task: Task| task.to_message(now()).expect("valid task").due;
        let later = now() + SignedDuration::from_secs(5);
        assert_eq!(due(Task::new("t", None).at(now())), None);
        assert_eq!(due(Task::new("t", None).at(later)), Some(later));
        assert_eq!(due(Task::new("t", None).after(Duration::from_secs(5))), Some(later));
        assert_eq!(due(Task::new("t", None).at(later).after(Duration::ZERO)), None);
    }

    #[test]
    fn a_time_to_begin_by_is_a_header_in_whole_seconds() {
        let header = |task: Task| message_of(task).header(EXPIRES_HEADER).map(str::to_owned);
        let in_s = |seconds: i64| Some((now().as_second() + seconds).to_string());
        assert_eq!(header(Task::new("t", None)), None);
        assert_eq!(header(Task::new("t", None).expires_in(Duration::from_millis(1500))), in_s(2));
        assert_eq!(header(Task::new("t", None).expires_at(now() + SignedDuration::from_secs(9))), in_s(9));
        let both = Task::new("t", None).header("a", "b").expires_in(Duration::from_secs(1));
        assert_eq!(message_of(both).header_map().len(), 2);
        let reason = |task: Task| task.to_message(now()).expect_err("refused").reason();
        assert_eq!(reason(Task::new("t", None).expires_at(now())), "ExpiresBeforeStart");
        let late = Task::new("t", None).after(Duration::from_secs(60)).expires_in(Duration::from_secs(60));
        assert_eq!(reason(late), "ExpiresBeforeStart");
    }

    #[test]
    fn mistakes_are_named() {
        let reason = |task: Task| task.to_message(now()).expect_err("refused").reason();
        assert_eq!(reason(Task::new(" ", None)), "BlankType");
        assert_eq!(reason(Task::new("t", None).id(" ")), "BlankId");
        assert_eq!(reason(Task::new("t", None).queue(" ")), "InvalidQueueName");
        assert_eq!(reason(Task::new("t", None).queue("}x")), "InvalidQueueName");
        assert_eq!(reason(Task::new("t", None).after(Duration::MAX)), "TooFarAway");
        assert_eq!(reason(Task::new("t", None).group(" ")), "BlankGroup");
        assert_eq!(reason(Task::new("t", None).unique(Duration::from_millis(999))), "UniqueTooShort");
    }

    #[test]
    fn a_payload_beyond_redis_limit_is_refused_with_its_size() {
        // Zeroed memory is mapped, not filled: half a gigabyte that is never resident.
        let payload = Bytes::from(vec![0; MESSAGE_BYTES_MAX]);
        let error = Task::new("t", payload).id("1").to_message(now()).expect_err("refused");
        assert!(error.to_string().contains(&format!("{} bytes", MESSAGE_BYTES_MAX + 26)), "{error}");
    }

    #[test]
    fn debug_output_hides_the_payload() {
        let shown = format!("{:?}", Task::new("t", Bytes::from_static(b"secret")));
        assert!(shown.contains("payload_bytes: 6") && !shown.contains("secret"), "{shown}");
    }
}
