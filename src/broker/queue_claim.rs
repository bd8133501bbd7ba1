//! Which TaskQueue of which cluster a queue belongs to.
//!
//! The first claim holds, also against a second TaskQueue and against another cluster on the same Redis. It lapses
//! some time after its holder has last shown itself, so that what is gone for good blocks nobody.

use std::time::Duration;

use redis::Value;

use super::keep::millis;
use super::keys::QueueKeys;
use super::reply::Reply;
use super::script::Call;
use super::{Broker, BrokerError, script};
use crate::task::QueueName;

/// How long a claim outlives the last sign of its holder.
pub const CLAIM_LIFE: Duration = Duration::from_secs(600);
/// How often a sign of its holder is written, of those that are given.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// Queues in one round trip.
const QUEUES_PER_TRIP: usize = 200;
const DOING: &str = "claim a queue";
/// The format of a claim.
const CLAIM_FORMAT: u32 = 1;

/// Who claims a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Id of its cluster.
    pub cluster: String,
    /// The TaskQueue's uid.
    pub uid: String,
    /// The TaskQueue's `namespace/name`, for people.
    pub object: String,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueClaim {
    /// Nobody had it: it is theirs now.
    Taken,
    /// It was theirs already.
    Held,
    /// It is another's.
    Refused {
        /// Whose.
        holder: Claimant,
        /// How soon it lapses unless that one shows itself.
        lapses: Duration,
    },
    /// A newer version wrote the claim in a way unknown here; it is left alone.
    Newer,
}

impl QueueClaim {
    fn read(answer: Value) -> Result<Self, BrokerError> {
        let mut reply = Reply::new(DOING, answer)?;
        let verdict = reply.text()?;
        match verdict.as_str() {
            "taken" => Ok(Self::Taken),
            "held" => Ok(Self::Held),
            "newer" => Ok(Self::Newer),
            "refused" => {
                let holder = Claimant { cluster: reply.text()?, uid: reply.text()?, object: reply.text()? };
                let lapses = Duration::from_millis(u64::try_from(reply.int()?).unwrap_or(0));
                Ok(Self::Refused { holder, lapses })
            }
            other => Err(BrokerError::Reply { doing: DOING, problem: format!("verdict {other:?}") }),
        }
    }
}

fn claim_call(queue: &QueueName, who: &Claimant) -> Call {
    let mut call = script::CLAIM_QUEUE.key(QueueKeys::new(queue).claim());
    call.arg(&who.cluster).arg(&who.uid).arg(&who.object).arg(millis(CLAIM_LIFE)).arg(CLAIM_FORMAT);
    call.arg(millis(WRITE_EVERY));
    call
}

impl Broker {
    /// Claims a queue, or shows that its holder is there. To be repeated well within [`CLAIM_LIFE`].
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn claim_queue(&self, queue: &QueueName, who: &Claimant) -> Result<QueueClaim, BrokerError> {
        QueueClaim::read(self.run(DOING, queue.as_str(), &claim_call(queue, who)).await?)
    }

    /// The same for many queues, [`QUEUES_PER_TRIP`] in one round trip.
    ///
    /// # Errors
    /// As [`claim_queue`](Self::claim_queue), of all or of one; safe to repeat.
    pub(crate) async fn claim_queues(
        &self,
        claims: &[(&QueueName, &Claimant)],
    ) -> Result<Vec<Result<QueueClaim, BrokerError>>, BrokerError> {
        let mut verdicts = Vec::with_capacity(claims.len());
        for part in claims.chunks(QUEUES_PER_TRIP) {
            let calls: Vec<_> =
                part.iter().map(|(queue, who)| (queue.as_str(), claim_call(queue, who))).collect();
            let answers = self.run_all(DOING, &calls).await?;
            verdicts.extend(answers.into_iter().map(|answer| QueueClaim::read(answer?)));
        }
        Ok(verdicts)
    }

    /// Gives a queue back; answers whether it was theirs.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn yield_queue(
        &self,
        queue: &QueueName,
        cluster: &str,
        uid: &str,
    ) -> Result<bool, BrokerError> {
        let mut call = script::YIELD_QUEUE.key(QueueKeys::new(queue).claim());
        call.arg(cluster).arg(uid);
        let yielded: i64 = self.run("give a queue back", queue.as_str(), &call).await?;
        Ok(yielded == 1)
    }
}
