//! What is refused, with which code, and that it changes nothing.

use cronmill::rpc::order::v1::{
    CloseBatchRequest, CloseUnpaidOrderRequest, CompleteOrderRequest, CreateOrderRequest, GetOrderRequest,
    ListBatchRequest, OpenBatchRequest, RefundOrderRequest,
};
use cronmill::rpc::trade::v1::{
    CreditBatchRequest, GetEarningsRequest, GetPaymentRequest, PayOrderRequest, UserAmount,
};
use tonic::{Code, Status};

use crate::stage::{Clients, Shop, Sort, money};
use crate::truth;

on_both_databases!(
    wrong_orders_are_refused_and_take_no_stock,
    wrong_payments_are_refused_and_not_recorded,
    wrong_totals_are_refused_and_credit_nothing,
);

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let refused = answer.expect_err(text);
    assert!(refused.code() == code && refused.message().contains(text), "{text}: {refused}");
}

fn order(user_id: i64, resource_id: i64, quantity: i64) -> CreateOrderRequest {
    CreateOrderRequest { user_id, resource_id, quantity, ..CreateOrderRequest::default() }
}

async fn wrong_orders_are_refused_and_take_no_stock(sort: Sort) {
    let shop = Shop::start(sort).await;
    shop.database.judge("UPDATE resources SET price_minor = 4611686018427387904 WHERE id = 2");
    let Clients { mut orders, .. } = shop.clients();
    for (request, code, text) in [
        (order(11, 1, 1), Code::NotFound, "there is no user 11"),
        (order(1, 101, 1), Code::NotFound, "there is no resource 101"),
        (order(0, 1, 1), Code::InvalidArgument, "user_id is 0 (allowed: 1 and more)"),
        (order(1, 1, -1), Code::InvalidArgument, "quantity is -1 (allowed: 1 and more)"),
        (order(1, 1, i64::MAX), Code::ResourceExhausted, "resource 1 has less than 9223372036854775807 left"),
        (order(1, 2, 2), Code::InvalidArgument, "cost more than can be stored"),
        (
            CreateOrderRequest { request_id: "x".repeat(201), ..order(1, 1, 1) },
            Code::InvalidArgument,
            "request_id is 201 bytes",
        ),
        (
            CreateOrderRequest { pay_within: Some(prost_types::Duration::default()), ..order(1, 1, 1) },
            Code::InvalidArgument,
            "pay_within is 0.000000000 s (allowed: 1 s to 30 days)",
        ),
    ] {
        assert_refused(orders.create_order(request).await, code, text);
    }
    let missing = "there is no order 999";
    assert_refused(orders.get_order(GetOrderRequest { order_id: 999 }).await, Code::NotFound, missing);
    assert_refused(
        orders.complete_order(CompleteOrderRequest { order_id: 999 }).await,
        Code::NotFound,
        missing,
    );
    assert_refused(orders.refund_order(RefundOrderRequest { order_id: 999 }).await, Code::NotFound, missing);
    let close = CloseUnpaidOrderRequest { order_id: 999 };
    assert_refused(orders.close_unpaid_order(close).await, Code::NotFound, missing);
    for table in ["orders", "outbox", "ledger"] {
        assert_eq!(shop.database.count(&format!("SELECT COUNT(*) FROM {table}")), 0, "{table}");
    }
    truth::assert_holds(&shop.database);
}

