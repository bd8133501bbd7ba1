//! Hears requests to cancel a running task.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::cancel::CancelReason;
use super::shared::Shared;
use crate::broker::Cancellations;
use crate::broker::Outage;

/// A connection that was silent this long is replaced: one that broke without a word looks the same.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A connection that ended at once is not replaced at once.
const ENDED_PAUSE: Duration = Duration::from_millis(50);

/// Cancels running tasks as requested until `stop` is cancelled. Requests made while Redis is away are lost.
pub(super) async fn hear_cancellations(shared: Arc<Shared>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = hear_forever(&shared) => {}
    }
}

async fn hear_forever(shared: &Shared) {
    let mut outage = Outage::new("listen to cancellations");
    let mut current: Option<Cancellations> = None;
    loop {
        let mut requests = match shared.home.broker.cancellations().await {
            Ok(requests) => {
                outage.ended();
                requests
            }
            Err(error) => {
                sleep(outage.failed(&error)).await;
                continue;
            }
        };
        // The old connection ends only now, so that no request falls between the two.
        drop(current.take());
        loop {
            match timeout(SILENCE_MAX, requests.next()).await {
                Ok(Some(id)) => cancel(shared, &id),
                Ok(None) => {
                    sleep(ENDED_PAUSE).await;
                    break;
                }
                Err(_silent) => {
                    current = Some(requests);
                    break;
                }
            }
        }
    }
}

fn cancel(shared: &Shared, id: &str) {
    for attempt in shared.table.of_id(id) {
        info!(task.id = id, queue.name = %attempt.queue_name(), "task {id} is cancelled by request");
        attempt.cancel.throw(CancelReason::Requested);
    }
}
