//! The client that puts tasks into queues: now, at a time, one or many.
//!
//! Here belongs what a caller says about a task and how that becomes a message. How a message gets into Redis
//! is the broker's, what runs it is the worker's. Command line, scheduler-less programs and handlers that
//! enqueue more work call it.
//!
//! ```no_run
//! use std::time::Duration;
//! use bytes::Bytes;
//! use cronmill::{broker::Broker, producer::{Client, Task}};
//!
//! # async fn example(broker: Broker) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(broker);
//! let task = Task::new("email:send", Bytes::from_static(b"{\"user\":42}"))
//!     .queue("critical")
//!     .max_retry(3)
//!     .after(Duration::from_secs(60));
//! let receipt = client.enqueue(task).await?;
//! println!("task {} waits in {}", receipt.id, receipt.queue);
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod gather;
mod new_task;

pub use client::{Client, Receipt};
pub use error::EnqueueError;
pub use new_task::Task;