async fn wrong_payments_are_refused_and_not_recorded(sort: Sort) {
    let shop = Shop::start(sort).await;
    let clients = shop.clients();
    let first = clients.order("", 1, 60).await.unwrap();
    let second = clients.order("", 2, 60).await.unwrap();
    let minor = first.amount.as_ref().unwrap().minor;
    let pay = |payment_id: &str, order_id, amount| PayOrderRequest {
        payment_id: payment_id.to_owned(),
        order_id,
        amount,
    };
    let Clients { mut trade, mut orders, .. } = clients.clone();
    for (request, code, text) in [
        (pay("p", 999, money(1, "CNY")), Code::NotFound, "there is no order 999"),
        (pay("p", first.id, money(-1, "CNY")), Code::InvalidArgument, "amount.minor is -1"),
        (
            pay("p", first.id, money(minor, "USD")),
            Code::InvalidArgument,
            "pay its whole amount in its currency",
        ),
        (
            pay("p", first.id, money(minor - 1, "CNY")),
            Code::InvalidArgument,
            "pay its whole amount in its currency",
        ),
        (pay("p", first.id, money(minor, "yuan")), Code::InvalidArgument, "amount.currency is \"yuan\""),
        (pay("p", first.id, None), Code::InvalidArgument, "amount is absent"),
        (pay("", first.id, money(minor, "CNY")), Code::InvalidArgument, "payment_id is empty"),
    ] {
        assert_refused(trade.pay_order(request).await, code, text);
    }
    assert_refused(
        orders.complete_order(CompleteOrderRequest { order_id: first.id }).await,
        Code::FailedPrecondition,
        "it is pending; only one that is paid can",
    );
    assert_refused(
        trade.get_payment(GetPaymentRequest { order_id: first.id }).await,
        Code::NotFound,
        "there is no payment of order",
    );
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM payments"), 0);

    // What belongs to one payment is not taken for another.
    trade.pay_order(pay("p", first.id, money(minor, "CNY"))).await.unwrap();
    let other = trade.pay_order(pay("p", second.id, second.amount.clone())).await;
    assert_refused(other, Code::AlreadyExists, "payment_id belongs to a payment of");
    let twice = trade.pay_order(pay("q", first.id, money(minor, "CNY"))).await;
    assert_refused(twice, Code::FailedPrecondition, "it is paid; only one that is pending can");
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM payments"), 1);
    truth::assert_holds(&shop.database);
}

async fn wrong_totals_are_refused_and_credit_nothing(sort: Sort) {
    let shop = Shop::start(sort).await;
    let clients = shop.clients();
    let order = clients.order("", 1, 60).await.unwrap();
    clients.pay(&order).await.unwrap();
    let Clients { mut trade, mut orders, .. } = clients.clone();
    let open = |run: &str, max| OpenBatchRequest { run: run.to_owned(), max };
    assert_refused(orders.open_batch(open("", 1)).await, Code::InvalidArgument, "run is empty");
    assert_refused(
        orders.open_batch(open("r", -1)).await,
        Code::InvalidArgument,
        "max is -1 (allowed: 1 to 100000",
    );
    let batch = orders.open_batch(open("r", 1)).await.unwrap().into_inner().batch.unwrap().id;
    let list =
        |batch_id: &str, limit| ListBatchRequest { batch_id: batch_id.to_owned(), after_entry: 0, limit };
    assert_refused(orders.list_batch(list("none", 1)).await, Code::NotFound, "there is no batch none");
    assert_refused(orders.list_batch(list(&batch, 10_001)).await, Code::InvalidArgument, "limit is 10001");
    let close = CloseBatchRequest { batch_id: "none".to_owned() };
    assert_refused(orders.close_batch(close).await, Code::NotFound, "there is no batch none");

    let line = |user_id, minor| UserAmount { user_id, amount: money(minor, "CNY") };
    let credit = |batch_id: &str, totals| CreditBatchRequest { batch_id: batch_id.to_owned(), totals };
    shop.database.judge("INSERT INTO earnings VALUES (9, 'CNY', 9223372036854775807, 0)");
    for (request, code, text) in [
        (credit("none", vec![line(1, 1)]), Code::NotFound, "there is no batch none"),
        (credit(&batch, vec![line(1, 1), line(11, 1)]), Code::NotFound, "there is no user of the totals"),
        (
            credit(&batch, vec![line(1, 1), line(1, 2)]),
            Code::InvalidArgument,
            "totals has user 1 in CNY twice",
        ),
        (
            credit(&batch, vec![line(1, 1), line(9, 1)]),
            Code::InvalidArgument,
            "larger than what can be stored",
        ),
        (credit(&batch, vec![line(-4, 1)]), Code::InvalidArgument, "totals.user_id is -4"),
    ] {
        assert_refused(trade.credit_batch(request).await, code, text);
    }
    assert_refused(
        trade.get_earnings(GetEarningsRequest { user_id: 11 }).await,
        Code::NotFound,
        "there is no user 11",
    );
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM credited_batches"), 0);
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM earnings"), 1, "only what this test wrote");
    assert_eq!(shop.database.judge("SELECT amount_minor FROM earnings"), ["9223372036854775807"]);
}
