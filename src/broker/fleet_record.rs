//! What whoever decides about the number of workers remembers, so that who decides next goes on from there.
//!
//! The text is the caller's own; it stands once for each queue that the workers serve.

use redis::{RedisResult, Value};

use super::keys::QueueKeys;
use super::{Broker, BrokerError};
use crate::task::QueueName;

/// How long it is kept after it was last written.
const LIFE_S: u64 = 7 * 24 * 3600;

impl Broker {
    /// What stands there for each of the queues; nothing where nobody wrote any, or what stands there is no text.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn read_fleet_records(&self, queues: &[QueueName]) -> Result<Vec<Option<String>>, BrokerError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for queue in queues {
            pipe.get(QueueKeys::new(queue).fleet());
        }
        let answers = self.pipe_each("read what is known of fleets", &pipe).await?;
        // A key of another type is as good as none: it is written over.
        let text = |answer: RedisResult<Value>| redis::from_redis_value(answer.ok()?).ok();
        Ok(answers.into_iter().map(text).collect())
    }

    /// Writes it down, in one round trip.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn write_fleet_records(&self, records: &[(QueueName, String)]) -> Result<(), BrokerError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut pipe = redis::pipe();
        for (queue, text) in records {
            pipe.set_ex(QueueKeys::new(queue).fleet(), text, LIFE_S).ignore();
        }
        self.pipe("write down what is known of fleets", "*", &pipe).await
    }
}
