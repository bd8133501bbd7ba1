//! Queues in which there is nothing to see to: found out for very many at once, with one `EXISTS` each.

use redis::{Pipeline, Value};

use super::keys::QueueKeys;
use super::{Broker, BrokerError};
use crate::task::QueueName;

/// Queues asked about in one round trip.
const QUEUES_PER_TRIP: usize = 500;

/// What a queue may hold that somebody has to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// What asks for workers now or later: tasks that did not end, and schedules.
    Workers,
    /// What keeping is to be in time for: tasks that did not end, and a pause, which may end.
    Keeping,
    /// That, and what goes when it is old enough: tasks that ended.
    AllKeeping,
}

impl Concern {
    /// The keys of which one is there when the queue holds something of the kind.
    fn keys(self, queue: &QueueName) -> Vec<String> {
        let keys = QueueKeys::new(queue);
        let mut asked =
            vec![keys.pending(), keys.active(), keys.scheduled(), keys.retry(), keys.aggregation_sets()];
        if self == Self::Workers {
            asked.extend([keys.groups(), keys.due()]);
            return asked;
        }
        asked.extend([keys.lease(), keys.expiring(), keys.locks(), keys.paused()]);
        if self == Self::AllKeeping {
            asked.extend([keys.completed(), keys.archived()]);
        }
        asked
    }
}

impl Broker {
    /// Whether each of these queues holds anything of that concern. One that cannot be asked about may hold something.
    ///
    /// # Errors
    /// [`BrokerError::Command`] where Redis does not answer.
    pub(crate) async fn which_hold(
        &self,
        queues: &[(&QueueName, Concern)],
    ) -> Result<Vec<bool>, BrokerError> {
        let mut hold = Vec::with_capacity(queues.len());
        for part in queues.chunks(QUEUES_PER_TRIP) {
            let mut asked = Pipeline::with_capacity(part.len());
            for (queue, concern) in part {
                asked.cmd("EXISTS").arg(concern.keys(queue));
            }
            let answers = self.pipe_each("see which queues hold anything", &asked).await?;
            hold.extend(answers.iter().map(|answer| !matches!(answer, Ok(Value::Int(0)))));
        }
        Ok(hold)
    }
}
