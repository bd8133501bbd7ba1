//! Many orders that are due at about the same time, and payments that come just then.

use std::time::Duration;

use cronmill::rpc::order::v1::Order;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tonic::Code;

use crate::services::{Customer, Services};
use crate::support::{full_size, until};

/// Orders that are placed at once.
const CALLS_AT_ONCE: usize = 32;

/// Waits for an order's deadline and pays it then, or up to three seconds later, while its task closes it; answers
/// whether that was in time.
async fn pays_at_the_deadline(customer: Customer, order: Order) -> (i64, bool) {
    let due = order.pay_by.expect("it has a deadline");
    let after = Duration::from_millis(300 * u64::try_from(order.id % 10).expect("no less than none"));
    let due = Timestamp::new(due.seconds, due.nanos).expect("a time") + after;
    tokio::time::sleep(Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default()).await;
    match customer.try_to_pay(&order).await {
        Ok(()) => (order.id, true),
        Err(refused) if refused.code() == Code::FailedPrecondition => (order.id, false),
        Err(failed) => panic!("order {}: {failed}", order.id),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_fall_due_while_payments_arrive_end_in_exactly_one_state() {
    let (number, pay_within, limit) = full_size(
        (200, Duration::from_secs(5), Duration::from_secs(60)),
        (10_000, Duration::from_secs(60), Duration::from_secs(300)),
    );
    let services = Services::start(0, 5).await;
    let customer = services.customer();
    let _worker = services.worker(&["--queues=expiry"]);
    services
        .judge("UPDATE resources SET stock = stock + 10000, stock_start = stock_start + 10000 WHERE id = 1");
    let stock = services.number("SELECT stock FROM resources WHERE id = 1");

    let placed = stream::iter(0..number).map(|_| customer.order(pay_within)).buffer_unordered(CALLS_AT_ONCE);
    // A task of its own for each, since they pay while others are still being placed.
    let mut paying = Vec::new();
    let (mut first, mut last) = (i64::MAX, 0);
    let mut placed = std::pin::pin!(placed.enumerate());
    while let Some((at, order)) = placed.next().await {
        let due = order.pay_by.expect("it has a deadline").seconds;
        (first, last) = (first.min(due), last.max(due));
        if at % 2 == 0 {
            paying.push(tokio::spawn(pays_at_the_deadline(customer.clone(), order)));
        }
    }
    let (mut paid, mut refused) = (Vec::new(), Vec::new());
    for payment in paying {
        let (order, is_paid) = payment.await.expect("it was answered");
        if is_paid { &mut paid } else { &mut refused }.push(order);
    }
    let left = "SELECT COUNT(*) FROM orders WHERE status = 'pending'";
    until(limit, "no order is pending", async || services.number(left) == 0).await;
    until(limit, "each order's task is done", async || {
        services.redis.cli(["GET", "asynq:{expiry}:processed"]) == number.to_string()
    })
    .await;

    let ids = |status: &str| -> Vec<i64> {
        let rows = services.judge(&format!("SELECT id FROM orders WHERE status = '{status}' ORDER BY id"));
        rows.iter().map(|id| id.parse().expect("a number")).collect()
    };
    let (in_time, closed) = (ids("paid"), ids("closed"));
    println!(
        "{number} orders due within {} s: {} paid at the deadline, {} closed, {} payments refused",
        last - first + 1,
        in_time.len(),
        closed.len(),
        refused.len()
    );
    paid.sort_unstable();
    assert!(!paid.is_empty() && !refused.is_empty(), "payments came before and after");
    assert_eq!(in_time, paid, "who was told that it is paid has paid, and nobody else");
    assert!(
        refused.iter().all(|order| closed.binary_search(order).is_ok()),
        "a refused payment's order is closed"
    );
    assert_eq!(in_time.len() + closed.len(), number);
    assert!(last - first < 60, "they are due within a minute");
    let now = services.number("SELECT stock FROM resources WHERE id = 1");
    assert_eq!(now, stock - i64::try_from(in_time.len()).expect("few"), "closed orders gave theirs back");
    let known = services.number("SELECT COUNT(*) FROM payments");
    assert_eq!(known, i64::try_from(paid.len()).expect("few"));
    assert_eq!(services.redis.cli(["GET", "asynq:{expiry}:failed"]), "");
}
