//! Archiving what nobody began in time.
//!
//! What our programs store with a time to begin by is noted in a zset; what other programs store so is found among the
//! oldest pending tasks. A worker that claims such a task does the same with it: this is for queues without one, and for
//! what waits behind many others.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::keep::millis;
use super::keys::QueueKeys;
use super::reply::Reply;
use super::{Broker, BrokerError, script};
use crate::task::{EXPIRES_HEADER, Message, QueueName};

/// Pending tasks looked at in one call, the oldest; and tasks whose times are looked at.
const TASKS_PER_CALL: usize = 100;
/// Another program's message that is larger is not looked at: its worker finds it expired when it claims it.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Message bytes looked at in one call.
const BYTES_PER_CALL: usize = 64 * 1024;
/// Entries of the pending list that one call looks through.
const STRETCH: usize = 500;
/// Such calls in a row.
const STRETCHES: usize = 50;
/// Tasks one of them finds: amid a million, taking one out costs some 100 µs.
const FOUND_MAX: usize = 10;
/// How far a list may have moved between two calls.
const SLACK: usize = 64;
/// How long a task is left alone that was not found in the whole list, or runs.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// How far a search of a long pending list has come; it goes on with the next call.
#[derive(Debug, Default)]
pub struct ExpirySearch {
    /// How many of the oldest entries it has not looked at, and when it began.
    at: Option<(usize, Timestamp)>,
    /// When the last one began that has looked at all of them.
    ended: Option<Timestamp>,
}

/// What a step of such a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiryStep {
    /// Tasks archived.
    pub expired: usize,
    /// There is more to do at once.
    pub more: bool,
}

/// A stretch of the pending list, counted from the oldest.
#[derive(Clone, Copy)]
struct Stretch {
    skip: usize,
    span: usize,
}

/// Tasks of a stretch as they were found.
struct Found {
    tasks: Vec<(Bytes, Bytes)>,
    more: bool,
}

impl Broker {
    /// Archives those of the oldest pending tasks that were to begin by now, whoever stored them, and says how many.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat: each task is moved only while it stands as it was read.
    pub async fn expire_unstarted(&self, queue: &QueueName) -> Result<usize, BrokerError> {
        const DOING: &str = "expire tasks";
        let keys = QueueKeys::new(queue);
        let mut call = script::UNSTARTED.key(keys.pending());
        call.arg(keys.task_prefix()).arg(TASKS_PER_CALL).arg(EXPIRES_HEADER);
        call.arg(MESSAGE_BYTES_MAX).arg(BYTES_PER_CALL);
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let mut tasks = Vec::new();
        while !reply.is_empty() {
            tasks.push((reply.bytes()?, reply.bytes()?));
        }
        let oldest = Stretch { skip: 0, span: TASKS_PER_CALL };
        Ok(self.expire(queue, oldest, &tasks).await?.0)
    }

