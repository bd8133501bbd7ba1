//! Tasks whose worker is gone, and where each goes, whoever finds that out and how.

use bytes::Bytes;
use jiff::Timestamp;

use super::finish::{Ending, Finished};
use super::history::error_record;
use super::keep::Recovered;
use crate::task::{Message, QueueName};

/// From this crash on, a crash costs an attempt: so a task that kills its workers ends in the archive.
const CRASHES_FREE: u32 = 2;

/// A task under a lease whose worker is gone, as found.
pub(super) struct Stranded {
    /// Any bytes: also what is no text has to come back.
    pub(super) id: Bytes,
    /// The score as Redis writes it: another program's may be no whole number.
    pub(super) lease: String,
    pub(super) raw: Bytes,
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
    score: i64,
    note: String,
}

impl Settled {
    pub(super) fn ending(&self) -> Ending<'_> {
        Ending {
            id: &self.id,
            lease: self.lease.as_str().into(),
            outcome: self.outcome,
            message: self.message.encode(),
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
