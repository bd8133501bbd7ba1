//! The handlers of one order over the shop's real services: `check-order-status` and `delete-expire-order`.

use std::time::Duration;

use cronmill::rpc::order::v1::{Order, OrderStatus};
use cronmill::task::State;
use serde_json::json;

use crate::services::{LIMIT, Services};
use crate::support::until;

const HOUR: Duration = Duration::from_secs(3600);

fn payload(order: &Order) -> String {
    json!({ "version": 1, "order_id": order.id }).to_string()
}

fn told(order: &Order, status: &str, action: &str) -> serde_json::Value {
    json!({ "order_id": order.id, "status": status, "action": action })
}

/// Waits until an order may be closed.
async fn due(order: &Order) {
    let pay_by = order.pay_by.unwrap().seconds + 1;
    until(LIMIT, "the order is due", async || jiff::Timestamp::now().as_second() >= pay_by).await;
}

#[tokio::test]
async fn an_order_is_completed_closed_or_left_by_how_it_stands() {
    let services = Services::start(0, 5).await;
    let customer = services.customer();
    let stock = services.number("SELECT stock FROM resources WHERE id = 1");
    let (unpaid, paid) = (customer.order(HOUR).await, customer.order(HOUR).await);
    let (refunded, overdue) = (customer.order(HOUR).await, customer.order(Duration::from_secs(1)).await);
    customer.pay(&paid).await;
    customer.pay(&refunded).await;
    customer.refund(&refunded).await;
    due(&overdue).await;
    let _worker = services.worker(&[]);
    for (id, order, status, action) in [
        ("unpaid", &unpaid, "pending", "left"),
        ("paid", &paid, "completed", "completed"),
        ("refunded", &refunded, "refunded", "left"),
        ("overdue", &overdue, "closed", "closed"),
    ] {
        services.enqueue("check-order-status", id, &payload(order)).await;
        assert_eq!(services.result(id).await, told(order, status, action), "{id}");
        let again = format!("{id}-again");
        services.enqueue("check-order-status", &again, &payload(order)).await;
        assert_eq!(services.result(&again).await, told(order, status, "left"), "{again}");
    }
    let left = services.number("SELECT stock FROM resources WHERE id = 1");
    assert_eq!(left, stock - 2, "two are still sold, two came back");
}

#[tokio::test]
async fn a_payment_that_trade_does_not_know_completes_nothing() {
    let services = Services::start(0, 5).await;
    let customer = services.customer();
    let order = customer.order(HOUR).await;
    customer.pay(&order).await;
    services.judge("DELETE FROM payments");
    let _worker = services.worker(&[]);
    services.enqueue("check-order-status", "check", &payload(&order)).await;
    assert_eq!(services.result("check").await, told(&order, "paid", "left"));
}

#[tokio::test]
async fn an_order_unpaid_at_its_deadline_is_closed_by_the_task_that_came_with_it() {
    let services = Services::start(0, 5).await;
    let customer = services.customer();
    let stock = services.number("SELECT stock FROM resources WHERE id = 1");
    let (unpaid, paid) =
        (customer.order(Duration::from_secs(3)).await, customer.order(Duration::from_secs(3)).await);
    customer.pay(&paid).await;
    let _worker = services.worker(&["--queues=default=1,expiry=1"]);
    until(LIMIT, "the unpaid order is closed", async || {
        customer.look(&unpaid).await.status() == OrderStatus::Closed
    })
    .await;
    until(LIMIT, "both tasks are done", async || {
        services.redis.cli(["GET", "asynq:{expiry}:processed"]) == "2"
    })
    .await;
    assert_eq!(customer.look(&paid).await.status(), OrderStatus::Paid);
    assert_eq!(services.number("SELECT stock FROM resources WHERE id = 1"), stock - 1);
    assert_eq!(services.redis.cli(["GET", "asynq:{expiry}:failed"]), "");
}

#[tokio::test]
async fn before_its_deadline_the_task_of_an_order_is_put_off_until_then() {
    let services = Services::start(0, 5).await;
    let customer = services.customer();
    let (soon, later) = (customer.order(Duration::from_secs(4)).await, customer.order(HOUR).await);
    let _worker = services.worker(&[]);
    services.enqueue("delete-expire-order", "soon", &payload(&soon)).await;
    services.enqueue("delete-expire-order", "later", &payload(&later)).await;
    let view = services.reaches("later", State::Scheduled).await;
    let at = view.at.unwrap().as_second();
    let pay_by = later.pay_by.unwrap().seconds;
    assert!((pay_by..=pay_by + 2).contains(&at), "{at} is not when order is due, {pay_by}");
    let reason = services.history("later").await.unwrap();
    assert_eq!(reason, format!("order {} may be paid until its deadline", later.id));
    assert_eq!(services.result("soon").await, told(&soon, "closed", "closed"));
    let view = services.look("soon").await;
    assert_eq!(view.message.retried, 0, "waiting is no failure");
}

#[tokio::test]
async fn what_no_attempt_can_mend_is_archived_at_once() {
    let services = Services::start(0, 5).await;
    let _worker = services.worker(&[]);
    for kind in ["check-order-status", "delete-expire-order"] {
        for (name, payload, part) in [
            ("unknown", r#"{"order_id": 4711}"#, "NOT_FOUND"),
            ("version", r#"{"version": 2, "order": {"id": 1}}"#, "its version is not 1"),
            ("negative", r#"{"order_id": -1}"#, "order_id is out of range"),
            ("none", "", "missing field `order_id`"),
        ] {
            let id = format!("{kind}-{name}");
            services.enqueue(kind, &id, payload).await;
            let error = services.error(&id, State::Archived).await;
            assert!(error.contains(part), "{id}: {error}");
        }
    }
}

#[tokio::test]
async fn the_rpc_blocks_of_a_workers_file_say_where_the_services_are() {
    let services = Services::start(0, 5).await;
    let customer = services.customer();
    let paid = customer.order(HOUR).await;
    customer.pay(&paid).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mq.yaml");
    let (address, nobody) = (&services.address, crate::support::http::free_address().await);
    // Of two addresses one answers.
    let text = format!(
        "OrderRpcConf: {{Endpoints: ['{address}', '{nobody}'], NonBlock: true}}\n\
         TradeRpcConf: {{Target: 'dns:///{address}'}}\n"
    );
    std::fs::write(&file, text).unwrap();
    let _worker = services.worker_by(&file);
    services.enqueue("check-order-status", "check", &payload(&paid)).await;
    assert_eq!(services.result("check").await, told(&paid, "completed", "completed"));
}
