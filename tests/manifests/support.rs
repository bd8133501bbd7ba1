//! A folder of manifests that a test writes and the set that is read from it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cronmill::local::manifest::{Changes, Manifests, ResolvedTask, SETTLE};
use jiff::Timestamp;

/// A TaskQueue `main` with the queues `default` and `low`.
pub(crate) const QUEUE: &str = "apiVersion: cronmill.dev/v1alpha1
kind: TaskQueue
metadata: {name: main}
spec:
  queues: [{name: default}, {name: low}]
";

/// A CronTask that refers to it.
pub(crate) fn task(name: &str, schedule: &str) -> String {
    format!(
        "apiVersion: cronmill.dev/v1alpha1\nkind: CronTask\nmetadata: {{name: {name}}}\nspec:\n  schedule: {schedule:?}\n  \
         queueRef: {{name: main}}\n  task: {{type: hello}}\n"
    )
}

pub(crate) struct Folder {
    root: tempfile::TempDir,
    pub(crate) manifests: Manifests,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let manifests = Manifests::open(vec![root.path().to_owned()], "test");
        Self { root, manifests }
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        files.iter().for_each(|(name, text)| folder.write(name, text));
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// When a file was last written to or moved.
    pub(crate) fn touched(&self, name: &str) -> Timestamp {
        let metadata = fs::metadata(self.path(name)).unwrap();
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let (seconds, rest) = modified.max((metadata.ctime(), metadata.ctime_nsec()));
        Timestamp::new(seconds, i32::try_from(rest).unwrap()).unwrap()
    }

    /// Reads at the present moment.
    pub(crate) fn refresh(&mut self) -> Changes {
        self.manifests.refresh(Timestamp::now())
    }

    /// Reads as if nobody had touched a file for long enough.
    pub(crate) fn refresh_later(&mut self) -> Changes {
        self.manifests.refresh(Timestamp::now() + 10 * SETTLE)
    }

    /// Reads twice, so that a file which is gone counts as gone.
    pub(crate) fn refresh_twice(&mut self) -> Changes {
        self.manifests.refresh(Timestamp::now() + 10 * SETTLE);
        self.manifests.refresh(Timestamp::now() + 20 * SETTLE)
    }

    /// The names of the CronTasks in force.
    pub(crate) fn tasks(&self) -> Vec<String> {
        self.manifests.tasks().map(|task| task.entry.key()).collect()
    }

    /// The CronTask of a name.
    pub(crate) fn task(&self, name: &str) -> &ResolvedTask {
        self.manifests.tasks().find(|task| task.entry.key() == name).unwrap()
    }

    /// All errors that stand, with the folder's own path cut off.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.manifests.errors().map(|error| self.shorten(&error.to_string())).collect()
    }

    pub(crate) fn shorten(&self, message: &str) -> String {
        message
            .replace(&format!("{}/", self.root.path().display()), "")
            .replace(&*self.root.path().to_string_lossy(), ".")
    }
}

/// The names of the tasks of a list of changes.
pub(crate) fn names(tasks: &[std::sync::Arc<ResolvedTask>]) -> Vec<String> {
    tasks.iter().map(|task| task.entry.key()).collect()
}

/// Calls `check` until it is true.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::yield_now();
    }
}

/// The folder of the samples.
pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples")
}
