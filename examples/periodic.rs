//! A program that says hello every two seconds: it fires the schedule, and runs what that makes.

use cronmill::broker::{Broker, Owner};
use cronmill::schedule::Entry;
use cronmill::scheduler::Scheduler;
use cronmill::shutdown;
use cronmill::task::QueueName;
use cronmill::worker::{Context, HandlerError, Mux, Server, Task};

async fn hello(context: Context, _: Task) -> Result<(), HandlerError> {
    println!("hello, it is {}", context.header("cronmill-nominal-time").unwrap_or("no tick's time"));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signals = shutdown::signals()?;
    let broker = Broker::connect(&std::env::var("CRONMILL_REDIS_URL")?.parse()?).await?;
    let queue = QueueName::new("periodic")?;
    let owner = Owner::new("localhost", std::process::id(), &uuid::Uuid::new_v4().to_string());
    let entry = Entry::periodic("my-program", "@every 2s", "hello", queue.as_str());
    // Any number of processes may do so: each tick is enqueued once. Schedules of others on the same Redis are theirs.
    let scheduler = Scheduler::new(broker.clone(), owner).for_cluster(entry.cluster.as_str());
    scheduler.apply(&entry).await?;
    let mut mux = Mux::new();
    mux.handle("hello", hello)?;
    let server = Server::builder(broker).queues([(queue.clone(), 1)]).build()?;
    let (worked, ()) =
        tokio::join!(server.run(mux, signals.drain().clone()), scheduler.run(signals.drain().clone()));
    scheduler.remove(&queue, &entry.uid, &entry.cluster).await?;
    Ok(worked?)
}
