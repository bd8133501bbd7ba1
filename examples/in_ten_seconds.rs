//! Enqueues a task that is due in ten seconds, and runs it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::{Client, Task};
use cronmill::shutdown;
use cronmill::task::QueueName;
use cronmill::worker::{Context, Mux, Server, Task as Running};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signals = shutdown::signals()?;
    let broker = Broker::connect(&std::env::var("CRONMILL_REDIS_URL")?.parse()?).await?;
    let task = Task::new("remind", Bytes::from_static(b"the kettle")).queue("reminders");
    let receipt = Client::new(broker.clone()).enqueue(task.after(Duration::from_secs(10))).await?;
    println!("task {} is {}", receipt.id, receipt.state);
    let (enqueued, done) = (Instant::now(), signals.drain().clone());
    let mut mux = Mux::new();
    mux.handle("remind", move |_: Context, task: Running| {
        let done = done.clone();
        async move {
            let about = String::from_utf8_lossy(task.payload()).into_owned();
            println!("{about}, after {} seconds", enqueued.elapsed().as_secs());
            done.cancel();
            Ok(())
        }
    })?;
    let server = Server::builder(broker).queues([(QueueName::new("reminders")?, 1)]);
    server.build()?.run(mux, signals.drain().clone()).await?;
    Ok(())
}
