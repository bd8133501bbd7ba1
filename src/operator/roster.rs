//! Which CronTasks there are, as the watch tells: nothing else of this cluster fires.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use kube::Resource;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// The uids of all CronTasks that are watched, one set per watch.
pub(super) struct Roster {
    watches: Vec<Mutex<Watched>>,
    /// Cancelled once every watch has told of all it found.
    complete: CancellationToken,
    /// Is told the uids of those that are gone.
    gone: UnboundedSender<String>,
}

#[derive(Default)]
struct Watched {
    living: HashSet<String>,
    /// What a listing under way has told so far.
    listed: HashSet<String>,
    is_complete: bool,
}

impl Roster {
    /// For as many watches; `gone` is told the uid of each object that is deleted.
    pub(super) fn new(watches: usize, gone: UnboundedSender<String>) -> Self {
        let watches = (0..watches).map(|_| Mutex::default()).collect();
        Self { watches, complete: CancellationToken::new(), gone }
    }

    /// Whether an object with that uid is there.
    pub(super) fn is_living(&self, uid: &str) -> bool {
        self.watches.iter().any(|watch| lock(watch).living.contains(uid))
    }

    /// Whether every watch has told of all it found, once.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.is_cancelled()
    }

    /// Waits for that. Cancel-safe.
    pub(super) async fn completed(&self) {
        self.complete.cancelled().await;
    }

    /// Takes note of what the watch with that number tells.
    pub(super) fn hear<K: Resource>(&self, watch: usize, event: &Event<K>) {
        let uid = |object: &K| object.meta().uid.clone().unwrap_or_default();
        let mut gone = Vec::new();
        {
            let mut watched = lock(&self.watches[watch]);
            match event {
                Event::Init => watched.listed.clear(),
                Event::InitApply(object) => drop(watched.listed.insert(uid(object))),
                Event::InitDone => {
                    let listed = std::mem::take(&mut watched.listed);
                    gone.extend(watched.living.difference(&listed).cloned());
                    watched.living = listed;
                    watched.is_complete = true;
                }
                Event::Apply(object) => drop(watched.living.insert(uid(object))),
                Event::Delete(object) => {
                    watched.living.remove(&uid(object));
                    gone.push(uid(object));
                }
            }
        }
        if matches!(event, Event::InitDone) && self.watches.iter().all(|watch| lock(watch).is_complete) {
            self.complete.cancel();
        }
        for uid in gone {
            // Nobody listens any more only when all ends.
            let _ = self.gone.send(uid);
        }
    }
}

fn lock(watch: &Mutex<Watched>) -> std::sync::MutexGuard<'_, Watched> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio::sync::mpsc;

    use super::*;

    fn object(uid: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some(uid.to_owned());
        object
    }

    #[test]
    fn what_a_new_listing_lacks_is_gone_and_until_it_ends_nothing_is() {
        let (gone, mut told) = mpsc::unbounded_channel();
        let roster = Roster::new(1, gone);
        for event in
            [Event::Init, Event::InitApply(object("a")), Event::InitApply(object("b")), Event::InitDone]
        {
            assert!(!roster.is_complete());
            roster.hear(0, &event);
        }
        assert!(roster.is_complete() && roster.is_living("a"));
        roster.hear(0, &Event::Init::<ConfigMap>);
        roster.hear(0, &Event::InitApply(object("b")));
        assert!(roster.is_living("a"), "the API server may only be restarting");
        roster.hear(0, &Event::InitDone::<ConfigMap>);
        assert!(!roster.is_living("a") && roster.is_living("b"));
        assert_eq!(told.try_recv().as_deref(), Ok("a"));
        roster.hear(0, &Event::Delete(object("b")));
        assert!(!roster.is_living("b"));
        assert_eq!(told.try_recv().as_deref(), Ok("b"));
    }

    #[test]
    fn it_is_complete_when_every_watch_has_told_all() {
        let (gone, _told) = mpsc::unbounded_channel();
        let roster = Roster::new(2, gone);
        roster.hear(1, &Event::InitDone::<ConfigMap>);
        assert!(!roster.is_complete());
        roster.hear(0, &Event::InitDone::<ConfigMap>);
        assert!(roster.is_complete());
    }
}
