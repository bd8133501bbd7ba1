//! All manifests together, kept up to date with the files they are read from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::admission::Gate;
use super::error::{Fault, FaultKind, ManifestError};
use super::file::{FileState, Offered};
use super::kind::{Kind, ObjectKey};
use super::reading::{Reading, read_all};
use super::resolve::{
    ResolvedQueue, ResolvedTask, Source, Surroundings, queue_of, resolve_queue, resolve_task,
};
use super::source::{self, FilePath, Scan};
use super::worker::WorkerProgram;
use crate::document::FieldPath;

/// How long nobody must have written to a file before a change of it counts.
///
/// Editors and tools write a file in steps: they empty it and fill it again, or put another in its place.
/// What stands there in between is not what anybody meant.
pub const SETTLE: SignedDuration = SignedDuration::from_millis(100);

/// Objects from files and folders.
///
/// Nothing is read until [`Manifests::refresh`] is called for the first time; after that each call reads what
/// changed.
pub struct Manifests {
    roots: Vec<PathBuf>,
    cluster: String,
    gate: Gate,
    is_loaded: bool,
    files: BTreeMap<FilePath, FileState>,
    /// Which files offer an object.
    offers: BTreeMap<ObjectKey, BTreeSet<FilePath>>,
    chosen: BTreeMap<ObjectKey, Chosen>,
    queues: BTreeMap<ObjectKey, Arc<ResolvedQueue>>,
    tasks: BTreeMap<ObjectKey, Arc<ResolvedTask>>,
    /// Objects whose name others have too.
    duplicates: BTreeMap<ObjectKey, Vec<ManifestError>>,
    /// Objects that do not go together with others.
    conflicts: BTreeMap<ObjectKey, ManifestError>,
    scan_errors: Vec<ManifestError>,
    errors: BTreeSet<ManifestError>,
    note: Option<String>,
}

/// The version of an object that counts.
#[derive(Debug, Clone)]
struct Chosen {
    offered: Offered,
    file: FilePath,
}

/// What was read.
#[derive(Debug, Default)]
struct Read {
    /// Whether any file was, or any is gone.
    is_any: bool,
    /// The names of all objects that may be different now.
    touched: BTreeSet<ObjectKey>,
}

/// What one refresh changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// TaskQueues that are new or different, in the order of their names.
    pub upserted_queues: Vec<Arc<ResolvedQueue>>,
    /// TaskQueues no longer in force, as they were.
    pub removed_queues: Vec<Arc<ResolvedQueue>>,
    /// CronTasks that are new or different, in the order of their names.
    pub upserted_tasks: Vec<Arc<ResolvedTask>>,
    /// CronTasks no longer in force, as they were.
    pub removed_tasks: Vec<Arc<ResolvedTask>>,
    /// What is wrong now and was not before, in the order of files and lines.
    pub errors: Vec<ManifestError>,
    /// What was left aside, in one line; only when it is new.
    pub note: Option<String>,
    /// How many files were being written to, or seem to be gone, and are to be looked at again soon.
    pub unsettled: usize,
}

impl Manifests {
    /// Prepares to read the files and folders of `roots`. Entries will belong to `cluster`.
    #[must_use]
    pub fn open(roots: Vec<PathBuf>, cluster: &str) -> Self {
        Self {
            roots,
            cluster: cluster.to_owned(),
            gate: Gate::new(),
            is_loaded: false,
            files: BTreeMap::new(),
            offers: BTreeMap::new(),
            chosen: BTreeMap::new(),
            queues: BTreeMap::new(),
            tasks: BTreeMap::new(),
            duplicates: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            scan_errors: Vec::new(),
            errors: BTreeSet::new(),
            note: None,
        }
    }

