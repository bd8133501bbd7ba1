//! A worker that makes one task of type `digest` of all tasks that joined a group within a minute, and runs it.

use bytes::Bytes;
use cronmill::broker::Broker;
use cronmill::producer::Task;
use cronmill::shutdown;
use cronmill::worker::{AggregationSet, Context, HandlerError, Mux, Server, Task as Running};

async fn digest(set: AggregationSet) -> Result<Task, Box<dyn std::error::Error + Send + Sync>> {
    let lines: Vec<&[u8]> = set.tasks().iter().map(|task| &task.payload[..]).collect();
    Ok(Task::new("digest", Bytes::from(lines.join(&b'\n'))))
}

async fn deliver(context: Context, task: Running) -> Result<(), HandlerError> {
    println!("task {}: {} bytes", context.id(), task.payload().len());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signals = shutdown::signals()?;
    let broker = Broker::connect(&std::env::var("CRONMILL_REDIS_URL")?.parse()?).await?;
    let mut mux = Mux::new();
    mux.handle("digest", deliver)?;
    let server = Server::builder(broker).aggregator(digest).group_max_size(100);
    server.build()?.run(mux, signals.drain().clone()).await?;
    Ok(())
}
