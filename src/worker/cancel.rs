//! Telling a running attempt to stop, and why.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// Why an attempt was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Its timeout or its task's deadline has passed.
    Timeout,
    /// The task is no longer ours: another worker may run it now.
    LeaseLost,
    /// The worker stops and has waited long enough.
    Shutdown,
    /// Somebody asked for it.
    Requested,
}

impl CancelReason {
    /// The reason as a fixed word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::LeaseLost => "lease lost",
            Self::Shutdown => "shutdown",
            Self::Requested => "cancelled by request",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Timeout => 1,
            Self::LeaseLost => 2,
            Self::Shutdown => 3,
            Self::Requested => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Timeout),
            2 => Some(Self::LeaseLost),
            3 => Some(Self::Shutdown),
            4 => Some(Self::Requested),
            _ => None,
        }
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A switch that is thrown once; the first reason stands.
#[derive(Debug, Default)]
pub(super) struct Cancel {
    code: AtomicU8,
    thrown: Notify,
}

impl Cancel {
    pub(super) fn throw(&self, reason: CancelReason) {
        if self.code.compare_exchange(0, reason.code(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.thrown.notify_waiters();
        }
    }

    pub(super) fn reason(&self) -> Option<CancelReason> {
        CancelReason::from_code(self.code.load(Ordering::Acquire))
    }

    /// Waits until it is thrown. Cancel-safe.
    pub(super) async fn thrown(&self) -> CancelReason {
        loop {
            let mut notified = std::pin::pin!(self.thrown.notified());
            // Listening begins before the look, so a throw in between is not missed.
            notified.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            notified.await;
        }
    }
}
