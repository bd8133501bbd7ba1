//! Puts one task into a queue, to be run in two seconds.

use std::time::Duration;

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::connect(&std::env::var("CRONMILL_REDIS_URL")?.parse()?).await?;
    let task = Task::new("greet", Bytes::from_static(br#"{"name": "Lin"}"#)).queue("greetings").max_retry(3);
    let receipt = Client::new(broker).enqueue(task.after(Duration::from_secs(2))).await?;
    println!("task {} is {} in queue {}", receipt.id, receipt.state, receipt.queue);
    Ok(())
}
