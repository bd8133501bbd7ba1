//! What the services do when all is well.

use std::collections::BTreeSet;

use cronmill::rpc::order::v1::{
    CloseBatchRequest, CloseUnpaidOrderRequest, CompleteOrderRequest, CreateOrderRequest, GetOrderRequest,
    ListBatchRequest, OpenBatchRequest, OrderStatus, RefundOrderRequest,
};
use cronmill::rpc::resources::v1::{GetResourceRequest, ListResourcesRequest};
use cronmill::rpc::trade::v1::{
    CreditBatchRequest, GetEarningsRequest, GetPaymentRequest, ListEarningsRequest, UserAmount,
};
use tonic::Code;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::counting::settle;
use crate::stage::{Database, LIMIT, Shop, Sort, cronmill};
use crate::support::until;
use crate::truth;

on_both_databases!(
    an_order_is_placed_paid_completed_and_refunded_once,
    very_many_calls_at_once_on_one_connection_are_all_answered,
    a_batch_is_counted_once,
    reflection_and_health_name_the_services,
    a_generated_shop_holds_together_and_its_unpaid_orders_get_their_tasks,
);

async fn an_order_is_placed_paid_completed_and_refunded_once(sort: Sort) {
    let shop = Shop::start(sort).await;
    let mut clients = shop.clients();
    let resource = clients.resources.get_resource(GetResourceRequest { resource_id: 3 }).await.unwrap();
    let resource = resource.into_inner().resource.unwrap();
    let price = resource.price.clone().unwrap();

    let request = CreateOrderRequest {
        request_id: "basket 1".to_owned(),
        user_id: 2,
        resource_id: 3,
        quantity: 2,
        pay_within: None,
    };
    let placed = clients.orders.create_order(request.clone()).await.unwrap().into_inner();
    let order = placed.order.unwrap();
    assert!(placed.created);
    assert_eq!(order.status(), OrderStatus::Pending);
    let amount = order.amount.clone().unwrap();
    assert_eq!((amount.minor, &amount.currency), (price.minor * 2, &price.currency));
    assert_eq!(order.pay_by.unwrap().seconds - order.created_at.unwrap().seconds, 1800);
    let again = clients.orders.create_order(request.clone()).await.unwrap().into_inner();
    assert_eq!((again.created, again.order.as_ref()), (false, Some(&order)));
    let other = clients.orders.create_order(CreateOrderRequest { quantity: 1, ..request }).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other}");

    // Its task is in Redis, once, for its deadline.
    let id = format!("expire-order-{}", order.id);
    until(LIMIT, "the order's task is enqueued", async || shop.tasks() == [id.clone()]).await;
    let due: i64 = shop.redis.cli(["ZSCORE", "asynq:{default}:scheduled", &id]).parse().unwrap();
    let pay_by = order.pay_by.unwrap();
    assert_eq!(due, pay_by.seconds + i64::from(pay_by.nanos > 0));
    until(LIMIT, "the outbox is empty", async || shop.database.count("SELECT COUNT(*) FROM outbox") == 0)
        .await;

    // Not due: it stays. Paid: it stays as well.
    let close = CloseUnpaidOrderRequest { order_id: order.id };
    let left = clients.orders.close_unpaid_order(close).await.unwrap().into_inner();
    assert_eq!((left.closed, left.order.unwrap().status()), (false, OrderStatus::Pending));
    assert!(clients.pay(&order).await.unwrap().paid);
    assert!(!clients.pay(&order).await.unwrap().paid, "the same payment is taken once");
    let payment =
        clients.trade.get_payment(GetPaymentRequest { order_id: order.id }).await.unwrap().into_inner();
    assert_eq!(payment.payment.unwrap().amount, order.amount);
    let left = clients.orders.close_unpaid_order(close).await.unwrap().into_inner();
    assert_eq!((left.closed, left.order.unwrap().status()), (false, OrderStatus::Paid));

    let complete = CompleteOrderRequest { order_id: order.id };
    assert!(clients.orders.complete_order(complete).await.unwrap().into_inner().completed);
    assert!(!clients.orders.complete_order(complete).await.unwrap().into_inner().completed);
    truth::assert_holds(&shop.database);
    let refund = RefundOrderRequest { order_id: order.id };
    assert!(clients.orders.refund_order(refund).await.unwrap().into_inner().refunded);
    assert!(!clients.orders.refund_order(refund).await.unwrap().into_inner().refunded);
    let read = clients.orders.get_order(GetOrderRequest { order_id: order.id }).await.unwrap().into_inner();
    assert_eq!(read.order.unwrap().status(), OrderStatus::Refunded);
    let listed =
        clients.resources.list_resources(ListResourcesRequest { after_resource_id: 2, limit: 1 }).await;
    assert_eq!(listed.unwrap().into_inner().resources, [resource], "its stock is back");
    truth::assert_holds(&shop.database);
}

