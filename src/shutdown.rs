//! Signals: the first asks a process to drain, the second to hurry, the third to leave at once.
//!
//! Nothing here ends the process; `main` does, by what it sees on the three tokens:
//!
//! | seen | what happens | exit code |
//! | --- | --- | --- |
//! | nothing, work is done | – | 0 |
//! | SIGTERM or SIGINT | no new work is taken, held work gets its drain time, the rest is put back | 0 |
//! | either, a second time | held work gets no more time: it is put back now | 0 |
//! | either, a third time | the process leaves; what it held is recovered when its leases end | 3 |
//!
//! So whoever ends a process that drains patiently need not choose between waiting for hours and losing what it
//! holds until leases end. A process that holds nothing itself may leave at the second signal already.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// The signals of this process as three tokens.
///
/// Dropping it stops the listening, after which SIGTERM and SIGINT do nothing: keep it until the end.
#[derive(Debug)]
pub struct Signals {
    drain: CancellationToken,
    hurry: CancellationToken,
    leave: CancellationToken,
    _listening: AbortOnDropHandle<()>,
}

impl Signals {
    /// Cancelled by the first SIGTERM or SIGINT: finish what is held, take nothing new.
    #[must_use]
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled by the second: put back what is held.
    #[must_use]
    pub fn hurry(&self) -> &CancellationToken {
        &self.hurry
    }

    /// Cancelled by the third: give up at once.
    #[must_use]
    pub fn leave(&self) -> &CancellationToken {
        &self.leave
    }
}

/// Listens for SIGTERM and SIGINT from here on.
///
/// Both, because the kubelet sends the one and a terminal the other. Call it before the first slow step: from
/// then on neither signal ends the process by itself. Needs a Tokio runtime.
///
/// # Errors
///
/// What the system says when a handler cannot be installed.
pub fn signals() -> io::Result<Signals> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let [drain, hurry, leave] = std::array::from_fn(|_| CancellationToken::new());
    let stages =
        [(drain.clone(), "draining"), (hurry.clone(), "hurrying"), (leave.clone(), "leaving at once")];
    let listening = async move {
        for (stage, what) in stages {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "{name} received: {what}");
            stage.cancel();
        }
    };
    let listening = tokio::spawn(listening.instrument(tracing::info_span!("signals")));
    Ok(Signals { drain, hurry, leave, _listening: AbortOnDropHandle::new(listening) })
}

/// SIGHUP, by which a program is asked to read its file again; from here on it does not end the process. Needs a
/// Tokio runtime.
///
/// # Errors
///
/// What the system says when a handler cannot be installed.
pub fn hangups() -> io::Result<tokio::signal::unix::Signal> {
    signal(SignalKind::hangup())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn send(signal: &str) {
        let pid = std::process::id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn cancelled(token: &CancellationToken) {
        timeout(Duration::from_secs(10), token.cancelled()).await.expect("the signal arrives");
    }

    // One test: signals go to the whole process, so two would disturb each other.
    #[tokio::test]
    async fn the_first_signal_drains_the_second_hurries_and_the_third_leaves() {
        let signals = signals().unwrap();
        assert!(!signals.drain().is_cancelled());
        send("-TERM");
        cancelled(signals.drain()).await;
        assert!(!signals.hurry().is_cancelled());
        send("-INT");
        cancelled(signals.hurry()).await;
        assert!(!signals.leave().is_cancelled());
        send("-TERM");
        cancelled(signals.leave()).await;
    }
}
