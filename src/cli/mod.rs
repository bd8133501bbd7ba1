//! The command line: what was typed becomes a checked configuration, clients are built, loops are started.
//!
//! The only place that reads flags and the environment, and the composition root of both programs. One file
//! or folder per command; what several commands share stands in [`args`] and `output`. No logic worth a unit
//! test belongs here beyond reading input and printing answers.

pub mod args;
#[cfg(feature = "local")]
mod check;
mod completion;
pub mod connect;
mod counts;
mod cron;
#[cfg(feature = "local")]
pub mod dev;
pub mod exit;
mod host;
#[cfg(feature = "operator")]
pub mod operator;
mod output;
mod probes;
mod program;
mod queue;
pub mod scheduler;
mod scrape;
mod server;
#[cfg(feature = "shop")]
mod shop;
mod stats;
mod task;
mod version;
#[cfg(feature = "handlers")]
pub mod worker;

pub use program::main;
