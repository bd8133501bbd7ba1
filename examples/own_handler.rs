//! A worker with a handler of its own, for tasks of the type `greet`.

use std::env;

use cronmill::broker::Broker;
use cronmill::shutdown;
use cronmill::task::QueueWeights;
use cronmill::worker::{Context, HandlerError, Mux, Server, Task};
use serde_json::Value;

async fn greet(context: Context, task: Task) -> Result<(), HandlerError> {
    // A payload that is not JSON will not become JSON: no retry, straight to the archive.
    let input: Value = serde_json::from_slice(task.payload()).map_err(HandlerError::skip_retry)?;
    println!("task {}: hello {}", context.id(), input["name"]);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signals = shutdown::signals()?;
    let broker = Broker::connect(&env::var("CRONMILL_REDIS_URL")?.parse()?).await?;
    let queues: QueueWeights = env::var("CRONMILL_QUEUES")?.parse()?;
    let mut mux = Mux::new();
    mux.handle("greet", greet)?;
    let server = Server::builder(broker).queues(queues.iter().map(|(name, weight)| (name.clone(), weight)));
    server.build()?.run(mux, signals.drain().clone()).await?;
    Ok(())
}
