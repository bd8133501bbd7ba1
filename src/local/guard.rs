//! A process beside us that ends what we started, should we end without doing so.
//!
//! Workers and a private Redis are processes of their own. A `kill -9` of ours would leave them behind; so would
//! a crash. The guard reads from a pipe that only we write to, and the pipe ends when we do, however that comes
//! about. It is our own program, started with words that make it call [`guard`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::error::LocalError;
use super::group::Group;

/// What workers get that hold nothing, before the others are told to put back what they hold.
const POLITE: Duration = Duration::from_millis(300);
/// What those get to put it back.
const HURRY: Duration = Duration::from_secs(3);
/// Between two looks at who is left.
const BETWEEN: Duration = Duration::from_millis(10);

/// How the guard is started.
#[derive(Debug, Clone)]
pub struct GuardCommand {
    /// Our own program.
    pub program: PathBuf,
    /// The words that make it call [`guard`] with its standard input.
    pub words: Vec<OsString>,
}

/// Tells the guard what to end. When the last clone is dropped, the guard ends what is left.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    notes: Arc<Mutex<ChildStdin>>,
}

impl Guard {
    /// Starts it, out of the terminal's reach: Ctrl-C is for us.
    pub(super) fn start(command: &GuardCommand) -> Result<Self, LocalError> {
        let mut starting = Command::new(&command.program);
        starting.args(&command.words).process_group(0);
        starting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let failed = |source| LocalError::Guard { program: command.program.clone(), source };
        let mut child = starting.spawn().map_err(failed)?;
        let notes = child.stdin.take().expect("piped above");
        Ok(Self { notes: Arc::new(Mutex::new(notes)) })
    }

    /// A worker has started.
    pub(super) fn watch_worker(&self, group: Group) {
        self.note(&format!("worker {}", group.leader()));
    }

    /// A server has started that workers need until they have ended.
    pub(super) fn watch_server(&self, group: Group, folder: &Path) {
        self.note(&format!("server {}", group.leader()));
        if let Some(folder) = folder.to_str().filter(|path| !path.contains('\n')) {
            self.note(&format!("folder {folder}"));
        }
    }

    /// Nothing is left of a worker or a server.
    pub(super) fn forget(&self, group: Group) {
        self.note(&format!("gone {}", group.leader()));
    }

    fn note(&self, note: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(notes, "{note}") {
            tracing::warn!(%error, "the guard is gone: killed now, this program would leave processes behind");
        }
    }
}

/// Reads notes until there are no more, then ends what they name and what has not gone since: workers first,
/// politely for some seconds, then servers with their folders.
///
/// Lines it does not understand are passed over.
pub fn guard(notes: impl BufRead) {
    let mut watched = Watched::default();
    for note in notes.lines().map_while(Result::ok) {
        watched.take(&note);
    }
    watched.end();
}

#[derive(Debug, Default, PartialEq)]
struct Watched {
    workers: BTreeSet<Group>,
    servers: BTreeSet<Group>,
    folders: BTreeSet<PathBuf>,
}

impl Watched {
    fn take(&mut self, note: &str) {
        let Some((what, value)) = note.split_once(' ') else { return };
        if what == "folder" {
            self.folders.insert(value.into());
            return;
        }
        let Some(group) = value.parse().ok().and_then(Group::of) else { return };
        match what {
            "worker" => drop(self.workers.insert(group)),
            "server" => drop(self.servers.insert(group)),
            "gone" => {
                self.workers.remove(&group);
                self.servers.remove(&group);
            }
            _ => {}
        }
    }

    fn end(mut self) {
        // The first signal lets a worker of ours drain, the second makes it put back what it holds.
        for patience in [POLITE, HURRY] {
            self.workers.iter().for_each(|group| group.signal_all(Signal::TERM));
            self.wait_for_workers(patience);
        }
        self.workers.iter().chain(&self.servers).for_each(|group| group.signal_all(Signal::KILL));
        for folder in &self.folders {
            // What is left of it is of no worth, and nobody is there to be told.
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    fn wait_for_workers(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            self.workers.retain(|group| group.is_alive());
            if self.workers.is_empty() || Instant::now() >= end {
                return;
            }
            sleep(BETWEEN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_say_what_is_there_and_what_has_gone() {
        let mut watched = Watched::default();
        for note in [
            "worker 20",
            "server 30",
            "folder /tmp/a b",
            "worker 21",
            "gone 20",
            "worker 1",
            "worker -5",
            "worker",
            "dance 9",
            "",
        ] {
            watched.take(note);
        }
        let group = |pid| Group::of(pid).unwrap();
        let expected = Watched {
            workers: [group(21)].into(),
            servers: [group(30)].into(),
            folders: [PathBuf::from("/tmp/a b")].into(),
        };
        assert_eq!(watched, expected);
    }
}
