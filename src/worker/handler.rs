//! What runs a task: handlers, and the tower service underneath.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use futures::future::BoxFuture;
use tower::util::{BoxCloneSyncService, ServiceExt};
use tower::{BoxError, Service};

use super::{Context, HandlerError, Task};

/// Runs tasks of some type. Every `async fn(Context, Task) -> Result<(), HandlerError>` is one.
///
/// An attempt may happen more than once (at-least-once delivery), so a handler should be idempotent. When
/// [`Context::cancelled`] resolves it should return soon; a little later it is dropped at its next await.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt.
    ///
    /// # Errors
    /// Whatever it returns is stored with the task; [`HandlerError`] says what becomes of it.
    fn run(&self, context: Context, task: Task) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// The types it serves, and with each every type that begins with it: what others are told while the worker
    /// runs. Default: not known, and nothing is told.
    fn serves(&self) -> Option<Vec<String>> {
        None
    }
}

impl<F, R> Handler for F
where
    F: Fn(Context, Task) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), HandlerError>> + Send,
{
    fn run(&self, context: Context, task: Task) -> impl Future<Output = Result<(), HandlerError>> + Send {
        self(context, task)
    }
}

/// One attempt on its way through the middleware: the request type of the tower services.
#[derive(Debug, Clone)]
pub struct Job {
    /// The attempt.
    pub context: Context,
    /// The task.
    pub task: Task,
}

/// The service a [`tower::Layer`] wraps: middleware gets it and the attempt it is called with.
pub type JobService = BoxCloneSyncService<Job, (), BoxError>;

/// Makes a handler of any tower service, for programs that build their stack themselves.
pub fn service_handler<S>(service: S) -> impl Handler
where
    S: Service<Job, Response = ()> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send + 'static,
{
    ServiceHandler(service)
}

struct ServiceHandler<S>(S);

impl<S> Handler for ServiceHandler<S>
where
    S: Service<Job, Response = ()> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + Send,
    S::Future: Send + 'static,
{
    async fn run(&self, context: Context, task: Task) -> Result<(), HandlerError> {
        let job = Job { context, task };
        let answer = self.0.clone().oneshot(job).await;
        answer.map_err(|error| HandlerError::from_boxed(error.into()))
    }
}

/// A handler whose type is hidden, so that a table can hold many.
pub(super) trait AnyHandler: Send + Sync {
    fn call(self: Arc<Self>, context: Context, task: Task) -> BoxFuture<'static, Result<(), HandlerError>>;

    fn serves(&self) -> Option<Vec<String>>;
}

impl<H: Handler> AnyHandler for H {
    fn call(self: Arc<Self>, context: Context, task: Task) -> BoxFuture<'static, Result<(), HandlerError>> {
        // The handler is called inside the future: a panic in its synchronous part is then caught with the rest.
        Box::pin(async move { self.run(context, task).await })
    }

    fn serves(&self) -> Option<Vec<String>> {
        Handler::serves(self)
    }
}

/// The innermost service of a stack.
#[derive(Clone)]
pub(super) struct Innermost(pub(super) Arc<dyn AnyHandler>);

impl Service<Job> for Innermost {
    type Response = ();
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        let running = Arc::clone(&self.0).call(job.context, job.task);
        Box::pin(async move { running.await.map_err(BoxError::from) })
    }
}
