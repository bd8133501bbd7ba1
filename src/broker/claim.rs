//! Taking tasks under a lease, and keeping them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::cancel::CancelThen;
use super::keys::QueueKeys;
use super::packed::Packed;
use super::reply::{Reply, from_s};
use super::{Broker, BrokerError, script};
use crate::task::{DecodeError, Message, QueueName};

/// Most tasks one claim takes, so that no claim holds Redis for long.
const TASKS_PER_CLAIM: usize = 64;
/// Message bytes one claim takes, unless a single task is larger.
const BYTES_PER_CLAIM: usize = 1024 * 1024;
/// How much longer than the leases Redis remembers what a claim was given.
const RECEIPT_MARGIN_S: u64 = 60;
/// What a claim is called in errors.
const CLAIMING: &str = "claim tasks";

/// Who holds a lease: one run of one process, `<host>:<pid>:<random id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(String);

impl Owner {
    /// Names this run of a process. `run` must differ from run to run; if it is a UUID of version 7, it tells when this
    /// run began.
    #[must_use]
    pub fn new(host: &str, pid: u32, run: &str) -> Self {
        Self(format!("{host}:{pid}:{run}"))
    }

    /// An owner as it was found in Redis.
    pub(super) fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The host it runs on, if it is named as ours are.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.rsplitn(3, ':').nth(2)
    }

    /// When it began, by its own machine's clock, if it tells.
    pub(super) fn started(&self) -> Option<Timestamp> {
        let run = uuid::Uuid::parse_str(self.0.rsplit(':').next()?).ok()?;
        let (seconds, nanos) = run.get_timestamp().filter(|_| run.get_version_num() == 7)?.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
    }

    /// The name as it stands in Redis.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A wish for tasks.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// From which queue.
    pub queue: &'a QueueName,
    /// For whom.
    pub owner: &'a Owner,
    /// Number of this request. Repeat the number when the answer was lost: the same tasks come back. Take a
    /// new one after every answer.
    pub sequence: u64,
    /// Tasks wished for; at most 64 are given.
    pub max: usize,
    /// How long they may stay without a sign of life.
    pub lease: Duration,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed {
    /// Tasks, oldest first. May be empty when all that was found had vanished.
    Tasks(Vec<ClaimedTask>),
    /// Nothing is pending. Only this answer makes waiting for work worth while.
    Empty,
    /// The queue is paused.
    Paused,
    /// This owner is to be given no more work.
    Cordoned,
}

/// A task under a lease.
#[derive(Debug)]
pub struct ClaimedTask {
    /// Its id, also when the message cannot be decoded; bytes that are no text are escaped.
    pub id: String,
    /// The id as it stands in Redis.
    pub raw_id: Bytes,
    /// The message, or why it cannot be read.
    pub body: Result<Message, DecodeError>,
    /// The message's bytes.
    pub raw: Bytes,
    /// Until when it is held, by Redis's clock.
    pub leased_until: Timestamp,
    /// Since when it was pending, if that was noted.
    pub pending_since: Option<Timestamp>,
    /// It was taken back: end it without running it.
    pub revoked: bool,
}

/// What became of a lease that was to be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// Held until then.
    Until(Timestamp),
    /// Held until then, but the task was taken back: cancel it.
    Revoked(Timestamp),
    /// Held until then, but somebody asked for this attempt to be stopped.
    Cancelled(Timestamp, CancelThen),
    /// No longer theirs: stop, and write nothing.
    Lost,
}

