//! The shop's services as a program, on both databases: driven by the generated clients, judged by `sqlite3` and `psql`.

#![allow(clippy::unwrap_used, reason = "a test's fixtures fail it by panicking")]

#[path = "../support/mod.rs"]
pub mod support;

/// Makes two tests of one function: on SQLite and on PostgreSQL.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::stage::Sort::Sqlite).await; })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name($crate::stage::Sort::Postgres).await; })*
        }
    };
}

mod counting;
mod crossing;
mod figures;
mod input;
mod kills;
mod outages;
mod serving;
mod stage;
mod truth;
