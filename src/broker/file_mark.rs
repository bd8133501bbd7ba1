//! Which file of schedules is in force under a name.
//!
//! Whoever reads a file says so here, and whoever fires by another file of that name sees it. A plain key: the last one to
//! write wins, which is what is wanted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Broker, BrokerError, keys};

/// The format that this version writes.
const FORMAT: u32 = 1;

/// The file that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    format: u32,
    /// Hash of its schedules; empty when a newer version wrote the mark, so it is nobody's here.
    #[serde(default)]
    pub hash: String,
    /// The file, as whoever read it calls it.
    #[serde(default)]
    pub file: String,
    /// The machine it was read on.
    #[serde(default)]
    pub host: String,
    /// When.
    #[serde(default)]
    pub read: Timestamp,
}

impl FileMark {
    /// A file with these schedules, read on this machine.
    #[must_use]
    pub fn new(hash: String, file: String, host: String, read: Timestamp) -> Self {
        Self { format: FORMAT, hash, file, host, read }
    }
}

impl Broker {
    /// The file in force under a name; `None` when there is none, or what stands there is no mark.
    ///
    /// # Errors
    /// [`BrokerError::Command`].
    pub async fn file_mark(&self, scheduler: &str) -> Result<Option<FileMark>, BrokerError> {
        let mut pipe = redis::pipe();
        pipe.get(keys::file_mark(scheduler));
        let (text,): (Option<Vec<u8>>,) = self.pipe("see which file is in force", scheduler, &pipe).await?;
        let mut mark: Option<FileMark> = text.and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(mark) = mark.as_mut().filter(|mark| mark.format > FORMAT) {
            mark.hash.clear();
        }
        Ok(mark)
    }

    /// Says that this file is in force under a name from now on.
    ///
    /// # Errors
    /// [`BrokerError::Command`]; safe to repeat.
    pub async fn put_file_mark(&self, scheduler: &str, mark: &FileMark) -> Result<(), BrokerError> {
        let text = serde_json::to_string(mark).expect("a mark has no field that can fail to serialise");
        let mut pipe = redis::pipe();
        pipe.set(keys::file_mark(scheduler), text).ignore();
        self.pipe("put a file into force", scheduler, &pipe).await
    }
}
