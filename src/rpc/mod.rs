//! Messages, clients and servers of the shop's services, written by `make generate` from `proto/`.
//!
//! A package `cronmill.shop.order.v1` is the module [`order::v1`]. [`DESCRIPTORS`] describes all of them.

/// What all services share.
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, reason = "generated")]
pub mod v1;

/// Orders.
pub mod order {
    #[rustfmt::skip]
    #[allow(missing_docs, clippy::all, reason = "generated")]
    pub mod v1;
}

/// What the shop sells.
pub mod resources {
    #[rustfmt::skip]
    #[allow(missing_docs, clippy::all, reason = "generated")]
    pub mod v1;
}

/// Payments and earnings.
pub mod trade {
    #[rustfmt::skip]
    #[allow(missing_docs, clippy::all, reason = "generated")]
    pub mod v1;
}

/// All of `proto/` with what it imports, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
