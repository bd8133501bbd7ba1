//! Killed with SIGKILL at each step of creating an order: no order without its task, no task without its order.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use crate::stage::{Database, LIMIT, Shop, Sort};
use crate::support::{Process, eventually, until};
use crate::truth;

on_both_databases!(an_order_has_its_task_wherever_the_service_was_killed);

/// How long after the start all must be right again.
const MENDED: Duration = Duration::from_secs(30);

/// A step at which the service is held, and then killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The stock is taken, the order is to be inserted.
    StockTaken,
    /// The order is inserted, its row in the outbox is to be.
    OrderInserted,
    /// All is written, and to be committed.
    ToBeCommitted,
    /// Committed and answered; Redis does not answer.
    Committed,
    /// Redis has the task, the row is to be dropped.
    Enqueued,
}

const STEPS: [Step; 5] =
    [Step::StockTaken, Step::OrderInserted, Step::ToBeCommitted, Step::Committed, Step::Enqueued];

async fn an_order_has_its_task_wherever_the_service_was_killed(sort: Sort) {
    let mut shop = Shop::start(sort).await;
    prepare(&shop.database);
    for (at, step) in STEPS.into_iter().enumerate() {
        let request = format!("request {at}");
        let hold = Hold::at(step, &shop).await;
        let clients = shop.clients();
        let asked = request.clone();
        let calling = tokio::spawn(async move { clients.order(&asked, 1, 3600).await });
        hold.reached(&shop, at as i64).await;
        shop.service.kill9();
        let answered = calling.await.unwrap();
        let has_answer = matches!(step, Step::Committed | Step::Enqueued);
        assert_eq!(answered.is_ok(), has_answer, "{step:?}: {answered:?}");
        hold.release(&shop);
        shop.start_again().await;
        all_have_their_tasks(&shop, step).await;
        if let Ok(order) = answered {
            assert!(shop.tasks().contains(&format!("expire-order-{}", order.id)), "{step:?}");
        }

        // Whoever got no answer asks again, and has one order in the end.
        shop.clients().order(&request, 1, 3600).await.unwrap();
        all_have_their_tasks(&shop, step).await;
        assert_eq!(shop.database.count("SELECT COUNT(*) FROM orders"), at as i64 + 1, "{step:?}");
        truth::assert_holds(&shop.database);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_one_outbox_and_one_that_dies_leaves_nothing_behind() {
    const ORDERS: i64 = 60;
    let shop = Shop::start(Sort::Postgres).await;
    let (mut second, others) = shop.replica().await;
    let clients = shop.clients();
    for at in 0..ORDERS {
        let request = format!("request {at}");
        if at == ORDERS / 2 {
            second.kill9();
        }
        let by_second = if at % 2 == 0 { others.order(&request, 1, 3600).await.ok() } else { None };
        let by_first = clients.order(&request, 1, 3600).await.unwrap();
        assert!(by_second.is_none_or(|order| order == by_first), "one order for one request");
    }
    all_have_their_tasks(&shop, Step::Enqueued).await;
    assert_eq!(shop.tasks().len() as i64, ORDERS);
    truth::assert_holds(&shop.database);
}

async fn all_have_their_tasks(shop: &Shop, step: Step) {
    let ids = "SELECT 'expire-order-' || id FROM orders WHERE status = 'pending'";
    until(MENDED, &format!("{step:?}: each order has its task, each task its order"), async || {
        let orders: BTreeSet<String> = shop.database.judge(ids).into_iter().collect();
        orders == shop.tasks().into_iter().collect()
            && shop.database.count("SELECT COUNT(*) FROM outbox") == 0
    })
    .await;
}

/// What holds the service.
enum Hold {
    /// A session of PostgreSQL that has a lock.
    Session(Process, &'static str),
    /// A trigger of SQLite that computes for longer than anybody waits.
    Trigger(&'static str),
    /// A Redis that runs no more, and then a hold of another sort.
    Redis(Option<Box<Hold>>),
}

impl Hold {
    async fn at(step: Step, shop: &Shop) -> Self {
        match step {
            Step::Committed => {
                shop.redis.freeze();
                Self::Redis(None)
            }
            Step::Enqueued => {
                shop.redis.freeze();
                Self::Redis(Some(Box::new(Self::in_database(step, &shop.database).await)))
            }
            _ => Self::in_database(step, &shop.database).await,
        }
    }

    async fn in_database(step: Step, database: &Database) -> Self {
        match database {
            Database::Postgres(server) => {
                // The second is a statement as the service is seen waiting for it.
                let (lock, statement) = match step {
                    Step::StockTaken => ("BEGIN; LOCK TABLE orders IN SHARE MODE", "INSERT INTO orders"),
                    Step::OrderInserted => ("BEGIN; LOCK TABLE outbox IN SHARE MODE", "INSERT INTO outbox"),
                    Step::ToBeCommitted => ("SELECT pg_advisory_lock(1)", "COMMIT"),
                    // Rows may be added, and not be dropped.
                    Step::Enqueued => ("SELECT pg_advisory_lock(2)", "DELETE FROM outbox"),
                    Step::Committed => unreachable!("held by Redis"),
                };
                let session = server.session(lock);
                session.line(LIMIT, |line| line == "held").await;
                Self::Session(session, statement)
            }
            Database::Sqlite { .. } => {
                let (name, when) = match step {
                    Step::StockTaken => ("hold_stock", "BEFORE INSERT ON orders"),
                    Step::OrderInserted => ("hold_order", "BEFORE INSERT ON outbox"),
                    Step::ToBeCommitted => ("hold_commit", "AFTER INSERT ON outbox"),
                    Step::Enqueued => ("hold_row", "BEFORE DELETE ON outbox"),
                    Step::Committed => unreachable!("held by Redis"),
                };
                let long = "SELECT COUNT(*) FROM hold a, hold b, hold c, hold d, hold e WHERE a.x + b.x + c.x = d.x * e.x";
                database.judge(&format!("CREATE TRIGGER {name} {when} BEGIN {long}; END"));
                Self::Trigger(name)
            }
        }
    }

    /// Waits until the service is held there; `orders` are there already.
    async fn reached(&self, shop: &Shop, orders: i64) {
        match self {
            Self::Session(_, statement) => {
                let waiting = format!(
                    "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '{statement}%'"
                );
                until(LIMIT, statement, async || shop.database.count(&waiting) > 0).await;
            }
            Self::Trigger(name) => {
                // Nothing else keeps it busy for so long.
                let mut busy = 0;
                until(LIMIT, name, async || {
                    busy = if is_locked(&shop.database) { busy + 1 } else { 0 };
                    busy >= 20
                })
                .await;
            }
            Self::Redis(then) => {
                let waiting = "SELECT COUNT(*) FROM outbox";
                until(LIMIT, "the order is committed", async || {
                    shop.database.count("SELECT COUNT(*) FROM orders") > orders
                        && shop.database.count(waiting) == 1
                })
                .await;
                if let Some(then) = then {
                    shop.redis.thaw();
                    Box::pin(then.reached(shop, orders)).await;
                    let tasks = eventually(LIMIT, "the task is enqueued", async || {
                        let tasks = shop.tasks();
                        (tasks.len() > orders as usize).then_some(tasks)
                    })
                    .await;
                    assert_eq!(tasks.len(), orders as usize + 1);
                    assert_eq!(shop.database.count(waiting), 1, "its row is still there");
                }
            }
        }
    }

    fn release(self, shop: &Shop) {
        match self {
            Self::Session(session, _) => {
                drop(session);
                // The backend sleeps on after its client has gone.
                shop.database.judge(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)'
                     AND pid <> pg_backend_pid()",
                );
            }
            Self::Trigger(name) => {
                shop.database.judge(&format!("DROP TRIGGER {name}"));
            }
            Self::Redis(None) => shop.redis.thaw(),
            Self::Redis(Some(then)) => then.release(shop),
        }
    }
}

/// What holds need in the database.
fn prepare(database: &Database) {
    match database {
        Database::Postgres(_) => {
            database.judge(
                "CREATE FUNCTION hold() RETURNS TRIGGER LANGUAGE plpgsql AS
                     'BEGIN PERFORM pg_advisory_xact_lock(TG_ARGV[0]::int); RETURN COALESCE(NEW, OLD); END';
                 CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
                     FOR EACH ROW EXECUTE FUNCTION hold(1);
                 CREATE TRIGGER hold_row BEFORE DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION hold(2)",
            );
        }
        Database::Sqlite { .. } => {
            database.judge(
                "CREATE TABLE hold (x INTEGER);
                 INSERT INTO hold WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3000) SELECT x FROM n",
            );
        }
    }
}

/// Whether somebody writes to the file right now.
fn is_locked(database: &Database) -> bool {
    let Database::Sqlite { file, .. } = database else { return false };
    let output = Command::new("sqlite3").arg(file).arg("BEGIN IMMEDIATE; ROLLBACK").output().unwrap();
    String::from_utf8_lossy(&output.stderr).contains("locked")
}
