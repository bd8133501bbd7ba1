//! Batches: ranges of the ledger, counted together.
//!
//! A batch says where its entries end and where the batch before it ended; nothing is written to the entries
//! themselves, however many they are. That is exact because no entry appears in a range that was given out: a new
//! batch is cut while nobody else has an entry on the way.

use jiff::Timestamp;

use super::{Store, StoreError, micros, reading, writing};

/// Entries that are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shop) struct Batch {
    pub(in crate::shop) id: String,
    pub(in crate::shop) entries: i64,
}

/// What an order adds to its user's earnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shop) struct Entry {
    pub(in crate::shop) id: i64,
    pub(in crate::shop) order: i64,
    pub(in crate::shop) user: i64,
    pub(in crate::shop) amount_minor: i64,
    pub(in crate::shop) currency: String,
}

/// One's own first, then the oldest.
const OPEN: &str = "SELECT id, entries FROM batches WHERE closed_at_us IS NULL \
     ORDER BY CASE WHEN run = $1 THEN 0 ELSE 1 END, last_entry LIMIT 1";
const LAST: &str = "SELECT last_entry FROM batches ORDER BY last_entry DESC LIMIT 1";
const ANY_LEFT: &str = "SELECT id FROM ledger WHERE id > $1 ORDER BY id LIMIT 1";
/// Writers of entries hold a lock that excludes this one from before their entry has a number until they commit. So
/// while we hold it every number given out is committed, and all to come are higher.
const HOLD_LEDGER: &str = "LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE";
const CUT: &str = "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM \
     (SELECT id FROM ledger WHERE id > $1 ORDER BY id LIMIT $2) AS cut";
const INSERT: &str = "INSERT INTO batches (id, run, after_entry, last_entry, entries, opened_at_us) \
     VALUES ($1, $2, $3, $4, $5, $6)";
const RANGE: &str = "SELECT after_entry, last_entry FROM batches WHERE id = $1";
const PAGE: &str = "SELECT id, order_id, user_id, amount_minor, currency FROM ledger \
     WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3";
const STATE: &str = "SELECT b.closed_at_us, c.credited_at_us FROM batches b \
     LEFT JOIN credited_batches c ON c.id = b.id WHERE b.id = $1";
const CLOSE: &str = "UPDATE batches SET closed_at_us = $2 WHERE id = $1 AND closed_at_us IS NULL";

impl Store {
    /// A batch that is open, else a new one of at most `max` entries, else none.
    pub(in crate::shop) async fn open_batch(
        &self,
        run: &str,
        max: i64,
        now: Timestamp,
    ) -> Result<Option<Batch>, StoreError> {
        // Without the lock first, so that asking in vain holds nobody up.
        let there: Option<(String, i64)> =
            reading!(self, connection => sqlx::query_as(OPEN).bind(run).fetch_optional(connection).await?);
        if let Some((id, entries)) = there {
            return Ok(Some(Batch { id, entries }));
        }
        let is_any_left = reading!(self, connection => {
            let last: Option<(i64,)> = sqlx::query_as(LAST).fetch_optional(&mut *connection).await?;
            let left: Option<(i64,)> = sqlx::query_as(ANY_LEFT)
                .bind(last.map_or(0, |last| last.0)).fetch_optional(&mut *connection).await?;
            left.is_some()
        });
        if is_any_left { self.cut_batch(run, max, now).await } else { Ok(None) }
    }

    async fn cut_batch(&self, run: &str, max: i64, now: Timestamp) -> Result<Option<Batch>, StoreError> {
        writing!(self, connection => {
            sqlx::query(self.pick(HOLD_LEDGER, "SELECT 1")).execute(&mut *connection).await?;
            // Another one may have cut meanwhile; then it is shared.
            let there: Option<(String, i64)> =
                sqlx::query_as(OPEN).bind(run).fetch_optional(&mut *connection).await?;
            if let Some((id, entries)) = there {
                return Ok(Some(Batch { id, entries }));
            }
            let last: Option<(i64,)> = sqlx::query_as(LAST).fetch_optional(&mut *connection).await?;
            let after = last.map_or(0, |last| last.0);
            let (entries, last): (i64, i64) =
                sqlx::query_as(CUT).bind(after).bind(max).fetch_one(&mut *connection).await?;
            if entries == 0 {
                return Ok(None);
            }
            let id = format!("ledger-{after}-{last}");
            sqlx::query(INSERT).bind(&id).bind(run).bind(after).bind(last).bind(entries).bind(micros(now))
                .execute(&mut *connection).await?;
            Ok(Some(Batch { id, entries }))
        })
    }

    /// A page of a batch.
    pub(in crate::shop) async fn list_batch(
        &self,
        batch: &str,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows: Vec<(i64, i64, i64, i64, String)> = reading!(self, connection => {
            let range: Option<(i64, i64)> =
                sqlx::query_as(RANGE).bind(batch).fetch_optional(&mut *connection).await?;
            let (first, last) = range.ok_or_else(|| missing(batch))?;
            sqlx::query_as(PAGE).bind(after.max(first)).bind(last).bind(limit).fetch_all(&mut *connection).await?
        });
        let entry =
            |(id, order, user, amount_minor, currency)| Entry { id, order, user, amount_minor, currency };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Ends a batch whose totals are credited; says whether this call did. May be repeated.
    pub(in crate::shop) async fn close_batch(&self, batch: &str, now: Timestamp) -> Result<bool, StoreError> {
        writing!(self, connection => {
            let state: Option<(Option<i64>, Option<i64>)> =
                sqlx::query_as(STATE).bind(batch).fetch_optional(&mut *connection).await?;
            match state.ok_or_else(|| missing(batch))? {
                (Some(_), _) => return Ok(false),
                (None, Some(_)) => {}
                // Its entries would be lost to everybody.
                (None, None) => return Err(StoreError::Refused(format!(
                    "batch {batch} cannot be closed: its totals are not credited; credit them first"
                ))),
            }
            let closed = sqlx::query(CLOSE).bind(batch).bind(micros(now)).execute(&mut *connection).await?;
            Ok(closed.rows_affected() == 1)
        })
    }
}

pub(super) fn missing(batch: &str) -> StoreError {
    StoreError::NotFound { what: "batch", id: batch.to_owned() }
}
