//! The command line: what was typed becomes a checked configuration, clients are built, loops are started.
//!
//! The only place that reads flags and the environment, and the composition root of both programs. One file
//! per command; what several commands share stands in [`args`]. No logic worth a unit test belongs here
//! beyond reading input.

pub mod args;
pub mod connect;
pub mod exit;
#[cfg(feature = "handlers")]
pub mod shop_data;
#[cfg(feature = "handlers")]
pub mod worker;
