//! How much memory a queue takes, and where it lies in a Redis Cluster.

use super::keys::QueueKeys;
use super::{Broker, BrokerError, Page};
use crate::task::{QueueName, State};

/// Tasks of each state whose memory is measured; the others are taken to be like them.
const SAMPLED: usize = 20;
/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

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
        for group in self.groups(queue).await?.into_iter().take(5) {
            let (sample, _) =
                self.tasks_after(queue, State::Aggregating, Some(&group.group), None, SAMPLED).await?;
            let ids = sample.into_iter().map(|task| keys.task(&task.id)).collect();
            bytes += self.sampled(queue, ids, group.size).await?;
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
    let key = QueueKeys::new(queue).pending();
    let tagged = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tagged.filter(|tag| !tag.is_empty()).unwrap_or(&key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as Redis Cluster hashes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queues_slot_is_that_of_its_name() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let slot = |name: &str| cluster_key_slot(&QueueName::new(name).expect("valid"));
        // What CLUSTER KEYSLOT answers.
        assert_eq!(
            (slot("default"), slot("a:b c"), slot("a}b")),
            (crc16(b"default") % SLOTS, crc16(b"a:b c") % SLOTS, 15495)
        );
    }
}
