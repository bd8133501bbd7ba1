//! `delete-expire-order`: closes an order that is unpaid at its deadline, and so returns its stock.
//!
//! The order service enqueues this task with the order, for its deadline. A payment at the same moment wins or loses
//! there: the service lets one of the two have the order, and the other sees what became of it.

use std::time::Duration;

use jiff::Timestamp;

use super::order_outcome::{Action, OrderOutcome, order_id, unless_stopped};
use super::shop_client::ShopClient;
use super::shop_error::ShopCallError;
use crate::rpc::order::v1::{Order, OrderStatus};
use crate::worker::{Context, HandlerError, Task};

/// The task type.
pub const KIND: &str = "delete-expire-order";

/// The shortest a task is put off whose order is not due yet: clocks differ.
const SNOOZE_MIN: Duration = Duration::from_secs(1);

/// Closes the order of `{"order_id"}` if it is unpaid at its deadline, and writes `{"order_id", "status", "action"}` as
/// the result, where the action is `closed` or `left`. Before that deadline, the task is put off until then.
///
/// # Errors
/// As [`check_order_status`](super::check_order_status::check_order_status).
pub async fn delete_expire_order(shop: ShopClient, context: Context, task: Task) -> Result<(), HandlerError> {
    let order_id = order_id(KIND, task.payload())?;
    let closing = async {
        let answer = shop.calls(&context)?.close_unpaid(order_id).await;
        answer.map_err(ShopCallError::into_failure)
    };
    let answer = unless_stopped(&context, closing).await?;
    let incomplete = ShopCallError::Incomplete { doing: "close an unpaid order" };
    let order = answer.order.ok_or(incomplete)?;
    if order.status() == OrderStatus::Pending {
        let text = format!("order {order_id} may be paid until its deadline");
        return Err(HandlerError::snooze(wait(&order, Timestamp::now())).because(text));
    }
    let action = if answer.closed { Action::Closed } else { Action::Left };
    OrderOutcome::new(&order, action).write(&context).await
}

/// How long until the order is due, rounded up to the second that tasks are put off by.
fn wait(order: &Order, now: Timestamp) -> Duration {
    let pay_by =
        order.pay_by.as_ref().and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()).unwrap_or(now);
    Duration::try_from(pay_by.duration_since(now)).unwrap_or_default().max(SNOOZE_MIN)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp as Sent;

    use super::*;

    #[test]
    fn a_task_is_put_off_until_its_order_is_due() {
        let now = Timestamp::from_second(1_000).unwrap();
        let wait = |pay_by| wait(&Order { pay_by, ..Order::default() }, now);
        assert_eq!(wait(Some(Sent { seconds: 1_060, nanos: 500_000_000 })), Duration::from_millis(60_500));
        for pay_by in
            [None, Some(Sent { seconds: 900, nanos: 0 }), Some(Sent { seconds: i64::MAX, nanos: 0 })]
        {
            assert_eq!(wait(pay_by), SNOOZE_MIN, "{pay_by:?}");
        }
    }
}
