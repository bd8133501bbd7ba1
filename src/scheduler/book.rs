//! What this process knows of the entries it fires: a cache of Redis, never a second truth.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::broker::NextTick;
use crate::schedule::{Entry, Timing, TimingError};

/// An entry with its schedules parsed.
pub(super) struct Parsed {
    pub(super) entry: Entry,
    pub(super) timing: Timing,
    timing_hash: Arc<str>,
}

impl Parsed {
    pub(super) fn new(entry: Entry) -> Result<Self, TimingError> {
        let timing = Timing::parse(&entry.timing)?;
        Ok(Self { timing_hash: entry.timing_hash().into(), entry, timing })
    }

    /// Hash of what decides its times.
    pub(super) fn timing_hash(&self) -> &str {
        &self.timing_hash
    }

    /// A tick with its due time.
    pub(super) fn tick(&self, nominal: Timestamp) -> NextTick {
        NextTick { nominal, due: self.timing.due(nominal) }
    }
}

#[derive(Default)]
struct Page {
    /// The entry by the revision it was read at.
    parsed: Option<(String, Arc<Parsed>)>,
    /// The tick it fires next, with the hash of the times that tick belongs to.
    next: Option<(Arc<str>, NextTick)>,
    /// The last tick this process fired.
    fired: Option<Timestamp>,
}

/// Parsed entries by revision, and how far each has fired.
#[derive(Default)]
pub(super) struct Book {
    pages: Mutex<HashMap<String, Page>>,
    /// Entries whose objects are gone, whatever Redis says: their removal may still be on its way.
    denied: Mutex<HashSet<String>>,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, HashMap<String, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn denied(&self) -> MutexGuard<'_, HashSet<String>> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process must not fire an entry.
    pub(super) fn is_denied(&self, uid: &str) -> bool {
        self.denied().contains(uid)
    }

    pub(super) fn deny(&self, uid: &str) {
        self.denied().insert(uid.to_owned());
    }

    pub(super) fn allow(&self, uid: &str) {
        self.denied().remove(uid);
    }

    /// The entry as parsed at that revision.
    pub(super) fn parsed(&self, uid: &str, revision: &str) -> Option<Arc<Parsed>> {
        let pages = self.pages();
        let (at, parsed) = pages.get(uid)?.parsed.as_ref()?;
        (at == revision).then(|| Arc::clone(parsed))
    }

    pub(super) fn keep(&self, revision: &str, parsed: Arc<Parsed>) {
        let uid = parsed.entry.uid.clone();
        self.pages().entry(uid).or_default().parsed = Some((revision.to_owned(), parsed));
    }

    /// Notes how far an entry has fired.
    pub(super) fn note(&self, parsed: &Parsed, fired: Option<Timestamp>, next: Option<NextTick>) {
        let mut pages = self.pages();
        let page = pages.entry(parsed.entry.uid.clone()).or_default();
        page.next = next.map(|next| (Arc::clone(&parsed.timing_hash), next));
        page.fired = page.fired.max(fired);
    }

    /// Whether this process has fired that tick before: then Redis has lost writes since.
    pub(super) fn has_fired(&self, uid: &str, tick: Timestamp) -> bool {
        self.pages().get(uid).and_then(|page| page.fired).is_some_and(|fired| tick <= fired)
    }

    /// The next tick of an entry as last seen, if its times are still those.
    pub(super) fn next(&self, uid: &str, timing_hash: &str) -> Option<NextTick> {
        let pages = self.pages();
        let (hash, next) = pages.get(uid)?.next.as_ref()?;
        (**hash == *timing_hash).then_some(*next)
    }

    /// Forgets an entry that is gone from Redis.
    pub(super) fn forget(&self, uid: &str) {
        self.pages().remove(uid);
        self.allow(uid);
    }
}
