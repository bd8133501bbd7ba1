//! Reading the file, and reading it again when it changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::config::{ConfigError, SchedulerFile, read_scheduler, read_text};
use crate::document::Stamp;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long nobody must have written to it before a change counts: editors write in steps.
const SETTLE: SignedDuration = SignedDuration::from_millis(100);

/// A file as it was read.
#[derive(Debug)]
pub struct Found {
    /// What it says.
    pub file: SchedulerFile,
    stamp: Stamp,
}

/// Reads a file, on this thread.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_file(path: &Path) -> Result<Found, Vec<ConfigError>> {
    let (text, stamp) = read_text(path)?;
    Ok(Found { file: read_scheduler(path, &text)?, stamp })
}

/// Looks at a file again and again.
pub(super) struct Watch {
    path: PathBuf,
    /// What it looked like when it was read; `None` when that went wrong or it was not there.
    stamp: Option<Stamp>,
    /// What was wrong with it, as told.
    wrong: Vec<ConfigError>,
}

impl Watch {
    pub(super) fn new(path: PathBuf, found: &Found) -> Self {
        Self { path, stamp: Some(found.stamp), wrong: Vec::new() }
    }

    /// Sends what the file says whenever that is new. `asked` has it read at once. Ends when nobody listens any more.
    pub(super) async fn run(mut self, found: mpsc::Sender<SchedulerFile>, mut asked: mpsc::Receiver<()>) {
        loop {
            // Where nobody can ask any more, changes are still seen.
            let is_asked = tokio::time::timeout(LOOK, async {
                match asked.recv().await {
                    Some(()) => (),
                    None => std::future::pending().await,
                }
            });
            let is_asked = is_asked.await.is_ok();
            let Ok((again, news)) = tokio::task::spawn_blocking(move || self.look(is_asked)).await else {
                return;
            };
            self = again;
            if let Some(file) = news
                && found.send(file).await.is_err()
            {
                return;
            }
        }
    }

    fn look(mut self, is_asked: bool) -> (Self, Option<SchedulerFile>) {
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        let is_new =
            stamp != self.stamp && stamp.is_none_or(|stamp| stamp.touched() + SETTLE <= Timestamp::now());
        if !is_asked && !is_new {
            return (self, None);
        }
        match read_file(&self.path) {
            Ok(found) => {
                self.stamp = Some(found.stamp);
                if !std::mem::take(&mut self.wrong).is_empty() {
                    tracing::info!(config.file = %self.path.display(), "the file is right again");
                }
                (self, Some(found.file))
            }
            Err(wrong) => {
                self.stamp = stamp;
                if wrong != self.wrong {
                    for error in &wrong {
                        tracing::error!(reason = error.reason(), "{error}; what was in force stays so");
                    }
                    self.wrong = wrong;
                }
                (self, None)
            }
        }
    }
}
