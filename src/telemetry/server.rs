//! `/metrics`, `/livez` and `/readyz`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exposition::Exposition;
use super::{Health, Metrics, Readiness, TelemetryError};

/// How long answers under way get after the server was told to stop: one scrape and a little.
const STOP_LIMIT: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Served {
    metrics: Metrics,
    health: Health,
}

/// Listens on `addr`; port 0 takes a free one.
///
/// Apart from [`serve`], so that a taken port is a start-up error and a caller can learn the port.
///
/// # Errors
///
/// [`TelemetryError::Bind`].
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, TelemetryError> {
    TcpListener::bind(addr).await.map_err(|source| TelemetryError::Bind { addr, source })
}

/// Serves `/metrics`, `/livez` and `/readyz` until `stop` is cancelled.
///
/// Cancel `stop` after draining, not when it begins: while a process drains, its probes must be answered.
/// Then connections get 3 s to end. Dropping the future closes them at once.
///
/// # Errors
///
/// [`TelemetryError::Serve`] when the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    stop: CancellationToken,
) -> Result<(), TelemetryError> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(show_liveness))
        .route("/readyz", get(show_readiness))
        .with_state(Served { metrics, health });
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_LIMIT).await;
    };
    tokio::select! {
        ended = server => ended.map_err(TelemetryError::Serve),
        () = overdue => Ok(()),
    }
}

async fn show_metrics(State(served): State<Served>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let exposition = Exposition::for_accept(accept);
    match served.metrics.render(exposition).await {
        Ok(text) => ([(header::CONTENT_TYPE, exposition.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn show_liveness(State(served): State<Served>) -> (StatusCode, String) {
    match served.health.dead() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("dead: {reason}\n")),
    }
}

async fn show_readiness(State(served): State<Served>) -> (StatusCode, String) {
    match served.health.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
