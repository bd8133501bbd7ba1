//! The bundled handlers, one file each, and the database that some of them work on.
//!
//! A handler knows its payload and its work; what it works on is given at registration. Called by the worker's
//! command line, or by a program that wants some of them beside its own.

pub mod earnings;
pub mod error;
pub mod exec;
pub mod hello;
pub mod http;
mod payload;
pub mod shop_data;
pub mod update_user_earn;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::ShopError;
pub use exec::ExecHandler;
pub use http::HttpHandler;
pub use payload::PayloadError;

use crate::worker::{Mux, MuxError};
use earnings::Shop;

/// What the bundled handlers work on.
#[derive(Clone, Debug, Default)]
pub struct HandlersConfig {
    /// The shop's SQLite file, opened when a task first needs it. Without one, such tasks fail and say so.
    pub database: Option<PathBuf>,
    /// Sends tasks to web servers. Without it, tasks of the types `http` and `http:<name>` find no handler.
    pub http: Option<HttpHandler>,
    /// Starts programs. Without it, tasks of the types `exec:<name>` find no handler.
    pub exec: Option<ExecHandler>,
}

/// Registers every bundled handler under its task type.
///
/// # Errors
///
/// [`MuxError::Duplicate`] when `mux` has a handler of one of these types already.
pub fn register_all(mux: &mut Mux, config: HandlersConfig) -> Result<(), MuxError> {
    let shop = config.database.map(|path| Arc::new(Shop::new(path)));
    mux.handle(hello::KIND, hello::hello)?;
    mux.handle(update_user_earn::KIND, move |context, task| {
        update_user_earn::update_user_earn(shop.clone(), context, task)
    })?;
    if let Some(http) = config.http {
        mux.handle(http::KIND, http)?;
    }
    if let Some(exec) = config.exec {
        // By name: others are told what this worker serves.
        exec.kinds().try_for_each(|kind| mux.handle(kind, exec.clone()))?;
    }
    Ok(())
}
