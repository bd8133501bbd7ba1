//! What can go wrong with the database, by what the caller should do about it.

use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No URL of a PostgreSQL.
    #[error("not a URL of a PostgreSQL (allowed: postgres://user:password@host:port/database?sslmode=…)")]
    Url,
    /// Nothing has this name.
    #[error("there is no {what} {id}")]
    NotFound {
        /// Which sort of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// The request contradicts what is stored, and always will.
    #[error("{0}")]
    Invalid(String),
    /// The name belongs to something else.
    #[error("{0}")]
    Taken(String),
    /// What it is about is in no state for that.
    #[error("{0}")]
    Refused(String),
    /// Not so many are left.
    #[error(
        "resource {resource} has less than {wanted} left; ask for less, or again once some were returned"
    )]
    NoStock {
        /// Which resource.
        resource: i64,
        /// How many were asked for.
        wanted: i64,
    },
    /// A sum does not fit.
    #[error("an amount became larger than what can be stored; nothing was changed")]
    Overflow,
    /// Another call did the same at the same moment.
    #[error("another call did the same at the same moment; ask again")]
    Raced(#[source] sqlx::Error),
    /// A lock was not to be had in time.
    #[error("what it needs is locked by somebody else; ask again")]
    Busy(#[source] sqlx::Error),
    /// The tables are not there yet, or the database did not show a sign of life lately.
    #[error("the database is away or being prepared; ask again")]
    NotReady,
    /// The database does not answer.
    #[error("the database does not answer; ask again")]
    Away(#[source] sqlx::Error),
    /// The database takes no writes.
    #[error("the database is read-only; make it writable, then ask again")]
    ReadOnly(#[source] sqlx::Error),
    /// The database refuses this login.
    #[error("the database refuses to be used by this login; look at the database's URL and its rights")]
    Denied(#[source] sqlx::Error),
    /// Its tables are of another version, or not the shop's.
    #[error(
        "the database's tables are not those of this version; use the version that made them, or another database"
    )]
    Schema(#[source] MigrateError),
    /// A stored value is impossible.
    #[error("the database holds {what} that cannot be: {value}; somebody else wrote it")]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// Anything else.
    #[error("the database failed")]
    Query(#[source] sqlx::Error),
}

impl StoreError {
    /// A short fixed word for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Url => "InvalidUrl",
            Self::NotFound { .. } => "NotFound",
            Self::Invalid(_) => "Invalid",
            Self::Taken(_) => "Taken",
            Self::Refused(_) => "Refused",
            Self::NoStock { .. } => "NoStock",
            Self::Overflow => "Overflow",
            Self::Raced(_) => "Raced",
            Self::Busy(_) => "Busy",
            Self::NotReady => "NotReady",
            Self::Away(_) => "DatabaseAway",
            Self::ReadOnly(_) => "DatabaseReadOnly",
            Self::Denied(_) => "DatabaseDenied",
            Self::Schema(_) => "OtherSchema",
            Self::Damaged { .. } => "Damaged",
            Self::Query(_) => "DatabaseFailed",
        }
    }

    /// Whether the same request may go through later with nothing changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NoStock { .. }
                | Self::Raced(_)
                | Self::Busy(_)
                | Self::NotReady
                | Self::Away(_)
                | Self::ReadOnly(_)
                | Self::Query(_)
        )
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::WorkerCrashed => Self::Away(error),
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                match database.kind() {
                    ErrorKind::UniqueViolation => Self::Raced(error),
                    _ => Self::of_code(&code, error),
                }
            }
            _ => Self::Query(error),
        }
    }
}

impl StoreError {
    /// By the code of PostgreSQL (five characters) or SQLite (a number, whose last byte is the sort).
    fn of_code(code: &str, error: sqlx::Error) -> Self {
        let sqlite = if code.len() < 5 { code.parse::<u32>().ok() } else { None };
        match (code, sqlite.map(|code| (code, code & 0xff))) {
            // A value too large; SQLite: a sum that became a real, in a column of integers.
            ("22003", _) | (_, Some((3091, _))) => Self::Overflow,
            ("25006", _) | (_, Some((_, 8))) => Self::ReadOnly(error),
            // Not there in time, deadlock, not serializable; SQLite: busy, locked.
            ("55P03" | "40P01" | "40001", _) | (_, Some((_, 5 | 6))) => Self::Busy(error),
            // Going down, coming up, out of connections; SQLite: cannot be opened, a failing disk.
            ("57P01" | "57P02" | "57P03" | "53300", _) | (_, Some((_, 10 | 14))) => Self::Away(error),
            // Wrong password, no such role or database, no right.
            ("28P01" | "28000" | "3D000" | "42501", _) | (_, Some((_, 3 | 26))) => Self::Denied(error),
            (postgres, None) if postgres.starts_with("08") => Self::Away(error),
            _ => Self::Query(error),
        }
    }
}

/// Whether a row names another that does not exist.
pub(super) fn is_dangling(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.kind() == ErrorKind::ForeignKeyViolation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_mean_the_same() {
        for (code, reason) in [
            ("22003", "Overflow"),
            ("3091", "Overflow"),
            ("25006", "DatabaseReadOnly"),
            ("8", "DatabaseReadOnly"),
            ("1544", "DatabaseReadOnly"),
            ("55P03", "Busy"),
            ("5", "Busy"),
            ("517", "Busy"),
            ("57P01", "DatabaseAway"),
            ("08006", "DatabaseAway"),
            ("14", "DatabaseAway"),
            ("28P01", "DatabaseDenied"),
            ("26", "DatabaseDenied"),
            ("XX000", "DatabaseFailed"),
            ("1", "DatabaseFailed"),
        ] {
            assert_eq!(StoreError::of_code(code, sqlx::Error::RowNotFound).reason(), reason, "{code}");
        }
    }
}
