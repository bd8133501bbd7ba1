//! Crediting on a SQLite file: once per order, whatever happens to the runs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cronmill::handlers::ShopError;
use cronmill::handlers::earnings::{Ended, Pace, Progress, Shop};
use cronmill::handlers::shop_data::{ShopSize, generate};

use crate::shop::{Fixture, judge};

const SIZE: ShopSize = ShopSize { orders: 20_000, users: 200, seed: 7 };
const FAST: Pace = Pace { batch: 500, delay: Duration::ZERO };

/// Tells the test that is started a second time, as a process to be killed, which file to work on.
const CHILD: &str = "CRONMILL_TEST_SETTLE";

async fn settle(shop: &Shop, pace: Pace) -> Result<(Progress, Ended), ShopError> {
    shop.settle(pace, std::future::pending(), |_| {}).await
}

#[tokio::test]
async fn a_run_credits_every_user_with_exactly_the_paid_orders() {
    let fixture = Fixture::with(SIZE).await;
    assert_eq!(fixture.wrong_earnings().len(), 200, "nobody is credited before the first run");
    let (progress, ended) = settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
    assert_eq!(ended, Ended::Settled);
    assert_eq!(progress.orders, fixture.paid());
    let sum = fixture.judge("SELECT SUM(amount_cents) FROM orders WHERE status = 'paid'").concat();
    assert_eq!(progress.cents.to_string(), sum);
}

#[tokio::test]
async fn a_run_with_nothing_to_do_writes_nothing() {
    let fixture = Fixture::with(SIZE).await;
    settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    let before = std::fs::read(&fixture.path).unwrap();
    let again = settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    assert_eq!(again, (Progress::default(), Ended::Settled));
    assert_eq!(std::fs::read(&fixture.path).unwrap(), before);
}

#[tokio::test]
async fn orders_that_change_after_they_were_credited_are_settled_by_the_next_run() {
    let fixture = Fixture::with(SIZE).await;
    settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    fixture.judge(
        "UPDATE orders SET status = CASE status WHEN 'paid' THEN 'refunded' ELSE 'paid' END WHERE id % 5 = 0",
    );
    fixture.judge("UPDATE orders SET amount_cents = amount_cents + 1 WHERE id % 7 = 0");
    assert_ne!(fixture.wrong_earnings(), Vec::<String>::new());
    settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
}

