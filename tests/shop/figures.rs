//! What counting costs beside one statement that sums the same rows.

use std::time::{Duration, Instant};

use crate::counting::settle;
use crate::stage::{Database, LIMIT, Shop, Sort};
use crate::support::{full_size, until};
use crate::truth;

/// How many times as long as one statement counting may take.
const RATIO_MAX: f64 = 20.0;
/// What the service may hold at most.
const SERVICE_MB_MAX: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_a_million_orders_takes_at_most_twenty_times_one_sum() {
    let (orders, users) = full_size((20_000, 200), (1_000_000, 10_000));
    let database = Database::empty(Sort::Postgres);
    database.generate(orders, users);
    let shop = Shop::on(database, &[]).await;
    let clients = shop.clients();

    let scans = |how: &str| {
        let table = format!(
            "SELECT SUM({how}) FROM pg_stat_user_tables WHERE relname IN ('ledger', 'orders', 'payments')"
        );
        shop.database.count(&table)
    };
    let (whole, by_index) = (scans("seq_scan"), scans("idx_scan"));
    let started = Instant::now();
    let entries = settle(&clients, "figures", 0).await;
    let counting = started.elapsed();
    let order = clients.order("", 1, 3600).await.unwrap();
    clients.pay(&order).await.unwrap();
    assert_eq!(settle(&clients, "figures", 0).await, 1);
    // Counters come late, those of one connection together.
    until(LIMIT, "PostgreSQL tells", async || scans("idx_scan") > by_index + entries / 10_000).await;
    assert_eq!(scans("seq_scan"), whole, "no call reads a whole table");
    let entries = entries + 1;
    let one_sum = one_sum(&shop.database);
    let ratio = counting.as_secs_f64() / one_sum.as_secs_f64();
    let peak = peak_mb(shop.service.pid());
    println!(
        "{orders} orders of {users} users: {entries} entries counted in {counting:.1?}, one sum {one_sum:.2?}, \
         ratio {ratio:.1}; the service held {peak} MB at most"
    );
    assert_eq!(truth::uncounted(&shop.database), [""; 0]);
    assert_eq!(shop.database.count("SELECT COUNT(*) FROM ledger"), entries);
    truth::assert_holds(&shop.database);
    assert!(peak <= SERVICE_MB_MAX, "{peak} MB");
    // A short run measures starting up; a debug build measures nothing.
    if full_size(false, true) && !cfg!(debug_assertions) {
        assert!(ratio <= RATIO_MAX, "{ratio:.1}");
    }
}

/// The time of one statement that sums the orders of all users into a table, the middle of three.
fn one_sum(database: &Database) -> Duration {
    database.judge("CREATE TABLE sums (user_id BIGINT, currency TEXT, amount_minor BIGINT, PRIMARY KEY (user_id, currency))");
    let mut times: Vec<Duration> = (0..3)
        .map(|_| {
            database.judge("TRUNCATE sums");
            let started = Instant::now();
            database.judge(
                "INSERT INTO sums SELECT user_id, currency, SUM(amount_minor) FROM orders
                 WHERE status IN ('paid', 'completed') GROUP BY user_id, currency",
            );
            started.elapsed()
        })
        .collect();
    times.sort();
    times[1]
}

/// The most that a process ever held.
fn peak_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}
