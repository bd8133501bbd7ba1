//! Payments.

use jiff::Timestamp;

use super::orders::{self, ENTER, LOCKED, Row, Status, missing, refused};
use super::{Order, Store, StoreError, micros, reading, time, writing};

/// One payment.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Payment {
    pub(in crate::shop) id: String,
    pub(in crate::shop) order: i64,
    pub(in crate::shop) amount_minor: i64,
    pub(in crate::shop) currency: String,
    pub(in crate::shop) paid_at: Timestamp,
}

/// A payment to take.
#[derive(Clone, Debug)]
pub(in crate::shop) struct NewPayment {
    pub(in crate::shop) id: String,
    pub(in crate::shop) order: i64,
    pub(in crate::shop) amount_minor: i64,
    pub(in crate::shop) currency: String,
}

/// A payment, and whether this call took it.
#[derive(Clone, Debug)]
pub(in crate::shop) struct Taken {
    pub(in crate::shop) payment: Payment,
    pub(in crate::shop) is_new: bool,
}

type PaymentRow = (String, i64, i64, String, i64);

const BY_ID: &str = "SELECT id, order_id, amount_minor, currency, paid_at_us FROM payments WHERE id = $1";
const BY_ORDER: &str =
    "SELECT id, order_id, amount_minor, currency, paid_at_us FROM payments WHERE order_id = $1";
const INSERT: &str =
    "INSERT INTO payments (id, order_id, amount_minor, currency, paid_at_us) VALUES ($1, $2, $3, $4, $5)";
const MARK_PAID: &str = "UPDATE orders SET status = 'paid', paid_at_us = $2 WHERE id = $1";

impl Store {
    /// Takes a payment for a pending order: records it, marks the order, enters it into the ledger. May be repeated.
    ///
    /// A payment and the closing of the same order wait for each other at the order's row; whoever has it first wins.
    pub(in crate::shop) async fn pay_order(
        &self,
        new: &NewPayment,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        match self.try_pay_order(new, now).await {
            // The same payment for another order came first and has ended: it is found now.
            Err(StoreError::Raced(_)) => self.try_pay_order(new, now).await,
            other => other,
        }
    }

    async fn try_pay_order(&self, new: &NewPayment, now: Timestamp) -> Result<Taken, StoreError> {
        writing!(self, connection => {
            let row: Option<Row> =
                sqlx::query_as(self.pick(LOCKED, orders::BY_ID)).bind(new.order).fetch_optional(&mut *connection).await?;
            let order = Order::try_from(row.ok_or_else(|| missing(new.order))?)?;
            // After the order is ours: of two calls of the same payment the second finds what the first did.
            let before: Option<PaymentRow> =
                sqlx::query_as(BY_ID).bind(&new.id).fetch_optional(&mut *connection).await?;
            if let Some(row) = before {
                return taken_before(row.try_into()?, new);
            }
            check(&order, new)?;
            sqlx::query(MARK_PAID).bind(order.id).bind(micros(now)).execute(&mut *connection).await?;
            sqlx::query(INSERT).bind(&new.id).bind(order.id).bind(new.amount_minor).bind(&new.currency)
                .bind(micros(now)).execute(&mut *connection).await?;
            sqlx::query(ENTER).bind(order.id).bind(order.user).bind(new.amount_minor).bind(&new.currency)
                .execute(&mut *connection).await?;
            let payment = Payment {
                id: new.id.clone(), order: order.id, amount_minor: new.amount_minor, currency: new.currency.clone(),
                paid_at: now,
            };
            Ok(Taken { payment, is_new: true })
        })
    }

    /// The payment of an order.
    pub(in crate::shop) async fn payment(&self, order: i64) -> Result<Payment, StoreError> {
        let row: Option<PaymentRow> = reading!(self, connection => sqlx::query_as(BY_ORDER).bind(order).fetch_optional(connection).await?);
        row.ok_or_else(|| StoreError::NotFound { what: "payment of order", id: order.to_string() })?
            .try_into()
    }
}

/// Whether an order takes this payment.
fn check(order: &Order, new: &NewPayment) -> Result<(), StoreError> {
    if order.currency != new.currency || order.amount_minor != new.amount_minor {
        return Err(StoreError::Invalid(format!(
            "order {} costs {} {}, not {} {}; pay its whole amount in its currency",
            order.id, order.amount_minor, order.currency, new.amount_minor, new.currency
        )));
    }
    match order.status {
        Status::Pending => Ok(()),
        other => Err(refused("paid", "pending", order.id, other)),
    }
}

/// The answer to a payment that was taken before.
fn taken_before(payment: Payment, new: &NewPayment) -> Result<Taken, StoreError> {
    let same = (payment.order, payment.amount_minor, &payment.currency)
        == (new.order, new.amount_minor, &new.currency);
    if !same {
        return Err(StoreError::Taken(format!(
            "payment_id belongs to a payment of {} {} for order {}; choose another for another payment",
            payment.amount_minor, payment.currency, payment.order
        )));
    }
    Ok(Taken { payment, is_new: false })
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;

    fn try_from((id, order, amount_minor, currency, paid_at): PaymentRow) -> Result<Self, StoreError> {
        Ok(Self { id, order, amount_minor, currency, paid_at: time(paid_at)? })
    }
}
