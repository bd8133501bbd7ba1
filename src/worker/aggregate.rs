//! What makes one task of a group's tasks: the caller's part.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use tower::BoxError;

use crate::producer::Task;
use crate::task::{Message, QueueName};

/// Makes one task of the tasks of a group. Every `async fn(AggregationSet) -> Result<Task, BoxError>` is one.
///
/// The task takes the place of those it was made of in one step: they are not lost, and none counts twice. It goes
/// to their queue; one that names another queue is refused. Like a handler an aggregator may be called more than
/// once for the same tasks, when its worker died before that step, so it should have no effects of its own.
pub trait Aggregator: Send + Sync + 'static {
    /// Makes the task.
    ///
    /// # Errors
    /// Whatever it returns is logged; a panic counts as an error. The tasks go back to their group, and are
    /// aggregated again after a pause of 1 s, doubling to 2 min while it fails for that group.
    fn aggregate(&self, set: AggregationSet) -> impl Future<Output = Result<Task, BoxError>> + Send;
}

impl<F, R> Aggregator for F
where
    F: Fn(AggregationSet) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Task, BoxError>> + Send,
{
    fn aggregate(&self, set: AggregationSet) -> impl Future<Output = Result<Task, BoxError>> + Send {
        self(set)
    }
}

/// The tasks to make one of. Cheap to clone.
#[derive(Clone)]
pub struct AggregationSet {
    pub(super) queue: QueueName,
    pub(super) group: Arc<str>,
    pub(super) tasks: Arc<[Message]>,
}

impl AggregationSet {
    /// The queue they are in, and the new task will be in.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The group's name. Programs that are not ours may have written any bytes: what is no text in it is replaced.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The tasks, never none, by the second in which they joined; those of one second by their ids.
    #[must_use]
    pub fn tasks(&self) -> &[Message] {
        &self.tasks
    }
}

/// Shows everything but the payloads, which may be confidential.
impl fmt::Debug for AggregationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregationSet")
            .field("queue", &self.queue)
            .field("group", &self.group)
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

/// An aggregator whose type is hidden.
pub(super) trait AnyAggregator: Send + Sync {
    fn call(self: Arc<Self>, set: AggregationSet) -> BoxFuture<'static, Result<Task, BoxError>>;
}

impl<A: Aggregator> AnyAggregator for A {
    fn call(self: Arc<Self>, set: AggregationSet) -> BoxFuture<'static, Result<Task, BoxError>> {
        // Called inside the future: a panic in its synchronous part is then caught with the rest.
        Box::pin(async move { self.aggregate(set).await })
    }
}
