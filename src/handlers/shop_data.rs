//! The shop's schema, and a generator of users and orders to try it on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, QueryBuilder, Sqlite};

use super::ShopError;

/// True for an order whose `credited_cents` is not what its status and amount say.
///
/// One text for the index and for every query: SQLite uses a partial index only where it finds its condition
/// again.
macro_rules! unsettled {
    () => {
        "credited_cents <> CASE WHEN status = 'paid' THEN amount_cents ELSE 0 END"
    };
}
pub(super) use unsettled;

/// Money is in integer cents, times are Unix seconds. Readable by any SQLite since 3.8.
const TABLES: &str = "
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL
    );
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id),
        amount_cents INTEGER NOT NULL CHECK (typeof(amount_cents) = 'integer' AND amount_cents >= 0),
        status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'refunded', 'cancelled')),
        created_at INTEGER NOT NULL,
        credited_cents INTEGER NOT NULL DEFAULT 0 CHECK (typeof(credited_cents) = 'integer')
    );
    CREATE TABLE earnings (
        user_id INTEGER PRIMARY KEY REFERENCES users (id),
        amount_cents INTEGER NOT NULL CHECK (typeof(amount_cents) = 'integer'),
        updated_at INTEGER NOT NULL
    );
    CREATE TRIGGER orders_credited_stay BEFORE DELETE ON orders WHEN OLD.credited_cents <> 0
        BEGIN SELECT RAISE(ABORT, 'order is credited: refund it instead'); END;
    CREATE TRIGGER orders_credited_keep_user BEFORE UPDATE OF user_id ON orders
        WHEN OLD.credited_cents <> 0 AND NEW.user_id <> OLD.user_id
        BEGIN SELECT RAISE(ABORT, 'order is credited: its user stays'); END;";

/// After the rows: building an index once is faster than keeping it through 100,000 inserts.
const INDEX: &str = concat!("CREATE INDEX orders_unsettled ON orders (id) WHERE ", unsettled!());

/// Statements that succeed exactly when the tables are there with the columns that are used.
pub(super) const PROBES: [(&str, &str); 2] = [
    (
        "orders",
        concat!(
            "SELECT user_id, created_at FROM orders INDEXED BY orders_unsettled WHERE ",
            unsettled!(),
            " LIMIT 0"
        ),
    ),
    ("earnings", "SELECT user_id, amount_cents, updated_at FROM earnings LIMIT 0"),
];

/// Rows per INSERT: 5,000 parameters, far below SQLite's limit of 32,766.
const ROWS_PER_INSERT: u32 = 1000;

/// 2026-01-01T00:00:00Z. Fixed, so that the same seed gives the same file on any day.
const FIRST_ORDER_AT: i64 = 1_767_225_600;

/// Orders are spread over 90 days.
const ORDER_SPAN_S: u64 = 90 * 86_400;

/// What to generate. The same values give the same rows, in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShopSize {
    /// How many orders.
    pub orders: u32,
    /// How many users they belong to.
    pub users: u32,
    /// Chooses amounts, owners, statuses and times.
    pub seed: u64,
}

impl Default for ShopSize {
    /// 100,000 orders of 1,000 users.
    fn default() -> Self {
        Self { orders: 100_000, users: 1_000, seed: 1 }
    }
}

/// Writes a new shop database: users, orders of mixed statuses, nobody credited yet.
///
/// Of the orders about 70 % are paid, 15 % pending, 10 % refunded and 5 % cancelled; amounts are 1.00 to
/// 500.00. The file appears under its name only when it is complete. Dropping the future may leave a file
/// `<name>.partial-<pid>` behind.
///
/// # Errors
///
/// [`ShopError::Exists`], [`ShopError::NoUsers`], [`ShopError::Open`], [`ShopError::Query`],
/// [`ShopError::Place`].
pub async fn generate(path: &Path, size: ShopSize) -> Result<(), ShopError> {
    if size.users == 0 && size.orders > 0 {
        return Err(ShopError::NoUsers { orders: size.orders });
    }
    if path.exists() {
        return Err(ShopError::Exists { path: path.to_owned() });
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|source| ShopError::Place { path: path.to_owned(), source })?;
    }
    let partial = partial_name(path);
    let written = write(&partial, size).await;
    let placed = written.and_then(|()| {
        std::fs::rename(&partial, path).map_err(|source| ShopError::Place { path: path.to_owned(), source })
    });
    if placed.is_err() {
        // The error to report is the one above; a leftover that cannot be removed changes nothing.
        let _ = std::fs::remove_file(&partial);
    }
    placed
}

