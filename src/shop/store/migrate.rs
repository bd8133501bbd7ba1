//! Bringing a database's tables to this version.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use sqlx::SqlStr;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};

use super::{Pool, Store, StoreError};

/// A step of each database, with its number and what it does. Steps that were released never change.
const STEPS: [(i64, &str, &str, &str); 1] = [(
    1,
    "shop",
    include_str!("migrations/postgres/0001_shop.sql"),
    include_str!("migrations/sqlite/0001_shop.sql"),
)];

impl Store {
    /// Makes the tables that are missing, unless they are there. Before this every other function refuses.
    ///
    /// Each step is one transaction, so what is killed in the middle leaves nothing of it; several processes may do
    /// it at once. A database that is up to date may be read-only.
    ///
    /// # Errors
    ///
    /// [`StoreError::Schema`] for tables of another version, [`StoreError::Denied`], [`StoreError::Away`].
    pub async fn prepare(&self) -> Result<(), StoreError> {
        match &self.pool {
            Pool::Postgres(pool) => {
                let mut held = pool.acquire().await?;
                // The lock that keeps others out belongs to the connection, and an error leaves it locked.
                held.close_on_drop();
                prepare(&mut *held, steps(true)).await?;
            }
            Pool::Sqlite { writer, .. } => prepare(&mut *writer.acquire().await?, steps(false)).await?,
        }
        self.ready.store(true, Ordering::Release);
        Ok(())
    }
}

fn steps(postgres: bool) -> Migrator {
    let step = |(version, name, on_postgres, on_sqlite): (i64, &'static str, &'static str, &'static str)| {
        let text = if postgres { on_postgres } else { on_sqlite };
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(text), false)
    };
    Migrator::with_migrations(STEPS.map(step).to_vec())
}

async fn prepare<C: Migrate>(connection: &mut C, steps: Migrator) -> Result<(), StoreError> {
    // Asked first: making sure of its own table is a write, which a read-only database refuses.
    if let Ok(applied) = connection.list_applied_migrations(&steps.table_name).await {
        let is_applied = |step: &Migration| {
            applied.iter().any(|applied| applied.version == step.version && applied.checksum == step.checksum)
        };
        if applied.len() == steps.migrations.len() && steps.iter().all(is_applied) {
            return Ok(());
        }
    }
    steps.run_direct(None, connection, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(cause) => StoreError::from(cause),
        sqlx::migrate::MigrateError::ExecuteMigration(cause, version) => match StoreError::from(cause) {
            // Tables of these names that no step of ours made.
            StoreError::Query(cause) => {
                StoreError::Schema(sqlx::migrate::MigrateError::ExecuteMigration(cause, version))
            }
            other => other,
        },
        other => StoreError::Schema(other),
    })
}
