//! Giving back what dead workers hold, before their leases end.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::claim::Owner;
use super::finish::Holder;
use super::holders::Held;
use super::keep::Recovered;
use super::keys::QueueKeys;
use super::reply::Reply;
use super::stranded::{Settled, Stranded};
use super::{Broker, BrokerError, script};
use crate::task::{Message, QueueName};

/// Tasks read and ended at once.
const TASKS_PER_CALL: usize = 64;
const DOING: &str = "release what a dead worker held";

/// Workers that are known to be dead: those of a host that started within a span of time. Who started earlier or
/// later, and who does not tell when it started, may live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadWorkers {
    /// The first part of their names.
    pub host: String,
    /// From when on, by their own machine's clock.
    pub from: Timestamp,
    /// Up to when; who started at that very moment may live.
    pub before: Timestamp,
    /// What they died of, for people.
    pub why: String,
}

impl DeadWorkers {
    fn include(&self, owner: &Owner) -> bool {
        let is_within = |started: Timestamp| self.from <= started && started < self.before;
        owner.host() == Some(self.host.as_str()) && owner.started().is_some_and(is_within)
    }
}

impl Broker {
    /// Brings back at once what dead workers hold of a queue, as [`recover`](Self::recover) does once leases are over.
    /// A task that somebody else holds by now is left alone. `retry_delay` says how long a task waits that loses an
    /// attempt.
    ///
    /// Cancel-safe: each task is moved whole or not at all.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat: what has come back is nobody's any more.
    pub async fn release(
        &self,
        queue: &QueueName,
        dead: &DeadWorkers,
        retry_delay: impl Fn(&Message) -> Duration + Send + Sync,
    ) -> Result<Recovered, BrokerError> {
        let mut recovered = Recovered::default();
        let mut cursor = 0;
        loop {
            let (next, held) = self.held_by(queue, dead, cursor).await?;
            for (owner, held) in held {
                let mut rest = held.as_slice();
                while !rest.is_empty() {
                    let some = &rest[..rest.len().min(TASKS_PER_CALL)];
                    let (found, looked_at) = self.stranded(queue, &owner, some).await?;
                    rest = &rest[looked_at..];
                    let now = self.now_in(queue.as_str());
                    let settle = |task: &Stranded| task.settle(queue, now, Some(&dead.why), &retry_delay);
                    let settled: Vec<_> = found.iter().map(settle).collect();
                    let endings: Vec<_> = settled.iter().map(Settled::ending).collect();
                    // In the name of the dead: whoever holds a task by now keeps it.
                    let verdicts = self.end_attempts(queue, Holder::Owner(&owner), &endings).await?;
                    recovered.add(queue, &settled, verdicts);
                }
            }
            if next == 0 {
                return Ok(recovered);
            }
            cursor = next;
        }
    }

    /// What they hold, as far as one step of a search tells; 0 when it has come to its end.
    async fn held_by(
        &self,
        queue: &QueueName,
        dead: &DeadWorkers,
        cursor: u64,
    ) -> Result<(u64, BTreeMap<Owner, Vec<Held>>), BrokerError> {
        let (next, held) = self.held_from(DOING, queue, cursor).await?;
        let mut found: BTreeMap<Owner, Vec<Held>> = BTreeMap::new();
        for held in held.into_iter().filter(|held| dead.include(&held.owner)) {
            found.entry(held.owner.clone()).or_default().push(held);
        }
        Ok((next, found))
    }

    /// What is known of the first of these tasks, and how many of them were looked at.
    async fn stranded(
        &self,
        queue: &QueueName,
        owner: &Owner,
        held: &[Held],
    ) -> Result<(Vec<Stranded>, usize), BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut call = script::HELD.key(keys.holders());
        call.arg(keys.task_prefix()).arg(owner.as_str());
        for held in held {
            call.arg(held.id.as_ref()).arg(&held.lease);
        }
        let mut reply = Reply::new(DOING, self.run(DOING, queue.as_str(), &call).await?)?;
        // Nothing looked at would be no answer, and is not to be asked for ever.
        let looked_at = usize::try_from(reply.int()?).unwrap_or(0).clamp(1, held.len().max(1));
        Ok((self.read_stranded(queue, reply).await?, looked_at))
    }
}
