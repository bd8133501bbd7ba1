//! What users earned.

use jiff::Timestamp;

use super::batches::missing;
use super::error::is_dangling;
use super::{Pool, Store, StoreError, micros, reading};

/// An amount of one user in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shop) struct Total {
    pub(in crate::shop) user: i64,
    pub(in crate::shop) currency: String,
    pub(in crate::shop) amount_minor: i64,
}

const EXISTS: &str = "SELECT entries FROM batches WHERE id = $1";
const CLAIM: &str =
    "INSERT INTO credited_batches (id, credited_at_us) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
/// By user and currency, so that two at once lock rows in the same order.
const ADD_POSTGRES: &str = "INSERT INTO earnings (user_id, currency, amount_minor, updated_at_us) \
     SELECT t.user_id, t.currency, t.amount_minor, $4 \
     FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) AS t (user_id, currency, amount_minor) \
     ORDER BY t.user_id, t.currency \
     ON CONFLICT (user_id, currency) DO UPDATE \
     SET amount_minor = earnings.amount_minor + EXCLUDED.amount_minor, updated_at_us = EXCLUDED.updated_at_us";
const ADD_SQLITE: &str = "INSERT INTO earnings (user_id, currency, amount_minor, updated_at_us) \
     SELECT value ->> 0, value ->> 1, value ->> 2, $2 FROM json_each($1) WHERE true \
     ON CONFLICT (user_id, currency) DO UPDATE \
     SET amount_minor = earnings.amount_minor + EXCLUDED.amount_minor, updated_at_us = EXCLUDED.updated_at_us";
const OF_USER: &str =
    "SELECT user_id, currency, amount_minor FROM earnings WHERE user_id = $1 ORDER BY currency";
const PAGE: &str = "SELECT user_id, currency, amount_minor FROM earnings \
     WHERE (user_id, currency) > ($1, $2) ORDER BY user_id, currency LIMIT $3";

type Row = (i64, String, i64);

impl Store {
    /// Adds the totals of a batch to earnings, unless that was done; says whether this call did.
    pub(in crate::shop) async fn credit_batch(
        &self,
        batch: &str,
        totals: &[Total],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let _turn = self.turn(&self.writing).await?;
        match &self.pool {
            Pool::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let there: Option<(i64,)> =
                    sqlx::query_as(EXISTS).bind(batch).fetch_optional(&mut *transaction).await?;
                there.ok_or_else(|| missing(batch))?;
                let claimed =
                    sqlx::query(CLAIM).bind(batch).bind(micros(now)).execute(&mut *transaction).await?;
                if claimed.rows_affected() == 0 {
                    return Ok(false);
                }
                let users: Vec<i64> = totals.iter().map(|total| total.user).collect();
                let currencies: Vec<&str> = totals.iter().map(|total| total.currency.as_str()).collect();
                let amounts: Vec<i64> = totals.iter().map(|total| total.amount_minor).collect();
                let add =
                    sqlx::query(ADD_POSTGRES).bind(users).bind(currencies).bind(amounts).bind(micros(now));
                add.execute(&mut *transaction).await.map_err(|error| not_added(batch, error))?;
                transaction.commit().await?;
            }
            Pool::Sqlite { writer, .. } => {
                let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                let there: Option<(i64,)> =
                    sqlx::query_as(EXISTS).bind(batch).fetch_optional(&mut *transaction).await?;
                there.ok_or_else(|| missing(batch))?;
                let claimed =
                    sqlx::query(CLAIM).bind(batch).bind(micros(now)).execute(&mut *transaction).await?;
                if claimed.rows_affected() == 0 {
                    return Ok(false);
                }
                let rows: Vec<_> =
                    totals.iter().map(|total| (total.user, &total.currency, total.amount_minor)).collect();
                let rows = serde_json::to_string(&rows).expect("numbers and texts are JSON");
                let add = sqlx::query(ADD_SQLITE).bind(rows).bind(micros(now));
                add.execute(&mut *transaction).await.map_err(|error| not_added(batch, error))?;
                transaction.commit().await?;
            }
        }
        Ok(true)
    }

    /// What one user earned, by currency.
    pub(in crate::shop) async fn earnings(&self, user: i64) -> Result<Vec<Total>, StoreError> {
        let rows: Vec<Row> = reading!(self, connection => {
            let there: Option<(i64,)> = sqlx::query_as("SELECT id FROM users WHERE id = $1")
                .bind(user).fetch_optional(&mut *connection).await?;
            there.ok_or_else(|| StoreError::NotFound { what: "user", id: user.to_string() })?;
            sqlx::query_as(OF_USER).bind(user).fetch_all(&mut *connection).await?
        });
        Ok(rows.into_iter().map(Total::from).collect())
    }

    /// A page of the earnings of all.
    pub(in crate::shop) async fn list_earnings(
        &self,
        after: (i64, &str),
        limit: i64,
    ) -> Result<Vec<Total>, StoreError> {
        let rows: Vec<Row> = reading!(self, connection => {
            sqlx::query_as(PAGE).bind(after.0).bind(after.1).bind(limit).fetch_all(connection).await?
        });
        Ok(rows.into_iter().map(Total::from).collect())
    }
}

fn not_added(batch: &str, error: sqlx::Error) -> StoreError {
    if is_dangling(&error) {
        return StoreError::NotFound { what: "user of the totals of batch", id: batch.to_owned() };
    }
    StoreError::from(error)
}

impl From<Row> for Total {
    fn from((user, currency, amount_minor): Row) -> Self {
        Self { user, currency, amount_minor }
    }
}
