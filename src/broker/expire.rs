//! Archiving what nobody began in time.

use super::keys::QueueKeys;
use super::reply::Reply;
use super::{Broker, BrokerError, script};
use crate::task::{EXPIRES_HEADER, Message, QueueName};

/// Pending tasks looked at in one call, the oldest.
const TASKS_PER_CALL: usize = 100;
/// A larger message is not looked at: its worker finds it expired when it claims it.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Message bytes looked at in one call.
const BYTES_PER_CALL: usize = 64 * 1024;

impl Broker {
    /// Archives those of the oldest pending tasks that were to begin by now, and says how many.
    ///
    /// A worker that claims such a task does the same; this is for queues without one.
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
        let now = self.now_in(queue.as_str());
        let locks = keys.unique_prefix();
        let mut archive = script::EXPIRE.key(keys.pending());
        archive.key(keys.archived()).arg(keys.task_prefix()).arg(now.as_second());
        let mut found = 0;
        while !reply.is_empty() {
            let (id, raw) = (reply.text()?, reply.bytes()?);
            // What cannot be read is for the worker that claims it.
            let Ok(message) = Message::decode(raw.clone()) else { continue };
            let Some(expired) = message.expired(now) else { continue };
            let lock = Some(message.unique_key.as_str()).filter(|key| key.starts_with(&locks)).unwrap_or("");
            archive.arg(id).arg(raw.as_ref()).arg(expired.encode().as_ref()).arg(lock);
            found += 1;
        }
        if found == 0 {
            return Ok(0);
        }
        let verdicts: Vec<usize> = self.run(DOING, queue.as_str(), &archive).await?;
        Ok(verdicts.into_iter().sum())
    }
}
