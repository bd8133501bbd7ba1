//! The command line: what was typed becomes a checked configuration, clients are built, loops are started.
//!
//! The only place that reads flags and the environment, and the composition root of both programs. One file
//! per command; what several commands share stands in [`args`]. No logic worth a unit test belongs here
//! beyond reading input.

pub mod args;
pub mod connect;
#[cfg(feature = "local")]
pub mod dev;
pub mod exit;
#[cfg(feature = "handlers")]
pub mod shop_data;
#[cfg(feature = "handlers")]
pub mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cronmill", version)]
struct Cronmill {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Dev(dev::DevArgs),
    ShopData(shop_data::ShopDataArgs),
    #[command(name = dev::LEASH_WORD, hide = true)]
    Leashed {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
}

/// Runs it.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cronmill::parse().command {
        Command::Dev(dev) => dev.run(),
        Command::ShopData(data) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(data.run()),
        Command::Leashed { words } => dev::become_leashed(&words),
    };
    exit::exit_code(result)
}
