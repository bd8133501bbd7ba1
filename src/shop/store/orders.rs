//! Orders: placed, completed, closed, refunded.

use jiff::Timestamp;

use super::error::is_dangling;
use super::{Store, StoreError, micros, reading, time, writing};

/// Where an order stands; the words of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shop) enum Status {
    Pending,
    Paid,
    Completed,
    Closed,
    Refunded,
}

impl Status {
    pub(in crate::shop) const ALL: [Self; 5] =
        [Self::Pending, Self::Paid, Self::Completed, Self::Closed, Self::Refunded];

    pub(in crate::shop) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Completed => "completed",
            Self::Closed => "closed",
            Self::Refunded => "refunded",
        }
    }
}

/// One order.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Order {
    pub(in crate::shop) id: i64,
    pub(in crate::shop) user: i64,
    pub(in crate::shop) resource: i64,
    pub(in crate::shop) quantity: i64,
    pub(in crate::shop) amount_minor: i64,
    pub(in crate::shop) currency: String,
    pub(in crate::shop) status: Status,
    pub(in crate::shop) pay_by: Timestamp,
    pub(in crate::shop) created_at: Timestamp,
    pub(in crate::shop) paid_at: Option<Timestamp>,
    pub(in crate::shop) closed_at: Option<Timestamp>,
}

/// What to order.
#[derive(Clone, Debug)]
pub(in crate::shop) struct NewOrder {
    /// Under which the same call may be made again.
    pub(in crate::shop) request: Option<String>,
    pub(in crate::shop) user: i64,
    pub(in crate::shop) resource: i64,
    pub(in crate::shop) quantity: i64,
    pub(in crate::shop) pay_within: std::time::Duration,
    /// The type of the task that closes it.
    pub(in crate::shop) expiry_task: &'static str,
}

/// An order, and whether this call placed it.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Placed {
    pub(in crate::shop) order: Order,
    pub(in crate::shop) is_new: bool,
}

/// An order as it is now, and whether this call changed it.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Changed {
    pub(in crate::shop) order: Order,
    pub(in crate::shop) is_changed: bool,
}

/// An order's columns, in the order in which they are selected.
pub(super) type Row = (i64, i64, i64, i64, i64, String, String, i64, i64, Option<i64>, Option<i64>);

macro_rules! select_order {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, resource_id, quantity, amount_minor, currency, status, pay_by_us, created_at_us, ",
            "paid_at_us, closed_at_us FROM orders WHERE ",
            $rest
        )
    };
}

pub(super) const BY_ID: &str = select_order!("id = $1");
/// Whoever changes an order reads it by this first: then nobody else changes it before the end. SQLite has one
/// writer at a time anyway.
pub(super) const LOCKED: &str = select_order!("id = $1 FOR UPDATE");
const BY_REQUEST: &str = select_order!("request_id = $1");

const TAKE_STOCK: &str =
    "UPDATE resources SET stock = stock - $2 WHERE id = $1 AND stock >= $2 RETURNING price_minor, currency";
const RETURN_STOCK: &str = "UPDATE resources SET stock = stock + $2 WHERE id = $1";
const INSERT: &str = "INSERT INTO orders (request_id, user_id, resource_id, quantity, amount_minor, currency, status, \
     pay_by_us, created_at_us) VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $8) RETURNING id";
const INSERT_OUTBOX: &str =
    "INSERT INTO outbox (order_id, task_type, task_id, run_at_us, payload) VALUES ($1, $2, $3, $4, $5)";
const END: &str = "UPDATE orders SET status = $2, closed_at_us = $3 WHERE id = $1";
pub(super) const ENTER: &str =
    "INSERT INTO ledger (order_id, user_id, amount_minor, currency) VALUES ($1, $2, $3, $4)";

/// The id of the task that closes an order.
pub(in crate::shop) fn expiry_task_id(order: i64) -> String {
    format!("expire-order-{order}")
}

/// The payload of the task that closes an order.
pub(in crate::shop) fn expiry_payload(order: i64) -> String {
    format!("{{\"version\":1,\"order_id\":{order}}}")
}

