//! `update-user-earn` on the SQLite file of `cronmill shop-data`, where no shop's services are named: adds up each
//! user's paid orders, in bounded batches, safe to run at any time.
//!
//! What makes it idempotent is in [`earnings`](super::earnings).

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::ShopError;
use super::earnings::{Ended, Pace, Shop};
use super::payload;
use super::update_user_earn::KIND;
use crate::worker::{Context, HandlerError, Task};

/// Largest batch: about 30 ms of holding the write lock.
const BATCH_MAX: u32 = 10_000;

/// Longest pause after a batch.
const DELAY_MAX_MS: u64 = 60_000;

/// What a task of this type may carry; everything is optional.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Payload {
    /// Orders per transaction, 1 to 10,000; 1,000 when absent.
    batch: u32,
    /// Pause after each batch in milliseconds, 0 to 60,000; 0 when absent. Makes a run last long enough to be
    /// watched, or killed.
    delay_ms_per_batch: u64,
}

impl Default for Payload {
    fn default() -> Self {
        Self { batch: 1000, delay_ms_per_batch: 0 }
    }
}

impl Payload {
    fn pace(&self) -> Result<Pace, HandlerError> {
        if !(1..=BATCH_MAX).contains(&self.batch) {
            return Err(out_of_range("batch", &format!("1 to {BATCH_MAX}")));
        }
        if self.delay_ms_per_batch > DELAY_MAX_MS {
            return Err(out_of_range("delay_ms_per_batch", &format!("0 to {DELAY_MAX_MS}")));
        }
        Ok(Pace { batch: self.batch, delay: Duration::from_millis(self.delay_ms_per_batch) })
    }
}

fn out_of_range(field: &str, allowed: &str) -> HandlerError {
    HandlerError::msg(format!("read payload of {KIND}: {field} is out of range (allowed: {allowed})"))
}

/// Settles every order of the shop's database and writes `{"batches", "orders", "cents"}` as the result.
///
/// An attempt that is told to stop fails after the batch under way; what it did stays, and the next attempt
/// goes on from there.
///
/// # Errors
///
/// Skips retries for a payload that is not as documented. Fails when `shop` is absent, when its database cannot
/// be used, and when told to stop before everything was settled.
pub(super) async fn settle_earnings(
    shop: Option<Arc<Shop>>,
    context: Context,
    task: Task,
) -> Result<(), HandlerError> {
    let pace = read_pace(task.payload()).map_err(HandlerError::skip_retry)?;
    let shop = shop.ok_or_else(|| {
        HandlerError::msg(format!(
            "run {KIND}: this worker has neither the shop's services (--shop-target or CRONMILL_SHOP_TARGET) nor a database (--database or CRONMILL_DATABASE)"
        ))
    })?;
    let stop = async {
        context.cancelled().await;
    };
    let settled = shop.settle(pace, stop, |progress| {
        let (id, orders) = (context.id(), progress.orders);
        tracing::debug!(
            task.id = id,
            orders,
            batches = progress.batches,
            "task {id} settled {orders} orders"
        );
    });
    let (progress, ended) = settled.await.map_err(or_skip)?;
    let (id, orders) = (context.id(), progress.orders);
    match ended {
        Ended::Settled => {
            tracing::info!(
                task.id = id,
                orders,
                batches = progress.batches,
                "task {id} settled {orders} orders"
            );
            context.result_writer().write(serde_json::to_vec(&progress)?).await?;
            Ok(())
        }
        Ended::Stopped => {
            Err(HandlerError::msg(format!("stopped after {orders} orders; a later run goes on")))
        }
    }
}

fn read_pace(bytes: &[u8]) -> Result<Pace, HandlerError> {
    payload::read::<Payload>(KIND, bytes)?.pace()
}

/// An error that no retry can mend skips them.
fn or_skip(error: ShopError) -> HandlerError {
    if error.is_retryable() { error.into() } else { HandlerError::skip_retry(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_payload_means_batches_of_1000_without_pause() {
        assert_eq!(read_pace(b"").unwrap(), Pace { batch: 1000, delay: Duration::ZERO });
    }

    #[test]
    fn both_fields_are_read() {
        let pace = read_pace(br#"{"batch": 50, "delay_ms_per_batch": 20}"#).unwrap();
        assert_eq!(pace, Pace { batch: 50, delay: Duration::from_millis(20) });
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused_by_name() {
        for (payload, part) in [
            (r#"{"batch": 0}"#, "batch is out of range (allowed: 1 to 10000)"),
            (r#"{"batch": 10001}"#, "batch is out of range"),
            (r#"{"delay_ms_per_batch": 60001}"#, "delay_ms_per_batch is out of range (allowed: 0 to 60000)"),
            (r#"{"batches": 5}"#, "unknown field `batches`"),
        ] {
            let error = read_pace(payload.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{payload}: {error}");
        }
    }
}
