//! `cronmill shop generate`: users, resources and orders to try the shop on.

use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::Error;
use clap::Args;
use jiff::Timestamp;

use super::database::DatabaseArgs;
use super::refused;
use crate::cli::exit::Failure;
use crate::shop::{Generated, Size, generate, seed_of};

/// Fill an empty database with users, resources and orders in every state.
///
/// All or nothing. Of the orders 60 % are paid, 20 % completed, 10 % refunded, 9 % closed and 1 % unpaid, whose tasks
/// the service enqueues when it starts. Nothing is counted yet.
///
/// Exit codes: 0 filled, 2 the database is not empty or a flag is wrong, 3 failure.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct GenerateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// How many orders.
    #[arg(long, env = "CRONMILL_SHOP_ORDERS", value_name = "N", default_value_t = 100_000)]
    orders: u64,
    /// How many users the orders belong to.
    #[arg(long, env = "CRONMILL_SHOP_USERS", value_name = "N", default_value_t = 1_000)]
    users: u64,
    /// Chooses everything else: the same seed gives the same rows. [default: by the clock, and printed]
    #[arg(long, env = "CRONMILL_SHOP_SEED", value_name = "N")]
    seed: Option<u64>,
    /// Leave a database that is not empty as it is, and succeed.
    #[arg(long)]
    if_empty: bool,
}

impl GenerateArgs {
    /// Fills the database and says with which seed on stderr.
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let started = Instant::now();
        let store = self.database.store()?;
        let seed = self.seed.unwrap_or_else(|| seed_of(Timestamp::now()));
        let size = Size { orders: self.orders, users: self.users, seed };
        let generated = generate(&store, size).await.map_err(refused)?;
        store.close().await;
        let line = match generated {
            Generated::Filled => {
                let seconds = started.elapsed().as_secs_f64();
                format!("{} orders of {} users with seed {seed} in {seconds:.1} s", size.orders, size.users)
            }
            Generated::Occupied if self.if_empty => {
                "the database is not empty, and stays as it is".to_owned()
            }
            Generated::Occupied => {
                let problem =
                    "the database is not empty; name another, or say --if-empty to leave it as it is";
                return Err(Failure::Usage(Error::msg(problem)));
            }
        };
        // Where stderr is closed there is nobody to tell; `eprintln!` would panic.
        let _ = writeln!(io::stderr(), "{line}");
        Ok(())
    }
}
