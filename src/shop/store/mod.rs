//! The shop's database: PostgreSQL, or one embedded SQLite file.
//!
//! One file for each group of tables. Nearly every statement is one text for both databases; where they differ,
//! both stand beside each other in [`Store::pick`]. Each function is one transaction: it does all of its work or
//! none of it, and says in its documentation why it may be repeated.

mod batches;
mod earnings;
mod error;
mod fill;
mod migrate;
mod orders;
mod outbox;
mod payments;
mod resources;

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(super) use self::earnings::Total;
pub use self::error::StoreError;
pub(super) use self::fill::Cell;
pub(super) use self::orders::{NewOrder, Order, Status, expiry_payload, expiry_task_id};
pub(super) use self::outbox::{Parcel, Waiting};
pub(super) use self::payments::{NewPayment, Payment};
pub(super) use self::resources::Resource;

/// How long a request waits for a connection. Then the database counts as away.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// How long a statement waits for a lock, on either database.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// How many connections a server of PostgreSQL is asked for, and how many of them calls use at once: the others are
/// for the outbox and for the sign of life.
const CONNECTIONS: u32 = 16;
const CALLS: usize = 13;
/// The same for those that read a SQLite file.
const READERS: u32 = 4;
const READING_CALLS: usize = 3;

/// The database; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    /// Whether its tables are there, and it showed a sign of life lately. While it does not, calls are refused at once.
    ready: Arc<AtomicBool>,
    /// Turns of calls that read, and that write; on PostgreSQL they are the same. Calls wait here, so that waiting for a
    /// connection says something about the database, and not about how many calls there are.
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
enum Pool {
    Postgres(PgPool),
    /// SQLite writes one transaction at a time, so writers queue for one connection; readers never wait for it.
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

/// Runs a body with a connection that only reads.
macro_rules! reading {
    ($store:expr, $connection:ident => $body:expr) => {{
        let store: &$crate::shop::store::Store = $store;
        let _turn = store.turn(&store.reading).await?;
        match &store.pool {
            $crate::shop::store::Pool::Postgres(pool) => {
                let mut held = pool.acquire().await?;
                let $connection = &mut *held;
                $body
            }
            $crate::shop::store::Pool::Sqlite { readers, .. } => {
                let mut held = readers.acquire().await?;
                let $connection = &mut *held;
                $body
            }
        }
    }};
}

/// Runs a body in a transaction, and commits where it has a value. Leaving it by `?` or `return Err(…)` rolls back.
macro_rules! writing {
    ($store:expr, $connection:ident => $body:expr) => {{
        let store: &$crate::shop::store::Store = $store;
        let _turn = store.turn(&store.writing).await?;
        match &store.pool {
            $crate::shop::store::Pool::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let $connection = &mut *transaction;
                let done = $body;
                transaction.commit().await?;
                done
            }
            $crate::shop::store::Pool::Sqlite { writer, .. } => {
                // At once, since a transaction that only read so far may not become one that writes.
                let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                let $connection = &mut *transaction;
                let done = $body;
                transaction.commit().await?;
                done
            }
        }
    }};
}

use reading;
use writing;

impl Store {
    /// A database of PostgreSQL by its URL. Connects when it is first used; see [`prepare`](Self::prepare).
    ///
    /// # Errors
    ///
    /// [`StoreError::Url`] for what is no such URL; the message does not show it.
    pub fn postgres(url: &str) -> Result<Self, StoreError> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).ok().filter(|_| is_url).ok_or(StoreError::Url)?;
        let limit = format!("{}", LOCK_LIMIT.as_millis());
        let options = options.application_name("cronmill shop").options([("lock_timeout", limit)]);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_LIMIT);
        Ok(Self::of(Pool::Postgres(pool.connect_lazy_with(options))))
    }

    /// A SQLite file, made when it is missing. Opened when it is first used; see [`prepare`](Self::prepare).
    #[must_use]
    pub fn sqlite(file: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            // A container has no folder for files that come and go.
            .pragma("temp_store", "MEMORY")
            .busy_timeout(LOCK_LIMIT);
        let pool = |most| SqlitePoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE_LIMIT);
        let writer = pool(1).connect_lazy_with(options.clone());
        Self::of(Pool::Sqlite { writer, readers: pool(READERS).connect_lazy_with(options) })
    }

    fn of(pool: Pool) -> Self {
        let (reading, writing) = match pool {
            Pool::Postgres(_) => {
                let calls = Arc::new(Semaphore::new(CALLS));
                (Arc::clone(&calls), calls)
            }
            Pool::Sqlite { .. } => (Arc::new(Semaphore::new(READING_CALLS)), Arc::new(Semaphore::new(1))),
        };
        Self { pool, ready: Arc::new(AtomicBool::new(false)), reading, writing }
    }

    /// Asks the database for a sign of life, and has calls refused while there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Away`] when it has none within `limit`.
    pub async fn probe(&self, limit: Duration) -> Result<(), StoreError> {
        let asking = async {
            match &self.pool {
                Pool::Postgres(pool) => sqlx::query("SELECT 1").execute(pool).await.map(drop),
                Pool::Sqlite { readers, .. } => sqlx::query("SELECT 1").execute(readers).await.map(drop),
            }
        };
        let asked = tokio::time::timeout(limit, asking).await;
        let answer = asked.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(StoreError::from);
        self.ready.store(answer.is_ok(), Ordering::Release);
        answer
    }

    /// Lets go of all connections once they are idle.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Postgres(pool) => pool.close().await,
            Pool::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }

    fn check_ready(&self) -> Result<(), StoreError> {
        if self.ready.load(Ordering::Acquire) { Ok(()) } else { Err(StoreError::NotReady) }
    }

    /// Waits until it is a call's turn to use the database.
    async fn turn<'a>(&self, turns: &'a Semaphore) -> Result<SemaphorePermit<'a>, StoreError> {
        self.check_ready()?;
        let turn = turns.acquire().await.expect("turns are never closed");
        self.check_ready()?;
        Ok(turn)
    }

    /// The text for the database there is.
    fn pick(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        match self.pool {
            Pool::Postgres(_) => postgres,
            Pool::Sqlite { .. } => sqlite,
        }
    }
}

/// A time as the tables have it.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The time that the tables have.
fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros)
        .map_err(|_| StoreError::Damaged { what: "a time", value: micros.to_string() })
}
