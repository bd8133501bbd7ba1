//! Which files there are, and whether they changed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
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

/// A file's path, ordered by its bytes. Paths by themselves are ordered by their components, which takes ten
/// times as long; with thousands of files that is most of a look at them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FilePath(OsString);

impl FilePath {
    pub(super) fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string())
    }
}

/// The files below the roots.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) files: BTreeMap<FilePath, Stamp>,
    /// What could not be looked at.
    pub(super) errors: Vec<ManifestError>,
    /// Where: files known below these may well still be there.
    unsure: Vec<PathBuf>,
    seen: HashSet<(u64, u64)>,
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
    pub(super) fn is_gone(&self, path: &FilePath) -> bool {
        !self.files.contains_key(path) && !self.unsure.iter().any(|folder| path.as_path().starts_with(folder))
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
        let mut named = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => named.push((entry.file_name(), entry)),
                Err(error) => return self.refuse(folder, &error),
            }
        }
        named.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"."));
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (_, entry) in named {
            let path = entry.path();
            match look_at(&entry, &path) {
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
            self.files.insert(path.into(), Stamp::of(metadata));
        }
    }

    fn refuse(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.unsure.push(path.to_owned());
        }
        self.errors.push(unreadable(path, &error.to_string()));
    }
}

/// What stands under a name of a folder, or what a link there leads to.
fn look_at(entry: &DirEntry, path: &Path) -> io::Result<Metadata> {
    if entry.file_type()?.is_symlink() { fs::metadata(path) } else { entry.metadata() }
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
