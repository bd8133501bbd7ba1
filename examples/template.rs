//! A worker as a service has it: handlers that share one context, and middleware around all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cronmill::broker::Broker;
use cronmill::shutdown;
use cronmill::task::QueueName;
use cronmill::worker::{Context, Handler, HandlerError, Job, JobService, Mux, Server, Task};
use tower::layer::layer_fn;
use tower::{BoxError, ServiceExt, service_fn};

/// The type of the tasks, for whoever enqueues them.
const TEMPLATE_EXAMPLE: &str = "template-example";

/// What handlers work with: connections, clients, configuration. Made once, and shared by all.
struct ServiceContext {
    greeting: String,
    greeted: AtomicU64,
}

/// The handler of that type.
struct TemplateExample {
    services: Arc<ServiceContext>,
}

impl Handler for TemplateExample {
    async fn run(&self, context: Context, task: Task) -> Result<(), HandlerError> {
        let name: String = serde_json::from_slice(task.payload()).map_err(HandlerError::skip_retry)?;
        let number = self.services.greeted.fetch_add(1, Ordering::Relaxed) + 1;
        let greeting = format!("{}, {name}! You are number {number}.", self.services.greeting);
        context.result_writer().write(greeting).await?;
        Ok(())
    }
}

/// Around each handler: tells how it ended and how long it took.
async fn told(inner: JobService, job: Job) -> Result<(), BoxError> {
    let (kind, begun) = (job.task.kind().to_owned(), Instant::now());
    let ended = inner.oneshot(job).await;
    let how = if ended.is_ok() { "done" } else { "failed" };
    println!("{kind}: {how} after {:?}", begun.elapsed());
    ended
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signals = shutdown::signals()?;
    let broker = Broker::connect(&std::env::var("CRONMILL_REDIS_URL")?.parse()?).await?;
    let services = Arc::new(ServiceContext { greeting: "Hello".into(), greeted: AtomicU64::new(0) });
    let mut mux = Mux::new();
    mux.handle(TEMPLATE_EXAMPLE, TemplateExample { services: Arc::clone(&services) })?;
    mux.layer(layer_fn(|inner: JobService| service_fn(move |job| told(inner.clone(), job))));
    let server = Server::builder(broker).queues([(QueueName::new("templates")?, 1)]);
    server.build()?.run(mux, signals.drain().clone()).await?;
    println!("{} tasks were greeted", services.greeted.load(Ordering::Relaxed));
    Ok(())
}
