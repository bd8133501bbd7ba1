//! The bundled handlers, one file each, and the database that some of them work on.

pub mod earnings;
pub mod error;
pub mod shop_data;

pub use error::ShopError;
