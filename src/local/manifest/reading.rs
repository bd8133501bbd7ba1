//! Reading many files at once.

use std::collections::BTreeSet;
use std::thread;

use super::admission::Gate;
use super::file::{FileState, differences};
use super::kind::ObjectKey;
use super::source::{self, FilePath};
use crate::document::{self, Stamp};

/// So few files are read faster than a thread is started.
const FILES_PER_THREAD_MIN: usize = 32;
/// More threads than this find nothing to do but wait for the file system.
const THREADS_MAX: usize = 8;

/// A file to be read.
pub(super) struct Reading {
    pub(super) path: FilePath,
    pub(super) file: FileState,
    stamp: Stamp,
    is_young: bool,
    /// The names of the objects that it offers for the first time, in another version, or no more.
    pub(super) touched: BTreeSet<ObjectKey>,
}

impl Reading {
    /// Prepares to read a file anew. What is read while somebody writes to it, which is `is_young`, may look the
    /// same afterwards, and is read again the next time.
    pub(super) fn new(path: &FilePath, known: Option<FileState>, stamp: Stamp, is_young: bool) -> Self {
        let file = known.unwrap_or_else(|| FileState::new(document::notation(path.as_path())));
        Self { path: path.clone(), file, stamp, is_young, touched: BTreeSet::new() }
    }

    fn run(&mut self, gate: &Gate) {
        let (path, file) = (self.path.as_path(), &mut self.file);
        if file.missing_since.take().is_some() {
            self.touched.extend(file.offers.keys().cloned());
        }
        match source::read(path, self.stamp) {
            Ok(text) => {
                file.unread = None;
                file.stamp = (!self.is_young).then_some(self.stamp);
                let before = file.offers.clone();
                if file.update(path, &text, gate) {
                    file.touched = self.stamp.touched();
                    self.touched.extend(differences(&before, &file.offers));
                }
            }
            Err(error) => (file.unread, file.stamp) = (Some(*error), None),
        }
    }
}

/// Reads all of them, on as many processors as there are.
pub(super) fn read_all(readings: &mut [Reading], gate: &Gate) {
    let processors = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let share = readings.len().div_ceil(processors).max(FILES_PER_THREAD_MIN);
    thread::scope(|scope| {
        let mut shares = readings.chunks_mut(share);
        let own = shares.next();
        for share in shares {
            scope.spawn(|| share.iter_mut().for_each(|reading| reading.run(gate)));
        }
        own.into_iter().flatten().for_each(|reading| reading.run(gate));
    });
}