async fn very_many_calls_at_once_on_one_connection_are_all_answered(sort: Sort) {
    let shop = Shop::start(sort).await;
    let clients = shop.clients();
    let calls = (0..8_000).map(|_| {
        let mut resources = clients.resources.clone();
        tokio::spawn(async move { resources.get_resource(GetResourceRequest { resource_id: 1 }).await })
    });
    for answer in futures::future::join_all(calls).await {
        assert!(answer.unwrap().is_ok_and(|answer| answer.into_inner().resource.is_some()));
    }
}

async fn a_batch_is_counted_once(sort: Sort) {
    let shop = Shop::start(sort).await;
    let mut clients = shop.clients();
    let mut orders = Vec::new();
    for user in 1..=3 {
        let order = clients.order("", user, 60).await.unwrap();
        clients.pay(&order).await.unwrap();
        orders.push(order);
    }
    let open = |run: &str, max| OpenBatchRequest { run: run.to_owned(), max };
    let first = clients.orders.open_batch(open("a", 2)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(first.entries, 2);
    // Whoever asks meanwhile gets the same one.
    let shared = clients.orders.open_batch(open("b", 100)).await.unwrap().into_inner().batch.unwrap();
    assert_eq!(shared, first);
    let close = CloseBatchRequest { batch_id: first.id.clone() };
    let early = clients.orders.close_batch(close.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "{early}");

    let mut entries = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry: &cronmill::rpc::order::v1::LedgerEntry| entry.id);
        let page = ListBatchRequest { batch_id: first.id.clone(), after_entry: after, limit: 1 };
        let page = clients.orders.list_batch(page).await.unwrap().into_inner().entries;
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    let paid: Vec<_> =
        orders.iter().take(2).map(|order| (order.id, order.user_id, order.amount.clone())).collect();
    let listed: Vec<_> =
        entries.iter().map(|entry| (entry.order_id, entry.user_id, entry.amount.clone())).collect();
    assert_eq!(listed, paid);

    let totals =
        entries.iter().map(|entry| UserAmount { user_id: entry.user_id, amount: entry.amount.clone() });
    let credit = CreditBatchRequest { batch_id: first.id.clone(), totals: totals.collect() };
    assert!(clients.trade.credit_batch(credit.clone()).await.unwrap().into_inner().credited);
    assert!(!clients.trade.credit_batch(credit).await.unwrap().into_inner().credited, "credited once");
    assert!(clients.orders.close_batch(close.clone()).await.unwrap().into_inner().closed);
    assert!(!clients.orders.close_batch(close).await.unwrap().into_inner().closed);
    truth::assert_holds(&shop.database);

    // The third, and the refund of the first, are in the next one.
    clients.orders.refund_order(RefundOrderRequest { order_id: orders[0].id }).await.unwrap();
    assert_eq!(settle(&clients, "c", 0).await, 2);
    assert_eq!(clients.orders.open_batch(open("c", 0)).await.unwrap().into_inner().batch, None);
    truth::assert_holds(&shop.database);
    assert_eq!(truth::uncounted(&shop.database), [""; 0]);
    let earned = clients.trade.get_earnings(GetEarningsRequest { user_id: 1 }).await.unwrap().into_inner();
    assert_eq!(earned.earnings.iter().map(|money| money.minor).collect::<Vec<_>>(), [0], "paid and refunded");
    let list = ListEarningsRequest { after_user_id: 1, after_currency: "ZZZ".to_owned(), limit: 0 };
    let list = clients.trade.list_earnings(list).await.unwrap().into_inner().earnings;
    let list: Vec<_> = list.into_iter().map(|line| (line.user_id, line.amount)).collect();
    assert_eq!(
        list,
        orders[1..].iter().map(|order| (order.user_id, order.amount.clone())).collect::<Vec<_>>()
    );
}

