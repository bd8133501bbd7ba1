//! Paying and closing the same orders at the same moment.

use cronmill::rpc::order::v1::{CloseUnpaidOrderRequest, Order, OrderStatus};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tonic::Code;

use crate::stage::{LIMIT, Shop, Sort};
use crate::support::{full_size, until};
use crate::truth;

/// Orders of which something is asked at the same time.
const CALLS_AT_ONCE: usize = 200;

on_both_databases!(paying_and_closing_at_once_ends_each_order_in_one_state);

async fn paying_and_closing_at_once_ends_each_order_in_one_state(sort: Sort) {
    let number = full_size(120, 5_000);
    let shop = Shop::start(sort).await;
    let clients = shop.clients();
    // Stock for all of them.
    shop.database.judge("UPDATE resources SET stock = stock + 10000, stock_start = stock_start + 10000");
    let placed =
        (0..number).map(|at| {
            let clients = clients.clone();
            async move {
                tokio::spawn(async move { clients.order("", at % 10 + 1, 1).await.unwrap() }).await.unwrap()
            }
        });
    let orders: Vec<Order> = stream::iter(placed).buffer_unordered(CALLS_AT_ONCE).collect().await;
    let last = orders.iter().map(|order| order.pay_by.unwrap().seconds).max().unwrap();
    until(LIMIT, "all are past their time", async || Timestamp::now().as_second() > last).await;

    let crossing = orders.iter().cloned().enumerate().map(|(at, order)| {
        let (clients, mut closing) = (clients.clone(), clients.orders.clone());
        let both = async move {
            let close = CloseUnpaidOrderRequest { order_id: order.id };
            let (paid, closed) = if at % 2 == 0 {
                tokio::join!(clients.pay(&order), closing.close_unpaid_order(close))
            } else {
                let (closed, paid) = tokio::join!(closing.close_unpaid_order(close), clients.pay(&order));
                (paid, closed)
            };
            (paid, closed.unwrap().into_inner())
        };
        async move { tokio::spawn(both).await.unwrap() }
    });
    let (mut paid, mut closed) = (0, 0);
    let ends: Vec<_> = stream::iter(crossing).buffer_unordered(CALLS_AT_ONCE).collect().await;
    for (pay, close) in ends {
        match (pay, close.closed) {
            (Ok(answer), false) => {
                assert!(answer.paid);
                assert_eq!(close.order.unwrap().status(), OrderStatus::Paid);
                paid += 1;
            }
            (Err(refused), true) => {
                assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
                closed += 1;
            }
            other => panic!("both or neither: {other:?}"),
        }
    }
    assert!(paid > 0 && closed > 0, "{paid} paid, {closed} closed");
    assert_eq!(paid + closed, number);
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM orders WHERE status = 'paid'"), paid);
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM orders WHERE status = 'closed'"), closed);
    truth::assert_holds(&shop.database);
}
