//! `update-user-earn`: adds up what users earned, in bounded batches over the shop's services; safe to run at any time,
//! beside itself, and to be killed anywhere.
//!
//! The order service hands out batches of ledger entries. What is in a batch never changes, and an entry is in one
//! batch only. The totals of a batch are credited by its name, once, whoever sends them and however often. So whatever
//! is killed in between, the batch is still open, the next run gets it again, and adds the same up to the same totals.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::payload::{self, Version};
use super::shop_client::{Calls, ShopClient};
use super::shop_error::ShopCallError;
use crate::rpc::order::v1::{Batch, LedgerEntry};
use crate::rpc::trade::v1::UserAmount;
use crate::rpc::v1::Money;
use crate::worker::{Context, HandlerError, Task};

/// The task type.
pub const KIND: &str = "update-user-earn";

/// Largest batch, as the order service takes it.
const BATCH_MAX: i32 = 100_000;
/// Entries of a page, the most that the order service gives.
const PAGE: i32 = 10_000;

/// What a task of this type may carry; everything is optional.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Payload {
    #[serde(rename = "version")]
    _version: Version,
    /// Entries of a batch, 1 to 100,000; 20,000 when absent.
    batch: i32,
}

impl Default for Payload {
    fn default() -> Self {
        Self { _version: Version, batch: 20_000 }
    }
}

/// What a run has credited so far: the task's result after each batch.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Progress {
    batches: u64,
    /// Entries of the ledger: one for each order that was paid, and one for each refund.
    orders: u64,
    /// Minor units by currency.
    totals: BTreeMap<String, i128>,
}

/// Totals of a batch: minor units of users, by currency.
#[derive(Debug, Default, PartialEq)]
struct Totals(BTreeMap<String, HashMap<i64, i64>>);

/// Counts every entry of the ledger that is not counted yet, and writes `{"batches", "orders", "totals"}` as the result
/// after each batch.
///
/// # Errors
/// Skips retries for a payload that is not as documented, for a total that no number holds, and where the services
/// say that another attempt is useless. Fails when they cannot be reached, and when told to stop before all was
/// counted; what was credited stays.
pub async fn update_user_earn(shop: ShopClient, context: Context, task: Task) -> Result<(), HandlerError> {
    let batch_max = batch_max(task.payload()).map_err(HandlerError::skip_retry)?;
    let mut progress = Progress::default();
    let stopped = tokio::select! {
        biased;
        counted = count(&shop, &context, batch_max, &mut progress) => return counted,
        reason = context.cancelled() => reason,
    };
    let orders = progress.orders;
    Err(HandlerError::msg(format!("stopped after {orders} orders ({stopped}); a later run goes on")))
}

fn batch_max(bytes: &[u8]) -> Result<i32, HandlerError> {
    let Payload { batch, .. } = payload::read_versioned(KIND, bytes)?;
    if (1..=BATCH_MAX).contains(&batch) {
        return Ok(batch);
    }
    Err(HandlerError::msg(format!(
        "read payload of {KIND}: batch is out of range (allowed: 1 to {BATCH_MAX})"
    )))
}

async fn count(
    shop: &ShopClient,
    context: &Context,
    batch_max: i32,
    progress: &mut Progress,
) -> Result<(), HandlerError> {
    let calls = shop.calls(context)?;
    let (id, failed) = (context.id(), ShopCallError::into_failure);
    while let Some(batch) = calls.open_batch(id, batch_max).await.map_err(failed)? {
        let totals = add_up(&calls, &batch).await.map_err(failed)?;
        if calls.credit_batch(&batch.id, totals.amounts()).await.map_err(failed)? {
            progress.add(&batch, &totals);
            tracing::debug!(task.id = id, batch = batch.id, orders = progress.orders, "a batch is credited");
            context.result_writer().write(serde_json::to_vec(progress)?).await?;
        }
        calls.close_batch(&batch.id).await.map_err(failed)?;
    }
    let (orders, batches) = (progress.orders, progress.batches);
    tracing::info!(task.id = id, orders, batches, "task {id} counted {orders} orders");
    context.result_writer().write(serde_json::to_vec(progress)?).await?;
    Ok(())
}