impl Store {
    /// Places an order: takes its stock, writes it down, and with it the task that closes it. May be repeated where it
    /// has a request's id.
    pub(in crate::shop) async fn create_order(
        &self,
        new: &NewOrder,
        now: Timestamp,
    ) -> Result<Placed, StoreError> {
        match self.try_create_order(new, now).await {
            // Another call of the same request came first and has ended: its order is found now.
            Err(StoreError::Raced(_)) => self.try_create_order(new, now).await,
            other => other,
        }
    }

    async fn try_create_order(&self, new: &NewOrder, now: Timestamp) -> Result<Placed, StoreError> {
        let pay_by = now.checked_add(new.pay_within);
        let pay_by =
            pay_by.map_err(|_| StoreError::Invalid("the time to pay ends after the year 9999".to_owned()))?;
        let pay_by = time(micros(pay_by))?;
        writing!(self, connection => {
            if let Some(request) = &new.request {
                let found: Option<Row> =
                    sqlx::query_as(BY_REQUEST).bind(request).fetch_optional(&mut *connection).await?;
                if let Some(row) = found {
                    return placed_before(row.try_into()?, new);
                }
            }
            let taken: Option<(i64, String)> = sqlx::query_as(TAKE_STOCK)
                .bind(new.resource).bind(new.quantity).fetch_optional(&mut *connection).await?;
            let Some((price, currency)) = taken else {
                let there: Option<(i64,)> = sqlx::query_as("SELECT id FROM resources WHERE id = $1")
                    .bind(new.resource).fetch_optional(&mut *connection).await?;
                return Err(match there {
                    Some(_) => StoreError::NoStock { resource: new.resource, wanted: new.quantity },
                    None => StoreError::NotFound { what: "resource", id: new.resource.to_string() },
                });
            };
            let amount = price.checked_mul(new.quantity).ok_or_else(|| StoreError::Invalid(format!(
                "{} of resource {} at {price} {currency} each cost more than can be stored; order less of it",
                new.quantity, new.resource
            )))?;
            let inserted: Result<(i64,), sqlx::Error> = sqlx::query_as(INSERT)
                .bind(new.request.as_deref()).bind(new.user).bind(new.resource).bind(new.quantity).bind(amount)
                .bind(&currency).bind(micros(pay_by)).bind(micros(now)).fetch_one(&mut *connection).await;
            let (id,) = match inserted {
                Err(error) if is_dangling(&error) => {
                    return Err(StoreError::NotFound { what: "user", id: new.user.to_string() });
                }
                other => other?,
            };
            sqlx::query(INSERT_OUTBOX).bind(id).bind(new.expiry_task).bind(expiry_task_id(id)).bind(micros(pay_by))
                .bind(expiry_payload(id)).execute(&mut *connection).await?;
            let order = Order {
                id, user: new.user, resource: new.resource, quantity: new.quantity, amount_minor: amount, currency,
                status: Status::Pending, pay_by, created_at: now, paid_at: None, closed_at: None,
            };
            Ok(Placed { order, is_new: true })
        })
    }

    /// One order.
    pub(in crate::shop) async fn order(&self, id: i64) -> Result<Order, StoreError> {
        let row: Option<Row> =
            reading!(self, connection => sqlx::query_as(BY_ID).bind(id).fetch_optional(connection).await?);
        row.ok_or_else(|| missing(id))?.try_into()
    }

    /// Completes a paid order; one that is completed stays so.
    pub(in crate::shop) async fn complete_order(&self, id: i64) -> Result<Changed, StoreError> {
        writing!(self, connection => {
            let row: Option<Row> =
                sqlx::query_as(self.pick(LOCKED, BY_ID)).bind(id).fetch_optional(&mut *connection).await?;
            let mut order = Order::try_from(row.ok_or_else(|| missing(id))?)?;
            match order.status {
                Status::Completed => return Ok(Changed { order, is_changed: false }),
                Status::Paid => {}
                other => return Err(refused("completed", "paid", id, other)),
            }
            sqlx::query("UPDATE orders SET status = 'completed' WHERE id = $1").bind(id).execute(&mut *connection).await?;
            order.status = Status::Completed;
            Ok(Changed { order, is_changed: true })
        })
    }

