//! The bundled handlers, one file each, and the client of the services that some of them work on.
//!
//! A handler knows its payload and its work; what it works on is given at registration. Called by the worker's
//! command line, or by a program that wants some of them beside its own.

pub mod check_order_status;
pub mod delete_expire_order;
pub mod exec;
pub mod hello;
pub mod http;
mod order_outcome;
mod payload;
pub mod shop_client;
pub mod shop_error;
pub mod update_user_earn;

pub use exec::ExecHandler;
pub use http::HttpHandler;
pub use payload::PayloadError;
pub use shop_client::{ServiceTarget, ShopClient, ShopTarget};
pub use shop_error::{ShopCallError, ShopTargetError};

use crate::worker::{Mux, MuxError};

/// What the bundled handlers work on.
#[derive(Clone, Debug, Default)]
pub struct HandlersConfig {
    /// The shop's services. Without them, tasks of the types that look after orders find no handler.
    pub shop: Option<ShopClient>,
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
    mux.handle(hello::KIND, hello::hello)?;
    if let Some(shop) = config.shop {
        serve_shop(mux, &shop)?;
    }
    if let Some(http) = config.http {
        mux.handle(http::KIND, http)?;
    }
    if let Some(exec) = config.exec {
        // By name: others are told what this worker serves.
        exec.kinds().try_for_each(|kind| mux.handle(kind, exec.clone()))?;
    }
    Ok(())
}

/// Registers what works on the shop's services.
fn serve_shop(mux: &mut Mux, shop: &ShopClient) -> Result<(), MuxError> {
    let client = shop.clone();
    mux.handle(update_user_earn::KIND, move |context, task| {
        update_user_earn::update_user_earn(client.clone(), context, task)
    })?;
    let client = shop.clone();
    mux.handle(check_order_status::KIND, move |context, task| {
        check_order_status::check_order_status(client.clone(), context, task)
    })?;
    let client = shop.clone();
    mux.handle(delete_expire_order::KIND, move |context, task| {
        delete_expire_order::delete_expire_order(client.clone(), context, task)
    })
}
