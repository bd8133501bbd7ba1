//! Which files there are, and whether they changed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::{FaultKind, ManifestError};
use crate::document::{self, Stamp};

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

/// Reads a file's text.
pub(super) fn read(path: &Path, stamp: Stamp) -> Result<String, Box<ManifestError>> {
    document::read(path, stamp).map_err(|cause| {
        let kind = if cause.line.is_some() { FaultKind::Syntax } else { FaultKind::Unreadable };
        let (line, allowed) = (cause.line, cause.allowed);
        Box::new(ManifestError { line, kind, allowed, ..unreadable(path, &cause.message) })
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
