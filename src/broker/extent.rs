//! How much memory a queue takes, and where it lies in a Redis Cluster.

use super::keys::QueueKeys;
use super::link::slot_of;
use super::{Broker, BrokerError, Page};
use crate::task::{QueueName, State};

/// Tasks of each state whose memory is measured; the others are taken to be like them.
const SAMPLED: usize = 20;
/// Groups whose tasks are measured.
const GROUPS_SAMPLED: usize = 5;

impl Broker {
    /// About how many bytes a queue takes: a sample of each state's tasks, and the containers of their ids.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn queue_memory(&self, queue: &QueueName) -> Result<u64, BrokerError> {
        let keys = QueueKeys::new(queue);
        let mut bytes = 0;
        for state in State::ALL.into_iter().filter(|state| *state != State::Aggregating) {
            let count = self.length(queue, state).await?;
            if count > 0 {
                let sample = self.tasks(queue, state, Page { offset: 0, limit: SAMPLED }).await?;
                let ids = sample.into_iter().map(|task| keys.task(&task.id)).collect();
                bytes += self.sampled(queue, ids, count).await?;
                bytes += self.sampled(queue, vec![keys.container(state)], 1).await?;
            }
        }
        for group in self.groups(queue, GROUPS_SAMPLED).await? {
            let (sample, _) =
                self.tasks_after(queue, State::Aggregating, Some(&group.name), None, SAMPLED).await?;
            let ids = sample.into_iter().map(|task| keys.task(&task.id)).collect();
            bytes += self.sampled(queue, ids, group.tasks).await?;
        }
        Ok(bytes)
    }

    /// The bytes of some keys, as if there were `count` of them.
    async fn sampled(&self, queue: &QueueName, sample: Vec<String>, count: u64) -> Result<u64, BrokerError> {
        if sample.is_empty() {
            return Ok(0);
        }
        let mut pipe = redis::pipe();
        for key in &sample {
            pipe.cmd("MEMORY").arg("USAGE").arg(key);
        }
        let sizes: Vec<Option<u64>> = self.pipe("measure memory", queue.as_str(), &pipe).await?;
        let (sum, found) =
            sizes.into_iter().flatten().fold((0, 0), |(sum, found), size| (sum + size, found + 1));
        Ok((sum * count).checked_div(found).unwrap_or(0))
    }
}

/// The slot of a Redis Cluster that holds all keys of a queue.
#[must_use]
pub fn cluster_key_slot(queue: &QueueName) -> u16 {
    slot_of(QueueKeys::new(queue).pending().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_slot_is_that_of_its_name() {
        let slot = |name: &str| cluster_key_slot(&QueueName::new(name).expect("valid"));
        // What CLUSTER KEYSLOT answers.
        assert_eq!((slot("foo"), slot("bar"), slot("a}b")), (12182, 5061, 15495));
    }
}
