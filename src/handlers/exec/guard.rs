//! A process beside the worker that ends its programs, should the worker end without doing so.
//!
//! A `kill -9` of the worker would leave them running, while another worker starts them again. The guard reads from a
//! pipe that only the worker writes to, and the pipe ends when the worker does, however that comes about. It is the
//! worker's own program, started with words that make it call [`guard`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

use super::error::ExecConfigError;

/// How the guard is started.
#[derive(Clone, Debug)]
pub struct ExecGuard {
    /// A program that calls [`guard`] with its standard input.
    pub program: PathBuf,
    /// The words that make it do so.
    pub words: Vec<OsString>,
}

/// Tells the guard what to end. When the last clone is dropped, the guard ends what is left.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    notes: Arc<Mutex<ChildStdin>>,
}

impl Guard {
    /// Starts it, out of the terminal's reach: Ctrl-C is for the worker.
    pub(super) fn start(command: &ExecGuard) -> Result<Self, ExecConfigError> {
        let mut starting = Command::new(&command.program);
        starting.args(&command.words).process_group(0);
        starting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let failed = |source| ExecConfigError::Guard { program: command.program.clone(), source };
        let mut child = starting.spawn().map_err(failed)?;
        let notes = child.stdin.take().expect("piped above");
        Ok(Self { notes: Arc::new(Mutex::new(notes)) })
    }

    /// A program has started, the first of this group.
    pub(super) fn watch(&self, group: Pid) {
        self.note('+', group);
    }

    /// Nothing is left of it.
    pub(super) fn forget(&self, group: Pid) {
        self.note('-', group);
    }

    fn note(&self, what: char, group: Pid) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let note = format!("{what}{}\n", group.as_raw_nonzero());
        if let Err(error) = notes.write_all(note.as_bytes()) {
            tracing::warn!(%error, "the guard is gone: killed now, this worker would leave programs running");
        }
    }
}

/// Reads notes until there are no more, then kills what they name and what has not gone since.
///
/// Lines it does not understand are passed over.
pub fn guard(notes: impl BufRead) {
    for group in left(notes.lines().map_while(io::Result::ok)) {
        // What has ended meanwhile need not be ended, and nobody is there to be told.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn left(notes: impl Iterator<Item = String>) -> Vec<Pid> {
    let mut groups = BTreeSet::new();
    for note in notes {
        // Sent to group 1, a signal would reach every process there is.
        let id = note.get(1..).and_then(|id| id.parse::<i32>().ok()).filter(|id| *id > 1);
        match (note.chars().next(), id) {
            (Some('+'), Some(id)) => drop(groups.insert(id)),
            (Some('-'), Some(id)) => drop(groups.remove(&id)),
            _ => {}
        }
    }
    groups.into_iter().filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_started_and_not_gone_is_left_and_never_everybody() {
        let notes = ["+20", "+21", "+30", "-20", "+1", "+0", "+-5", "+", "", "dance", "+99999999999", "-7"];
        let left = left(notes.iter().map(|&note| note.to_owned()));
        assert_eq!(left, [21, 30].map(|id| Pid::from_raw(id).unwrap()));
    }
}
