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
    /// What goes when it is old enough: tasks that ended.
    Ended,
    /// Types that workers met in vain.
    Unserved,
}

impl Concern {
    /// The keys of which one is there when the queue holds something of the kind.
    fn keys(self, queue: &QueueName) -> Vec<String> {
        let keys = QueueKeys::new(queue);
        let unended =
            [keys.pending(), keys.active(), keys.scheduled(), keys.retry(), keys.aggregation_sets()];
        let (unended, more) = match self {
            Self::Workers => (Some(unended), vec![keys.groups(), keys.due()]),
            Self::Keeping => {
                (Some(unended), vec![keys.lease(), keys.expiring(), keys.locks(), keys.paused()])
            }
            Self::Ended => (None, vec![keys.completed(), keys.archived()]),
            Self::Unserved => (None, vec![keys.unserved()]),
        };
        unended.into_iter().flatten().chain(more).collect()
    }
}

/// What is asked of some queues again and again, put together once.
#[derive(Debug)]
pub(crate) struct Question {
    queues: Vec<QueueName>,
    trips: Vec<Pipeline>,
}

impl Question {
    /// Whether these queues hold anything of that concern.
    pub(crate) fn new(concern: Concern, queues: Vec<QueueName>) -> Self {
        let trip = |queues: &[QueueName]| {
            let mut asked = Pipeline::with_capacity(queues.len());
            for queue in queues {
                asked.cmd("EXISTS").arg(concern.keys(queue));
            }
            asked
        };
        let trips = queues.chunks(QUEUES_PER_TRIP).map(trip).collect();
        Self { queues, trips }
    }

    /// The queues it is about.
    pub(crate) fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// Whether it is about these, in this order.
    pub(crate) fn is_about<'a>(&self, queues: impl IntoIterator<Item = &'a QueueName>) -> bool {
        self.queues.iter().eq(queues)
    }
}

impl Broker {
    /// Whether each of the queues of a question holds anything. One that cannot be asked about may hold something.
    ///
    /// # Errors
    /// [`BrokerError::Command`] where Redis does not answer.
    pub(crate) async fn which_hold(&self, question: &Question) -> Result<Vec<bool>, BrokerError> {
        let mut hold = Vec::with_capacity(question.queues.len());
        for asked in &question.trips {
            let answers = self.pipe_each("see which queues hold anything", asked).await?;
            hold.extend(answers.iter().map(|answer| !matches!(answer, Ok(Value::Int(0)))));
        }
        Ok(hold)
    }
}