    /// The CronTasks in force, in the order of their names.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<ResolvedTask>> {
        self.tasks.values()
    }

    /// The TaskQueues in force, in the order of their names.
    pub fn queues(&self) -> impl Iterator<Item = &Arc<ResolvedQueue>> {
        self.queues.values()
    }

    /// Everything that is wrong now, in the order of files and lines.
    pub fn errors(&self) -> impl Iterator<Item = &ManifestError> {
        self.errors.iter()
    }

    /// Reads what changed since the last call and tells the difference. `now` is the wall clock of the
    /// machine the files are on.
    ///
    /// It blocks on the file system; when nothing changed it costs one look at each file. The first call
    /// reads everything at once; later ones leave a file that was touched less than [`SETTLE`] ago for the
    /// next call, and count it in [`Changes::unsettled`].
    pub fn refresh(&mut self, now: Timestamp) -> Changes {
        let scan = source::scan(&self.roots);
        let mut changes = Changes::default();
        let read = self.read_files(&scan, now, &mut changes.unsettled);
        for key in &read.touched {
            self.choose(key);
        }
        let queues_changed = self.resolve_queues(&read.touched, &mut changes);
        self.resolve_tasks(&read.touched, &queues_changed, &mut changes);
        if read.is_any || scan.errors != self.scan_errors {
            self.scan_errors = scan.errors;
            self.tell_errors(&mut changes);
            self.tell_note(&mut changes);
        }
        self.is_loaded = true;
        changes
    }

    /// Reads the files that changed, and forgets those that are gone.
    fn read_files(&mut self, scan: &Scan, now: Timestamp, unsettled: &mut usize) -> Read {
        let (mut read, mut readings) = (Read::default(), Vec::new());
        for (path, stamp) in &scan.files {
            let known = self.files.get(path);
            if known.is_some_and(|file| file.stamp == Some(*stamp) && file.missing_since.is_none()) {
                continue;
            }
            let age = now.duration_since(stamp.touched());
            let is_young = !age.is_negative() && age < SETTLE;
            *unsettled += usize::from(is_young);
            if !(is_young && self.is_loaded) {
                readings.push(Reading::new(path, self.files.remove(path), *stamp, is_young));
            }
        }
        read_all(&mut readings, &self.gate);
        for reading in readings {
            self.take_in(reading, &mut read);
        }
        let gone: Vec<_> = self.files.keys().filter(|path| scan.is_gone(path)).cloned().collect();
        for path in gone {
            let Some(file) = self.files.get_mut(&path) else { continue };
            // Another file may offer the same objects by now: one that was moved.
            read.touched.extend(file.offers.keys().cloned());
            if now.duration_since(*file.missing_since.get_or_insert(now)).abs() < SETTLE {
                *unsettled += 1;
                continue;
            }
            let Some(file) = self.files.remove(&path) else { continue };
            for key in file.offers.keys() {
                self.withdraw(&path, key);
            }
            read.is_any = true;
        }
        read
    }

    fn take_in(&mut self, reading: Reading, read: &mut Read) {
        read.is_any = true;
        let Reading { path, file, touched, .. } = reading;
        for key in &touched {
            if file.offers.contains_key(key) {
                self.offers.entry(key.clone()).or_default().insert(path.clone());
            } else {
                self.withdraw(&path, key);
            }
        }
        read.touched.extend(touched);
        self.files.insert(path, file);
    }

    fn withdraw(&mut self, path: &FilePath, key: &ObjectKey) {
        if let Some(files) = self.offers.get_mut(key) {
            files.remove(path);
            if files.is_empty() {
                self.offers.remove(key);
            }
        }
    }

    /// Chooses among the versions of an object: the file that has it already keeps it, else the first one has
    /// it. The others are refused, unless their file is only seen no more.
    fn choose(&mut self, key: &ObjectKey) {
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for path in self.offers.get(key).into_iter().flatten() {
            let file = &self.files[path];
            for offered in file.offers.get(key).into_iter().flatten() {
                let chosen = Chosen { offered: offered.clone(), file: path.clone() };
                if file.missing_since.is_none() { present.push(chosen) } else { missing.push(chosen) }
            }
        }
        let candidates = if present.is_empty() { missing } else { present };
        let holder = self.chosen.get(key).map(|chosen| chosen.file.clone());
        let place =
            candidates.iter().position(|candidate| Some(&candidate.file) == holder.as_ref()).unwrap_or(0);
        self.duplicates.remove(key);
        let Some(winner) = candidates.get(place).cloned() else {
            self.chosen.remove(key);
            self.conflicts.remove(key);
            return;
        };
        for (_, loser) in candidates.iter().enumerate().filter(|(candidate, _)| *candidate != place) {
            let message = format!(
                "also stands in {}:{}, which is in force",
                winner.file.as_path().display(),
                winner.offered.line
            );
            let fault = Fault::new(FieldPath::of(&["metadata", "name"]), FaultKind::Duplicate, message);
            let error = self.place(loser, &fault.allowing("each name once in a namespace"));
            self.duplicates.entry(key.clone()).or_default().push(error);
        }
        self.chosen.insert(key.clone(), winner);
    }

    fn place(&self, chosen: &Chosen, fault: &Fault) -> ManifestError {
        self.files[&chosen.file].conflict(chosen.file.as_path(), &chosen.offered, fault)
    }

    /// Resolves all TaskQueues anew when one of them was touched. Returns the names of those that are
    /// different.
    fn resolve_queues(
        &mut self,
        touched: &BTreeSet<ObjectKey>,
        changes: &mut Changes,
    ) -> BTreeSet<ObjectKey> {
        if !touched.iter().any(|key| key.kind == Kind::TaskQueue) {
            return BTreeSet::new();
        }
        let is_queue = |key: &&ObjectKey| key.kind == Kind::TaskQueue;
        let mut keys: Vec<_> = self.chosen.keys().filter(is_queue).cloned().collect();
        // Who serves a queue of Redis already goes on doing so.
        keys.sort_by_key(|key| !self.queues.contains_key(key));
        let (mut owners, mut resolved) = (BTreeMap::new(), BTreeMap::new());
        for key in keys {
            let chosen = self.chosen[&key].clone();
            let at = Source { file: chosen.file.as_path().to_owned(), line: chosen.offered.line };
            let Some(queue) = resolve_queue(&chosen.offered.admitted, at) else { continue };
            self.conflicts.remove(&key);
            let taken = queue.queues.iter().enumerate().find_map(|(place, served)| {
                owners
                    .get(&served.redis_name)
                    .map(|owner: &ObjectKey| (place, served.redis_name.clone(), owner.clone()))
            });
            if let Some((place, name, owner)) = taken {
                let path = FieldPath::of(&["spec", "queues"]).index(place);
                let message = format!("queue {name:?} in Redis is served by {owner} already");
                let fault = Fault::new(path, FaultKind::Duplicate, message);
                let error = self.place(&chosen, &fault.allowing("a redisName that no other TaskQueue uses"));
                self.conflicts.insert(key, error);
                continue;
            }
            owners.extend(queue.queues.iter().map(|served| (served.redis_name.clone(), key.clone())));
            resolved.insert(key, Arc::new(queue));
        }
        self.replace_queues(resolved, changes)
    }

    fn replace_queues(
        &mut self,
        resolved: BTreeMap<ObjectKey, Arc<ResolvedQueue>>,
        changes: &mut Changes,
    ) -> BTreeSet<ObjectKey> {
        let before = std::mem::replace(&mut self.queues, resolved);
        let is_same = |old: &ResolvedQueue, new: &ResolvedQueue| {
            *old == ResolvedQueue { source: old.source.clone(), ..new.clone() }
        };
        for (key, queue) in &self.queues {
            if !before.get(key).is_some_and(|old| is_same(old, queue)) {
                changes.upserted_queues.push(queue.clone());
            }
        }
        let removed = before.into_iter().filter(|(key, _)| !self.queues.contains_key(key));
        changes.removed_queues = removed.map(|(_, queue)| queue).collect();
        let changed = changes.upserted_queues.iter().chain(&changes.removed_queues);
        changed.map(|queue| queue.key.clone()).collect()
    }

    /// Resolves the CronTasks that were touched or whose TaskQueue is different.
    fn resolve_tasks(
        &mut self,
        touched: &BTreeSet<ObjectKey>,
        queues_changed: &BTreeSet<ObjectKey>,
        changes: &mut Changes,
    ) {
        let mut keys: BTreeSet<_> =
            touched.iter().filter(|key| key.kind == Kind::CronTask).cloned().collect();
        if !queues_changed.is_empty() {
            let refers = |chosen: &&Chosen| {
                queue_of(&chosen.offered.admitted).is_some_and(|key| queues_changed.contains(&key))
            };
            keys.extend(
                self.chosen.values().filter(refers).map(|chosen| chosen.offered.admitted.key.clone()),
            );
        }
        for key in keys {
            let resolved = self.chosen.get(&key).cloned().and_then(|chosen| self.resolve_one(&key, &chosen));
            let before = match &resolved {
                Some(task) => self.tasks.insert(key, task.clone()),
                None => self.tasks.remove(&key),
            };
            match (before, resolved) {
                (Some(before), None) => changes.removed_tasks.push(before),
                (Some(before), Some(task)) if before.entry == task.entry => {}
                (_, Some(task)) => changes.upserted_tasks.push(task),
                (None, None) => {}
            }
        }
    }

    /// Resolves one CronTask. One that comes out as before keeps its revision.
    fn resolve_one(&mut self, key: &ObjectKey, chosen: &Chosen) -> Option<Arc<ResolvedTask>> {
        let before = self.tasks.get(key);
        let touched_ms = u64::try_from(self.files[&chosen.file].touched.as_millisecond()).unwrap_or(0);
        let queue_key = queue_of(&chosen.offered.admitted)?;
        let names = || {
            let near = self.queues.keys().filter(|queue| queue.namespace == queue_key.namespace);
            near.map(|queue| queue.name.clone()).collect()
        };
        let around = Surroundings {
            queue: self.queues.get(&queue_key).map(Arc::as_ref),
            queue_names: &names,
            cluster: &self.cluster,
            generation: before.map_or(touched_ms, |task| touched_ms.max(task.entry.revision.generation + 1)),
            source: Source { file: chosen.file.as_path().to_owned(), line: chosen.offered.line },
        };
        let kept = before.map(|task| task.entry.revision.clone());
        match resolve_task(&chosen.offered.admitted, around)? {
            Ok(mut task) => {
                if let Some(revision) = kept.filter(|revision| revision.hash == task.entry.revision.hash) {
                    task.entry.revision = revision;
                }
                self.conflicts.remove(key);
                Some(Arc::new(task))
            }
            Err(fault) => {
                let error = self.place(chosen, &fault);
                self.conflicts.insert(key.clone(), error);
                None
            }
        }
    }

    fn tell_errors(&mut self, changes: &mut Changes) {
        let files = self.files.values().flat_map(FileState::errors);
        let others =
            self.duplicates.values().flatten().chain(self.conflicts.values()).chain(&self.scan_errors);
        let errors: BTreeSet<_> = files.chain(others).cloned().collect();
        changes.errors = errors.difference(&self.errors).cloned().collect();
        self.errors = errors;
    }

    fn tell_note(&mut self, changes: &mut Changes) {
        let mut kinds = BTreeMap::<&str, usize>::new();
        for name in self.files.values().flat_map(FileState::foreign) {
            *kinds.entry(name).or_default() += 1;
        }
        let mut names: Vec<_> = kinds.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let targets = self.queues.values().filter(|queue| queue.program == WorkerProgram::Target);
        names.extend(
            targets.map(|queue| format!("spec.workers.targetRef of {}, so no worker is started", queue.key)),
        );
        let note =
            (!names.is_empty()).then(|| format!("left aside, for a cluster only: {}", names.join(", ")));
        changes.note = note.clone().filter(|note| self.note.as_ref() != Some(note));
        self.note = note;
    }
}
