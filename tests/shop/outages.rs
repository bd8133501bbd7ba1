//! Redis away, the database away, read-only or half made, TLS, deadlines, and how the program ends.

use std::time::{Duration, Instant};

use cronmill::rpc::order::v1::GetOrderRequest;
use cronmill::rpc::trade::v1::PayOrderRequest;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Code, Request};
use tonic_health::ServingStatus;

use crate::stage::{Clients, Database, LIMIT, Shop, Sort, cronmill, serve};
use crate::support::postgres::url;
use crate::support::tls::Certificates;
use crate::support::{Proxy, RedisServer, full_size, http, until};
use crate::truth;

on_both_databases!(
    orders_are_taken_while_redis_is_away_and_get_their_tasks,
    tables_of_another_make_are_refused_and_nothing_is_left_of_the_try,
    tls_is_served_to_who_trusts_its_authority,
    a_drain_ends_the_program_and_leaves_nothing_behind,
);

async fn orders_are_taken_while_redis_is_away_and_get_their_tasks(sort: Sort) {
    let database = Database::empty(sort);
    database.generate(0, 10);
    let metrics = http::free_address().await;
    let mut shop = Shop::on(database, &["--metrics-listen", &metrics.to_string()]).await;
    let clients = shop.clients();
    shop.redis.kill9();
    for user in 1..=3 {
        clients.order("", user, 3600).await.unwrap();
    }
    let told = async |rows: &str| {
        let (_, text) = http::get(metrics, "/metrics").await.unwrap_or_default();
        text.lines().any(|line| line == format!("cronmill_shop_outbox_rows {rows}"))
    };
    until(LIMIT, "the metric says that three wait", async || told("3").await).await;
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM outbox"), 3);
    shop.redis.start_again();
    until(LIMIT, "all have their tasks", async || shop.tasks().len() == 3).await;
    until(LIMIT, "the metric says that none wait", async || told("0").await).await;
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM outbox"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for_and_said() {
    let away = full_size(Duration::from_secs(2), Duration::from_secs(30));
    let mut shop = Shop::start(Sort::Postgres).await;
    let clients = shop.clients();
    let order = clients.order("", 1, 3600).await.unwrap();
    shop.database.postgres().stop();
    let since = Instant::now();
    until(LIMIT, "health says so", async || shop.health().await == Some(ServingStatus::NotServing)).await;
    until(LIMIT, "it is away for a while", async || {
        let asked = Instant::now();
        let refused = clients.pay(&order).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(asked.elapsed() < Duration::from_secs(8), "it is said soon");
        since.elapsed() > away
    })
    .await;
    shop.database.postgres().start_again();
    shop.ready().await;
    assert!(clients.pay(&order).await.unwrap().paid);
    truth::assert_holds(&shop.database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_connections_are_cut_loses_and_doubles_nothing() {
    const ORDERS: i64 = 40;
    let mut database = Database::empty(Sort::Postgres);
    database.generate(0, 10);
    let proxy = Proxy::to(database.postgres().port()).await;
    let through = url(proxy.port());
    let shop = Shop::on(database, &["--database-url", &through]).await;
    let clients = shop.clients();
    for at in 0..ORDERS {
        let request = format!("request {at}");
        let calling = clients.order(&request, 1, 3600);
        let (answer, ()) = tokio::join!(calling, async {
            tokio::task::yield_now().await;
            proxy.cut_all();
        });
        if answer.is_err() {
            until(LIMIT, "asked again, it is there", async || clients.order(&request, 1, 3600).await.is_ok())
                .await;
        }
    }
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM orders"), ORDERS);
    until(LIMIT, "all have their tasks", async || shop.tasks().len() as i64 == ORDERS).await;
    truth::assert_holds(&shop.database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_is_read_and_said() {
    let mut shop = Shop::start(Sort::Postgres).await;
    let order = shop.clients().order("", 1, 3600).await.unwrap();
    until(LIMIT, "its task is enqueued", async || shop.tasks().len() == 1).await;
    shop.database.judge("ALTER DATABASE shop SET default_transaction_read_only = on");
    // Also from the start: tables that are there need no write.
    shop.service.kill9();
    shop.start_again().await;
    let clients = shop.clients();
    let refused = clients.pay(&order).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("the database is read-only"), "{refused}");
    let read = clients.orders.clone().get_order(GetOrderRequest { order_id: order.id }).await.unwrap();
    assert_eq!(read.into_inner().order, Some(order.clone()));
    shop.database.judge("BEGIN READ WRITE; ALTER DATABASE shop RESET default_transaction_read_only; COMMIT");
    shop.service.kill9();
    shop.start_again().await;
    assert!(shop.clients().pay(&order).await.unwrap().paid);
    truth::assert_holds(&shop.database);
}

async fn tables_of_another_make_are_refused_and_nothing_is_left_of_the_try(sort: Sort) {
    let database = Database::empty(sort);
    // The step fails in its middle: after users, resources and orders.
    database.judge("CREATE TABLE earnings (x INTEGER)");
    let redis = RedisServer::start();
    let flags: Vec<String> =
        database.flags().into_iter().chain(["--redis-url".to_owned(), redis.url()]).collect();
    let mut service = serve("127.0.0.1:0", &flags);
    assert_eq!(service.exit(LIMIT).await.code(), Some(2));
    let stderr = service.all_stderr(LIMIT).await.join("\n");
    assert!(stderr.contains("the database's tables are not those of this version"), "{stderr}");
    let tables = match sort {
        Sort::Sqlite => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\'"
        }
        Sort::Postgres => {
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\\_sqlx%'"
        }
    };
    assert_eq!(database.judge(tables), ["earnings"]);
    database.judge("DROP TABLE earnings");
    database.generate(0, 10);
    let shop = Shop::on(database, &[]).await;
    shop.clients().order("", 1, 3600).await.unwrap();

    // Nor does it go on with what a later version made.
    let later = match sort {
        Sort::Sqlite => {
            "INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, true, x'00', 1)"
        }
        Sort::Postgres => "INSERT INTO _sqlx_migrations VALUES (9999, 'later', now(), true, '\\x00', 1)",
    };
    shop.database.judge(later);
    let flags: Vec<String> =
        shop.database.flags().into_iter().chain(["--redis-url".to_owned(), redis.url()]).collect();
    let mut service = serve("127.0.0.1:0", &flags);
    assert_eq!(service.exit(LIMIT).await.code(), Some(2), "{service:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_while_it_makes_its_tables_makes_them_next_time() {
    let mut database = Database::empty(Sort::Postgres);
    let redis = RedisServer::start();
    // The same name, not committed: the step waits for it in its middle.
    let session = database.postgres().session("BEGIN; CREATE TABLE outbox (x INTEGER)");
    session.line(LIMIT, |line| line == "held").await;
    let flags: Vec<String> =
        database.flags().into_iter().chain(["--redis-url".to_owned(), redis.url()]).collect();
    let mut service = serve("127.0.0.1:0", &flags);
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%CREATE TABLE users%'";
    until(LIMIT, "it is in the middle", async || database.count(waits) > 0).await;
    service.kill9();
    drop(session);
    let others = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = 'shop' AND pid <> pg_backend_pid()";
    database.judge(others);
    assert_eq!(database.count("SELECT COUNT(*) FROM pg_tables WHERE tablename = 'orders'"), 0);
    database.generate(0, 10);
    Shop::on(database, &[]).await.clients().order("", 1, 3600).await.unwrap();
}

async fn tls_is_served_to_who_trusts_its_authority(sort: Sort) {
    let certificates = Certificates::shared();
    let (certificate, key) =
        (certificates.certificate.display().to_string(), certificates.key.display().to_string());
    let database = Database::empty(sort);
    database.generate(0, 10);
    let shop = Shop::on(database, &["--tls-cert", &certificate, "--tls-key", &key]).await;
    let channel = async |authority: Option<&Certificates>| {
        let tls = ClientTlsConfig::new();
        let tls = match authority {
            Some(made) => tls.ca_certificate(Certificate::from_pem(std::fs::read(&made.authority).unwrap())),
            None => tls,
        };
        let endpoint = Channel::from_shared(format!("https://{}", shop.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    };
    let trusting = channel(Some(&*certificates)).await.unwrap();
    until(LIMIT, "an order is taken over TLS", async || {
        Clients::of(trusting.clone()).order("", 1, 60).await.is_ok()
    })
    .await;
    let others = Certificates::shared();
    assert!(channel(Some(&*others)).await.is_err(), "another authority");
    assert!(channel(None).await.is_err(), "the public ones");
    assert!(Clients::of(shop.channel()).order("", 1, 60).await.is_err(), "without TLS");
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM orders"), 1);
    // A key that is not the certificate's is seen at the start.
    let other = others.key.display().to_string();
    for (key, text) in
        [(other.as_str(), "serve TLS with the certificate and key given"), ("/nothing", "read /nothing")]
    {
        let flags =
            ["shop", "serve", "--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", key];
        let ran = cronmill().args(flags).args(shop.database.flags()).output().unwrap();
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.code() == Some(2) && stderr.contains(text), "{stderr}");
    }
}

async fn a_drain_ends_the_program_and_leaves_nothing_behind(sort: Sort) {
    let mut shop = Shop::start(sort).await;
    let clients = shop.clients();
    let placing: Vec<_> = (0..20)
        .map(|at| {
            let clients = clients.clone();
            tokio::spawn(async move { clients.order(&format!("request {at}"), 1, 3600).await })
        })
        .collect();
    until(LIMIT, "some are placed", async || shop.database.count("SELECT COUNT(*) FROM orders") > 3).await;
    shop.service.terminate();
    let placed = futures::future::join_all(placing).await;
    let placed = placed.into_iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    assert_eq!(shop.service.exit(LIMIT).await.code(), Some(0));
    // Whoever was answered has an order, and every order its task, before the program has ended.
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM outbox"), 0);
    assert_eq!(shop.tasks().len() as i64, shop.database.count("SELECT COUNT(*) FROM orders"));
    assert!(shop.tasks().len() >= placed, "{placed}");
    truth::assert_holds(&shop.database);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_under_way_is_answered_through_a_drain_and_one_past_its_deadline_changes_nothing() {
    let mut shop = Shop::start(Sort::Postgres).await;
    let clients = shop.clients();
    let order = clients.order("", 1, 3600).await.unwrap();
    let lock = format!("BEGIN; SELECT id FROM orders WHERE id = {} FOR UPDATE", order.id);
    let session = shop.database.postgres().session(&lock);
    session.line(LIMIT, |line| line == "held").await;

    let mut late = Request::new(PayOrderRequest {
        payment_id: "late".to_owned(),
        order_id: order.id,
        amount: order.amount.clone(),
    });
    late.set_timeout(Duration::from_millis(300));
    let refused = clients.trade.clone().pay_order(late).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Cancelled | Code::DeadlineExceeded), "{refused}");

    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT id, user_id%'";
    until(LIMIT, "the late one waits no more", async || shop.database.count(waiting) == 0).await;
    let paying = tokio::spawn({
        let (clients, order) = (clients.clone(), order.clone());
        async move { clients.pay(&order).await }
    });
    until(LIMIT, "the payment waits", async || shop.database.count(waiting) == 1).await;
    shop.service.terminate();
    until(LIMIT, "it drains", async || shop.service.stderr().iter().any(|line| line.contains("draining")))
        .await;
    drop(session);
    shop.database.judge(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)'
         AND pid <> pg_backend_pid()",
    );
    assert!(paying.await.unwrap().unwrap().paid);
    assert_eq!(shop.service.exit(LIMIT).await.code(), Some(0));
    assert_eq!(shop.database.judge("SELECT id FROM payments"), [format!("payment of {}", order.id)]);
    truth::assert_holds(&shop.database);
}
