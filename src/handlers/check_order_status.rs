//! `check-order-status`: completes an order that is paid, closes one that is unpaid at its deadline, leaves any other.

use super::order_outcome::{Action, OrderOutcome, order_id, unless_stopped};
use super::shop_client::{Calls, ShopClient};
use super::shop_error::ShopCallError;
use crate::rpc::order::v1::OrderStatus;
use crate::worker::{Context, HandlerError, Task};

/// The task type.
pub const KIND: &str = "check-order-status";

/// Looks after the order of `{"order_id"}`, and writes `{"order_id", "status", "action"}` as the result, where the
/// action is `completed`, `closed` or `left`.
///
/// # Errors
/// Skips retries for a payload that is not as documented, for an order that does not exist, and where the services
/// say that another attempt is useless. Fails when they cannot be reached, and when told to stop.
pub async fn check_order_status(shop: ShopClient, context: Context, task: Task) -> Result<(), HandlerError> {
    let order_id = order_id(KIND, task.payload())?;
    let looked_after = async {
        let outcome = look_after(&shop.calls(&context)?, order_id).await;
        outcome.map_err(ShopCallError::into_failure)
    };
    unless_stopped(&context, looked_after).await?.write(&context).await
}

async fn look_after(calls: &Calls<'_>, order_id: i64) -> Result<OrderOutcome, ShopCallError> {
    let order = calls.order(order_id).await?;
    let left = OrderOutcome::new(&order, Action::Left);
    let (order, action, doing) = match order.status() {
        // A payment that trade does not know was none.
        OrderStatus::Paid if calls.has_payment(order_id).await? => match calls.complete(order_id).await {
            Ok(answer) => (answer.order, answer.completed.then_some(Action::Completed), "complete an order"),
            // Refunded at this moment.
            Err(error) if error.is_overtaken() => (Some(calls.order(order_id).await?), None, "read an order"),
            Err(error) => return Err(error),
        },
        // Whether its time is over is for the service to say: it knows no clock but its own.
        OrderStatus::Pending => {
            let answer = calls.close_unpaid(order_id).await?;
            (answer.order, answer.closed.then_some(Action::Closed), "close an unpaid order")
        }
        _ => return Ok(left),
    };
    let order = order.ok_or(ShopCallError::Incomplete { doing })?;
    Ok(OrderOutcome::new(&order, action.unwrap_or(Action::Left)))
}
