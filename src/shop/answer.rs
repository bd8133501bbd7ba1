//! What the store says, as the services say it.

use jiff::Timestamp;
use tonic::{Code, Status};

use super::store::{self, StoreError};
use crate::causes;
use crate::rpc::order::v1 as order;
use crate::rpc::v1::Money;

/// Makes a refusal of an error; `doing` is what was asked for, with its subject.
pub(super) fn refusal(doing: impl std::fmt::Display, error: &StoreError) -> Status {
    let code = match error {
        StoreError::NotFound { .. } => Code::NotFound,
        StoreError::Invalid(_) | StoreError::Overflow => Code::InvalidArgument,
        StoreError::Taken(_) => Code::AlreadyExists,
        // Read-only: somebody has to mend the database, and its text says so.
        StoreError::Refused(_) | StoreError::ReadOnly(_) => Code::FailedPrecondition,
        StoreError::NoStock { .. } => Code::ResourceExhausted,
        StoreError::Raced(_) | StoreError::Busy(_) => Code::Aborted,
        StoreError::NotReady | StoreError::Away(_) | StoreError::Denied(_) => Code::Unavailable,
        StoreError::Url | StoreError::Schema(_) | StoreError::Damaged { .. } | StoreError::Query(_) => {
            Code::Internal
        }
    };
    let message = format!("{doing}: {}", causes::on_one_line(error));
    if matches!(code, Code::Unavailable | Code::Internal) || matches!(error, StoreError::ReadOnly(_)) {
        tracing::warn!(reason = error.reason(), "{message}");
    }
    Status::new(code, message)
}

/// A time as messages have it.
pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    // jiff counts nanoseconds towards zero, protobuf always upwards.
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    prost_types::Timestamp { seconds, nanos }
}

/// An amount as messages have it.
pub(super) fn money(minor: i64, currency: String) -> Money {
    Money { minor, currency }
}

/// An order as messages have it.
pub(super) fn order(order: store::Order) -> order::Order {
    let status = match order.status {
        store::Status::Pending => order::OrderStatus::Pending,
        store::Status::Paid => order::OrderStatus::Paid,
        store::Status::Completed => order::OrderStatus::Completed,
        store::Status::Closed => order::OrderStatus::Closed,
        store::Status::Refunded => order::OrderStatus::Refunded,
    };
    order::Order {
        id: order.id,
        user_id: order.user,
        resource_id: order.resource,
        quantity: order.quantity,
        amount: Some(money(order.amount_minor, order.currency)),
        status: status.into(),
        pay_by: Some(timestamp(order.pay_by)),
        created_at: Some(timestamp(order.created_at)),
        paid_at: order.paid_at.map(timestamp),
        closed_at: order.closed_at.map(timestamp),
    }
}