/// The totals of a batch, read page by page.
async fn add_up(calls: &Calls<'_>, batch: &Batch) -> Result<Totals, ShopCallError> {
    let (mut totals, mut after, mut listed) = (Totals::default(), 0, 0);
    loop {
        let page = calls.list_batch(&batch.id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        listed += i64::try_from(page.len()).unwrap_or(i64::MAX);
        let is_last = page.len() < PAGE as usize || listed >= batch.entries;
        page.into_iter().try_for_each(|entry| totals.add(batch, entry))?;
        if is_last {
            break;
        }
    }
    // Never credit what may be a part: a batch is credited once.
    if listed == batch.entries {
        return Ok(totals);
    }
    Err(ShopCallError::Uneven { batch: batch.id.clone(), listed, told: batch.entries })
}

impl Totals {
    fn add(&mut self, batch: &Batch, entry: LedgerEntry) -> Result<(), ShopCallError> {
        let LedgerEntry { user_id, amount, .. } = entry;
        let Money { minor, currency } = amount.ok_or(ShopCallError::Incomplete { doing: "read a batch" })?;
        if !self.0.contains_key(&currency) {
            self.0.insert(currency.clone(), HashMap::new());
        }
        let total = self.0.get_mut(&currency).expect("it was inserted").entry(user_id).or_default();
        let overflow = || ShopCallError::Overflow { batch: batch.id.clone(), user_id, currency };
        *total = total.checked_add(minor).ok_or_else(overflow)?;
        Ok(())
    }

    /// As they are sent, always in the same order.
    fn amounts(&self) -> Vec<UserAmount> {
        let of = |currency: &String, users: &HashMap<i64, i64>| {
            let money = |minor| Some(Money { minor, currency: currency.clone() });
            users
                .iter()
                .map(|(&user_id, &minor)| UserAmount { user_id, amount: money(minor) })
                .collect::<Vec<_>>()
        };
        let mut amounts: Vec<UserAmount> =
            self.0.iter().flat_map(|(currency, users)| of(currency, users)).collect();
        // A user's currencies stand in their order already, and stay so.
        amounts.sort_by_key(|amount| amount.user_id);
        amounts
    }
}

impl Progress {
    fn add(&mut self, batch: &Batch, totals: &Totals) {
        self.batches += 1;
        self.orders += u64::try_from(batch.entries).unwrap_or_default();
        for (currency, users) in &totals.0 {
            // As many numbers of this size as there is memory for cannot overflow that sum.
            let sum: i128 = users.values().map(|&minor| i128::from(minor)).sum();
            *self.totals.entry(currency.clone()).or_default() += sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(entries: i64) -> Batch {
        Batch { id: "b".into(), entries }
    }

    fn entry(user_id: i64, minor: i64, currency: &str) -> LedgerEntry {
        let amount = Some(Money { minor, currency: currency.into() });
        LedgerEntry { id: 1, order_id: 1, user_id, amount }
    }

    #[test]
    fn a_payload_may_name_the_size_of_batches_and_its_version() {
        assert_eq!(batch_max(b"").unwrap(), 20_000);
        assert_eq!(batch_max(br#"{"version": 1}"#).unwrap(), 20_000);
        assert_eq!(batch_max(br#"{"batch": 100000}"#).unwrap(), 100_000);
        for (payload, part) in [
            (r#"{"batch": 0}"#, "batch is out of range (allowed: 1 to 100000)"),
            (r#"{"batch": 100001}"#, "batch is out of range"),
            (r#"{"batches": 5}"#, "unknown field `batches`"),
            (r#"{"version": 2, "pages": 7}"#, "its version is not 1"),
        ] {
            let error = batch_max(payload.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{payload}: {error}");
        }
    }

    #[test]
    fn totals_are_by_user_and_currency_and_refunds_count_down() {
        let mut totals = Totals::default();
        for entry in [
            entry(2, 5, "CNY"),
            entry(1, 7, "CNY"),
            entry(2, 100, "EUR"),
            entry(2, -2, "CNY"),
            entry(3, 0, "CNY"),
        ] {
            totals.add(&batch(5), entry).unwrap();
        }
        let amounts = totals.amounts();
        let sent: Vec<_> = amounts
            .iter()
            .map(|amount| (amount.user_id, amount.amount.as_ref().unwrap()))
            .map(|(user, money)| (user, money.minor, money.currency.as_str()))
            .collect();
        assert_eq!(sent, [(1, 7, "CNY"), (2, 3, "CNY"), (2, 100, "EUR"), (3, 0, "CNY")]);
        let mut progress = Progress::default();
        progress.add(&batch(5), &totals);
        progress.add(&batch(5), &totals);
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(text, r#"{"batches":2,"orders":10,"totals":{"CNY":20,"EUR":200}}"#);
    }

    #[test]
    fn a_total_that_no_number_holds_stops_the_batch() {
        let mut totals = Totals::default();
        totals.add(&batch(2), entry(7, i64::MAX, "CNY")).unwrap();
        totals.add(&batch(2), entry(8, i64::MAX, "CNY")).unwrap();
        let error = totals.add(&batch(2), entry(7, 1, "CNY")).unwrap_err();
        assert!(
            error.to_string().starts_with("count batch b: the total of user 7 in CNY is too large"),
            "{error}"
        );
        assert!(!error.is_retryable());
        let mut progress = Progress::default();
        progress.add(&batch(2), &totals);
        assert_eq!(
            progress.totals["CNY"],
            2 * i128::from(i64::MAX),
            "what is told of many users may be larger"
        );
    }
}