impl Broker {
    /// Takes the oldest pending tasks of a queue.
    ///
    /// Cancel-safe when the same sequence number is used again afterwards.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; repeat with the same sequence number.
    pub async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claimed, BrokerError> {
        let keys = QueueKeys::new(request.queue);
        let owner = request.owner.as_str();
        let lease_s = seconds(request.lease);
        let mut call = script::CLAIM.call();
        call.key(keys.pending()).key(keys.active()).key(keys.lease()).key(keys.paused());
        call.key(keys.cordon(owner)).key(keys.receipt(owner)).key(keys.locks()).key(keys.holders());
        call.arg(keys.task_prefix()).arg(owner).arg(request.sequence);
        call.arg(request.max.clamp(1, TASKS_PER_CLAIM)).arg(lease_s).arg(BYTES_PER_CLAIM);
        call.arg(lease_s + RECEIPT_MARGIN_S);
        let mut reply = Reply::new(CLAIMING, self.run(CLAIMING, request.queue.as_str(), &call).await?)?;
        let status = reply.text()?;
        let dropped = reply.int()?;
        if dropped > 0 {
            tracing::warn!(queue.name = %request.queue, tasks = dropped, "dropped ids without a task from pending");
        }
        match status.as_str() {
            "tasks" if reply.is_empty() => Ok(Claimed::Tasks(Vec::new())),
            "tasks" => {
                let leased_until = from_s(reply.int()?);
                Ok(Claimed::Tasks(tasks(&reply.bytes()?, &reply.bytes()?, leased_until)?))
            }
            "empty" => Ok(Claimed::Empty),
            "paused" => Ok(Claimed::Paused),
            "cordoned" => Ok(Claimed::Cordoned),
            other => Err(BrokerError::Reply { doing: CLAIMING, problem: format!("status {other:?}") }),
        }
    }

    /// The ids of the oldest pending tasks of a queue, at most so many.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn oldest_pending(&self, queue: &QueueName, max: usize) -> Result<Vec<Vec<u8>>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.cmd("LRANGE").arg(QueueKeys::new(queue).pending()).arg(-max.cast_signed()).arg(-1);
        let (ids,): (Vec<Vec<u8>>,) = self.pipe("look at pending tasks", queue.as_str(), &pipe).await?;
        Ok(ids)
    }

    /// Lengthens the leases of running tasks. Answers for each id in its place.
    ///
    /// Cancel-safe: a repeated call only extends further.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; the leases run on as they were.
    pub async fn extend(
        &self,
        queue: &QueueName,
        owner: &Owner,
        ids: &[String],
        lease: Duration,
    ) -> Result<Vec<Extended>, BrokerError> {
        const DOING: &str = "extend leases";
        let keys = QueueKeys::new(queue);
        let mut verdicts = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(TASKS_PER_CLAIM) {
            let mut call = script::EXTEND.key(keys.lease());
            call.key(keys.holders())
                .arg(keys.task_prefix())
                .arg(owner.as_str())
                .arg(seconds(lease))
                .arg(chunk);
            let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
            let until = from_s(reply.int()?);
            while !reply.is_empty() {
                verdicts.push(match reply.int()? {
                    1 => Extended::Until(until),
                    2 => Extended::Revoked(until),
                    3 => Extended::Cancelled(until, CancelThen::Stop),
                    4 => Extended::Cancelled(until, CancelThen::Retry),
                    _ => Extended::Lost,
                });
            }
        }
        Ok(verdicts)
    }
}

/// Whole seconds, at least one, rounded up: lease ends are whole seconds on the wire.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// The ids, and for each in its place message, pending since, revoked.
fn tasks(ids: &[u8], tasks: &[u8], leased_until: Timestamp) -> Result<Vec<ClaimedTask>, BrokerError> {
    let (mut ids, mut tasks) = (Packed::new(CLAIMING, ids), Packed::new(CLAIMING, tasks));
    let count = ids.array()?;
    tasks.array()?;
    let mut claimed = Vec::with_capacity(count.min(TASKS_PER_CLAIM));
    for _ in 0..count {
        let raw_id = Bytes::copy_from_slice(ids.string()?.unwrap_or_default());
        // No two ids may look alike.
        let id = String::from_utf8(raw_id.to_vec()).unwrap_or_else(|_| raw_id.escape_ascii().to_string());
        tasks.array()?;
        let raw = Bytes::copy_from_slice(tasks.string()?.unwrap_or_default());
        let pending_since = tasks.number()?.and_then(|ns| Timestamp::from_nanosecond(ns).ok());
        let revoked = tasks.string()?.is_some();
        let body = Message::decode(raw.clone());
        claimed.push(ClaimedTask { id, raw_id, body, raw, leased_until, pending_since, revoked });
    }
    Ok(claimed)
}
