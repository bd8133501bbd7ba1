//! What handlers of one order have in common: its number, and what they tell of it.

use serde::{Deserialize, Serialize};

use super::payload::{self, Version};
use crate::rpc::order::v1::{Order, OrderStatus};
use crate::worker::{Context, HandlerError};

/// What a task of one order carries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    #[serde(rename = "version", default)]
    _version: Version,
    /// The order, from 1.
    order_id: i64,
}

/// What a handler did with its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Completed,
    Closed,
    Left,
}

/// The result of a task of one order.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct OrderOutcome {
    order_id: i64,
    status: &'static str,
    action: Action,
}

/// Reads which order a task of type `kind` is about.
///
/// # Errors
/// Skips retries for a payload that is not as documented.
pub(super) fn order_id(kind: &'static str, bytes: &[u8]) -> Result<i64, HandlerError> {
    let Payload { order_id, .. } = payload::read_versioned(kind, bytes).map_err(HandlerError::skip_retry)?;
    if order_id < 1 {
        let text = format!("read payload of {kind}: order_id is out of range (allowed: 1 and more)");
        return Err(HandlerError::skip_retry(HandlerError::msg(text)));
    }
    Ok(order_id)
}

/// What a task of one order comes to, unless its attempt is told to stop first.
pub(super) async fn unless_stopped<T>(
    context: &Context,
    work: impl Future<Output = Result<T, HandlerError>>,
) -> Result<T, HandlerError> {
    tokio::select! {
        biased;
        done = work => done,
        reason = context.cancelled() => Err(HandlerError::msg(format!("stopped ({reason}); it may be repeated"))),
    }
}

impl OrderOutcome {
    pub(super) fn new(order: &Order, action: Action) -> Self {
        let status = match order.status() {
            OrderStatus::Unspecified => "unknown",
            OrderStatus::Pending => "pending",
            OrderStatus::Paid => "paid",
            OrderStatus::Completed => "completed",
            OrderStatus::Closed => "closed",
            OrderStatus::Refunded => "refunded",
        };
        Self { order_id: order.id, status, action }
    }

    /// Writes it as the task's result.
    pub(super) async fn write(&self, context: &Context) -> Result<(), HandlerError> {
        let Self { order_id, status, action } = self;
        tracing::debug!(task.id = context.id(), order_id, status, ?action, "an order was looked after");
        context.result_writer().write(serde_json::to_vec(self)?).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::HandlerErrorKind;

    #[test]
    fn a_payload_names_one_order() {
        assert_eq!(order_id("test", br#"{"order_id": 7}"#).unwrap(), 7);
        assert_eq!(order_id("test", br#"{"version": 1, "order_id": 7}"#).unwrap(), 7);
        for (payload, part) in [
            ("", "missing field `order_id`"),
            ("{}", "missing field `order_id`"),
            (r#"{"order_id": 0}"#, "order_id is out of range"),
            (r#"{"order_id": -7}"#, "order_id is out of range"),
            (r#"{"order_id": 9223372036854775808}"#, "is not i64"),
            (r#"{"order_id": "7"}"#, "is not i64"),
            (r#"{"order_id": 7, "user": 1}"#, "unknown field `user`"),
            (r#"{"version": 2, "order": 7}"#, "its version is not 1"),
            (r#"{"version": "1", "order_id": 7}"#, "its version is not 1"),
        ] {
            let error = order_id("test", payload.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(part), "{payload}: {error}");
            assert_eq!(error.kind(), HandlerErrorKind::SkipRetry);
        }
    }

    #[test]
    fn an_outcome_is_told_in_words() {
        let order = Order { id: 7, status: OrderStatus::Paid.into(), ..Order::default() };
        let text = serde_json::to_string(&OrderOutcome::new(&order, Action::Left)).unwrap();
        assert_eq!(text, r#"{"order_id":7,"status":"paid","action":"left"}"#);
    }
}
