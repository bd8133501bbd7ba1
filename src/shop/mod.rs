//! The shop: orders, resources, payments and earnings as gRPC services over PostgreSQL or SQLite.
//!
//! What `proto/` describes is done here, and nothing of it anywhere else: handlers speak to these services only.
//! [`serve`] puts the parts together:
//!
//! ```text
//!  gRPC ─► order, resources, trade ─► store ─► PostgreSQL or SQLite
//!                  │ wakes              ▲
//!                  └────► outbox ───────┘ reads what is to be enqueued, and drops it once Redis has it
//! ```
//!
//! Money is in integer minor units with its currency, and sums are checked: one that would overflow changes nothing.

mod answer;
mod generate;
mod input;
mod order;
mod outbox;
mod resources;
mod serve;
mod store;
mod trade;

pub use generate::{Generated, Size, generate, seed_of};
pub use serve::{Options, ServeError, TlsFiles, serve};
pub use store::{Store, StoreError};

/// The type of the task that closes an order unpaid at its deadline.
pub const EXPIRY_TASK: &str = "delete-expire-order";

/// The time as the tables have it: to the microsecond.
fn now() -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}