/// How every database of the shop is opened.
pub(super) fn database(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        // A container has no folder for files that come and go.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(format!(".partial-{}", std::process::id()));
    PathBuf::from(name)
}

async fn write(path: &Path, size: ShopSize) -> Result<(), ShopError> {
    let mut connection = database(path)
        .create_if_missing(true)
        // Nobody sees the file before it is complete, so nothing of it needs to survive a crash.
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .connect()
        .await
        .map_err(ShopError::open(path))?;
    sqlx::raw_sql(TABLES).execute(&mut connection).await.map_err(ShopError::query("create tables"))?;
    sqlx::query("BEGIN").execute(&mut connection).await.map_err(ShopError::query("begin a transaction"))?;
    insert_users(&mut connection, size.users).await?;
    insert_orders(&mut connection, size).await?;
    sqlx::query("COMMIT").execute(&mut connection).await.map_err(ShopError::query("commit the rows"))?;
    sqlx::query(INDEX).execute(&mut connection).await.map_err(ShopError::query("create the index"))?;
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut connection)
        .await
        .map_err(ShopError::query("switch to WAL"))?;
    connection.close().await.map_err(ShopError::query("close the database"))
}

async fn insert_users(connection: &mut SqliteConnection, users: u32) -> Result<(), ShopError> {
    for ids in chunks(users) {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO users (id, name) ");
        insert.push_values(ids, |mut row, id| {
            row.push_bind(id).push_bind(format!("user-{id:06}"));
        });
        insert.build().execute(&mut *connection).await.map_err(ShopError::query("insert users"))?;
    }
    Ok(())
}

async fn insert_orders(connection: &mut SqliteConnection, size: ShopSize) -> Result<(), ShopError> {
    let mut random = SplitMix64(size.seed);
    for ids in chunks(size.orders) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO orders (id, user_id, amount_cents, status, created_at) ",
        );
        insert.push_values(ids, |mut row, id| {
            row.push_bind(id)
                .push_bind(1 + random.below(u64::from(size.users)) as i64)
                .push_bind(100 + random.below(49_901) as i64)
                .push_bind(status(random.below(100)))
                .push_bind(FIRST_ORDER_AT + random.below(ORDER_SPAN_S) as i64);
        });
        insert.build().execute(&mut *connection).await.map_err(ShopError::query("insert orders"))?;
    }
    Ok(())
}

/// Ids from 1 to `count`, in runs of at most [`ROWS_PER_INSERT`].
fn chunks(count: u32) -> impl Iterator<Item = std::ops::RangeInclusive<u32>> {
    (0..count)
        .step_by(ROWS_PER_INSERT as usize)
        .map(move |done| done + 1..=count.min(done.saturating_add(ROWS_PER_INSERT)))
}

fn status(percent: u64) -> &'static str {
    match percent {
        0..70 => "paid",
        70..85 => "pending",
        85..95 => "refunded",
        _ => "cancelled",
    }
}

/// Steele, Lea and Flood's SplitMix64: eight lines that stay the same, which no crate promises of its generator.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; the bias is below 2^-40 for the bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // Published test values for seed 1234567.
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn chunks_cover_every_id_once() {
        for count in [0, 1, 999, 1000, 1001, 2500] {
            let ids: Vec<u32> = chunks(count).flatten().collect();
            assert_eq!(ids, (1..=count).collect::<Vec<_>>());
        }
    }
}
