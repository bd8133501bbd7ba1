//! One file as it was last read, and the objects of it that are still to be in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::admission::{Admitted, Gate, Outcome};
use super::error::{Fault, ManifestError};
use super::kind::ObjectKey;
use crate::document::{self, Document, Notation, Stamp, line_of};

/// One document and what became of it.
#[derive(Debug, Clone)]
struct Part {
    text: Arc<str>,
    /// The line of the file it begins on, from 1.
    line: usize,
    outcome: Arc<Outcome>,
}

/// An object of a file.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    pub(super) admitted: Arc<Admitted>,
    /// The line its document begins on.
    pub(super) line: usize,
}

impl Offered {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.admitted, &other.admitted) && self.line == other.line
    }
}

/// The objects of a file by name; several where documents of it have one name.
pub(super) type Offers = BTreeMap<ObjectKey, Vec<Offered>>;

/// The names of the objects that are not the same in both, at the same place.
pub(super) fn differences(one: &Offers, other: &Offers) -> BTreeSet<ObjectKey> {
    let is_same = |key: &ObjectKey| match (one.get(key), other.get(key)) {
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
        }
        _ => false,
    };
    one.keys().chain(other.keys()).filter(|key| !is_same(key)).cloned().collect()
}

/// A file.
#[derive(Debug)]
pub(super) struct FileState {
    /// What it looked like when it was read; `None`: it is to be read again.
    pub(super) stamp: Option<Stamp>,
    /// When it was last touched, for the generation of what it holds.
    pub(super) touched: Timestamp,
    /// Since when it is not found any more.
    pub(super) missing_since: Option<Timestamp>,
    /// Why it could not be read the last time.
    pub(super) unread: Option<ManifestError>,
    notation: Notation,
    parts: Vec<Part>,
    /// Its objects, and the last good versions of those whose present version is refused or cannot be told.
    pub(super) offers: Offers,
    /// Everything its documents were refused for.
    refusals: Vec<ManifestError>,
}

impl FileState {
    /// A file of which nothing is known yet.
    pub(super) fn new(notation: Notation) -> Self {
        Self {
            stamp: None,
            touched: Timestamp::UNIX_EPOCH,
            missing_since: None,
            unread: None,
            notation,
            parts: Vec::new(),
            offers: Offers::new(),
            refusals: Vec::new(),
        }
    }

    /// Takes in the text it has now; documents whose text is the same as before are not looked at again.
    /// Returns whether any document is different or elsewhere.
    pub(super) fn update(&mut self, path: &Path, text: &str, gate: &Gate) -> bool {
        let documents = document::split(text, self.notation);
        let known = self.parts.iter().map(|part| (&*part.text, part.line));
        if known.eq(documents.iter().map(|document| (document.text, document.line))) {
            return false;
        }
        let known: BTreeMap<_, _> = self.parts.drain(..).map(|part| (part.text, part.outcome)).collect();
        let part = |document: Document<'_>| {
            let (text, outcome) = match known.get_key_value(document.text) {
                Some((text, outcome)) => (text.clone(), outcome.clone()),
                None => (document.text.into(), Arc::new(gate.admit(document.text, self.notation))),
            };
            Part { text, line: document.line, outcome }
        };
        self.parts = documents.into_iter().map(part).collect();
        self.refusals = self.parts.iter().flat_map(|part| part.refusals(path)).collect();
        let before = std::mem::take(&mut self.offers);
        for part in &self.parts {
            if let Outcome::Admitted(admitted) = &*part.outcome {
                let offered = Offered { admitted: admitted.clone(), line: part.line };
                self.offers.entry(admitted.key.clone()).or_default().push(offered);
            }
        }
        self.hold(before);
        true
    }

    /// Goes on offering the versions that were good before of objects that are refused now. An object that
    /// cannot be told from a document nobody can read may be any of those that are missing.
    fn hold(&mut self, before: Offers) {
        let (mut refused, mut is_unclear) = (BTreeSet::new(), false);
        for part in &self.parts {
            match &*part.outcome {
                Outcome::Refused { key: Some(key), .. } => drop(refused.insert(key)),
                Outcome::Refused { key: None, .. } => is_unclear = true,
                Outcome::Admitted(_) | Outcome::Foreign(_) => {}
            }
        }
        for (key, mut versions) in before {
            if !self.offers.contains_key(&key) && (is_unclear || refused.contains(&key)) {
                versions.truncate(1);
                self.offers.insert(key, versions);
            }
        }
    }

    /// The kinds in it that mean nothing here, as often as they stand.
    pub(super) fn foreign(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match &*part.outcome {
            Outcome::Foreign(name) => Some(name.as_str()),
            Outcome::Admitted(_) | Outcome::Refused { .. } => None,
        })
    }

    /// Everything that is wrong with this file by itself.
    pub(super) fn errors(&self) -> impl Iterator<Item = &ManifestError> {
        self.unread.iter().chain(&self.refusals)
    }

    /// The error of a fault that an object of this file has in the light of others.
    pub(super) fn conflict(&self, path: &Path, offered: &Offered, fault: &Fault) -> ManifestError {
        let object = offered.admitted.key.to_string();
        let is_it = |part: &&Part| match &*part.outcome {
            Outcome::Admitted(it) => Arc::ptr_eq(it, &offered.admitted) && part.line == offered.line,
            Outcome::Refused { .. } | Outcome::Foreign(_) => false,
        };
        match self.parts.iter().find(is_it) {
            Some(part) => part.error(path, &object, fault),
            // A version that is held: the text it was read from is gone.
            None => placed(path, Some(offered.line), &object, fault),
        }
    }
}

impl Part {
    fn refusals(&self, path: &Path) -> Vec<ManifestError> {
        match &*self.outcome {
            Outcome::Refused { object, faults, .. } => {
                faults.iter().map(|fault| self.error(path, object, fault)).collect()
            }
            Outcome::Admitted(_) | Outcome::Foreign(_) => Vec::new(),
        }
    }

    fn error(&self, path: &Path, object: &str, fault: &Fault) -> ManifestError {
        let within = fault.line.unwrap_or_else(|| line_of(&self.text, &fault.path));
        placed(path, Some(self.line + within - 1), object, fault)
    }
}

fn placed(path: &Path, line: Option<usize>, object: &str, fault: &Fault) -> ManifestError {
    ManifestError {
        file: path.to_owned(),
        line,
        object: object.to_owned(),
        field: fault.path.to_string(),
        kind: fault.kind,
        message: fault.message.clone(),
        allowed: fault.allowed.clone(),
    }
}
