//! Reading the manifests again and again, on a thread that may block.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::manifest::{Changes, Manifests, ResolvedTask};

/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How soon they are looked at again when one was just being written.
const LOOK_SOON: Duration = Duration::from_millis(100);
/// Looking takes at most one part in this many of one processor, however many files there are.
const SHARE: u32 = 10;

/// What one look at the files found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) changes: Changes,
    /// How much is wrong now, in all files.
    pub(super) wrong: usize,
    /// How many objects are good.
    pub(super) good: usize,
    /// Whether this says anything that the look before did not.
    pub(super) is_new: bool,
}

/// Reads manifests.
pub(super) struct Reader {
    manifests: Manifests,
    /// How much was wrong the last time.
    wrong: usize,
}

impl Reader {
    pub(super) fn new(paths: Vec<PathBuf>, cluster: &str) -> Self {
        Self { manifests: Manifests::open(paths, cluster), wrong: 0 }
    }

    /// Looks at all files. `None` when reading panicked or the runtime ends.
    pub(super) async fn read(mut self) -> Option<(Self, Found)> {
        let reading = tokio::task::spawn_blocking(move || {
            let changes = self.manifests.refresh(Timestamp::now());
            let is_any = changes != Changes { unsettled: changes.unsettled, ..Changes::default() };
            let wrong = self.manifests.errors().count();
            let is_new = is_any || wrong != self.wrong;
            self.wrong = wrong;
            let good = self.manifests.tasks().count() + self.manifests.queues().count();
            (self, Found { changes, wrong, good, is_new })
        });
        reading.await.ok()
    }

    /// Sends what it finds until it is told to stop, or nobody listens any more. Whoever listens may be waiting
    /// for Redis, so schedules that are gone are named to `gone` before.
    pub(super) async fn run(
        self,
        found: mpsc::Sender<Found>,
        gone: impl Fn(&ResolvedTask),
        stop: CancellationToken,
    ) {
        let reading = async {
            let (mut reader, mut pause) = (self, LOOK);
            loop {
                tokio::time::sleep(pause).await;
                let began = Instant::now();
                let Some((again, news)) = reader.read().await else { return };
                let usual = if news.changes.unsettled > 0 { LOOK_SOON } else { LOOK };
                pause = usual.max(began.elapsed() * SHARE);
                reader = again;
                news.changes.removed_tasks.iter().for_each(|task| gone(task));
                if news.is_new && found.send(news).await.is_err() {
                    return;
                }
            }
        };
        stop.run_until_cancelled(reading).await;
    }
}
