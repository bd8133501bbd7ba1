//! Process groups: a program we started, with everything it started itself.

use std::io;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// A process that is the first of its own group, by its id.
///
/// What a container is in a cluster: when its first process ends, the others have no business left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(u32);

impl Group {
    /// The group of a process started as the first of its own. `None` for ids no such process can have: sent to
    /// group 1, a signal would reach every process there is.
    pub(super) fn of(pid: u32) -> Option<Self> {
        (pid > 1 && i32::try_from(pid).is_ok()).then_some(Self(pid))
    }

    /// Its first process.
    pub(super) fn leader(self) -> u32 {
        self.0
    }

    /// Signals the first process alone, as a cluster does.
    pub(super) fn signal_leader(self, signal: Signal) {
        ignore_gone(kill_process(self.pid(), signal));
    }

    /// Signals all of them.
    pub(super) fn signal_all(self, signal: Signal) {
        ignore_gone(kill_process_group(self.pid(), signal));
    }

    /// Whether any of them is left.
    pub(super) fn is_alive(self) -> bool {
        test_kill_process_group(self.pid()).is_ok()
    }

    fn pid(self) -> Pid {
        Pid::from_raw(self.0.cast_signed()).expect("checked when it was made")
    }
}

/// It may have ended this moment; nothing else can be wrong with a signal to a process of ours.
fn ignore_gone(sent: rustix::io::Result<()>) {
    if let Err(error) = sent
        && error != rustix::io::Errno::SRCH
    {
        let error = io::Error::from(error);
        tracing::warn!(%error, "a process could not be told to end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_never_goes_to_everybody() {
        assert_eq!([0, 1, u32::MAX, 1 << 31].map(Group::of), [None; 4]);
        assert_eq!(Group::of(2).map(Group::leader), Some(2));
    }
}
