//! Crediting users with their paid orders, exactly once, on an embedded SQLite file.
//!
//! Each order remembers what of it stands in its user's earnings: `credited_cents`. Two facts then say all:
//!
//! - *always*, in every committed state: a user's `earnings.amount_cents` is the sum of `credited_cents` over
//!   the user's orders, because only [`credit_batch`] writes either, and both in one transaction;
//! - *after a run*: `credited_cents` is the amount of a paid order and 0 of any other.
//!
//! So there is no log of what a run did and no state to clean up after one that died. A run settles the orders
//! that are not settled: twice, it finds nothing the second time; at the same time as another, each order falls
//! to the one whose transaction comes first; killed at any moment, SQLite rolls the open batch back and the
//! next run takes it up. An order that is refunded after it was credited becomes unsettled again and is
//! debited by the next run. Orders are refunded, never deleted nor given to another user; the schema refuses
//! both for a credited order.
//!
//! The partial index `orders_unsettled` holds exactly the unsettled orders, so a run with nothing to do reads
//! one index page, whatever the number of orders.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;

use super::ShopError;
use super::shop_data::{database, unsettled};

/// How long a statement waits for another process's transaction; below a worker's drain time.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after each batch. Without it, a long run would take the write lock again before another process,
/// which polls for it, ever sees it free.
const BATCH_GAP: Duration = Duration::from_millis(1);

/// The shop's database; nothing is opened before it is used.
#[derive(Debug)]
pub struct Shop {
    path: PathBuf,
    /// Runs of this process take turns by batch, in order, instead of polling for SQLite's lock.
    turn: Mutex<()>,
}

/// How a run divides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Orders per transaction.
    pub batch: u32,
    /// Pause after each batch.
    pub delay: Duration,
}

/// What a run has done so far, all of it committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Transactions.
    pub batches: u64,
    /// Orders settled.
    pub orders: u64,
    /// Sum of what was credited, less what was debited.
    pub cents: i64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// No order was unsettled at the end.
    Settled,
    /// It was told to stop; a later run goes on from there.
    Stopped,
}

impl Shop {
    /// The database in the file `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, turn: Mutex::new(()) }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Settles every unsettled order in transactions of `pace.batch` orders.
    ///
    /// `stop` ends it between two batches; `on_batch` is told after each. Dropping the future is safe at any
    /// point too: it loses at most the batch under way.
    ///
    /// # Errors
    ///
    /// [`ShopError::Open`], [`ShopError::NotAShop`], [`ShopError::Busy`], [`ShopError::Query`]. What `on_batch`
    /// was told of stays done.
    pub async fn settle(
        &self,
        pace: Pace,
        stop: impl Future<Output = ()>,
        mut on_batch: impl FnMut(&Progress),
    ) -> Result<(Progress, Ended), ShopError> {
        let mut stop = pin!(stop);
        // One connection per run: it sees a file put in the old one's place, and an idle worker keeps none.
        let mut connection = open(&self.path).await?;
        let mut progress = Progress::default();
        let ended = loop {
            let batch = {
                let _turn = self.turn.lock().await;
                credit_batch(&mut connection, pace.batch, Timestamp::now()).await?
            };
            if batch.orders > 0 {
                progress.batches += 1;
                progress.orders += batch.orders;
                progress.cents += batch.cents;
                on_batch(&progress);
            }
            if batch.orders < u64::from(pace.batch) {
                break Ended::Settled;
            }
            tokio::select! {
                biased;
                () = &mut stop => break Ended::Stopped,
                () = tokio::time::sleep(pace.delay.max(BATCH_GAP)) => {}
            }
        };
        connection.close().await.map_err(ShopError::query("close the database"))?;
        Ok((progress, ended))
    }
}

async fn open(path: &Path) -> Result<SqliteConnection, ShopError> {
    let mut connection = database(path)
        // A wrong path must not end as "nothing to do" on a new, empty file.
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // A power cut may take the last batches back, but each as a whole, so the next run repeats them.
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .connect()
        .await
        .map_err(ShopError::open(path))?;
    for (table, probe) in super::shop_data::PROBES {
        if let Err(source) = sqlx::query(probe).fetch_optional(&mut connection).await {
            return Err(ShopError::probe(path, table, source));
        }
    }
    Ok(connection)
}

