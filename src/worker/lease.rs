//! Keeps the leases of running tasks alive, apart from everything else that talks to Redis.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;
use crate::broker::{BrokerError, CancelThen, Extended, Outage};

/// Extends the leases of running tasks each third of a lease until `stop` is cancelled.
///
/// A task that Redis says is lost is cancelled and its result discarded. While Redis does not answer nothing is
/// cancelled: as long as nobody reaches it, nobody else can have taken the task.
pub(super) async fn extend_leases(shared: Arc<Shared>, stop: CancellationToken) {
    let period = shared.lease / 3;
    let mut outage = Outage::new("extend leases");
    let mut pause = period;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = match extend_all(&shared).await {
            Ok(()) => {
                outage.ended();
                period
            }
            Err(error) => outage.failed(&error).min(period),
        };
    }
}

async fn extend_all(shared: &Shared) -> Result<(), BrokerError> {
    let home = &shared.home;
    for (queue, name) in home.queues.iter().enumerate() {
        let now = home.broker.now_in(name.as_str());
        let mut attempts = shared.table.of_queue(queue);
        // Claimed or extended so lately that the next round is early enough. Lease ends are whole seconds.
        let soon = SignedDuration::try_from(shared.lease * 2 / 3 + Duration::from_secs(1));
        let soon = soon.unwrap_or(SignedDuration::MAX);
        attempts.retain(|attempt| attempt.lease_end().duration_since(now) <= soon);
        if attempts.is_empty() {
            continue;
        }
        let ids: Vec<String> = attempts.iter().map(|attempt| attempt.message.id.clone()).collect();
        let verdicts = home.broker.extend(name, &home.owner, &ids, shared.lease).await?;
        for (attempt, verdict) in attempts.iter().zip(verdicts) {
            match verdict {
                Extended::Until(end) => attempt.set_lease_end(end),
                Extended::Revoked(end) => {
                    attempt.set_lease_end(end);
                    attempt.cancel_by_request(Some(CancelThen::Stop));
                }
                Extended::Cancelled(end, then) => {
                    attempt.set_lease_end(end);
                    attempt.cancel_by_request(Some(then));
                }
                Extended::Lost => {
                    if attempt.lose() {
                        let id = &attempt.message.id;
                        warn!(task.id = %id, queue.name = %name, "task {id} is no longer ours; it is cancelled here");
                        shared.table.remove(queue, std::iter::once(attempt));
                    }
                }
            }
        }
    }
    Ok(())
}
