//! Hears requests to cancel a running task.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::attempt::Attempt;
use super::shared::Shared;
use crate::broker::{BrokerError, Cancellations, Outage};

/// A connection that was silent this long is replaced: one that broke without a word looks the same.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A connection that ended at once is not replaced at once.
const ENDED_PAUSE: Duration = Duration::from_millis(50);

/// Cancels running tasks as requested until `stop` is cancelled.
///
/// What was published while nobody listened is found by the marks in the tasks: they are read each time listening
/// begins, and with every extension.
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
        if let Err(error) = obey_marks(shared).await {
            // The extensions of the leases find them as well, a little later.
            warn!(reason = error.reason(), "cannot read which tasks were cancelled meanwhile: {error}");
        }
        loop {
            match timeout(SILENCE_MAX, requests.next()).await {
                Ok(Some(id)) => cancel(shared, &id).await,
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

/// Cancels every attempt whose task is marked.
async fn obey_marks(shared: &Shared) -> Result<(), BrokerError> {
    for queue in 0..shared.home.queues.len() {
        obey_marks_of(shared, queue, &shared.table.of_queue(queue), false).await?;
    }
    Ok(())
}

/// Cancels those of a queue's attempts that are marked, as the marks say; the others too where each was `told` to.
async fn obey_marks_of(
    shared: &Shared,
    queue: usize,
    attempts: &[Arc<Attempt>],
    told: bool,
) -> Result<(), BrokerError> {
    let home = &shared.home;
    let name = &home.queues[queue];
    let ids: Vec<String> = attempts.iter().map(|attempt| attempt.message.id.clone()).collect();
    let marks = home.broker.cancel_marks(name, &home.owner, &ids).await?;
    for (attempt, then) in attempts.iter().zip(marks) {
        if then.is_some() || told {
            let id = &attempt.message.id;
            info!(task.id = %id, queue.name = %name, "task {id} is cancelled by request");
            attempt.cancel_by_request(then);
        }
    }
    Ok(())
}

/// Cancels the attempts at a task of this id. Its mark says what then; who published without one, as asynq does,
/// has no say.
async fn cancel(shared: &Shared, id: &str) {
    for attempt in shared.table.of_id(id) {
        let read = obey_marks_of(shared, attempt.queue, std::slice::from_ref(&attempt), true).await;
        if let Err(error) = read {
            warn!(
                task.id = id,
                reason = error.reason(),
                "cannot read how task {id} is to be cancelled: {error}"
            );
            attempt.cancel_by_request(None);
        }
    }
}
