//! `update-user-earn` over the shop's real services: exact totals, whatever dies meanwhile, and what is said when the
//! services cannot be used.

use std::time::Duration;

use cronmill::producer::Task;
use cronmill::task::State;
use serde_json::json;
use tokio::net::TcpListener;

use crate::services::{LIMIT, Services};
use crate::support::http::free_address;
use crate::support::tls::Certificates;
use crate::support::{full_size, until};

const KIND: &str = "update-user-earn";

/// Many small batches, so that a run can be met in its middle.
const SMALL: &str = r#"{"version": 1, "batch": 100}"#;

#[tokio::test]
async fn totals_of_every_user_are_what_sqlite_sums_from_the_orders() {
    let services = Services::start(20_000, 200).await;
    let _worker = services.worker(&[]);
    let entries = services.number("SELECT COUNT(*) FROM ledger");
    assert!(entries > 15_000, "{entries}");
    // A batch is listed in pages of 10,000.
    services.enqueue(KIND, "first", r#"{"batch": 15000}"#).await;
    let result = services.result("first").await;
    assert_eq!(result["batches"], (entries + 14_999) / 15_000);
    assert_eq!(result["orders"], entries);
    let sums = services.judge(
        "SELECT currency, SUM(amount_minor) FROM orders WHERE status IN ('paid', 'completed') GROUP BY currency",
    );
    let totals = result["totals"].as_object().unwrap();
    let told: Vec<String> = totals.iter().map(|(currency, minor)| format!("{currency}|{minor}")).collect();
    assert_eq!(told, sums);
    assert_eq!(services.wrong(), [""; 0]);
    services.enqueue(KIND, "second", "").await;
    assert_eq!(services.result("second").await, json!({ "batches": 0, "orders": 0, "totals": {} }));
    let customer = services.customer();
    let (paid, refunded) = (customer.order(LIMIT).await, customer.order(LIMIT).await);
    customer.pay(&paid).await;
    customer.pay(&refunded).await;
    customer.refund(&refunded).await;
    services.enqueue(KIND, "third", "").await;
    assert_eq!(services.result("third").await["orders"], 3, "two payments and a refund");
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn a_worker_killed_anywhere_counts_each_order_once() {
    let kills = full_size(6, 100);
    let services = Services::start(full_size(60_000, 400_000), 100).await;
    let mut met = Vec::new();
    for kill in 0..kills {
        let id = format!("run-{kill}");
        services.enqueue(KIND, &id, SMALL).await;
        let before = services.credited();
        let mut worker = services.worker(&["--lease=1s"]);
        until(LIMIT, "some batches are credited", async || services.credited() > before + kill % 5).await;
        worker.kill9();
        let active = services.redis.cli_lines(["LRANGE", "asynq:{default}:active", "0", "-1"]);
        assert!(!active.is_empty(), "killed too late to show anything");
        met.push(format!("{id} with {}", active.len()));
    }
    println!("killed while the last one, and so many in all, were active: {}", met.join(", "));
    let open = services.number("SELECT COUNT(*) FROM batches WHERE closed_at_us IS NULL");
    assert!(open <= 1, "{open} batches are open");
    let _worker = services.worker(&["--lease=1s"]);
    services.enqueue(KIND, "last", SMALL).await;
    // All those runs come back, and are beside each other.
    until(full_size(LIMIT, 10 * LIMIT), "the last run has ended", async || {
        services.look("last").await.state == State::Completed
    })
    .await;
    assert_eq!(services.wrong(), [""; 0]);
    assert_eq!(services.number("SELECT COUNT(*) FROM batches WHERE closed_at_us IS NULL"), 0);
    assert_eq!(
        services.number("SELECT SUM(entries) FROM batches"),
        services.number("SELECT COUNT(*) FROM ledger")
    );
}

#[tokio::test]
async fn a_worker_killed_inside_update_user_earn_leaves_the_rest_to_another() {
    let services = Services::start(30_000, 100).await;
    services.enqueue(KIND, "run", SMALL).await;
    let mut first = services.worker(&["--lease=1s"]);
    until(LIMIT, "some batches are credited", async || services.credited() > 2).await;
    first.kill9();
    assert_eq!(services.look("run").await.state, State::Active, "killed too late to show anything");
    let _second = services.worker(&["--lease=1s"]);
    let rest = services.result("run").await["orders"].as_i64().unwrap();
    let entries = services.number("SELECT COUNT(*) FROM ledger");
    assert!((1..=entries - 300).contains(&rest), "it counted {rest} of {entries}, and not what was left");
    assert_eq!(services.look("run").await.message.retried, 0, "a crash costs no attempt");
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn a_run_that_a_drain_cuts_off_is_handed_back_and_the_next_one_goes_on() {
    let services = Services::start(30_000, 100).await;
    services.enqueue(KIND, "run", SMALL).await;
    let mut first = services.worker(&["--shutdown-timeout=0s"]);
    until(LIMIT, "some batches are credited", async || services.credited() > 2).await;
    // So that it cannot end by itself.
    services.shop.freeze();
    first.terminate();
    assert_eq!(first.exit(LIMIT).await.code(), Some(0));
    let view = services.look("run").await;
    assert_eq!((view.state, view.message.retried), (State::Pending, 0));
    services.shop.thaw();
    let _second = services.worker(&[]);
    services.result("run").await;
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn runs_beside_each_other_count_each_order_once() {
    let services = Services::start(10_000, 100).await;
    for run in 0..6 {
        services.enqueue(KIND, &format!("run-{run}"), SMALL).await;
    }
    let _workers = [services.worker(&["--concurrency=3"]), services.worker(&["--concurrency=3"])];
    let mut counted = 0;
    for run in 0..6 {
        counted += services.result(&format!("run-{run}")).await["orders"].as_i64().unwrap();
    }
    assert_eq!(counted, services.number("SELECT COUNT(*) FROM ledger"), "what each says it counted adds up");
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn a_run_goes_on_when_its_service_restarts() {
    let mut services = Services::start(full_size(40_000, 100_000), 100).await;
    let _worker = services.worker(&[]);
    services.enqueue(KIND, "run", SMALL).await;
    for _ in 0..full_size(3, 20) {
        let before = services.credited();
        until(LIMIT, "some batches are credited", async || services.credited() > before + 2).await;
        assert_eq!(services.look("run").await.state, State::Active);
        services.restart().await;
    }
    services.result("run").await;
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn the_progress_of_a_run_is_its_result_so_far() {
    let services = Services::start(30_000, 100).await;
    let _worker = services.worker(&[]);
    services.enqueue(KIND, "run", SMALL).await;
    until(LIMIT, "some progress is told", async || {
        let view = services.look("run").await;
        assert!(view.state != State::Completed, "done before it was looked at");
        view.result.is_some_and(|told| {
            let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
            told["batches"].as_i64().unwrap() > 2
        })
    })
    .await;
    services.result("run").await;
}

#[tokio::test]
async fn a_service_that_hangs_holds_a_run_until_its_timeout_and_no_longer() {
    let services = Services::start(2_000, 100).await;
    let _worker = services.worker(&[]);
    services.shop.freeze();
    services.send(Task::new(KIND, None).id("run").timeout(Duration::from_secs(2))).await;
    let error = services.error("run", State::Retry).await;
    assert!(error.starts_with("context deadline exceeded"), "{error}");
    services.shop.thaw();
    services.enqueue(KIND, "again", "").await;
    services.result("again").await;
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn a_task_past_its_deadline_calls_nobody() {
    let services = Services::start(0, 5).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    services.redis.cli(["SET", "asynq:{default}:paused", "1"]);
    let deadline = services.broker.now() + Duration::from_secs(1);
    services.send(Task::new(KIND, None).id("late").deadline(deadline)).await;
    until(LIMIT, "it is late", async || services.broker.now() > deadline + Duration::from_secs(1)).await;
    services.redis.cli(["DEL", "asynq:{default}:paused"]);
    let target = format!("http://{}", listener.local_addr().unwrap());
    let _worker = services.worker_at(&target, &[]);
    assert_eq!(services.error("late", State::Archived).await, "context deadline exceeded");
    assert!(futures::poll!(std::pin::pin!(listener.accept())).is_pending(), "somebody called");
}

#[tokio::test]
async fn a_service_that_is_away_is_waited_for_and_then_retried() {
    let services = Services::start(0, 5).await;
    let address = free_address().await;
    let _worker = services.worker_at(&format!("http://{address}"), &[]);
    for (kind, payload) in [
        (KIND, ""),
        ("check-order-status", r#"{"order_id": 1}"#),
        ("delete-expire-order", r#"{"order_id": 1}"#),
    ] {
        services.enqueue(kind, kind, payload).await;
    }
    for (kind, doing) in [
        (KIND, "open a batch"),
        ("check-order-status", "read an order"),
        ("delete-expire-order", "close an unpaid order"),
    ] {
        let error = services.error(kind, State::Retry).await;
        let told = format!("{doing} at the shop (http://{address}): UNAVAILABLE: ");
        assert!(error.starts_with(&told) && error.contains("onnection refused"), "{error}");
    }
}

#[tokio::test]
async fn certificates_decide_whether_a_service_is_trusted() {
    let (ours, others) = (Certificates::shared(), Certificates::shared());
    let tls = ["--tls-cert", ours.certificate.to_str().unwrap(), "--tls-key", ours.key.to_str().unwrap()];
    let services = Services::with(2_000, 100, &tls).await;
    let target = services.address.replace("127.0.0.1", "https://127.0.0.1");
    let plain = target.replace("https", "http");
    let ca = |certificates: &Certificates| certificates.authority.to_str().unwrap().to_owned();
    for (id, target, flags) in [
        ("stranger", &target, vec!["--shop-ca".to_owned(), ca(&others)]),
        ("public", &target, vec![]),
        ("plain", &plain, vec![]),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut worker = services.worker_at(target, &flags);
        services.enqueue(KIND, id, "").await;
        let error = services.error(id, State::Retry).await;
        assert!(error.starts_with("open a batch at the shop"), "{error}");
        assert!(id == "plain" || error.contains("certificate"), "{id}: {error}");
        worker.kill9();
    }
    assert_eq!(services.credited(), 0);
    let _worker = services.worker_at(&target, &["--shop-ca", &ca(&ours)]);
    services.enqueue(KIND, "trusted", "").await;
    services.result("trusted").await;
    assert_eq!(services.wrong(), [""; 0]);
}

#[tokio::test]
async fn a_payload_of_another_version_or_size_is_archived_at_once() {
    let services = Services::start(0, 5).await;
    let _worker = services.worker(&[]);
    for (id, payload, part) in [
        ("version", r#"{"version": 2, "pages": 3}"#, "its version is not 1"),
        ("size", r#"{"batch": 100001}"#, "batch is out of range (allowed: 1 to 100000)"),
        ("unknown", r#"{"batches": 5}"#, "unknown field `batches`"),
    ] {
        services.enqueue(KIND, id, payload).await;
        let error = services.error(id, State::Archived).await;
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_worker_tells_of_order_handlers_only_when_it_knows_the_shop() {
    let services = Services::start(0, 5).await;
    let types = async || {
        until(LIMIT, "it shows itself", async || services.broker.servers().await.unwrap().len() == 1).await;
        services.broker.servers().await.unwrap().remove(0).types.unwrap()
    };
    let mut worker = services.worker(&[]);
    let told = types().await;
    for kind in [KIND, "check-order-status", "delete-expire-order"] {
        assert!(told.iter().any(|one| one == kind), "{told:?}");
    }
    worker.terminate();
    worker.exit(LIMIT).await;
    let _worker = services.worker_at("", &[]);
    assert_eq!(types().await, ["hello", "http"]);
}

#[tokio::test]
async fn a_target_that_cannot_be_is_refused_at_the_start() {
    let services = Services::start(0, 5).await;
    let authority = Certificates::shared();
    let authority = authority.authority.to_str().unwrap();
    for (target, flags, part) in [
        ("shop:8081", &[][..], "--shop-target or CRONMILL_SHOP_TARGET: it is no address of a service"),
        ("http://ann:s3cret@shop", &[], "it is no address of a service"),
        (
            "http://shop:8081",
            &["--shop-ca", authority],
            "--shop-ca or CRONMILL_SHOP_CA: certificate authorities are for",
        ),
        ("", &["--shop-ca", authority], "--shop-ca or CRONMILL_SHOP_CA: certificate authorities are for"),
        ("https://shop", &["--shop-ca", "/etc/passwd"], "are not certificates in PEM"),
        ("https://shop", &["--shop-ca", "/nowhere"], "read /nowhere"),
    ] {
        let mut worker = services.worker_at(target, flags);
        assert_eq!(worker.exit(LIMIT).await.code(), Some(2), "{worker:#?}");
        until(LIMIT, part, async || worker.stderr().join("\n").contains(part)).await;
        assert!(!worker.stderr().join("\n").contains("s3cret"));
    }
}
