//! `cronmill shop`: the shop's services, and data to try them on.

mod database;
mod generate;
mod serve;

use clap::Subcommand;

use super::exit::Failure;
use crate::shop::StoreError;

/// Serve the shop (orders, resources, payments), or fill its database.
#[derive(Debug, Subcommand)]
pub(super) enum ShopCommand {
    Serve(serve::ServeArgs),
    Generate(generate::GenerateArgs),
}

impl ShopCommand {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] for what the same command will meet again, [`Failure::Failed`] otherwise.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Serve(args) => args.run(),
            Self::Generate(args) => super::program::once(args.run()),
        }
    }
}

fn refused(error: StoreError) -> Failure {
    if error.is_retryable() { Failure::failed(error) } else { Failure::usage(error) }
}
