//! Filling an empty database, all or nothing.

use sqlx::{AssertSqlSafe, Postgres, Sqlite, Transaction};

use super::{Pool, Store, StoreError};

/// A value of a row.
#[derive(Clone, Debug)]
pub(in crate::shop) enum Cell {
    Number(i64),
    /// Without tabs, line ends and backslashes.
    Text(String),
    Null,
}

/// A database being filled. Dropped before [`finish`](Self::finish) it stays empty.
pub(in crate::shop) struct Filling {
    transaction: Open,
}

enum Open {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

impl Store {
    /// Whether nobody is in the database yet.
    pub(in crate::shop) async fn is_empty(&self) -> Result<bool, StoreError> {
        let user: Option<(i64,)> = super::reading!(self, connection => {
            sqlx::query_as("SELECT id FROM users LIMIT 1").fetch_optional(connection).await?
        });
        Ok(user.is_none())
    }

    /// Begins to fill the database.
    pub(in crate::shop) async fn fill(&self) -> Result<Filling, StoreError> {
        self.check_ready()?;
        let transaction = match &self.pool {
            Pool::Postgres(pool) => Open::Postgres(pool.begin().await?),
            Pool::Sqlite { writer, .. } => Open::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
        };
        Ok(Filling { transaction })
    }
}

impl Filling {
    /// Adds rows to a table; each has a cell for each column.
    pub(in crate::shop) async fn add(
        &mut self,
        table: &'static str,
        columns: &'static [&'static str],
        rows: &[Vec<Cell>],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let names = columns.join(", ");
        match &mut self.transaction {
            Open::Postgres(transaction) => {
                let mut copy = transaction.copy_in_raw(&format!("COPY {table} ({names}) FROM STDIN")).await?;
                copy.send(copy_lines(rows).into_bytes()).await?;
                copy.finish().await?;
            }
            Open::Sqlite(transaction) => {
                let cells: Vec<String> = (0..columns.len()).map(|at| format!("value ->> {at}")).collect();
                let cells = cells.join(", ");
                let insert = format!("INSERT INTO {table} ({names}) SELECT {cells} FROM json_each($1)");
                sqlx::query(AssertSqlSafe(insert)).bind(json(rows)).execute(&mut **transaction).await?;
            }
        }
        Ok(())
    }

    /// What a resource had at the start and has left.
    pub(in crate::shop) async fn stock(
        &mut self,
        resource: i64,
        start: i64,
        left: i64,
    ) -> Result<(), StoreError> {
        const STOCK: &str = "UPDATE resources SET stock_start = $2, stock = $3 WHERE id = $1";
        match &mut self.transaction {
            Open::Postgres(transaction) => {
                sqlx::query(STOCK).bind(resource).bind(start).bind(left).execute(&mut **transaction).await?;
            }
            Open::Sqlite(transaction) => {
                sqlx::query(STOCK).bind(resource).bind(start).bind(left).execute(&mut **transaction).await?;
            }
        }
        Ok(())
    }

    /// Commits all of it. `orders` is the highest number of an order that was added.
    pub(in crate::shop) async fn finish(self, orders: i64) -> Result<(), StoreError> {
        match self.transaction {
            Open::Postgres(mut transaction) => {
                // Rows with numbers of ours do not move the sequence that numbers the next ones.
                if orders > 0 {
                    sqlx::query("SELECT setval(pg_get_serial_sequence('orders', 'id'), $1)")
                        .bind(orders)
                        .execute(&mut *transaction)
                        .await?;
                }
                sqlx::query("ANALYZE orders, ledger, payments, outbox").execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Open::Sqlite(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

/// PostgreSQL's own text format.
fn copy_lines(rows: &[Vec<Cell>]) -> String {
    let mut lines = String::with_capacity(rows.len() * 96);
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                lines.push('\t');
            }
            match cell {
                Cell::Number(number) => lines.push_str(&number.to_string()),
                Cell::Text(text) => lines.push_str(text),
                Cell::Null => lines.push_str("\\N"),
            }
        }
        lines.push('\n');
    }
    lines
}

fn json(rows: &[Vec<Cell>]) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Number(number) => serde_json::Value::from(*number),
        Cell::Text(text) => serde_json::Value::from(text.as_str()),
        Cell::Null => serde_json::Value::Null,
    };
    let rows: serde_json::Value =
        rows.iter().map(|row| row.iter().map(cell).collect::<serde_json::Value>()).collect();
    rows.to_string()
}
