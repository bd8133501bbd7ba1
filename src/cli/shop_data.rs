//! `cronmill shop-data`: a database of users and orders to try the shop's handlers on.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::exit::Failure;
use crate::handlers::ShopError;
use crate::handlers::shop_data::{ShopSize, generate};

/// Flags of `cronmill shop-data`.
#[derive(Args, Clone, Debug)]
pub struct ShopDataArgs {
    /// The SQLite file to write; it must not exist yet. A folder that is missing is made.
    #[arg(long, env = "CRONMILL_DATABASE", value_name = "FILE")]
    file: PathBuf,
    /// Leave a file that exists as it is, and succeed.
    #[arg(long)]
    if_absent: bool,
    /// How many orders.
    #[arg(long, env = "CRONMILL_SHOP_ORDERS", value_name = "N", default_value_t = ShopSize::default().orders)]
    orders: u32,
    /// How many users the orders belong to.
    #[arg(long, env = "CRONMILL_SHOP_USERS", value_name = "N", default_value_t = ShopSize::default().users)]
    users: u32,
    /// Chooses amounts, owners, statuses and times: the same seed gives the same rows.
    #[arg(long, env = "CRONMILL_SHOP_SEED", value_name = "N", default_value_t = ShopSize::default().seed)]
    seed: u64,
}

impl ShopDataArgs {
    /// Writes the file and says so on stderr.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] when the file exists or nobody could own the orders, [`Failure::Failed`] when it
    /// cannot be written.
    pub async fn run(self) -> Result<(), Failure> {
        let started = Instant::now();
        // Where stderr is closed there is nobody to tell; `eprintln!` would panic.
        if self.if_absent && self.file.exists() {
            let _ = writeln!(io::stderr(), "{}: exists, and stays as it is", self.file.display());
            return Ok(());
        }
        let size = ShopSize { orders: self.orders, users: self.users, seed: self.seed };
        generate(&self.file, size).await.map_err(|error| match error {
            ShopError::Exists { .. } | ShopError::NoUsers { .. } => Failure::usage(error),
            _ => Failure::failed(error),
        })?;
        let (file, seconds) = (self.file.display(), started.elapsed().as_secs_f64());
        let _ = writeln!(
            io::stderr(),
            "{file}: {} orders of {} users in {seconds:.1} s",
            size.orders,
            size.users
        );
        Ok(())
    }
}
