//! Watching one kind of object: what is there stays in a store, and each change triggers a look.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::causes;

/// How long a watch that failed waits: an API server that comes back is found within seconds.
const WAITS: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(3)];

/// Whether a watch works, for probes and logs.
#[derive(Debug, Default)]
pub(super) struct WatchState {
    trouble: Mutex<Option<String>>,
    is_listed: AtomicBool,
    changes: AtomicU64,
}

impl WatchState {
    /// Why it does not work at the moment.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has told of all it found, once.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Relaxed)
    }

    /// How often the store may have changed: as long as that is the same, so is what is in there.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn note<K>(&self, what: &str, step: &watcher::Result<Event<K>>) {
        let trouble = step.as_ref().err().map(|error| explain(what, error));
        if matches!(step, Ok(Event::InitDone)) {
            self.is_listed.store(true, Ordering::Relaxed);
        }
        // A new try tells nothing yet.
        if matches!(step, Ok(Event::Init)) {
            return;
        }
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&trouble, known.as_ref()) {
            (Some(now), before) if before != Some(now) => tracing::warn!("{now}; trying on"),
            (None, Some(_)) => tracing::info!("{what} can be read again"),
            _ => {}
        }
        *known = trouble;
    }
}

fn explain(what: &str, error: &watcher::Error) -> String {
    let is_missing = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
    let missing = match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => {
            is_missing(error)
        }
        _ => false,
    };
    match missing {
        true => format!(
            "{what} cannot be read: the cluster has no such kind; install the definitions, with the chart cronmill-crds \
             or kubectl apply -f crds/"
        ),
        false => format!("{what} cannot be read: {}", causes::on_one_line(error)),
    }
}

/// Waits of a watch in a row of failures.
struct Waits(usize);

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = WAITS[self.0.min(WAITS.len() - 1)];
        self.0 += 1;
        // Replicas and watches do not come back in step.
        Some(wait.mul_f64(1.0 - fastrand::f64() / 4.0))
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Watches a kind of which nothing is kept; what it tells goes to `hear`.
pub(super) fn heard<K>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    state: Arc<WatchState>,
    hear: impl Fn(&Event<K>) + Send + 'static,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watch(api, config).backoff(Waits(0)).inspect(move |step| {
        state.note(what, step);
        if let Ok(event) = step {
            hear(event);
        }
    })
}

/// Where `kubectl apply` writes the whole manifest a second time.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Watches a kind; what it tells goes to `hear` and the store. Who wrote which field, and what was applied last, is not
/// kept: nobody asks.
pub(super) fn watched<K>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    state: Arc<WatchState>,
    hear: impl Fn(&Event<K>) + Send + 'static,
) -> impl Stream<Item = watcher::Result<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let stored = Arc::clone(&state);
    heard(what, api, config, state, hear)
        .modify(|object| {
            let meta = object.meta_mut();
            meta.managed_fields = None;
            if let Some(annotations) = &mut meta.annotations {
                annotations.remove(LAST_APPLIED);
            }
        })
        .reflect(writer)
        .inspect(move |_| {
            stored.changes.fetch_add(1, Ordering::Release);
        })
        .touched_objects()
}
