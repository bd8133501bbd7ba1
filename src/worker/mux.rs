//! Chooses the handler of a task by its type.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use tower::util::{BoxCloneSyncService, ServiceExt};
use tower::{BoxError, Layer, Service};

use super::handler::{AnyHandler, Innermost};
use super::{Context, Handler, HandlerError, Job, JobService, Task};

/// Chooses the handler of a task by its type: an exact match, otherwise the longest registered prefix.
///
/// A task of a type nobody registered goes back for a worker that knows it, at no attempt: see
/// [`HandlerError::unserved`].
///
/// ```
/// use cronmill::worker::{Context, HandlerError, Mux, Task};
///
/// async fn send(context: Context, task: Task) -> Result<(), HandlerError> {
///     println!("{}: {} bytes", context.id(), task.payload().len());
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut mux = Mux::new();
/// mux.handle("email:send", send)?;
/// mux.handle("email:", |_, _| async { Err(HandlerError::msg("not built yet")) })?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Mux {
    routes: Arc<Routes>,
    layers: Vec<Arc<LayerFn>>,
    /// Built at the first task; every change resets it.
    stack: OnceLock<JobService>,
}

type LayerFn = dyn Fn(JobService) -> JobService + Send + Sync;

#[derive(Default, Clone)]
struct Routes {
    exact: HashMap<String, Arc<dyn AnyHandler>>,
    /// The patterns again, longest first.
    prefixes: Vec<String>,
}

/// Why a pattern was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// Nothing but white space.
    #[error("register handler: the task type is blank")]
    BlankPattern,
    /// Somebody has it already.
    #[error("register handler: task type {0:?} is registered twice")]
    Duplicate(String),
}

impl MuxError {
    /// A short fixed word for metrics, events and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BlankPattern => "BlankPattern",
            Self::Duplicate(_) => "DuplicatePattern",
        }
    }

    /// Never: the same call fails again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl Mux {
    /// A mux that knows no type.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a handler for a type and for every type that begins with it and has no longer match.
    ///
    /// # Errors
    /// [`MuxError`] when the pattern is blank or taken.
    pub fn handle(&mut self, pattern: impl Into<String>, handler: impl Handler) -> Result<(), MuxError> {
        let pattern = pattern.into();
        if pattern.trim().is_empty() {
            return Err(MuxError::BlankPattern);
        }
        if self.routes.exact.contains_key(&pattern) {
            return Err(MuxError::Duplicate(pattern));
        }
        self.stack = OnceLock::new();
        let routes = Arc::make_mut(&mut self.routes);
        let place = routes.prefixes.partition_point(|known| known.len() >= pattern.len());
        routes.prefixes.insert(place, pattern.clone());
        routes.exact.insert(pattern, Arc::new(handler));
        Ok(())
    }

    /// Wraps every handler in a middleware, also what answers for an unknown type.
    ///
    /// The first layer added is the outermost. Middleware may fail with any error; one that is a
    /// [`HandlerError`], or has one among its causes, keeps its kind.
    pub fn layer<L>(&mut self, layer: L)
    where
        L: Layer<JobService> + Send + Sync + 'static,
        L::Service: Service<Job, Response = ()> + Clone + Send + Sync + 'static,
        <L::Service as Service<Job>>::Error: Into<BoxError>,
        <L::Service as Service<Job>>::Future: Send + 'static,
    {
        self.stack = OnceLock::new();
        self.layers.push(Arc::new(move |inner| {
            BoxCloneSyncService::new(layer.layer(inner).map_err(Into::<BoxError>::into))
        }));
    }

    /// The registered types, longest first.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.routes.prefixes.iter().map(String::as_str)
    }

    fn stack(&self) -> &JobService {
        self.stack.get_or_init(|| {
            let innermost = JobService::new(Innermost(Arc::clone(&self.routes) as Arc<dyn AnyHandler>));
            self.layers.iter().rev().fold(innermost, |inner, layer| layer(inner))
        })
    }
}

impl Handler for Mux {
    async fn run(&self, context: Context, task: Task) -> Result<(), HandlerError> {
        if self.layers.is_empty() {
            return self.routes.run(context, task).await;
        }
        let stack = self.stack().clone();
        stack.oneshot(Job { context, task }).await.map_err(HandlerError::from_boxed)
    }

    fn serves(&self) -> Option<Vec<String>> {
        Some(self.patterns().map(str::to_owned).collect())
    }
}

impl Routes {
    fn find(&self, kind: &str) -> Option<Arc<dyn AnyHandler>> {
        if let Some(exact) = self.exact.get(kind) {
            return Some(Arc::clone(exact));
        }
        let longest = self.prefixes.iter().find(|prefix| kind.starts_with(prefix.as_str()))?;
        self.exact.get(longest).cloned()
    }
}

impl Handler for Routes {
    async fn run(&self, context: Context, task: Task) -> Result<(), HandlerError> {
        match self.find(task.kind()) {
            Some(handler) => handler.call(context, task).await,
            None => Err(HandlerError::unserved(task.kind())),
        }
    }
}

impl fmt::Debug for Mux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").field("patterns", &self.routes.prefixes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn nothing(_: Context, _: Task) -> Result<(), HandlerError> {
        Ok(())
    }

    #[test]
    fn the_longest_prefix_is_chosen() {
        let mut mux = Mux::new();
        for pattern in ["a", "a:b:c", "a:b", "z"] {
            mux.handle(pattern, nothing).expect("free");
        }
        let chosen = |kind: &str| {
            let found = mux.routes.find(kind)?;
            let same = |(_, handler): &(&String, &Arc<dyn AnyHandler>)| Arc::ptr_eq(handler, &found);
            mux.routes.exact.iter().find(same).map(|(pattern, _)| pattern.clone())
        };
        assert_eq!(chosen("a:b:cd").as_deref(), Some("a:b:c"));
        assert_eq!(chosen("a:b").as_deref(), Some("a:b"));
        assert_eq!(chosen("a:c").as_deref(), Some("a"));
        assert_eq!(chosen("b"), None);
    }

    #[test]
    fn blank_and_duplicate_patterns_are_errors() {
        let mut mux = Mux::new();
        assert_eq!(mux.handle(" ", nothing), Err(MuxError::BlankPattern));
        assert_eq!(mux.handle("a", nothing), Ok(()));
        assert_eq!(mux.handle("a", nothing), Err(MuxError::Duplicate("a".into())));
    }
}
