//! Tasks whose worker is gone, and where each goes, whoever finds that out and how.

use bytes::Bytes;
use jiff::Timestamp;

use super::finish::{Ending, Finished};
use super::history::error_record;
use super::keep::Recovered;
use super::keys::QueueKeys;
use super::reply::Reply;
use super::{Broker, BrokerError};
use crate::task::{Message, QueueName};

/// From this crash on, a crash costs an attempt: so a task that kills its workers ends in the archive.
const CRASHES_FREE: u32 = 2;

/// A task under a lease whose worker is gone, as found.
pub(super) struct Stranded {
    /// Any bytes: also what is no text has to come back.
    pub(super) id: Bytes,
    /// The score as Redis writes it: another program's may be no whole number.
    pub(super) lease: String,
    /// The message, without its payload where it is long.
    pub(super) raw: Bytes,
    pub(super) is_slim: bool,
    pub(super) crashes: u32,
    pub(super) owner: String,
    pub(super) is_cancelled: bool,
}

/// Where such a task goes.
pub(super) struct Settled {
    id: Bytes,
    lease: String,
    outcome: &'static str,
    message: Message,
    is_slim: bool,
    score: i64,
    note: String,
}

impl Settled {
    pub(super) fn ending(&self) -> Ending<'_> {
        let is_change = self.is_slim || self.outcome == "crash";
        Ending {
            id: &self.id,
            lease: self.lease.as_str().into(),
            outcome: self.outcome,
            message: if is_change { self.message.changes() } else { self.message.encode() },
            is_change,
            score: self.score,
            counts_as_failure: true,
            unique_key: &self.message.unique_key,
            note: self.note.clone(),
        }
    }
}

impl Stranded {
    /// Decides where it goes. `why` is what became of its worker, where that is known: then the task remembers it,
    /// also of a crash that costs nothing.
    pub(super) fn settle(
        &self,
        queue: &QueueName,
        now: Timestamp,
        why: Option<&str>,
        retry_delay: impl Fn(&Message) -> std::time::Duration,
    ) -> Settled {
        let now_s = now.as_second();
        let settled = |outcome, message: Message, score, note| Settled {
            id: self.id.clone(),
            lease: self.lease.clone(),
            outcome,
            message,
            is_slim: self.is_slim,
            score,
            note,
        };
        let record = |retried, text: &str| error_record(retried, now, &self.owner, text);
        let mut message = match Message::decode(self.raw.clone()) {
            Ok(message) => message,
            Err(error) => {
                let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
                let (id, reason) = (String::from_utf8_lossy(&self.id), format!("{error}: {cause}"));
                let envelope = Message::undecodable(&id, queue.as_str(), self.raw.clone(), &reason, now_s);
                let note = record(envelope.retried, &envelope.error);
                return settled("archive", envelope, now_s, note);
            }
        };
        let what = "worker vanished while running the task";
        let because = why.map_or(String::new(), |why| format!(": {why}"));
        if self.is_cancelled {
            let cancelled = message.cancelled(&format!("its worker vanished{because}"));
            let note = record(cancelled.retried, &cancelled.error);
            return settled("withdraw", cancelled, now_s, note);
        }
        if self.crashes < CRASHES_FREE {
            let note = why.map_or(String::new(), |_| record(message.retried, &format!("{what}{because}")));
            // It is kept only if somebody cancels the attempt at this moment.
            return settled("crash", message.cancelled("its worker vanished"), now_s, note);
        }
        message.error = format!("{what}, {} times{because}", self.crashes + 1);
        message.last_failed_s = now_s;
        let note = record(message.retried, &message.error);
        if message.retried >= message.max_retry {
            return settled("archive", message, now_s, note);
        }
        let at = now_s.saturating_add(i64::try_from(retry_delay(&message).as_secs()).unwrap_or(i64::MAX));
        message.retried += 1;
        settled("retry", message, at, note)
    }
}

impl Broker {
    /// Reads tasks that a script told, and the whole message where nobody can make sense of it without its payload.
    pub(super) async fn read_stranded(
        &self,
        queue: &QueueName,
        mut reply: Reply,
    ) -> Result<Vec<Stranded>, BrokerError> {
        let mut found = Vec::new();
        while !reply.is_empty() {
            let (id, lease, raw, is_slim) =
                (reply.bytes()?, reply.text()?, reply.bytes()?, reply.text()? == "1");
            // Whoever wrote something else there, the task comes back.
            let crashes = u32::try_from(reply.maybe_int()?.unwrap_or(0)).unwrap_or(0);
            let (owner, is_cancelled) = (reply.text()?, reply.text()? == "stop");
            let mut task = Stranded { id, lease, raw, is_slim, crashes, owner, is_cancelled };
            if is_slim && Message::decode(task.raw.clone()).is_err() {
                let key = [QueueKeys::new(queue).task_prefix().as_bytes(), &task.id].concat();
                let mut pipe = redis::pipe();
                pipe.hget(key, "msg");
                let (whole,): (Option<Vec<u8>>,) = self.pipe("read a message", queue.as_str(), &pipe).await?;
                (task.raw, task.is_slim) = (whole.unwrap_or_default().into(), false);
            }
            found.push(task);
        }
        Ok(found)
    }
}

impl Recovered {
    /// Counts what became of tasks.
    pub(super) fn add(&mut self, queue: &QueueName, settled: &[Settled], verdicts: Vec<Finished>) {
        for (task, verdict) in settled.iter().zip(verdicts) {
            match (verdict, task.outcome) {
                (Finished::Stored, "crash") => self.requeued += 1,
                (Finished::Stored, "retry") => self.retried += 1,
                (Finished::Stored, "withdraw") => self.cancelled += 1,
                (Finished::Stored, _) => self.archived += 1,
                (Finished::Lost, _) => {}
                (Finished::Refused(problem), _) => {
                    let id = String::from_utf8_lossy(&task.id);
                    tracing::error!(queue.name = %queue, task.id = %id, %problem, "cannot recover a task");
                }
            }
        }
    }

    /// Tasks that came back in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.requeued + self.retried + self.archived + self.cancelled
    }
}
