//! Files: whether they changed, and their text.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::Notation;

/// Largest file that is read.
pub const BYTES_MAX: u64 = 64 << 20;

/// What a file looks like from outside. Two equal stamps mean the same content, unless it was written to
/// twice within one step of the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// What a file looks like.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds, rest| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// When the file was last touched: written to, or moved to where it is. A file moved into place keeps the
    /// time it was written, so that alone would not do.
    #[must_use]
    pub fn touched(self) -> Timestamp {
        Timestamp::from_nanosecond(self.modified_ns.max(self.changed_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// How a file is written, by its name.
#[must_use]
pub fn notation(path: &Path) -> Notation {
    if path.extension().is_some_and(|extension| extension == "json") {
        Notation::Json
    } else {
        Notation::Yaml
    }
}

/// Why a file's text cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The line that is no text, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What is allowed instead; empty when the message says all.
    pub allowed: String,
}

/// Reads a file's text.
///
/// # Errors
/// [`Unreadable`]: the system refuses it, it is larger than [`BYTES_MAX`], or it is not UTF-8.
pub fn read(path: &Path, stamp: Stamp) -> Result<String, Unreadable> {
    let unreadable = |message: String| Unreadable { line: None, message, allowed: String::new() };
    if stamp.size > BYTES_MAX {
        let error = unreadable(format!("is {} MiB large", stamp.size >> 20));
        return Err(Unreadable { allowed: format!("at most {} MiB", BYTES_MAX >> 20), ..error });
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let (good, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        Unreadable { line: Some(line), ..unreadable("is not written in UTF-8".to_owned()) }
    })
}
