//! What can go wrong on the shop's database.

use std::path::{Path, PathBuf};

/// Reading or writing the shop's database failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopError {
    /// The file is missing, is no database or may not be accessed.
    #[error("open shop database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The file is a database, but not one of a shop.
    #[error(
        "open shop database {}: it has no table {table:?} as `cronmill shop-data` writes it",
        path.display()
    )]
    NotAShop {
        /// The file.
        path: PathBuf,
        /// The first table that is missing or differs.
        table: &'static str,
    },
    /// Another process held the write lock for the whole waiting time of 5 s.
    #[error("{doing}: another process keeps the database locked")]
    Busy {
        /// What was being done.
        doing: &'static str,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// A statement failed.
    #[error("{doing}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// A new database would overwrite a file.
    #[error("generate shop database {}: the file exists; remove it first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The finished file could not be put in its place.
    #[error("generate shop database {}", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Orders cannot be given to nobody.
    #[error("generate {orders} orders for 0 users (allowed: at least 1 user)")]
    NoUsers {
        /// How many orders were asked for.
        orders: u32,
    },
}

impl ShopError {
    /// A fixed word for metrics and conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Open { .. } => "CannotOpen",
            Self::NotAShop { .. } => "NotAShop",
            Self::Busy { .. } => "DatabaseBusy",
            Self::Query { .. } => "QueryFailed",
            Self::Exists { .. } => "FileExists",
            Self::Place { .. } => "CannotPlace",
            Self::NoUsers { .. } => "NoUsers",
        }
    }

    /// Whether the same call may succeed later without a change to its arguments.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Exists { .. } | Self::NoUsers { .. })
    }

    pub(super) fn open(path: &Path) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Open { path: path.to_owned(), source }
    }

    /// The error of a statement that finds out whether `table` is there.
    pub(super) fn probe(path: &Path, table: &'static str, source: sqlx::Error) -> Self {
        // SQLITE_ERROR is what a missing table, column or index gives; anything else says nothing about them.
        match sqlite_code(&source) {
            Some(1) => Self::NotAShop { path: path.to_owned(), table },
            _ => Self::Open { path: path.to_owned(), source },
        }
    }

    pub(super) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| {
            if is_busy(&source) { Self::Busy { doing, source } } else { Self::Query { doing, source } }
        }
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    sqlite_code(error) == Some(5)
}

/// SQLite's primary result code: the low byte of the extended one.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}
