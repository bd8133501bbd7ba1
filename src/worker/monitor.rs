//! Shows this worker and what it runs to asynq's tools and ours.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::attempt::Attempt;
use super::shared::Shared;
use crate::broker::Outage;
use crate::task::{ServerInfo, WorkerInfo};

/// Payload bytes shown per running task: it is for people to look at, and sent again every few seconds.
const PAYLOAD_BYTES_MAX: usize = 4096;

/// Publishes this worker every `interval` until `stop` is cancelled; says that it stops once `stopping` is.
pub(super) async fn publish(
    shared: Arc<Shared>,
    mut info: ServerInfo,
    interval: Duration,
    stopping: CancellationToken,
    stop: CancellationToken,
) {
    let mut outage = Outage::new("publish this worker");
    let broker = &shared.home.broker;
    let types = shared.handler.serves();
    loop {
        // Deadlines are reckoned on Redis's clock, which a machine's own may leave over time.
        if let Err(error) = broker.sync_clock().await {
            debug!(reason = error.reason(), "the clock is not compared with Redis's: {error}");
        }
        if stopping.is_cancelled() {
            "stopped".clone_into(&mut info.status);
        }
        let running: Vec<WorkerInfo> =
            shared.table.all().iter().map(|attempt| record(&info, attempt)).collect();
        info.active_workers = i32::try_from(running.len()).unwrap_or(i32::MAX);
        let pause = match broker.publish_server(&info, &running, types.as_deref(), interval * 2).await {
            Ok(()) => {
                outage.ended();
                interval
            }
            Err(error) => outage.failed(&error),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = stopping.cancelled(), if info.status != "stopped" => {}
            () = sleep(pause) => {}
        }
    }
}

fn record(info: &ServerInfo, attempt: &Attempt) -> WorkerInfo {
    let message = &attempt.message;
    let shown = message.payload.len().min(PAYLOAD_BYTES_MAX);
    WorkerInfo {
        host: info.host.clone(),
        pid: info.pid,
        server_id: info.server_id.clone(),
        task_id: message.id.clone(),
        task_kind: message.kind.clone(),
        task_payload: message.payload.slice(..shown),
        queue: message.queue.clone(),
        started: Some(attempt.started.into()),
        deadline: Some(attempt.limit.at.into()),
    }
}
