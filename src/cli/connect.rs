//! Connecting to Redis, at once or patiently.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use crate::broker::{Broker, BrokerError, Endpoint};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connects, waiting for a Redis that does not answer yet; `None` when told to stop meanwhile.
///
/// For programs that start beside their Redis. One log line says that it waits, another that it no longer does.
/// Cancel-safe.
///
/// # Errors
///
/// [`Failure::Usage`] for what waiting does not mend: a refused login, a Redis that is too old or that evicts.
pub async fn patiently(endpoint: &Endpoint, stop: &CancellationToken) -> Result<Option<Broker>, Failure> {
    let mut pause = PAUSE_MIN;
    let mut waits = false;
    loop {
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            connected = Broker::connect(endpoint) => match connected {
                Ok(broker) => {
                    if waits {
                        tracing::info!(redis.address = %endpoint, "redis at {endpoint} answers");
                    }
                    return Ok(Some(broker));
                }
                Err(error) if !error.is_retryable() => return Err(Failure::usage(error)),
                Err(error) => error,
            },
        };
        if !waits {
            waits = true;
            log_waiting(endpoint, error);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            // Less a random quarter, so that a fleet does not come back in step.
            () = tokio::time::sleep(pause.mul_f64(1.0 - fastrand::f64() / 4.0)) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn log_waiting(endpoint: &Endpoint, error: BrokerError) {
    let reason = error.reason();
    let causes = super::exit::one_line(&error.into());
    tracing::warn!(redis.address = %endpoint, reason, "waiting for redis at {endpoint}: {causes}");
}
