//! Tasks that are still to be enqueued.

use jiff::Timestamp;
use sqlx::{Postgres, Transaction};

use super::{Pool, Store, StoreError, reading, time};

/// A task to enqueue.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Waiting {
    pub(in crate::shop) order: i64,
    pub(in crate::shop) kind: String,
    pub(in crate::shop) id: String,
    pub(in crate::shop) run_at: Timestamp,
    pub(in crate::shop) payload: String,
}

/// Tasks that this process is about to enqueue. Where it is dropped they stay for the next one.
pub(in crate::shop) struct Parcel {
    pub(in crate::shop) tasks: Vec<Waiting>,
    /// Holds the rows against other replicas. SQLite belongs to one process, and enqueueing twice does no harm.
    held: Option<Transaction<'static, Postgres>>,
}

type Row = (i64, String, String, i64, String);

const SOME: &str =
    "SELECT order_id, task_type, task_id, run_at_us, payload FROM outbox ORDER BY order_id LIMIT $1";
const HOLD_SOME: &str = "SELECT order_id, task_type, task_id, run_at_us, payload FROM outbox ORDER BY order_id LIMIT $1 \
     FOR UPDATE SKIP LOCKED";
const DROP_POSTGRES: &str = "DELETE FROM outbox WHERE order_id = ANY($1)";
const DROP_SQLITE: &str = "DELETE FROM outbox WHERE order_id IN (SELECT value FROM json_each($1))";

impl Store {
    /// Up to `most` tasks that nobody else is about to enqueue, the oldest first.
    pub(in crate::shop) async fn pack(&self, most: i64) -> Result<Parcel, StoreError> {
        self.check_ready()?;
        let (rows, held): (Vec<Row>, _) = match &self.pool {
            Pool::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let rows = sqlx::query_as(HOLD_SOME).bind(most).fetch_all(&mut *transaction).await?;
                (rows, Some(transaction))
            }
            Pool::Sqlite { readers, .. } => (sqlx::query_as(SOME).bind(most).fetch_all(readers).await?, None),
        };
        let task = |(order, kind, id, run_at, payload): Row| {
            Ok(Waiting { order, kind, id, run_at: time(run_at)?, payload })
        };
        Ok(Parcel { tasks: rows.into_iter().map(task).collect::<Result<_, StoreError>>()?, held })
    }

    /// Drops the tasks of these orders: Redis has them.
    pub(in crate::shop) async fn delivered(&self, parcel: Parcel, orders: &[i64]) -> Result<(), StoreError> {
        if let Some(mut transaction) = parcel.held {
            sqlx::query(DROP_POSTGRES).bind(orders).execute(&mut *transaction).await?;
            transaction.commit().await?;
            return Ok(());
        }
        let Pool::Sqlite { writer, .. } = &self.pool else { return Ok(()) };
        let orders = serde_json::to_string(orders).expect("numbers are JSON");
        sqlx::query(DROP_SQLITE).bind(orders).execute(writer).await?;
        Ok(())
    }

    /// How many tasks are still to be enqueued.
    pub(in crate::shop) async fn count_waiting(&self) -> Result<i64, StoreError> {
        let (rows,): (i64,) = reading!(self, connection => {
            sqlx::query_as("SELECT COUNT(*) FROM outbox").fetch_one(connection).await?
        });
        Ok(rows)
    }
}
