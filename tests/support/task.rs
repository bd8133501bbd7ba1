//! Tasks as a plain producer would store them.

use bytes::Bytes;
use cronmill::task::{Message, QueueName};

/// A queue with that name.
pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a queue's name")
}

/// A message with an id; its payload is the same.
pub fn message(queue: &QueueName, id: &str) -> Message {
    Message {
        kind: "t".into(),
        id: id.into(),
        queue: queue.to_string(),
        max_retry: 25,
        timeout_s: 1800,
        payload: Bytes::from(id.to_owned()),
        ..Message::default()
    }
}
