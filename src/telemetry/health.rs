//! Liveness and readiness, which mean different things.
//!
//! *Live* is a statement about the process: only a state that a restart would cure makes it false, so it
//! never looks at Redis. *Ready* is a statement about what to send here and when to move on with a rollout;
//! its owner supplies it. A worker's readiness must not turn false while it holds tasks only because Redis
//! is away: the kubelet and the scaler would treat a busy worker as a spare one.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Whether the process may be counted on for new work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It takes work.
    Ready,
    /// It does not, for this reason. The text is shown to whoever asks: no secrets, no URLs.
    NotReady(Cow<'static, str>),
}

/// The state behind `/livez` and `/readyz`; clones share it.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    dead: OnceLock<String>,
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
}

impl Health {
    /// A live process whose readiness is what `readiness` says at the time of each question.
    ///
    /// The closure is called for every probe, so it reads memory and does no I/O.
    #[must_use]
    pub fn new(readiness: impl Fn() -> Readiness + Send + Sync + 'static) -> Self {
        Self { inner: Arc::new(Inner { dead: OnceLock::new(), readiness: Box::new(readiness) }) }
    }

    /// Declares that only a restart can help; the first reason stays.
    ///
    /// For broken invariants such as a loop that has ended while others depend on it. Never for a missing
    /// Redis: restarting does not bring it back.
    pub fn declare_dead(&self, reason: impl Into<String>) {
        // A later reason is most often a consequence of the first.
        let _ = self.inner.dead.set(reason.into());
    }

    /// Why the process is dead, if it is.
    #[must_use]
    pub fn dead(&self) -> Option<&str> {
        self.inner.dead.get().map(String::as_str)
    }

    /// Whether the process takes work; a dead one never does.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match self.dead() {
            Some(reason) => Readiness::NotReady(reason.to_owned().into()),
            None => (self.inner.readiness)(),
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("dead", &self.dead()).field("readiness", &self.readiness()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_process_is_not_ready_and_keeps_its_first_reason() {
        let health = Health::new(|| Readiness::Ready);
        assert_eq!((health.dead(), health.readiness()), (None, Readiness::Ready));
        health.declare_dead("the claiming loop ended");
        health.declare_dead("something later");
        assert_eq!(health.dead(), Some("the claiming loop ended"));
        assert_eq!(health.readiness(), Readiness::NotReady("the claiming loop ended".into()));
    }
}