    /// Archives pending tasks that were to begin by now, wherever in the list they stand: those that our programs
    /// stored. A long list is looked through in several steps.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn search_unstarted(
        &self,
        queue: &QueueName,
        search: &mut ExpirySearch,
    ) -> Result<ExpiryStep, BrokerError> {
        let (waiting, more) = self.weed_expiring(queue, search.ended.take()).await?;
        let mut step = ExpiryStep { expired: 0, more };
        if waiting == 0 {
            search.at = None;
            return Ok(step);
        }
        let (mut left, began) = match search.at.take() {
            Some(at) => at,
            None => (self.pending_len(queue).await?, self.now_in(queue.as_str())),
        };
        // From the newest to the oldest: what is claimed meanwhile moves nothing past the place where it looks.
        for _ in 0..STRETCHES {
            let skip = left.saturating_sub(STRETCH);
            let stretch = Stretch { skip, span: left - skip };
            let found = self.find_expiring(queue, stretch).await?;
            let (expired, forgotten) = self.expire(queue, stretch, &found.tasks).await?;
            step.expired += expired;
            if found.more && expired + forgotten > 0 {
                continue;
            }
            if skip == 0 {
                search.ended = Some(began);
                return Ok(step);
            }
            left = skip + SLACK;
        }
        search.at = Some((left, began));
        Ok(step)
    }

    /// How many late tasks still wait, and whether there is more to forget.
    async fn weed_expiring(
        &self,
        queue: &QueueName,
        searched: Option<Timestamp>,
    ) -> Result<(usize, bool), BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::WEED_EXPIRING.key(keys.expiring());
        call.arg(keys.task_prefix()).arg(TASKS_PER_CALL);
        call.arg(searched.map_or(0, Timestamp::as_millisecond)).arg(millis(LEFT_ALONE));
        let (waiting, more): (usize, u8) = self.run("look for late tasks", queue.as_str(), &call).await?;
        Ok((waiting, more == 1))
    }

    async fn pending_len(&self, queue: &QueueName) -> Result<usize, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.llen(QueueKeys::new(queue).pending());
        let (length,): (usize,) = self.pipe("measure the pending list", queue.as_str(), &pipe).await?;
        Ok(length)
    }

    async fn find_expiring(&self, queue: &QueueName, stretch: Stretch) -> Result<Found, BrokerError> {
        const DOING: &str = "look for late tasks";
        let keys = QueueKeys::new(queue);
        let mut call = script::FIND_EXPIRING.key(keys.pending());
        call.key(keys.expiring()).arg(keys.task_prefix()).arg(stretch.skip).arg(stretch.span);
        call.arg(FOUND_MAX).arg(BYTES_PER_CALL);
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        let more = reply.int()? == 1;
        let mut tasks = Vec::new();
        while !reply.is_empty() {
            tasks.push((reply.bytes()?, reply.bytes()?));
        }
        Ok(Found { tasks, more })
    }

    /// Archives those of these tasks whose time is over. How many, and of how many the time has no meaning any more.
    async fn expire(
        &self,
        queue: &QueueName,
        stretch: Stretch,
        tasks: &[(Bytes, Bytes)],
    ) -> Result<(usize, usize), BrokerError> {
        const DOING: &str = "expire tasks";
        let keys = QueueKeys::new(queue);
        let now = self.now_in(queue.as_str());
        let locks = keys.unique_prefix();
        let mut archive = script::EXPIRE.key(keys.pending());
        archive.key(keys.archived()).key(keys.expiring()).arg(keys.task_prefix()).arg(now.as_second());
        let skip = stretch.skip.saturating_sub(SLACK);
        archive.arg(skip).arg(stretch.skip - skip + stretch.span + SLACK);
        let (mut found, mut meaningless) = (0, Vec::new());
        for (id, raw) in tasks {
            // What cannot be read is for the worker that claims it, and an attempt ends all waiting for one.
            let message = Message::decode(raw.clone()).ok();
            let Some(message) = message.filter(|message| message.expired(Timestamp::MAX).is_some()) else {
                meaningless.push(id.as_ref());
                continue;
            };
            let Some(expired) = message.expired(now) else { continue };
            let lock = Some(message.unique_key.as_str()).filter(|key| key.starts_with(&locks)).unwrap_or("");
            archive.arg(id.as_ref()).arg(raw.as_ref()).arg(expired.encode().as_ref()).arg(lock);
            found += 1;
        }
        if !meaningless.is_empty() {
            let mut pipe = redis::pipe();
            pipe.zrem(keys.expiring(), &meaningless).ignore();
            self.pipe::<()>(DOING, queue.as_str(), &pipe).await?;
        }
        let archived = if found > 0 { self.run(DOING, queue.as_str(), &archive).await? } else { 0 };
        Ok((archived, meaningless.len()))
    }
}

/// By when a task is to begin, in Unix ms, as it is noted when it is stored.
pub(super) fn begin_by(message: &Message) -> Option<i64> {
    message.expires_at().map(Timestamp::as_millisecond)
}
