//! Probes and metrics, served beside what a program does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use crate::shutdown::Signals;
use crate::telemetry::{self, Health, Metrics, Readiness, TelemetryError};

/// What is served, if anything is.
pub(super) struct Probes(Option<Served>);

struct Served {
    #[cfg(feature = "operator")]
    address: Option<SocketAddr>,
    serving: JoinHandle<Result<(), TelemetryError>>,
    stop: CancellationToken,
}

impl Probes {
    /// Serves them at an address, if there is one.
    ///
    /// # Errors
    /// [`Failure::Failed`] when it is taken.
    pub(super) async fn start(
        address: Option<SocketAddr>,
        metrics: &Metrics,
        health: Health,
    ) -> Result<Self, Failure> {
        let Some(address) = address else { return Ok(Self(None)) };
        let listener = telemetry::bind(address).await.map_err(Failure::failed)?;
        #[cfg(feature = "operator")]
        let address = listener.local_addr().ok();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(telemetry::serve(listener, metrics.clone(), health, stop.clone()));
        Ok(Self(Some(Served {
            #[cfg(feature = "operator")]
            address,
            serving,
            stop,
        })))
    }

    /// Where they are served, as far as that is known.
    #[cfg(feature = "operator")]
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref()?.address
    }

    /// Ends them. To be called last: whoever drains is still asked how it is.
    pub(super) async fn end(self) {
        let Some(Served { serving, stop, .. }) = self.0 else { return };
        stop.cancel();
        match serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, reason = error.reason(), "probes were not served"),
            Err(error) => tracing::error!(%error, "probes were not served"),
        }
    }
}

/// The health of a program that is ready once it runs, and `not_yet` says what it waits for; not any more once it drains.
pub(super) fn once_running(signals: &Signals, is_running: &Arc<AtomicBool>, not_yet: &'static str) -> Health {
    let (drain, is_running) = (signals.drain().clone(), Arc::clone(is_running));
    Health::new(move || match is_running.load(Ordering::Relaxed) {
        _ if drain.is_cancelled() => Readiness::NotReady("draining".into()),
        true => Readiness::Ready,
        false => Readiness::NotReady(not_yet.into()),
    })
}
