//! Which files there are, and whether they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::document::Notation;
use super::error::{FaultKind, ManifestError};

/// Largest file that is read.
pub(super) const BYTES_MAX: u64 = 64 << 20;

/// What a file looks like from outside. Two equal stamps mean the same content, unless it was written to
/// twice within one step of the file system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
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
    pub(super) fn touched(self) -> Timestamp {
        Timestamp::from_nanosecond(self.modified_ns.max(self.changed_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The files below the roots.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// What could not be looked at.
    pub(super) errors: Vec<ManifestError>,
    /// Where: files known below these may well still be there.
    unsure: Vec<PathBuf>,
    seen: BTreeSet<(u64, u64)>,
}

/// Finds the manifests: each root that is a file, and below each root that is a folder every `*.yaml`,
/// `*.yml` and `*.json`, in folders within too. Names that begin with a dot are left out. A file reached
/// twice counts once.
pub(super) fn scan(roots: &[PathBuf]) -> Scan {
    let mut scan = Scan::default();
    for root in roots {
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => scan.folder(root, &metadata),
            Ok(metadata) if metadata.is_file() => scan.file(root.clone(), &metadata),
            Ok(_) => scan.errors.push(unreadable(root, "is neither a file nor a folder")),
            Err(error) => scan.refuse(root, &error),
        }
    }
    scan
}

impl Scan {
    /// Whether a file that was not found is known to be gone.
    pub(super) fn is_gone(&self, path: &Path) -> bool {
        !self.files.contains_key(path) && !self.unsure.iter().any(|folder| path.starts_with(folder))
    }

    fn folder(&mut self, folder: &Path, metadata: &Metadata) {
        // A link to a folder above would lead round for ever.
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.refuse(folder, &error),
        };
        let mut paths = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b".") => {}
                Ok(entry) => paths.push(entry.path()),
                Err(error) => return self.refuse(folder, &error),
            }
        }
        paths.sort();
        for path in paths {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, &metadata),
                Ok(metadata) if is_manifest(&path) => self.file(path, &metadata),
                // A file that went away meanwhile, or a link that leads nowhere, is no manifest.
                Err(error) if is_manifest(&path) && error.kind() != io::ErrorKind::NotFound => {
                    self.refuse(&path, &error)
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn file(&mut self, path: PathBuf, metadata: &Metadata) {
        if metadata.is_file() && self.seen.insert((metadata.dev(), metadata.ino())) {
            self.files.insert(path, Stamp::of(metadata));
        }
    }

    fn refuse(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.unsure.push(path.to_owned());
        }
        self.errors.push(unreadable(path, &error.to_string()));
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

/// How a file is written, by its name.
pub(super) fn notation(path: &Path) -> Notation {
    if path.extension().is_some_and(|extension| extension == "json") {
        Notation::Json
    } else {
        Notation::Yaml
    }
}

/// Reads a file's text.
pub(super) fn read(path: &Path, stamp: Stamp) -> Result<String, Box<ManifestError>> {
    let unreadable = |message: &str| unreadable(path, message);
    if stamp.size > BYTES_MAX {
        let error = unreadable(&format!("is {} MiB large", stamp.size >> 20));
        return Err(Box::new(ManifestError { allowed: format!("at most {} MiB", BYTES_MAX >> 20), ..error }));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let (good, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let error = unreadable("is not written in UTF-8");
        Box::new(ManifestError { line: Some(line), kind: FaultKind::Syntax, ..error })
    })
}

fn unreadable(path: &Path, message: &str) -> ManifestError {
    ManifestError {
        file: path.to_owned(),
        line: None,
        object: String::new(),
        field: String::new(),
        kind: FaultKind::Unreadable,
        message: message.to_owned(),
        allowed: String::new(),
    }
}