    /// Closes an order if it is pending and its time to pay is over, and returns its stock; otherwise leaves it.
    pub(in crate::shop) async fn close_unpaid_order(
        &self,
        id: i64,
        now: Timestamp,
    ) -> Result<Changed, StoreError> {
        writing!(self, connection => {
            let row: Option<Row> =
                sqlx::query_as(self.pick(LOCKED, BY_ID)).bind(id).fetch_optional(&mut *connection).await?;
            let mut order = Order::try_from(row.ok_or_else(|| missing(id))?)?;
            if order.status != Status::Pending || now < order.pay_by {
                return Ok(Changed { order, is_changed: false });
            }
            sqlx::query(END).bind(id).bind("closed").bind(micros(now)).execute(&mut *connection).await?;
            sqlx::query(RETURN_STOCK).bind(order.resource).bind(order.quantity).execute(&mut *connection).await?;
            (order.status, order.closed_at) = (Status::Closed, Some(now));
            Ok(Changed { order, is_changed: true })
        })
    }

    /// Refunds a paid or completed order, returns its stock and takes its amount back from the ledger.
    pub(in crate::shop) async fn refund_order(&self, id: i64, now: Timestamp) -> Result<Changed, StoreError> {
        writing!(self, connection => {
            let row: Option<Row> =
                sqlx::query_as(self.pick(LOCKED, BY_ID)).bind(id).fetch_optional(&mut *connection).await?;
            let mut order = Order::try_from(row.ok_or_else(|| missing(id))?)?;
            match order.status {
                Status::Refunded => return Ok(Changed { order, is_changed: false }),
                Status::Paid | Status::Completed => {}
                other => return Err(refused("refunded", "paid or completed", id, other)),
            }
            sqlx::query(END).bind(id).bind("refunded").bind(micros(now)).execute(&mut *connection).await?;
            sqlx::query(RETURN_STOCK).bind(order.resource).bind(order.quantity).execute(&mut *connection).await?;
            sqlx::query(ENTER).bind(id).bind(order.user).bind(-order.amount_minor).bind(&order.currency)
                .execute(&mut *connection).await?;
            (order.status, order.closed_at) = (Status::Refunded, Some(now));
            Ok(Changed { order, is_changed: true })
        })
    }
}

pub(super) fn missing(id: i64) -> StoreError {
    StoreError::NotFound { what: "order", id: id.to_string() }
}

pub(super) fn refused(become_what: &str, wanted: &str, id: i64, is: Status) -> StoreError {
    StoreError::Refused(format!(
        "order {id} cannot be {become_what}: it is {}; only one that is {wanted} can",
        is.word()
    ))
}

/// The answer to a request that was answered before.
fn placed_before(order: Order, new: &NewOrder) -> Result<Placed, StoreError> {
    if (order.user, order.resource, order.quantity) != (new.user, new.resource, new.quantity) {
        return Err(StoreError::Taken(format!(
            "request_id belongs to order {} of user {}, {} of resource {}; choose another for another order",
            order.id, order.user, order.quantity, order.resource
        )));
    }
    Ok(Placed { order, is_new: false })
}

impl TryFrom<Row> for Order {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let (
            id,
            user,
            resource,
            quantity,
            amount_minor,
            currency,
            status,
            pay_by,
            created_at,
            paid_at,
            closed_at,
        ) = row;
        let status = Status::ALL
            .into_iter()
            .find(|known| known.word() == status)
            .ok_or(StoreError::Damaged { what: "an order's status", value: status })?;
        Ok(Self {
            id,
            user,
            resource,
            quantity,
            amount_minor,
            currency,
            status,
            pay_by: time(pay_by)?,
            created_at: time(created_at)?,
            paid_at: paid_at.map(time).transpose()?,
            closed_at: closed_at.map(time).transpose()?,
        })
    }
}
