//! Which database.

use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::args::redis::secret;
use crate::cli::exit::Failure;
use crate::shop::Store;

/// Flags that name the shop's database.
#[derive(Args, Clone, Debug)]
pub(super) struct DatabaseArgs {
    /// The PostgreSQL: postgres://user:password@host:port/database?sslmode=…; without it, a SQLite file.
    ///
    /// Everybody on this machine can read a program's flags, so put a URL with a password into the
    /// environment.
    #[arg(
        long,
        env = "CRONMILL_SHOP_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true,
        value_parser = secret
    )]
    database_url: Option<SecretString>,
    /// The SQLite file, made when it is missing.
    #[arg(long, env = "CRONMILL_SHOP_DATABASE", value_name = "FILE", default_value = "shop.db")]
    database: PathBuf,
}

impl DatabaseArgs {
    /// The database that is named. Nothing is opened yet.
    pub(super) fn store(&self) -> Result<Store, Failure> {
        let url = self.database_url.as_ref().map(|url| url.expose_secret().trim());
        match url.filter(|url| !url.is_empty()) {
            Some(url) => Store::postgres(url).map_err(|error| {
                Failure::usage(error).context("--database-url or CRONMILL_SHOP_DATABASE_URL")
            }),
            None => Ok(Store::sqlite(&self.database)),
        }
    }
}