async fn reflection_and_health_name_the_services(sort: Sort) {
    let shop = Shop::start(sort).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(shop.channel());
    let mut answers =
        client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in [
        "cronmill.shop.order.v1.OrderService",
        "cronmill.shop.resources.v1.ResourcesService",
        "cronmill.shop.trade.v1.TradeService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(name), "{name} in {names:?}");
        let mut health = tonic_health::pb::health_client::HealthClient::new(shop.channel());
        let check = tonic_health::pb::HealthCheckRequest { service: name.to_owned() };
        if name.starts_with("cronmill.") {
            assert_eq!(health.check(check).await.unwrap().into_inner().status, 1, "{name}");
        }
    }
}

async fn a_generated_shop_holds_together_and_its_unpaid_orders_get_their_tasks(sort: Sort) {
    let database = Database::empty(sort);
    database.generate(3_000, 50);
    truth::assert_holds(&database);
    // The same on either database, so both are compared with one answer.
    let sums = "SELECT status, COUNT(*), SUM(amount_minor), SUM(user_id) FROM orders GROUP BY status ORDER BY status";
    let of_seed_7 = other(sort);
    of_seed_7.generate(3_000, 50);
    assert_eq!(database.judge(sums), of_seed_7.judge(sums));
    assert_eq!(database.judge(sums).len(), 5, "there are orders in every state");

    let flags = ["--orders", "1", "--users", "1"];
    let full = cronmill().args(["shop", "generate"]).args(database.flags()).args(flags).output().unwrap();
    assert_eq!(full.status.code(), Some(2), "{full:?}");
    let flags = ["--orders", "1", "--users", "1", "--if-empty"];
    let full = cronmill().args(["shop", "generate"]).args(database.flags()).args(flags).output().unwrap();
    assert_eq!(full.status.code(), Some(0), "{full:?}");
    assert_eq!(database.count("SELECT COUNT(*) FROM orders"), 3_000);

    let flags = ["--users", "0", "--if-empty"];
    let nobody = cronmill().args(["shop", "generate"]).args(database.flags()).args(flags).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");

    let shop = Shop::on(database, &[]).await;
    let unpaid = "SELECT 'expire-order-' || id FROM orders WHERE status = 'pending' ORDER BY 1";
    let unpaid: BTreeSet<String> = shop.database.judge(unpaid).into_iter().collect();
    assert!(unpaid.len() > 5, "{unpaid:?}");
    until(LIMIT, "unpaid orders have their tasks", async || {
        shop.tasks().into_iter().collect::<BTreeSet<_>>() == unpaid
    })
    .await;
    let clients = shop.clients();
    settle(&clients, "run", 500).await;
    truth::assert_holds(&shop.database);
    assert_eq!(truth::uncounted(&shop.database), [""; 0]);
    // The next order has a number of its own.
    assert_eq!(clients.order("", 1, 60).await.unwrap().id, 3_001);
}

fn other(sort: Sort) -> Database {
    Database::empty(if sort == Sort::Sqlite { Sort::Postgres } else { Sort::Sqlite })
}