/// What one transaction settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Batch {
    orders: u64,
    cents: i64,
}

/// Settles the first `limit` unsettled orders in one transaction.
async fn credit_batch(
    connection: &mut SqliteConnection,
    limit: u32,
    now: Timestamp,
) -> Result<Batch, ShopError> {
    // Asked without the write lock, so that a run with nothing to do stands in nobody's way.
    let (any,): (bool,) = sqlx::query_as(ANY_UNSETTLED)
        .fetch_one(&mut *connection)
        .await
        .map_err(ShopError::query("look for unsettled orders"))?;
    if !any {
        return Ok(Batch::default());
    }
    // IMMEDIATE: the lock comes before the first read, so what is picked cannot change before it is written.
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(ShopError::query("begin a batch of orders"))?;
    let (orders, cents, last): (i64, i64, i64) = sqlx::query_as(PICK)
        .bind(limit)
        .fetch_one(&mut *transaction)
        .await
        .map_err(ShopError::query("pick unsettled orders"))?;
    sqlx::query(CREDIT)
        .bind(last)
        .bind(now.as_second())
        .execute(&mut *transaction)
        .await
        .map_err(ShopError::query("credit earnings"))?;
    sqlx::query(MARK)
        .bind(last)
        .execute(&mut *transaction)
        .await
        .map_err(ShopError::query("mark orders as credited"))?;
    transaction.commit().await.map_err(ShopError::query("commit a batch of orders"))?;
    Ok(Batch { orders: orders.unsigned_abs(), cents })
}

// INDEXED BY fails loudly where the planner would otherwise fall back to reading every order.

const ANY_UNSETTLED: &str =
    concat!("SELECT EXISTS (SELECT 1 FROM orders INDEXED BY orders_unsettled WHERE ", unsettled!(), ")");

const PICK: &str = concat!(
    "SELECT COUNT(*), COALESCE(SUM(owed), 0), COALESCE(MAX(id), 0) FROM (",
    "SELECT id, CASE WHEN status = 'paid' THEN amount_cents ELSE 0 END - credited_cents AS owed ",
    "FROM orders INDEXED BY orders_unsettled WHERE ",
    unsettled!(),
    " ORDER BY id LIMIT ?1)"
);

const CREDIT: &str = concat!(
    "INSERT INTO earnings (user_id, amount_cents, updated_at) ",
    "SELECT user_id, SUM(CASE WHEN status = 'paid' THEN amount_cents ELSE 0 END - credited_cents), ?2 ",
    "FROM orders INDEXED BY orders_unsettled WHERE ",
    unsettled!(),
    " AND id <= ?1 GROUP BY user_id ",
    "ON CONFLICT (user_id) DO UPDATE SET ",
    "amount_cents = amount_cents + excluded.amount_cents, updated_at = excluded.updated_at"
);

const MARK: &str = concat!(
    "UPDATE orders INDEXED BY orders_unsettled ",
    "SET credited_cents = CASE WHEN status = 'paid' THEN amount_cents ELSE 0 END WHERE ",
    unsettled!(),
    " AND id <= ?1"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::shop_data::{ShopSize, generate};

    #[tokio::test]
    async fn a_batch_that_meets_a_lock_is_busy_and_may_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        generate(&path, ShopSize { orders: 10, users: 2, seed: 1 }).await.unwrap();
        let mut holder = open(&path).await.unwrap();
        let lock = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut other = open(&path).await.unwrap();
        sqlx::query("PRAGMA busy_timeout = 0").execute(&mut other).await.unwrap();
        let error = credit_batch(&mut other, 5, Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert_eq!((error.reason(), error.is_retryable()), ("DatabaseBusy", true), "{error:?}");
        lock.rollback().await.unwrap();
        let batch = credit_batch(&mut other, 5, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(batch.orders, 5);
    }
}