#[tokio::test]
async fn runs_at_the_same_time_credit_each_order_once() {
    let fixture = Fixture::with(SIZE).await;
    let pace = Pace { batch: 50, delay: Duration::ZERO };
    let shared = Shop::new(fixture.path.clone());
    // Two runs share a handle, as the tasks of one worker do; the third is as another process is.
    let other = Shop::new(fixture.path.clone());
    let (a, b, c) = tokio::join!(settle(&shared, pace), settle(&shared, pace), settle(&other, pace));
    let runs = [a.unwrap().0, b.unwrap().0, c.unwrap().0];
    assert_eq!(runs.iter().map(|run| run.orders).sum::<u64>(), fixture.paid());
    assert!(runs.iter().all(|run| run.batches > 0), "each had a share: {runs:?}");
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_is_stopped_leaves_whole_batches_and_the_next_goes_on() {
    let fixture = Fixture::with(SIZE).await;
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let mut tell = Some(tell);
    let stop = async { told.await.unwrap() };
    let shop = Shop::new(fixture.path.clone());
    let run = shop.settle(FAST, stop, |progress| {
        if progress.batches == 3 {
            tell.take().unwrap().send(()).unwrap();
        }
    });
    let (progress, ended) = run.await.unwrap();
    assert_eq!((progress.batches, progress.orders, ended), (3, 1500, Ended::Stopped));
    assert_eq!((fixture.credited(), fixture.torn_earnings()), (1500, Vec::new()));
    settle(&shop, FAST).await.unwrap();
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_dropped_at_any_point_loses_nothing_that_it_told_of() {
    let fixture = Fixture::with(SIZE).await;
    let shop = Shop::new(fixture.path.clone());
    let pace = Pace { batch: 20, delay: Duration::ZERO };
    for microseconds in (0..60).map(|nth| 200 + nth * 331) {
        let mut told = 0;
        let before = fixture.credited();
        let run = shop.settle(pace, std::future::pending(), |progress| told = progress.orders);
        // A deadline, not a wait: whatever the run is doing then is cut off.
        let cut = tokio::time::timeout(Duration::from_micros(microseconds), run).await;
        assert!(cut.is_err() || cut.is_ok_and(|run| run.is_ok()));
        assert!(fixture.credited() >= before + told);
        assert_eq!(fixture.torn_earnings(), Vec::<String>::new());
    }
    assert!(fixture.credited() > 0, "no run came as far as a batch");
    settle(&shop, FAST).await.unwrap();
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
}

/// The same test twice: started by itself with [`CHILD`] set, it is the process that gets killed.
#[tokio::test]
async fn a_process_killed_in_the_middle_is_finished_by_the_next_run() {
    if let Some(path) = std::env::var_os(CHILD) {
        let slow = Pace { batch: 25, delay: Duration::from_millis(5) };
        settle(&Shop::new(path.into()), slow).await.unwrap();
        return;
    }
    let fixture = Fixture::with(SIZE).await;
    let paid = fixture.paid();
    let mut killed_in_the_middle = 0;
    for wanted in [1, 500, 2000, 4000] {
        // Two processes at a time: one of them may hold the write lock when it dies.
        let mut children = [child(&fixture.path), child(&fixture.path)];
        let deadline = Instant::now() + Duration::from_secs(60);
        while fixture.credited() < wanted {
            assert!(Instant::now() < deadline, "no progress");
        }
        for child in &mut children {
            let running = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            killed_in_the_middle += u32::from(running);
        }
        assert_eq!(fixture.torn_earnings(), Vec::<String>::new());
        assert!(fixture.credited() < paid, "killed too late to show anything");
    }
    assert_eq!(killed_in_the_middle, 8);
    settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
}

fn child(path: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "earnings::a_process_killed_in_the_middle_is_finished_by_the_next_run"])
        .env(CHILD, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_same_seed_gives_the_same_rows_and_another_seed_others() {
    const ROWS: &str = "SELECT id, user_id, amount_cents, status, created_at, credited_cents FROM orders";
    let small = ShopSize { orders: 3000, users: 30, seed: 7 };
    let (one, same) = (Fixture::with(small).await, Fixture::with(small).await);
    let other = Fixture::with(ShopSize { seed: 8, ..small }).await;
    let rows = one.judge(ROWS);
    assert_eq!(rows.len(), 3000);
    // Pinned: a change here changes what every documented example shows.
    assert_eq!(rows[0], "1|28|9752|paid|1774201803|0");
    assert_eq!(rows, same.judge(ROWS));
    assert_ne!(rows, other.judge(ROWS));
    for (status, percent) in [("paid", 70), ("pending", 15), ("refunded", 10), ("cancelled", 5)] {
        let share = one.count(&format!("SELECT 100 * COUNT(*) / 3000 FROM orders WHERE status = '{status}'"));
        assert!(share.abs_diff(percent) <= 2, "{status}: {share} %");
    }
    assert_eq!(one.count("SELECT COUNT(*) FROM users"), 30);
}

#[tokio::test]
async fn an_existing_file_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    std::fs::write(&path, "precious").unwrap();
    let error = generate(&path, SIZE).await.unwrap_err();
    assert!(matches!(error, ShopError::Exists { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a leftover");
}

#[tokio::test]
async fn orders_of_nobody_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = generate(&folder.path().join("shop.db"), ShopSize { users: 0, ..SIZE }).await.unwrap_err();
    assert!(matches!(error, ShopError::NoUsers { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_file_is_an_error_and_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing.db");
    let error = settle(&Shop::new(path.clone()), FAST).await.unwrap_err();
    assert!(matches!(error, ShopError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("nothing.db"), "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_of_something_else_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    judge(&path, "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)");
    let error = settle(&Shop::new(path.clone()), FAST).await.unwrap_err();
    assert!(matches!(error, ShopError::NotAShop { table: "orders", .. }), "{error:?}");
    std::fs::write(&path, "no database at all, but long enough to be taken for one".repeat(50)).unwrap();
    let error = settle(&Shop::new(path), FAST).await.unwrap_err();
    assert!(matches!(error, ShopError::Open { .. }), "{error:?}");
}

#[tokio::test]
async fn credited_orders_cannot_be_deleted_or_given_away() {
    let fixture = Fixture::with(ShopSize { orders: 100, users: 5, seed: 1 }).await;
    settle(&Shop::new(fixture.path.clone()), FAST).await.unwrap();
    for sql in ["DELETE FROM orders WHERE status = 'paid'", "UPDATE orders SET user_id = 1 + user_id % 5"] {
        let output = Command::new("python3")
            .args(["-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])"])
            .arg(&fixture.path)
            .arg(sql)
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("order is credited"), "{sql}");
    }
    assert_eq!(fixture.wrong_earnings(), Vec::<String>::new());
}
